//! What a comet is told: the configuration, and what only this machine knows.

use perseid_comet::{Certificates, Config, DoorConfig, ForeignPages, LimitConfig, Pages, Rate, RoomConfig};
use perseid_protocol::limits::Limits;

use crate::config::{Auth, LISTENER_KINDS, Settings};
use crate::limits::{open_files_max, sessions_within};

pub(crate) fn comet_config(settings: &Settings, started_ms: u64, certificates: Option<Certificates>) -> Config {
    let comet = &settings.comet;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Config {
        node_id: node_id(settings),
        node: 0,
        // Two lives of a node never begin in the same ms; 2^32 ms are 49 days.
        incarnation: (started_ms & 0xffff_ffff) as u32,
        tcp: comet.tcp.clone(),
        ws: comet.ws.clone(),
        tls: comet.tls.clone(),
        wss: comet.wss.clone(),
        certificates,
        workers: if comet.workers == 0 { cores } else { comet.workers },
        limits: protocol_limits(settings),
        heartbeat_ms: comet.heartbeat_ms,
        reconnect_ms: comet.reconnect_ms,
        id_epoch_ms: perseid_logic::snowflake::ID_EPOCH_MS,
        message_bytes_max: comet.message_bytes_max,
        fragments_max: comet.fragments_max,
        write_stall_ms: comet.write_stall_ms,
        session_bytes_max: comet.session_bytes_max,
        node_bytes_max: comet.node_bytes_max,
        mailbox_bytes_max: settings.job.lane_bytes_max,
        sessions_max: if comet.sessions_max == 0 { sessions_within(open_files_max()) } else { comet.sessions_max },
        door: door_config(settings),
        limit: limit_config(settings),
        room: room_config(settings),
        echo: false,
    }
}

fn protocol_limits(settings: &Settings) -> Limits {
    let comet = &settings.comet;
    Limits {
        auth_bytes_max: comet.auth_bytes_max,
        body_bytes_max: comet.body_bytes_max,
        room_id_bytes_max: comet.room_id_bytes_max,
        subscriptions_max: comet.subscriptions_max,
        handshake_ms: comet.handshake_ms,
        silence_ms: comet.heartbeat_ms.saturating_mul(u64::from(comet.heartbeat_max)),
    }
}

fn door_config(settings: &Settings) -> DoorConfig {
    let comet = &settings.comet;
    DoorConfig {
        proxies: comet.proxies.clone(),
        proxy_protocol: LISTENER_KINDS.map(|kind| comet.proxy_protocol.iter().any(|given| given == kind)),
        pages: Pages { foreign: foreign_pages(settings), origins: comet.origins.clone(), hosts: comet.hosts.clone() },
    }
}

/// What any page may do where clients prove nothing is what any client may.
pub(super) fn foreign_pages(settings: &Settings) -> ForeignPages {
    if settings.logic.auth == Auth::Insecure { ForeignPages::Refuse } else { ForeignPages::Allow }
}

/// More than a worker reads at a time: a lone frame always passes.
const BYTES_BURST_MIN: u32 = 128 * 1024;

fn limit_config(settings: &Settings) -> LimitConfig {
    let limit = &settings.limit;
    let frame_bytes = u32::try_from(settings.comet.body_bytes_max).unwrap_or(u32::MAX).saturating_add(1024);
    let bytes = |per_second, burst| {
        let rate = Rate::new(per_second, burst);
        Rate { burst: rate.burst.max(frame_bytes).max(BYTES_BURST_MIN), ..rate }
    };
    LimitConfig {
        handshakes: Rate::new(limit.handshakes_per_second, limit.handshakes_burst),
        handshakes_max: limit.handshakes_max,
        address_connects: Rate::new(limit.connects_per_address_per_second, limit.connects_per_address_burst),
        address_sessions_max: limit.sessions_per_address_max,
        frames: Rate::new(limit.frames_per_second, limit.frames_burst),
        bytes: bytes(limit.bytes_per_second, limit.bytes_burst),
        user_frames: Rate::new(limit.frames_per_user_per_second, limit.frames_per_user_burst),
        user_bytes: bytes(limit.bytes_per_user_per_second, limit.bytes_per_user_burst),
        rooms_max: limit.rooms_max,
        exempt: limit.exempt.clone(),
    }
}

fn room_config(settings: &Settings) -> RoomConfig {
    let room = &settings.room;
    RoomConfig { ring_bytes_max: room.ring_bytes_max, share: room.share, rest_ms_max: room.rest_ms_max, pace_ms: room.pace_ms }
}

pub(super) fn node_id(settings: &Settings) -> String {
    if settings.node.id.is_empty() { host_name() } else { settings.node.id.clone() }
}

pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "perseid".to_owned() } else { name.to_owned() }
}

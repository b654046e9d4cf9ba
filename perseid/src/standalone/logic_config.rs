//! What logic is told.

use std::collections::BTreeMap;

use perseid_logic::{Config, GoimConfig, StoredConfig};
use perseid_protocol::origin::Pages;

use super::comet_config::foreign_pages;
use crate::chat;
use crate::config::{Auth, History, Settings};

pub(super) fn logic_config(settings: &Settings) -> Config {
    let logic = &settings.logic;
    Config {
        request_bytes_max: logic.request_bytes_max,
        request_ms: logic.request_ms,
        push_bytes_max: logic.push_bytes_max,
        idempotency_ms: logic.idempotency_ms,
        idempotency_bytes_max: logic.idempotency_bytes_max,
        batch_max: logic.batch_max,
        targets_max: logic.targets_max,
        snowflake_worker: settings.node.snowflake_worker,
        heartbeat_ms: settings.comet.heartbeat_ms,
        heartbeat_max: settings.comet.heartbeat_max,
        pages: Pages { foreign: foreign_pages(settings), origins: logic.origins.clone(), hosts: logic.hosts.clone() },
        goim: goim_config(settings),
        stored: stored_config(settings),
    }
}

/// How long a `cid` is remembered: the store's dedupe is by the hour, and holds this one and the one before.
const CID_MS: u64 = 3_600_000;

pub(super) fn stored_config(settings: &Settings) -> StoredConfig {
    let stored = &settings.stored;
    StoredConfig {
        body_bytes_max: stored.body_bytes_max,
        page_bytes: stored.page_bytes_max,
        cid_ms: CID_MS,
        recall_ms: stored.recall_ms,
        fanout: stored.fanout_max,
        inbox_max: stored.inbox_max,
        inbox_days: stored.inbox_days,
        history: match stored.history {
            History::All => perseid_logic::History::All,
            History::Joined => perseid_logic::History::Joined,
        },
        sends_per_second: stored.sends_per_second,
        recovery: room_recovery(settings),
    }
}

/// Types of rooms that keep their last frames, and how many. On a node that believes its callers the live room of the chat page
/// does too, so that it shows what recovery is without being configured.
fn room_recovery(settings: &Settings) -> BTreeMap<String, u32> {
    // The bound of the kind is far below.
    let keeps = |(kind, count): (&String, &u64)| (kind.clone(), u32::try_from(*count).unwrap_or(u32::MAX));
    let mut recovery: BTreeMap<String, u32> = settings.rooms.recovery.iter().map(keeps).collect();
    if settings.logic.auth == Auth::Insecure {
        recovery.entry(chat::ROOM_TYPE.to_owned()).or_insert(chat::ROOM_FRAMES);
    }
    recovery
}

fn goim_config(settings: &Settings) -> GoimConfig {
    let goim = &settings.goim;
    GoimConfig {
        domain: goim.domain.clone(),
        host_domain: goim.host_domain.clone(),
        tcp_port: goim.tcp_port,
        ws_port: goim.ws_port,
        wss_port: goim.wss_port,
        backoff_max_delay: i32::try_from(goim.backoff_max_delay).unwrap_or(i32::MAX),
        backoff_base_delay: i32::try_from(goim.backoff_base_delay).unwrap_or(i32::MAX),
        backoff_factor: goim.backoff_factor as f32,
        backoff_jitter: goim.backoff_jitter as f32,
    }
}

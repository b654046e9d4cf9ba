//! What a comet is told when it starts. Passed, never global: ten comets live in one test.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use perseid_protocol::limits::{self, Limits};

use crate::bucket::Rate;
use crate::net::pages::Pages;
use crate::net::tls::Certificates;

/// Configuration of a comet.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the node: `server` in AUTH_REPLY.
    pub node_id: String,
    /// Number of this comet in session addresses.
    pub node: u32,
    /// Which life of the node this is; never the same twice in a row.
    pub incarnation: u32,
    /// TCP listeners; port 0 picks a free one.
    pub tcp: Vec<SocketAddr>,
    /// WebSocket listeners.
    pub ws: Vec<SocketAddr>,
    /// TCP listeners behind TLS; they need `certificates`.
    pub tls: Vec<SocketAddr>,
    /// WebSocket listeners behind TLS; they need `certificates`.
    pub wss: Vec<SocketAddr>,
    /// What the TLS listeners show.
    pub certificates: Option<Certificates>,
    /// Worker threads, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// Bounds of the protocol.
    pub limits: Limits,
    /// How often clients are told to send HEARTBEAT, ms.
    pub heartbeat_ms: u64,
    /// Upper end of the random wait that clients are told after a lost connection, ms.
    pub reconnect_ms: u64,
    /// Time zero of message ids, unix ms: told to extended clients.
    pub id_epoch_ms: u64,
    /// A WebSocket message from a client, bytes.
    pub message_bytes_max: usize,
    /// Fragments of one WebSocket message.
    pub fragments_max: u32,
    /// A session whose socket takes nothing for this long is closed as a slow consumer, ms.
    pub write_stall_ms: u64,
    /// What may wait for one session, bytes.
    pub session_bytes_max: usize,
    /// What may wait for all sessions of this process, half-read input included, bytes.
    pub node_bytes_max: usize,
    /// What may wait in this process for a worker to take it, bytes.
    pub mailbox_bytes_max: usize,
    /// Sessions held at once; 0: as many as there are file descriptors.
    pub sessions_max: usize,
    /// Whom it believes, and whose pages it lets in.
    pub door: DoorConfig,
    /// How many, and how fast.
    pub limit: LimitConfig,
    /// Rooms.
    pub room: RoomConfig,
    /// Answer each WebSocket message with itself instead of serving sessions: for the conformance suite.
    pub echo: bool,
}

/// Whom a comet believes about its clients, and whose pages it lets in.
#[derive(Clone, Debug, Default)]
pub struct DoorConfig {
    /// Proxies: what they say of their clients is believed.
    pub proxies: Vec<IpNet>,
    /// Listeners where a PROXY header comes first, in the order of [`TRANSPORTS`](crate::metrics::TRANSPORTS).
    pub proxy_protocol: [bool; 4],
    /// Whose pages may open a WebSocket.
    pub pages: Pages,
}

impl DoorConfig {
    /// Whether an address is a proxy's.
    pub(crate) fn is_proxy(&self, ip: IpAddr) -> bool {
        contains(&self.proxies, ip)
    }
}

/// How many may come, and how fast. 0, or a rate that is off: no limit.
#[derive(Clone, Debug, Default)]
pub struct LimitConfig {
    /// Handshakes of the node.
    pub handshakes: Rate,
    /// Connections of the node that have not got through AUTH.
    pub handshakes_max: usize,
    /// Connections of an address. IPv6 addresses count by their /64.
    pub address_connects: Rate,
    /// Sessions of an address.
    pub address_sessions_max: u32,
    /// Frames (and pings) of a session.
    pub frames: Rate,
    /// Bytes of a session as they come from its socket.
    pub bytes: Rate,
    /// Frames (and pings) of a user, over all sessions on this node.
    pub user_frames: Rate,
    /// Bytes of a user, over all sessions on this node.
    pub user_bytes: Rate,
    /// Rooms of the node with somebody in them.
    pub rooms_max: usize,
    /// Addresses for which the limits of addresses and of handshakes do not hold.
    pub exempt: Vec<IpNet>,
}

impl LimitConfig {
    /// Whether anything is counted when a connection begins.
    pub(crate) const fn at_the_door(&self) -> bool {
        self.handshakes.is_on() || self.handshakes_max > 0 || self.address_connects.is_on()
    }

    /// Whether it matters how many bytes come.
    pub(crate) const fn counts_bytes(&self) -> bool {
        self.bytes.is_on() || self.user_bytes.is_on()
    }

    pub(crate) fn is_exempt(&self, ip: IpAddr) -> bool {
        contains(&self.exempt, ip)
    }
}

fn contains(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| network.contains(&ip))
}

/// How rooms trade delay for writes.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// What a room keeps for members that are behind, bytes per encoding.
    pub ring_bytes_max: usize,
    /// Share of its worker's time that a room under load may take: 0.05 to 1.
    pub share: f64,
    /// Longest rest after a pass, ms.
    pub rest_ms_max: u64,
    /// Shortest time between the starts of two passes, ms; 0: load alone decides.
    pub pace_ms: u64,
}

/// Room directories mark the workers that hold a room in one 64-bit word.
pub const WORKERS_MAX: usize = 64;

impl Default for RoomConfig {
    fn default() -> Self {
        Self { ring_bytes_max: 8 << 20, share: 0.5, rest_ms_max: 200, pace_ms: 0 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: "comet".into(),
            node: 0,
            incarnation: 1,
            tcp: Vec::new(),
            ws: Vec::new(),
            tls: Vec::new(),
            wss: Vec::new(),
            certificates: None,
            workers: 1,
            limits: Limits::default(),
            heartbeat_ms: 240_000,
            reconnect_ms: 10_000,
            id_epoch_ms: 0,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            fragments_max: 4096,
            write_stall_ms: 10_000,
            session_bytes_max: 4 << 20,
            node_bytes_max: 512 << 20,
            mailbox_bytes_max: 64 << 20,
            sessions_max: 0,
            door: DoorConfig::default(),
            limit: LimitConfig::default(),
            room: RoomConfig::default(),
            echo: false,
        }
    }
}

//! Every bound of the protocol, with its reason. The operator may change what stands in [`Limits`]; relations between
//! bounds are asserted where they are defined.

/// No frame from a server is longer than this, in bytes: what a client must be able to take.
pub const SERVER_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A transient push's body, in bytes.
pub const PUSH_BODY_BYTES_MAX: usize = 1024 * 1024;
/// A client's frame body, in bytes (goim: 4,096).
pub const CLIENT_BODY_BYTES_MAX: usize = 64 * 1024;
/// The body of AUTH, in bytes: the only frame that a stranger may send.
pub const AUTH_BODY_BYTES_MAX: usize = 8 * 1024;
/// A WebSocket message from a client, in bytes; it may hold several frames.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// A room's id, `type://id`, in bytes.
pub const ROOM_ID_BYTES_MAX: usize = 256;
/// Operations that one session may accept.
pub const SUBSCRIPTIONS_MAX: usize = 1000;
/// A session key that a client chose, in bytes.
pub const SESSION_KEY_BYTES_MAX: usize = 128;
/// A platform or device name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

const _: () = assert!(PUSH_BODY_BYTES_MAX + crate::frame::HEADER_LEN_MAX <= SERVER_FRAME_BYTES_MAX);
const _: () = assert!(CLIENT_BODY_BYTES_MAX + crate::frame::HEADER_LEN_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(AUTH_BODY_BYTES_MAX <= CLIENT_BODY_BYTES_MAX);

/// What holds for the sessions of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body of AUTH, bytes.
    pub auth_bytes_max: usize,
    /// Body of any other frame from a client, bytes.
    pub body_bytes_max: usize,
    /// A room id, bytes.
    pub room_id_bytes_max: usize,
    /// Operations that one session may accept.
    pub subscriptions_max: usize,
    /// From connecting to AUTH answered, ms.
    pub handshake_ms: u64,
    /// Silence after which a session ends (heartbeat × heartbeat_max), ms.
    pub silence_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            auth_bytes_max: AUTH_BODY_BYTES_MAX,
            body_bytes_max: CLIENT_BODY_BYTES_MAX,
            room_id_bytes_max: ROOM_ID_BYTES_MAX,
            subscriptions_max: SUBSCRIPTIONS_MAX,
            handshake_ms: 8_000,
            silence_ms: 480_000,
        }
    }
}

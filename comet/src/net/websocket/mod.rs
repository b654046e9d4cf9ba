//! The server side of WebSocket (RFC 6455) as values: bytes in, messages out, and back.
//!
//! Nothing here owns a socket or reads a clock. The worker lends the bytes it has just read to a
//! [`Decoder`], which hands out whole messages, and writes what [`encode`] puts into its buffers.
//!
//! Invariants:
//! - an idle decoder is one machine word; heap is held only while something is half read;
//! - a message that arrived whole in one read is handed out in place, without a copy;
//! - a buffer grows with the bytes that arrived, never with the length a peer claims;
//! - no input panics.
//!
//! Not here: extensions and subprotocols (none is negotiated), the client side, what a message means.

mod close;
mod decoder;
pub mod encode;
mod frame;
pub mod handshake;
mod mask;

pub use decoder::Decoder;
pub use frame::{CONTROL_BYTES_MAX, Opcode};

/// The peer broke the framing rules (RFC 6455 section 7.4.1).
pub const CLOSE_PROTOCOL_ERROR: u16 = 1002;
/// The peer sent a kind of data that this endpoint does not take.
pub const CLOSE_UNSUPPORTED_DATA: u16 = 1003;
/// Text, or the reason of a close, was not UTF-8.
pub const CLOSE_INVALID_PAYLOAD: u16 = 1007;
/// The message is too big, or cut into too many fragments, to be taken.
pub const CLOSE_TOO_BIG: u16 = 1009;

/// What a peer may send. Passed with every read, so that it can differ before and after login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of payload that one message may have, all its fragments together.
    pub message_bytes_max: usize,
    /// Frames that one message may consist of; empty ones count too.
    pub fragments_max: u32,
    /// Whether text messages are taken; if not, the header of one is refused with 1003.
    pub text_allowed: bool,
}

/// A complete message or control frame, borrowed from the decoder or from the lent bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A binary message.
    Binary(&'a [u8]),
    /// A text message.
    Text(&'a str),
    /// To be answered with a pong that carries the same bytes, at most 125.
    Ping(&'a [u8]),
    /// The answer to a ping, or unsolicited.
    Pong(&'a [u8]),
    /// The peer's last frame; to be answered with a close unless one was sent already.
    Close {
        /// Why, or `None` if the frame was empty. Always a code that may be on the wire.
        code: Option<u16>,
        /// Words for people; may be empty.
        reason: &'a str,
    },
}

/// The peer broke a rule: send a close with this code and reason, then end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WebSocket violation {close_code}: {reason}")]
pub struct Violation {
    /// 1002, 1003, 1007 or 1009.
    pub close_code: u16,
    /// Short enough for the reason of a close frame.
    pub reason: &'static str,
}

impl Violation {
    const fn protocol(reason: &'static str) -> Self {
        Self { close_code: CLOSE_PROTOCOL_ERROR, reason }
    }

    const fn unsupported(reason: &'static str) -> Self {
        Self { close_code: CLOSE_UNSUPPORTED_DATA, reason }
    }

    const fn payload(reason: &'static str) -> Self {
        Self { close_code: CLOSE_INVALID_PAYLOAD, reason }
    }

    const fn too_big(reason: &'static str) -> Self {
        Self { close_code: CLOSE_TOO_BIG, reason }
    }
}

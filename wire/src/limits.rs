//! Every bound of the wire, with its reason.

use std::time::Duration;

/// A message of goim's services, bytes: what goim's clients are set to.
pub const GOIM_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A message of our own streams, bytes: twice the largest push, and a batch of a lane.
pub const OWN_MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Connections to one gRPC port; more wait in the kernel.
pub const CONNECTIONS_MAX: usize = 1024;
/// Calls at once on one connection.
pub const STREAMS_MAX: u32 = 256;
/// Headers of one call, bytes.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Calls that a peer opened and reset, and that were not looked at yet: above it the connection is ended (rapid reset).
pub const PENDING_RESETS_MAX: usize = 64;
/// Calls that we reset for the peer's errors: above it the connection is ended.
pub const LOCAL_RESETS_MAX: usize = 256;
/// What may be on its way unread on one stream, bytes: a batch and its successor.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// The same for a connection, bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How often a peer that says nothing is asked whether it lives …
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// … and how long it may take to say so.
pub const KEEPALIVE_WAIT: Duration = Duration::from_secs(10);
/// A listener drops a connection on which it has heard nothing for so long: not even the answer to a ping.
pub const SILENCE_WAIT: Duration = Duration::from_secs(30);
const _: () = assert!(SILENCE_WAIT.as_secs() > KEEPALIVE_EVERY.as_secs() + KEEPALIVE_WAIT.as_secs());
/// A connection must stand after this time.
pub const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// A TLS handshake must be over after this time.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// A stream's first message, and the answer to it, must come within this time.
pub const HELLO_WAIT: Duration = Duration::from_secs(5);
/// A call of goim's services must be over after this time.
pub const CALL_WAIT: Duration = Duration::from_secs(10);

/// What a comet's sessions may have asked and not been answered, bytes; above it AUTH is refused with OVERLOADED.
pub const ASKED_BYTES_MAX: usize = 16 << 20;
/// What a question counts beside its body, bytes.
pub const QUESTION_BYTES: usize = 256;
/// An AUTH or an upstream frame is answered within this time, ms.
pub const ANSWER_MS: u64 = 5_000;
/// A renewal may wait this long for logic to come back, ms: the session lives on meanwhile.
pub const RENEWAL_MS: u64 = 60_000;
/// What AUTH is told when logic can't be asked: come back after this time, ms (and the client's own spread).
pub const AWAY_RETRY_MS: u64 = 2_000;
/// Questions in one message.
pub const REQUESTS_PER_MESSAGE: usize = 256;
/// Bytes of them.
pub const REQUEST_BYTES_PER_MESSAGE: usize = 256 * 1024;
/// Messages that may wait in front of a stream.
pub const MESSAGES_QUEUED_MAX: usize = 32;
/// What logic may have to tell a comet unasked; a comet that takes none of it is cut off, and says everything again.
pub const COMMANDS_QUEUED_MAX: usize = 4096;
/// Answers that somebody else has to be asked for, at once on one stream.
pub const LATE_ANSWERS_MAX: usize = 4096;
/// Sessions, or rooms, in one message.
pub const ITEMS_PER_MESSAGE: usize = 500;
/// How long sessions of a comet whose stream is gone stay registered, ms.
pub const LEASE_MS: u64 = 15_000;
/// How often a comet reports what it holds.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The first viewer of a room waits at most this long until jobs know that the comet holds it.
pub const ENTER_WAIT: Duration = Duration::from_millis(100);
/// A room that nobody is in stays announced this long, ms: who was let in just now may not be there yet.
pub const ROOM_KEPT_MS: u64 = 5_000;
/// Changes of the rooms held that are kept for jobs that have not read them; who is further behind is told everything.
pub const ROOM_CHANGES_MAX: usize = 100_000;
/// Lanes whose last sequence a comet remembers.
pub const LANES_MAX: usize = 256;

/// Sessions of goim's comets that are registered here, each.
pub const GOIM_SESSIONS_MAX: usize = 2_000_000;
/// A session of a goim comet that sent no heartbeat for this long is forgotten, ms: goim's own time.
pub const GOIM_SESSION_MS: u64 = 30 * 60 * 1000;
/// Room counts of a goim comet count this long after its last report, ms: goim's own time.
pub const GOIM_ROOMS_MS: u64 = 5 * 60 * 1000;
/// Rooms that one answer to RenewOnline names, and that one report may name.
pub const GOIM_ROOMS_MAX: usize = 100_000;
/// Goim comets known.
pub const GOIM_COMETS_MAX: usize = 1024;
/// Name of a goim comet, bytes: a host's, with a port perhaps.
pub const GOIM_NAME_BYTES_MAX: usize = 256;

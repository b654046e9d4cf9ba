//! The port: what a registry of sessions promises.

use std::net::SocketAddr;

use perseid_protocol::SessionKey;
use perseid_protocol::push::SessionAddr;
use thiserror::Error;

/// A session that was just authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession<'a> {
    /// Names the session; at most one session has it at a time.
    pub key: SessionKey,
    /// Its user; ≤ 0 is a guest, found by key only.
    pub mid: i64,
    /// Where it lives. Never used twice.
    pub addr: SessionAddr,
    /// `web`, `ios`, `android`, …; may be empty.
    pub platform: &'a str,
    /// Names the device's cursor; empty: the platform does.
    pub device_id: &'a str,
    /// The other end of its connection. Of an IPv6 address only the address and the port are kept.
    pub peer: Option<SocketAddr>,
    /// When it was opened, unix ms.
    pub since_ms: u64,
    /// Whether it speaks the extended protocol.
    pub extended: bool,
}

/// A session as the registry tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its key.
    pub key: SessionKey,
    /// Its user; ≤ 0 is a guest.
    pub mid: i64,
    /// Where it lives.
    pub addr: SessionAddr,
    /// As given when it was opened.
    pub platform: Box<str>,
    /// As given when it was opened; the platform when that was empty.
    pub device_id: Box<str>,
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    /// When it was opened, unix ms.
    pub since_ms: u64,
    /// Whether it speaks the extended protocol.
    pub extended: bool,
}

/// Whose session a new one may replace when it names the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Anybody's, as in goim: for nodes that believe what clients say of themselves.
    Anybody,
    /// Only one of the same user.
    SameUser,
}

/// The key names a session of another user; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the key is in use by another user's session")]
pub struct KeyTaken;

/// What became of a session that was registered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It was registered all the time.
    Known,
    /// It is registered again.
    Added,
    /// It is registered again, in place of an older one with its key: that one is the caller's to end.
    Replaced(SessionAddr),
    /// A younger session has its key. Nothing was changed: the one that was to be restored is the caller's to end.
    Outlived,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions, guests included.
    pub sessions: u64,
    /// Users with at least one session; guests are none.
    pub users: u64,
}

/// Who is online, and where.
///
/// Every call is atomic for a key, and for a user. Of several users or keys a caller may see one change before the other
/// (a key that moves from one user to another is gone from the first before it shows at the second).
/// No call waits for anything but short locks.
pub trait SessionRegistry: Send + Sync + 'static {
    /// Registers a session. A former one with the same key is forgotten, and its address returned: it is the caller's to end.
    ///
    /// # Errors
    /// [`KeyTaken`] if the key names another user's session and `takeover` forbids that.
    fn open(&self, session: NewSession<'_>, takeover: Takeover) -> Result<Option<SessionAddr>, KeyTaken>;

    /// Registers a session again that has lived for a while, for a registry that may have forgotten it: its comet says so.
    /// Of two sessions with one key the younger stays (`since_ms`; of two that are as old the one with the higher address).
    fn restore(&self, session: NewSession<'_>) -> Restored;

    /// Forgets the session of `key` and `mid` if it is still the one at `addr`. A late close of a session that was replaced
    /// changes nothing; it returns whether something changed.
    fn close(&self, key: &SessionKey, mid: i64, addr: SessionAddr) -> bool;

    /// Where the session of `key` lives.
    fn by_key(&self, key: &SessionKey) -> Option<SessionAddr>;

    /// Where all sessions of a user live, in no order; none for guests.
    fn by_mid(&self, mid: i64) -> Vec<SessionAddr>;

    /// All sessions of a user, oldest first; none for guests.
    fn describe(&self, mid: i64) -> Vec<SessionRow>;

    /// The session of `key`.
    fn row(&self, key: &SessionKey) -> Option<SessionRow>;

    /// The keys of all sessions, in no order; of sessions that come and go meanwhile some may be missing.
    fn keys(&self) -> Vec<SessionKey>;

    /// How much there is.
    fn counts(&self) -> Counts;

    /// How many different addresses the sessions come from. Looks at every session.
    fn addresses(&self) -> u64;

    /// Tells of every session of one life of a comet, in no order. Sessions that come or go meanwhile may be told or not.
    /// No lock is held during a call.
    fn each_of_node(&self, node: u32, incarnation: u32, each: &mut dyn FnMut(SessionRow));

    /// Forgets every session of one life of a comet, and returns how many they were. Sessions that it opens meanwhile may
    /// stay: the caller first sees to it that it opens none.
    fn close_node(&self, node: u32, incarnation: u32) -> usize;
}

//! The two events of each session, in step with the registry.
//!
//! **Order of locks**: a stripe of keys, then users, then what waits, then the log's own. A change of a session in the registry
//! and the record that tells of it happen under the stripe of its key, so for one key there is one order of both.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, SessionKey};
use perseid_rpc::{Event, EventKind, Events};
use perseid_store::{SessionRegistry, SessionRow};

use super::open::Pending;
use super::users::Users;
use super::{Feed, at, unit};

/// How many locks keys share.
const STRIPES: usize = 256;

/// Why a session ended that nobody here ended.
const LEFT: &str = "LEFT";

/// Begins and ends sessions, and writes both.
pub struct Presence {
    pub(super) feed: Arc<Feed>,
    pub(super) registry: Arc<dyn SessionRegistry>,
    pub(super) users: Users,
    stripes: Box<[Mutex<HashMap<SessionKey, Pending>>]>,
    hasher: RandomState,
}

/// The sessions on their way of some keys; of these keys nobody else changes a session meanwhile.
pub(super) type Stripe<'a> = MutexGuard<'a, HashMap<SessionKey, Pending>>;

impl Presence {
    /// Over a registry that changes through this only.
    pub fn new(feed: Arc<Feed>, registry: Arc<dyn SessionRegistry>) -> Arc<Self> {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Arc::new(Self { feed, registry, users: Users::default(), stripes, hasher: RandomState::new() })
    }

    /// Where events go.
    pub const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    pub(super) fn stripe_of(&self, key: &SessionKey) -> usize {
        (self.hasher.hash_one(key) % STRIPES as u64) as usize
    }

    pub(super) fn stripe(&self, key: &SessionKey) -> Stripe<'_> {
        self.stripes[self.stripe_of(key)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a session, for `reason` or by itself (`None`). False, and nothing is changed, if it is not there any more.
    pub fn end(self: &Arc<Self>, key: &SessionKey, mid: i64, addr: SessionAddr, reason: Option<CloseReason>) -> bool {
        let mut stripe = self.stripe(key);
        if let Some(pending) = stripe.get_mut(key) {
            return self.end_pending(pending, addr, reason);
        }
        let Some(row) = self.registry.row(key).filter(|row| row.addr == addr && row.mid == mid) else { return false };
        let closed = self.registry.close(key, mid, addr);
        if closed {
            self.say_offline(&row, reason_word(reason));
        }
        closed
    }

    /// Writes that a session has ended. The stripe of its key is locked.
    pub(super) fn say_offline(&self, row: &SessionRow, reason: &str) {
        let now_ms = self.feed.now_ms();
        let mut users = self.users.lock(row.mid, row.mid);
        let mut event = event_of(row, EventKind::SessionOffline, self.feed.ids.next(now_ms).id, now_ms);
        event.sessions = users.add(row.mid, false);
        event.reason = reason.to_owned();
        self.feed.keep(unit(row.mid, &event.key), &Events { events: vec![event] });
    }
}

/// Why it ended, in a word.
pub(super) fn reason_word(reason: Option<CloseReason>) -> &'static str {
    reason.map_or(LEFT, CloseReason::word)
}

pub(super) fn event_of(row: &SessionRow, kind: EventKind, id: u64, ts_ms: u64) -> Event {
    Event {
        id,
        kind: kind.into(),
        ts_ms,
        mid: row.mid,
        key: row.key.to_string(),
        platform: row.platform.to_string(),
        // The platform names the device where nothing else does.
        device: if row.device_id == row.platform { String::new() } else { row.device_id.to_string() },
        peer: row.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        since_ms: row.since_ms,
        ..at(row.addr)
    }
}

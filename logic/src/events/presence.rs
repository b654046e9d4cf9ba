//! The two events of each session, in step with the registry.
//!
//! **Order of locks**: a stripe of keys, then users, then what waits, then the log's own. A change of a session in the registry
//! and the record that tells of it happen under the stripe of its key, so for one key there is one order of both.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perseid_log::{AppendError, Offset};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, SessionKey};
use perseid_rpc::{Event, EventKind};
use perseid_store::{SessionRegistry, SessionRow};
use tokio::sync::watch;

use super::offer::Offered;
use super::open::Pending;
use super::users::Users;
use super::{Feed, Held, at, unit};

/// How many locks keys share.
const STRIPES: usize = 256;

/// Why a session ended that nobody here ended.
const LEFT: &str = "LEFT";

/// Begins and ends sessions, and writes both.
pub struct Presence {
    pub(super) feed: Arc<Feed>,
    pub(super) registry: Arc<dyn SessionRegistry>,
    pub(super) users: Users,
    stripes: Box<[Mutex<Keys>]>,
    hasher: RandomState,
}

/// What is on its way into the log, of some keys. Of one key one thing at a time: a log may refuse a record and take a later one.
#[derive(Default)]
pub(super) struct Keys {
    /// Sessions that begin.
    pub(super) pending: HashMap<SessionKey, Pending>,
    /// Sessions that have ended. Dropped when that is settled: others wait for it.
    pub(super) leaving: HashMap<SessionKey, watch::Sender<()>>,
}

/// Some keys, locked: nobody else changes a session of one.
pub(super) type Stripe<'a> = MutexGuard<'a, Keys>;

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
        if let Some(pending) = stripe.pending.get_mut(key) {
            return self.end_pending(pending, addr, reason);
        }
        let Some(row) = self.registry.row(key).filter(|row| row.addr == addr && row.mid == mid) else { return false };
        let closed = self.registry.close(key, mid, addr);
        if closed {
            self.say_offline(&mut stripe, &row, reason_word(reason));
        }
        closed
    }

    /// Writes that a session has ended.
    pub(super) fn say_offline(self: &Arc<Self>, keys: &mut Keys, row: &SessionRow, reason: &str) {
        let now_ms = self.feed.now_ms();
        let mut users = self.users.lock(row.mid, row.mid);
        let mut event = event_of(row, EventKind::SessionOffline, self.feed.ids.next(now_ms).id, now_ms);
        event.sessions = users.add(row.mid, false);
        event.reason = reason.to_owned();
        let held = Held::new(unit(row.mid, &event.key), vec![event], &[EventKind::SessionOffline]);
        // With its user locked, so that counts are in the order of the log.
        self.say(keys, &row.key, held);
    }

    /// Writes what is so already, now or later.
    pub(super) fn say(self: &Arc<Self>, keys: &mut Keys, key: &SessionKey, held: Held) {
        if !self.feed.is_settled() || keys.leaving.contains_key(key) {
            // Behind those that wait already.
            return self.feed.hold(held);
        }
        let (presence, of, again) = (self.clone(), key.clone(), held.clone());
        match held.offer(&self.feed, move |result| presence.said(&of, again, result)) {
            Offered::Coming => _ = keys.leaving.insert(key.clone(), watch::Sender::new(())),
            Offered::Durable(offset) => self.feed.wrote(offset, held.kinds),
            Offered::Refused(_) => self.feed.hold(held),
        }
    }

    /// On the log's thread: it has that, or has given it up.
    fn said(&self, key: &SessionKey, held: Held, result: Result<Offset, AppendError>) {
        let mut stripe = self.stripe(key);
        match result {
            Ok(offset) => self.feed.wrote(offset, held.kinds),
            Err(_) => self.feed.hold(held),
        }
        // Whoever waits for this finds what is said above.
        stripe.leaving.remove(key);
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

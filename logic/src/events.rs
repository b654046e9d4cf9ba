//! What the business is told of: sessions that begin and end, and what clients send to it. It stands in the event log first;
//! webhooks and `GET /v1/events` read it from there.
//!
//! [`Feed`] writes events, [`Presence`] the two of each session. Nothing of this exists in a node where nobody wants events.
//!
//! **Invariants**: a session is let in only when the log has its `session.online`, and that stands there before its
//! `session.offline`, of which there is exactly one: what could not be written waits, and nobody is let in meanwhile; what a
//! crash left open is closed by [`Feed::recover`] at the next start.

mod offer;
mod open;
mod presence;
mod recover;
mod restore;
mod still;
mod users;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use perseid_log::{AppendError, EventLog, LogReader, Offset};
use perseid_protocol::Refusal;
use perseid_protocol::push::SessionAddr;
use perseid_rpc::{Event, EventKind, Events};
use prost::Message;
use tokio::sync::{oneshot, watch};

use crate::service::Upstream;
use crate::snowflake::{LEAD_MS_MAX, Snowflake};
use offer::{Offered, offer};
use perseid_store::Verdict;

pub use open::OpenError;
pub use presence::Presence;
pub use still::StillPace;

/// Now, unix ms.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Which events somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `session.online` and `session.offline`: both, or none.
    pub sessions: bool,
    /// `upstream`.
    pub upstream: bool,
}

impl Wanted {
    /// What a list of names asks for; a name that is none is passed over.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().fold(Self::default(), |wanted, word| match EventKind::from_word(word) {
            Some(EventKind::Upstream) => Self { upstream: true, ..wanted },
            Some(_) => Self { sessions: true, ..wanted },
            None => wanted,
        })
    }

    /// Whether it is any at all.
    pub const fn any(self) -> bool {
        self.sessions || self.upstream
    }
}

/// Writes events, and tells readers that there are new ones.
pub struct Feed {
    log: Arc<dyn EventLog>,
    wanted: Wanted,
    ids: Snowflake,
    clock: Clock,
    newest: watch::Sender<Offset>,
    /// Ends of sessions that the log would not take, oldest first. Never more than there were sessions when it began to
    /// refuse, because nobody is let in meanwhile.
    waiting: Mutex<VecDeque<Held>>,
    /// How many wait, those that are on their way into the log again among them.
    unsettled: AtomicUsize,
    written: [AtomicU64; EventKind::PUBLIC.len()],
    refused: [AtomicU64; EventKind::PUBLIC.len()],
    crashed: AtomicU64,
    /// Sessions of other comets that were online when this process began, and of which it is not known yet whether they are.
    unconfirmed: Mutex<HashMap<SessionAddr, Event>>,
}

/// A record that may have to wait for the log.
#[derive(Clone)]
struct Held {
    unit: Bytes,
    value: Bytes,
    /// What is in it, for the counters.
    kinds: &'static [EventKind],
}

impl Held {
    fn new(unit: Vec<u8>, events: Vec<Event>, kinds: &'static [EventKind]) -> Self {
        Self { unit: Bytes::from(unit), value: Bytes::from(Events { events }.encode_to_vec()), kinds }
    }

    fn offer(&self, feed: &Feed, done: impl FnOnce(Result<Offset, AppendError>) + Send + 'static) -> Offered {
        offer(&*feed.log, &self.unit, self.value.clone(), done)
    }
}

impl Feed {
    /// Writes into `log`. `worker`: this node's part of ids, as of message ids.
    pub fn new(log: Arc<dyn EventLog>, wanted: Wanted, worker: u16, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            log,
            wanted,
            ids: Snowflake::new(worker),
            clock,
            newest: watch::Sender::new(0),
            waiting: Mutex::default(),
            unsettled: AtomicUsize::new(0),
            written: Default::default(),
            refused: Default::default(),
            crashed: AtomicU64::new(0),
            unconfirmed: Mutex::default(),
        })
    }

    /// What is written.
    pub const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The offset of the newest event that is durable, as far as is known; it only grows.
    pub fn newest(&self) -> watch::Receiver<Offset> {
        self.newest.subscribe()
    }

    /// Reads records of the log, events and others, from `from` on.
    pub fn reader(&self, from: Offset) -> Box<dyn LogReader> {
        self.log.reader(from)
    }

    /// Writes what a client sent: answered when the log has it, or refused.
    pub fn upstream(self: &Arc<Self>, frame: &Upstream<'_>) -> Verdict<Result<(), Refusal>> {
        let issued = self.ids.next(frame.now_ms);
        let refuse = |feed: &Self, refusal| {
            feed.refused(EventKind::Upstream);
            Verdict::Now(Err(refusal))
        };
        if issued.lead_ms > LEAD_MS_MAX {
            return refuse(self, Refusal::RateLimited);
        }
        let event = Event {
            id: issued.id,
            kind: EventKind::Upstream.into(),
            ts_ms: frame.now_ms,
            mid: frame.mid,
            key: frame.key.to_string(),
            op: frame.op,
            body: Bytes::copy_from_slice(frame.body),
            ..at(frame.addr)
        };
        let key = unit(event.mid, &event.key);
        let value = Bytes::from(Events { events: vec![event] }.encode_to_vec());
        let (tell, told) = oneshot::channel();
        let feed = self.clone();
        let done = move |result: Result<Offset, AppendError>| {
            // Whoever has gone needs no answer.
            let _ = tell.send(feed.settle_upstream(result));
        };
        match offer(&*self.log, &key, value, done) {
            Offered::Coming => Verdict::Later(Box::pin(async move { told.await.unwrap_or(Err(Refusal::Unknown)) })),
            Offered::Durable(offset) => Verdict::Now(self.settle_upstream(Ok(offset))),
            Offered::Refused(error) => Verdict::Now(self.settle_upstream(Err(error))),
        }
    }

    fn settle_upstream(&self, result: Result<Offset, AppendError>) -> Result<(), Refusal> {
        match result {
            Ok(offset) => {
                self.wrote(offset, &[EventKind::Upstream]);
                Ok(())
            }
            Err(error) => {
                self.refused(EventKind::Upstream);
                Err(if matches!(error, AppendError::Unknown(_)) { Refusal::Unknown } else { Refusal::Unavailable })
            }
        }
    }

    /// Keeps the end of a session that the log does not take: it is not lost while this process lives.
    fn hold(&self, held: Held) {
        held.kinds.iter().for_each(|kind| self.refused(*kind));
        let mut waiting = self.waiting();
        waiting.push_back(held);
        self.unsettled.fetch_add(1, Relaxed);
    }

    /// Whether no end of a session waits.
    fn is_settled(&self) -> bool {
        self.unsettled.load(Relaxed) == 0
    }

    /// Writes what waits, as far as the log takes it; whether nothing waits any more.
    pub fn flush(self: &Arc<Self>) -> bool {
        if self.is_settled() {
            return true;
        }
        let mut waiting = self.waiting();
        while let Some(held) = waiting.pop_front() {
            let (feed, again) = (self.clone(), held.clone());
            match held.offer(self, move |result| feed.kept(again, result)) {
                Offered::Coming => {}
                Offered::Durable(offset) => self.settle(offset, held.kinds),
                Offered::Refused(_) => {
                    held.kinds.iter().for_each(|kind| self.refused(*kind));
                    waiting.push_front(held);
                    break;
                }
            }
        }
        self.is_settled()
    }

    /// On the log's thread: it has what waited, or has given it up.
    fn kept(&self, held: Held, result: Result<Offset, AppendError>) {
        match result {
            Ok(offset) => self.settle(offset, held.kinds),
            Err(_) => {
                held.kinds.iter().for_each(|kind| self.refused(*kind));
                self.waiting().push_back(held);
            }
        }
    }

    fn settle(&self, offset: Offset, kinds: &[EventKind]) {
        self.wrote(offset, kinds);
        self.unsettled.fetch_sub(1, Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Held>> {
        // Every change is whole before anything in it could panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what is durable at `offset`, and wakes those who wait for it.
    fn wrote(&self, offset: Offset, kinds: &[EventKind]) {
        for kind in kinds {
            count(&self.written, *kind);
        }
        self.newest.send_if_modified(|newest| {
            let newer = offset > *newest;
            *newest = offset.max(*newest);
            newer
        });
    }

    fn refused(&self, kind: EventKind) {
        count(&self.refused, kind);
    }

    fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// What it counts.
    pub fn snapshot(&self) -> FeedSnapshot {
        let by_kind = |counters: &[AtomicU64]| {
            let words = EventKind::PUBLIC.into_iter().filter_map(EventKind::word);
            words.zip(counters).map(|(word, count)| (word, count.load(Relaxed))).collect()
        };
        FeedSnapshot {
            written: by_kind(&self.written),
            refused: by_kind(&self.refused),
            waiting: self.unsettled.load(Relaxed) as u64,
            crashed: self.crashed.load(Relaxed),
        }
    }
}

/// The counters of a [`Feed`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSnapshot {
    /// Events that the log has, by type.
    pub written: Vec<(&'static str, u64)>,
    /// Times that the log did not take one, by type. An offline is tried again; the client of another is told.
    pub refused: Vec<(&'static str, u64)>,
    /// Offlines that wait for the log now.
    pub waiting: u64,
    /// Sessions whose end was found out at the start, after a crash.
    pub crashed: u64,
}

fn count(counters: &[AtomicU64; EventKind::PUBLIC.len()], kind: EventKind) {
    let place = EventKind::PUBLIC.into_iter().position(|known| known == kind);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.fetch_add(1, Relaxed);
    }
}

/// What orders events in a log of several partitions: the user, or a guest's session.
fn unit(mid: i64, key: &str) -> Vec<u8> {
    let mut unit = if mid > 0 { format!("u{mid}") } else { format!("k{key}") };
    // No longer than a log takes; which of its bytes count does not matter.
    unit.truncate(unit.floor_char_boundary(perseid_log::KEY_BYTES_MAX));
    unit.into_bytes()
}

/// An event of nothing yet, at an address.
fn at(addr: SessionAddr) -> Event {
    Event {
        node: addr.node,
        incarnation: addr.incarnation,
        worker: addr.worker.into(),
        slot: addr.slot,
        generation: addr.generation,
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;

//! Logic, as the workers of a comet see it, when it is another process: questions go into a queue, answers come back through
//! tickets, and what lives here is known here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use perseid_comet::link::{Answer, Connect, Connected, LogicLink, Refused, Renew, Renewed, Ticket, Upstream};
use perseid_protocol::auth::AuthRequest;
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, Refusal, SessionKey};
use perseid_rpc::cluster as rpc;
use perseid_store::{MemoryRegistry, NewSession, SessionRegistry, Takeover};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::interest::Interest;
use super::requests::{Answered, Asked, CantAsk, Due, Opening, Requests};
use crate::client::Dial;
use crate::codec::{Life, place};
use crate::limits::{AWAY_RETRY_MS, ENTER_WAIT};

const AWAY: &str = "nobody can say who you are now: logic can't be reached; connect again";
const FULL: &str = "too many are waiting to be let in: connect again";
const LATE: &str = "logic did not answer in time: connect again";

/// Of which comet, to which logic.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The comet's number and life, as in its configuration.
    pub node: u32,
    /// See `node`.
    pub incarnation: u32,
    /// Where logics listen, `host:port`: one at a time, the next one when one is lost.
    pub logics: Vec<String>,
    /// How they are called.
    pub dial: Dial,
}

/// See the module.
pub struct RemoteLink {
    pub(super) config: LinkConfig,
    pub(super) life: Life,
    runtime: Handle,
    requests: Mutex<Requests<Ticket>>,
    /// Something waits in the queue.
    pub(super) asked: Notify,
    /// The sessions that live here: what logic is told when it has forgotten them, and where pushes by key find them.
    pub(super) sessions: Arc<MemoryRegistry>,
    pub(super) interest: Arc<Interest>,
    started: Instant,
    pub(super) counters: Counters,
    /// Logic has said that this comet is to leave: sessions told a second, 0 = as configured.
    pub(super) leave: watch::Sender<Option<u32>>,
    /// While it leaves.
    pub(super) drain: Mutex<Option<rpc::Drain>>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) streams: AtomicU64,
    pub(super) refused_away: AtomicU64,
    pub(super) refused_full: AtomicU64,
    pub(super) refused_late: AtomicU64,
    pub(super) refused_lost: AtomicU64,
    pub(super) answers: AtomicU64,
    pub(super) answers_late: AtomicU64,
}

/// What a link counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSnapshot {
    /// Whether a logic is there.
    pub is_up: bool,
    /// Streams that a logic has welcomed.
    pub streams: u64,
    /// Questions without an answer.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Questions that could not be asked because no logic was there.
    pub refused_away: u64,
    /// The same because too much was waiting.
    pub refused_full: u64,
    /// Questions that were not answered in time.
    pub refused_late: u64,
    /// Questions whose stream was lost.
    pub refused_lost: u64,
    /// Answers.
    pub answers: u64,
    /// Answers that came after whoever asked was refused.
    pub answers_late: u64,
}

impl RemoteLink {
    /// A link that is not up: see [`CometNode`](super::CometNode), which connects it.
    pub fn new(config: LinkConfig, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            life: Life { node: config.node, incarnation: config.incarnation },
            config,
            runtime,
            requests: Mutex::default(),
            asked: Notify::new(),
            sessions: Arc::new(MemoryRegistry::new()),
            interest: Arc::default(),
            started: Instant::now(),
            counters: Counters::default(),
            leave: watch::Sender::new(None),
            drain: Mutex::new(None),
        })
    }

    /// The sessions that live here.
    pub fn sessions(&self) -> &Arc<MemoryRegistry> {
        &self.sessions
    }

    /// The rooms that are announced to jobs.
    pub fn interest(&self) -> &Arc<Interest> {
        &self.interest
    }

    /// Whether a logic is there.
    pub fn is_up(&self) -> bool {
        self.lock().is_up()
    }

    /// Waits until logic says that this comet is to leave: sessions told a second, `None` as configured.
    pub async fn told_to_leave(&self) -> Option<u32> {
        let mut leave = self.leave.subscribe();
        let told = leave.wait_for(Option::is_some).await;
        // The sender lives as long as `self`.
        told.map_or(None, |told| told.filter(|per_second| *per_second > 0))
    }

    /// From now on logic is told that this comet leaves, and how far it is.
    pub fn set_draining(&self, sessions: u64, per_second: u32, since_ms: u64) {
        let drain = rpc::Drain { sessions_at_start: sessions, per_second, since_ms };
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = Some(drain);
    }

    /// What it counts.
    pub fn snapshot(&self) -> LinkSnapshot {
        let (is_up, (waiting, bytes)) = {
            let requests = self.lock();
            (requests.is_up(), requests.waiting())
        };
        let counters = &self.counters;
        LinkSnapshot {
            is_up,
            streams: counters.streams.load(Relaxed),
            waiting: waiting as u64,
            waiting_bytes: bytes as u64,
            refused_away: counters.refused_away.load(Relaxed),
            refused_full: counters.refused_full.load(Relaxed),
            refused_late: counters.refused_late.load(Relaxed),
            refused_lost: counters.refused_lost.load(Relaxed),
            answers: counters.answers.load(Relaxed),
            answers_late: counters.answers_late.load(Relaxed),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Requests<Ticket>> {
        // Nothing in there can panic half-way through a change.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ask(&self, asked: Asked, request: rpc::request::Request, bytes: usize, ticket: Ticket) -> Result<(), CantAsk> {
        let result = self.lock().ask(asked, request, bytes, ticket, self.now_ms());
        self.asked.notify_one();
        result.map_err(|(_, why)| {
            let counter = match why {
                CantAsk::Away => &self.counters.refused_away,
                CantAsk::Full => &self.counters.refused_full,
            };
            counter.fetch_add(1, Relaxed);
            why
        })
    }

    fn tell_of_end(&self, key: &SessionKey, mid: i64, addr: SessionAddr, reason: Option<CloseReason>) {
        let reason = reason.map_or(0, |reason| reason.code().into());
        let disconnect = rpc::Disconnect { key: key.to_string(), mid, place: Some(place(addr)), reason };
        self.lock().tell(disconnect);
        self.asked.notify_one();
    }

    /// An answer of logic.
    pub(super) fn answered(self: &Arc<Self>, answer: rpc::Answer) {
        use rpc::answer::Answer as Is;
        let question = self.lock().answer(answer.id);
        self.counters.answers.fetch_add(1, Relaxed);
        match (question, answer.answer) {
            (Answered::Due(Due { asked: Asked::Connect(opening), ticket }), Some(Is::Connected(connected))) => {
                self.let_in(&opening, connected, ticket);
            }
            (Answered::Due(Due { asked: Asked::Renew, ticket }), Some(Is::Renewed(renewed))) => {
                ticket.renewed(Ok(Renewed { expires_at_ms: renewed.expires_at_ms, inbox: None }));
            }
            (Answered::Due(Due { asked: Asked::Receive, ticket }), Some(Is::Received(received))) => {
                ticket.received(refusal(received.refusal).map_or(Ok(()), Err));
            }
            (Answered::Due(Due { asked: Asked::Connect(_), ticket }), Some(Is::Refused(no))) => {
                ticket.connected(Err(refused(no)));
            }
            (Answered::Due(Due { asked: Asked::Renew, ticket }), Some(Is::Refused(no))) => ticket.renewed(Err(refused(no))),
            (Answered::Due(due), _) => self.refuse(due, "logic answered something else than was asked: connect again"),
            (Answered::TooLate(asked), answer) => {
                self.counters.answers_late.fetch_add(1, Relaxed);
                if let (Asked::Connect(opening), Some(Is::Connected(connected))) = (asked, answer) {
                    // It believes that the session lives.
                    self.tell_of_end(&SessionKey::parse(&connected.key), connected.mid, opening.addr, None);
                }
            }
            (Answered::Unknown, _) => {}
        }
    }

    /// Logic has let a session in: it is noted here, its room is announced, then its worker is told.
    fn let_in(self: &Arc<Self>, opening: &Opening, connected: rpc::Connected, ticket: Ticket) {
        let key = SessionKey::parse(&connected.key);
        let session = NewSession {
            key: key.clone(),
            mid: connected.mid,
            addr: opening.addr,
            platform: &connected.platform,
            device_id: &opening.device_id,
            peer: opening.peer,
            since_ms: unix_ms(),
            extended: opening.extended,
        };
        // Whoever had the key here is ended by its worker, as logic says; anybody may take it, because logic has looked.
        let _ = self.sessions.open(session, Takeover::Anybody);
        let room = Some(connected.room).filter(|room| !room.is_empty());
        let answer = Connected {
            mid: connected.mid,
            key,
            room: room.clone(),
            accepts: connected.accepts,
            replaced: connected.replaced.and_then(|place| self.life.addr(place)),
            expires_at_ms: connected.expires_at_ms,
            inbox: None,
        };
        let Some(room) = room else { return ticket.connected(Ok(answer)) };
        let mut both = Some((ticket, answer));
        let known = self.enter(&room, || {
            let both = both.take();
            Box::new(move || {
                if let Some((ticket, answer)) = both {
                    ticket.connected(Ok(answer));
                }
            })
        });
        if known && let Some((ticket, answer)) = both {
            ticket.connected(Ok(answer));
        }
    }

    /// See [`Interest::enter`].
    fn enter(&self, room: &str, go: impl FnOnce() -> super::interest::Go) -> bool {
        let now_ms = self.now_ms();
        let wait_ms = ENTER_WAIT.as_millis() as u64;
        let known = self.interest.enter(room, now_ms, now_ms + wait_ms, go);
        if !known {
            let interest = self.interest.clone();
            let deadline_ms = now_ms + wait_ms;
            self.runtime.spawn(async move {
                tokio::time::sleep(ENTER_WAIT).await;
                interest.expire(deadline_ms);
            });
        }
        known
    }

    /// Refuses those whose time is over.
    pub(super) fn expire(&self) {
        let due = self.lock().expire(self.now_ms());
        self.counters.refused_late.fetch_add(due.len() as u64, Relaxed);
        for due in due {
            self.refuse(due, LATE);
        }
    }

    /// The stream is gone.
    pub(super) fn go_down(&self) {
        let lost = self.lock().go_down();
        self.counters.refused_lost.fetch_add(lost.len() as u64, Relaxed);
        for due in lost {
            self.refuse(due, AWAY);
        }
    }

    fn refuse(&self, due: Due<Ticket>, message: &str) {
        match due.asked {
            Asked::Connect(_) => due.ticket.connected(Err(overloaded(message))),
            Asked::Renew => due.ticket.renewed(Err(overloaded(message))),
            // It was sent, and nobody knows how far it came.
            Asked::Receive => due.ticket.received(Err(Refusal::Unknown)),
        }
    }
}

impl LogicLink for RemoteLink {
    fn connect(&self, request: &Connect<'_>, ticket: Ticket) -> Answer<Result<Connected, Refused>> {
        let Connect { body, addr, peer, extended, cookie } = *request;
        // What can't be read logic refuses, in better words.
        let device_id = AuthRequest::parse_extended(body).map(|auth| auth.device_id).unwrap_or_default();
        let opening = Opening { addr, peer, extended, device_id };
        let request = rpc::Connect {
            body: Bytes::copy_from_slice(body),
            place: Some(place(addr)),
            peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
            extended,
            cookie: cookie.to_owned(),
        };
        match self.ask(Asked::Connect(opening), rpc::request::Request::Connect(request), body.len(), ticket) {
            Ok(()) => Answer::Later,
            Err(CantAsk::Away) => Answer::Now(Err(overloaded(AWAY))),
            Err(CantAsk::Full) => Answer::Now(Err(overloaded(FULL))),
        }
    }

    fn enter_room(&self, room: &str, ticket: Ticket) -> Answer<()> {
        if self.enter(room, || Box::new(move || ticket.room_entered())) { Answer::Now(()) } else { Answer::Later }
    }

    fn renew(&self, request: &Renew<'_>, ticket: Ticket) -> Answer<Result<Renewed, Refused>> {
        let Renew { body, mid, key, peer } = *request;
        let request = rpc::Renew {
            body: Bytes::copy_from_slice(body),
            mid,
            key: key.to_string(),
            peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
        };
        match self.ask(Asked::Renew, rpc::request::Request::Renew(request), body.len(), ticket) {
            Ok(()) => Answer::Later,
            Err(_) => Answer::Now(Err(overloaded(FULL))),
        }
    }

    fn disconnect(&self, session: &SessionKey, mid: i64, addr: SessionAddr, reason: Option<CloseReason>) {
        self.sessions.close(session, mid, addr);
        self.tell_of_end(session, mid, addr, reason);
    }

    fn receive(&self, frame: &Upstream<'_>, ticket: Ticket) -> Answer<Result<(), Refusal>> {
        let Upstream { mid, key, addr, op, body } = *frame;
        let request =
            rpc::Receive { mid, key: key.to_string(), place: Some(place(addr)), op, body: Bytes::copy_from_slice(body) };
        match self.ask(Asked::Receive, rpc::request::Request::Receive(request), body.len(), ticket) {
            Ok(()) => Answer::Later,
            Err(_) => Answer::Now(Err(Refusal::Unavailable)),
        }
    }
}

fn overloaded(message: &str) -> Refused {
    Refused { reason: CloseReason::Overloaded, message: message.to_owned(), retry_after_ms: Some(AWAY_RETRY_MS) }
}

fn refused(no: rpc::Refused) -> Refused {
    let reason = u16::try_from(no.reason).ok().and_then(CloseReason::from_code).unwrap_or(CloseReason::Internal);
    Refused { reason, message: no.message, retry_after_ms: Some(no.retry_after_ms).filter(|ms| *ms > 0) }
}

/// The refusal of a code; 0 is none. One that is not known here is still a refusal.
fn refusal(code: u32) -> Option<Refusal> {
    (code != 0).then(|| Refusal::ALL.into_iter().find(|refusal| u32::from(refusal.code()) == code).unwrap_or(Refusal::Unknown))
}

/// Wall clock, unix ms.
pub(super) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

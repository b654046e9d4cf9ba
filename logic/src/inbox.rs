//! Stored messages: what clients ask of them, and what opening an inbox tells.
//!
//! A request is read (`ask`, pure), the store is asked, and what has to be kept is written to the log; the answer comes when
//! the log has it. Nothing here changes the store but acknowledgements: that is for whoever projects the log.
//!
//! A store in the process answers most at once, and then a send costs no task: its answer comes on the log's thread. What the
//! store answers later goes on where it is answered; what has to be waited for longer runs on the runtime that this was made with.

mod accepted;
mod answer;
mod ask;
mod change;
mod ephemeral;
mod frames;
mod greeting;
mod late;
mod marks;
mod pages;
mod rates;
mod read;
mod recall;
mod send;
mod wait;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use perseid_log::EventLog;
use perseid_protocol::op;
use perseid_protocol::push::Delivery;
use perseid_rpc::{LogRecord, log_record};
use perseid_store::stored::Store;
use perseid_store::{SessionRegistry, Verdict};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::StoredConfig;
use crate::metrics::{Metrics, StoredOp, StoredResult};
use crate::snowflake::Snowflake;
use crate::traces::Traces;
use accepted::Accepted;
use ask::Ask;
use late::LateSends;
use marks::Marks;
use rates::Rates;
use send::Sending;
use write::Next;

pub use answer::{Answerer, StoredOutcome, StoredRefusal, StoredReply, Thread};
pub use ask::StoredRequest;
pub(crate) use ask::{LIMIT_MAX, POSITION_MAX};
pub use greeting::{Greeting, RoomTail};
pub(crate) use wait::{EFFECT_MS, until};

/// Where frames go that are never stored.
pub trait Relay: Send + Sync + 'static {
    /// Hands deliveries to the comets that hold their sessions. Never waits: what finds no room is dropped, and counted there.
    fn relay(&self, deliveries: Vec<Delivery>);
}

/// What stored messages are made of.
pub struct InboxParts {
    /// What is stored.
    pub store: Arc<dyn Store>,
    /// Where what is to be stored is written.
    pub log: Arc<dyn EventLog>,
    /// Who is online, for what is never stored.
    pub registry: Arc<dyn SessionRegistry>,
    /// Where that goes.
    pub relay: Arc<dyn Relay>,
    /// Message ids: the same as of [`Accept`](crate::Accept).
    pub ids: Arc<Snowflake>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Which messages of clients are traced.
    pub traces: Traces,
    /// Runs what has to be waited for.
    pub runtime: Handle,
}

/// Stored messages, as clients ask for them.
pub struct Inbox {
    parts: InboxParts,
    config: RwLock<Arc<StoredConfig>>,
    marks: Mutex<Marks>,
    /// There may be read marks to tell, or this is over.
    marks_wake: Arc<Notify>,
    rates: Mutex<Rates>,
    late: LateSends,
    accepted: Mutex<Accepted>,
}

/// How a request is answered and counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    op: StoredOp,
    /// No reply, or neither a reply nor an ERROR.
    no_reply: bool,
    no_error: bool,
}

impl Manner {
    const fn of(code: i32, seq: i32) -> Self {
        let op = match code {
            op::SEND_MSG => StoredOp::Send,
            op::SYNC => StoredOp::Sync,
            op::ACK => StoredOp::Ack,
            op::PULL => StoredOp::Pull,
            op::READ => StoredOp::Read,
            op::HEADS => StoredOp::Heads,
            op::RECALL => StoredOp::Recall,
            _ => StoredOp::Ephemeral,
        };
        let unasked = seq == 0 && matches!(op, StoredOp::Ack | StoredOp::Ephemeral);
        Self { op, no_reply: unasked || matches!(op, StoredOp::Ephemeral), no_error: unasked }
    }
}

impl Inbox {
    /// Stored messages over what they need.
    pub fn new(parts: InboxParts, config: StoredConfig) -> Arc<Self> {
        let rates = Rates::new(config.sends_per_second);
        let inbox = Arc::new(Self {
            parts,
            config: RwLock::new(Arc::new(config)),
            marks: Mutex::new(Marks::new()),
            marks_wake: Arc::new(Notify::new()),
            rates: Mutex::new(rates),
            late: LateSends::default(),
            accepted: Mutex::default(),
        });
        inbox.parts.runtime.spawn(read::tell(Arc::downgrade(&inbox), inbox.marks_wake.clone()));
        inbox
    }

    /// Goes on with other limits.
    pub fn reload(&self, config: StoredConfig) {
        lock(&self.rates).reload(config.sends_per_second);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The configuration now.
    pub fn config(&self) -> Arc<StoredConfig> {
        // Replaced whole: a panic elsewhere can't leave half a configuration.
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is stored.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// Runs what has to be waited for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.parts.runtime.spawn(work);
    }

    /// Takes back what the log knows of the life before: ids go on ascending, and nobody misses a read mark that was about to be
    /// told. Called with the records of the log in their order, before any request.
    pub fn restore(&self, record: &LogRecord) {
        self.parts.ids.go_on_after(record.id);
        if let Some(log_record::Body::Read(mark)) = &record.body {
            self.restore_mark(record.from, mark);
        }
    }

    /// Answers a request, or says where the answer goes when it comes later: then it comes exactly once. `later` is asked only
    /// in that case.
    pub fn request(self: &Arc<Self>, request: &StoredRequest<'_>, later: impl FnOnce() -> Answerer) -> Option<StoredOutcome> {
        let manner = Manner::of(request.header.op, request.header.seq);
        let config = self.config();
        let ask = match ask::read(request.mid, request.header, request.body, config.body_bytes_max) {
            Ok(ask) => ask,
            Err(refusal) => return Some(self.told(manner, Err(refusal))),
        };
        let next = match ask {
            Ask::Send { to, cid, quiet } => return self.send(manner, Sending::of(request, to, cid, quiet), later),
            Ask::Sync { after, limit } => self.sync(request, after, config.page(limit)),
            Ask::Ack { pos } => self.ack(request, pos),
            Ask::Pull { of, from, limit } => self.pull(request, of, from, config.page(limit)),
            Ask::Heads { after, limit } => self.heads(request.mid, after, limit),
            Ask::Read { of, pos } => self.read(request.mid, of, pos, request.now_ms),
            Ask::Recall { of, pos } => self.recall(request.mid, of, pos, config.recall_ms, request.now_ms),
            Ask::Ephemeral { to } => self.ephemeral(request, to),
        };
        self.go_on(manner, next, later)
    }

    /// Goes on with what is known, or will be.
    fn go_on(self: &Arc<Self>, manner: Manner, next: Verdict<Next>, later: impl FnOnce() -> Answerer) -> Option<StoredOutcome> {
        match next {
            Verdict::Now(Next::Answer(outcome)) => Some(self.told(manner, outcome)),
            Verdict::Now(Next::Write(write)) => {
                self.write(manner, *write, later());
                None
            }
            // Goes on where the store answers: a task for it would be one more hop between threads.
            coming @ Verdict::Later(_) => {
                let (inbox, answerer) = (self.clone(), later());
                coming.tell(move |next| match next {
                    Next::Answer(outcome) => answerer(inbox.told(manner, outcome), Thread::Other),
                    Next::Write(write) => inbox.write(manner, *write, answerer),
                });
                None
            }
        }
    }

    /// An outcome as the client gets it: counted, and silent where it asked for nothing.
    fn told(&self, manner: Manner, outcome: StoredOutcome) -> StoredOutcome {
        let result = outcome.as_ref().map_or_else(|refused| StoredResult::of(refused.refusal), |_| StoredResult::Done);
        self.parts.metrics.stored(manner.op, result);
        match outcome {
            Ok(reply) => Ok(StoredReply { silent: manner.no_reply, ..reply }),
            Err(refusal) => Err(StoredRefusal { silent: manner.no_error, ..refusal }),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.marks_wake.notify_one();
    }
}

/// Locks, also after a panic elsewhere: every change is whole before anything in it could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

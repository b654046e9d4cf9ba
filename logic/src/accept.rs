//! The one way in for pushes, whatever API they come through: checked, given an id, written to the log, answered when the
//! log has them.

mod check;
mod complete;
pub(crate) mod fingerprint;
mod record;
mod retries;
mod sent;
mod stored;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use perseid_log::{AppendError, EventLog, Topic};
use perseid_protocol::trace::Trace;
use perseid_rpc::{PushMsg, PushPriority};
use perseid_store::SessionRegistry;
use prost::Message;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::inbox::Inbox;
use crate::metrics::{Metrics, TargetKind};
use crate::reason::Reason;
use crate::snowflake::{LEAD_MS_MAX, Snowflake};
use crate::traces::Traces;
use complete::Completion;
use record::Accepted;
use retries::{Claim, Retries, RetryKey};

pub use sent::{Sent, SentBook, SentTo, Undelivered};

/// When to try again after the log had no room, ms.
const RETRY_AFTER_MS: u64 = 1_000;

/// Whom a push is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Sessions. The same key twice counts once.
    Keys(Vec<String>),
    /// Users, with all their sessions. The same mid twice counts once.
    Mids(Vec<i64>),
    /// Users, through their inboxes. The same mid twice counts once.
    Notice(Vec<i64>),
    /// The members of a group or channel, through its timeline.
    Group(u64),
    /// A room, `type://id`.
    Room(String),
    /// Every session.
    All {
        /// Sessions per second over all comets; 0 = as fast as it goes.
        speed: u32,
    },
}

impl Target {
    /// Its kind, for metrics.
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Keys(_) => TargetKind::Keys,
            Self::Mids(_) => TargetKind::Mids,
            Self::Notice(_) => TargetKind::Notice,
            Self::Group(_) => TargetKind::Group,
            Self::Room(_) => TargetKind::Room,
            Self::All { .. } => TargetKind::All,
        }
    }
}

/// A push, as an API understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRequest {
    /// For whom.
    pub target: Target,
    /// Operation of the frame.
    pub op: i32,
    /// Body of the frame.
    pub body: Bytes,
    /// Idempotency key, 1 to 64 bytes: the same request with the same key is pushed once.
    pub id: Option<String>,
    /// Not delivered later than this after it was accepted, ms; 0 = never too late.
    pub ttl_ms: u64,
    /// Sender's mid as extended sessions see it; 0 = the system.
    pub from: u64,
    /// Whose idempotency key it is; empty where there are no accounts.
    pub account: String,
    /// The trace of the request that brought it, if its caller told or it is sampled.
    pub trace: Option<Trace>,
    /// How much it matters.
    pub priority: PushPriority,
    /// A later push to the same target with the same key replaces this one where it was not delivered yet. Only for what is not
    /// stored; at most 64 bytes.
    pub collapse: Option<String>,
}

impl PushRequest {
    /// An empty push of the operation 1000 to `target`.
    pub const fn to(target: Target) -> Self {
        Self {
            target,
            op: 1000,
            body: Bytes::new(),
            id: None,
            ttl_ms: 0,
            from: 0,
            account: String::new(),
            trace: None,
            priority: PushPriority::Normal,
            collapse: None,
        }
    }

    /// From when on nobody is given it, unix ms; 0: never too late.
    const fn expires_at_ms(&self, accepted_ms: u64) -> u64 {
        if self.ttl_ms == 0 { 0 } else { accepted_ms.saturating_add(self.ttl_ms) }
    }
}

/// The log has the push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushAnswer {
    /// Message id.
    pub id: u64,
    /// Whether an earlier request with the same idempotency key was answered so.
    pub duplicate: bool,
    /// Keys or mids addressed; for a room and for all the sessions known.
    pub recipients: u64,
}

/// Why a push was not, or not surely, accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The request is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// More bytes or targets than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// There is no such group.
    #[error("there is no such group: PUT /v1/groups/{{id}} makes it")]
    NoGroup,
    /// `from` is no member of the group.
    #[error("from is no member of the group: add it, or leave from out and send as the system")]
    NotMember,
    /// `from` may not write there.
    #[error("{0}")]
    Denied(String),
    /// This node does not do that.
    #[error("this node keeps no messages: leave store out, and the push goes to who is online")]
    NoStore,
    /// The idempotency key came with another request.
    #[error("this id was used for another message: send each message with an id of its own")]
    Conflict,
    /// More messages than ids can be made for. Not written.
    #[error("too many messages at once: retry after a moment")]
    RateLimited {
        /// When to try again, ms.
        retry_after_ms: u64,
    },
    /// Surely not written.
    #[error("{message}")]
    Unavailable {
        /// What is wrong.
        message: String,
        /// When to try again, ms.
        retry_after_ms: u64,
    },
    /// May be written, and then will be delivered.
    #[error("{0}")]
    Unknown(String),
}

impl PushError {
    /// The reason word and status.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::BadRequest(_) => Reason::BadRequest,
            Self::TooLarge(_) => Reason::TooLarge,
            Self::NoGroup => Reason::NotFound,
            Self::NotMember => Reason::NotMember,
            Self::Denied(_) => Reason::PermissionDenied,
            Self::NoStore => Reason::Unsupported,
            Self::Conflict => Reason::Conflict,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Unavailable { .. } => Reason::Unavailable,
            Self::Unknown(_) => Reason::Unknown,
        }
    }

    /// When to try again, ms, where that helps.
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } | Self::Unavailable { retry_after_ms, .. } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

impl From<AppendError> for PushError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            AppendError::Overloaded | AppendError::Unavailable(_) => {
                Self::Unavailable { message: error.to_string(), retry_after_ms: RETRY_AFTER_MS }
            }
            AppendError::Unknown(_) => Self::Unknown(error.to_string()),
        }
    }
}

type Outcome = Result<PushAnswer, PushError>;

/// How many sessions are in a room (`type://id`): what pushes to rooms are answered with.
pub type RoomOnline = Arc<dyn Fn(&str) -> u64 + Send + Sync>;

/// Accepts pushes.
pub struct Accept {
    log: Arc<dyn EventLog>,
    registry: Arc<dyn SessionRegistry>,
    room_online: RoomOnline,
    ids: Arc<Snowflake>,
    bounds: RwLock<check::Bounds>,
    shared: Arc<Shared>,
    traces: Traces,
    inbox: Option<Arc<Inbox>>,
}

/// What the log's thread needs when it is done with a push.
struct Shared {
    retries: Mutex<Retries>,
    sent: Arc<SentBook>,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn retries(&self) -> MutexGuard<'_, Retries> {
        // Every change is whole before anything in it could panic.
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A push on its way into the log. It gets there whether or not anybody waits for the answer.
#[derive(Debug)]
pub struct Pending(State);

#[derive(Debug)]
enum State {
    Answered(Outcome),
    Waiting(oneshot::Receiver<Outcome>),
}

impl Pending {
    /// Waits until the log has it, or refused it.
    ///
    /// # Errors
    /// See [`PushError`].
    pub async fn answer(self) -> Result<PushAnswer, PushError> {
        match self.0 {
            State::Answered(outcome) => outcome,
            State::Waiting(outcome) => outcome.await.unwrap_or_else(|_| Err(forgotten())),
        }
    }
}

impl Accept {
    /// Accepts pushes into `log`. It is there before the comets are, so that it knows what the log has before anybody asks.
    pub fn new(
        log: Arc<dyn EventLog>,
        registry: Arc<dyn SessionRegistry>,
        room_online: RoomOnline,
        metrics: Arc<Metrics>,
        config: &Config,
    ) -> Self {
        let retries = Mutex::new(Retries::new(config.idempotency_ms, config.idempotency_bytes_max));
        Self {
            log,
            registry,
            room_online,
            ids: Arc::new(Snowflake::new(config.snowflake_worker)),
            bounds: RwLock::new(check::Bounds::of(config)),
            shared: Arc::new(Shared { retries, sent: Arc::default(), metrics }),
            traces: Traces::default(),
            inbox: None,
        }
    }

    /// Stores what is to be stored.
    #[must_use]
    pub fn keeping(self, inbox: Arc<Inbox>) -> Self {
        Self { inbox: Some(inbox), ..self }
    }

    /// Makes spans for pushes that are sampled.
    #[must_use]
    pub fn with_traces(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Writes into a book that job writes into too. Called before anything is accepted.
    #[must_use]
    pub fn with_book(mut self, sent: Arc<SentBook>) -> Self {
        // Nothing is on its way that would hold it too.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.sent = sent;
        }
        self
    }

    /// Takes message ids from where others take theirs.
    #[must_use]
    pub fn with_ids(self, ids: Arc<Snowflake>) -> Self {
        Self { ids, ..self }
    }

    /// Where message ids come from: whoever makes messages takes them from here.
    pub const fn ids(&self) -> &Arc<Snowflake> {
        &self.ids
    }

    /// What was sent under an id, if that was within a day and there is memory for it.
    pub fn sent(&self, id: u64, now_ms: u64) -> Option<Sent> {
        self.shared.sent.get(id, now_ms)
    }

    /// Goes on with other bounds for pushes.
    pub(crate) fn reload(&self, config: &Config) {
        *self.bounds.write().unwrap_or_else(PoisonError::into_inner) = check::Bounds::of(config);
    }

    fn bounds(&self) -> check::Bounds {
        *self.bounds.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a push; the answer comes when the log has it.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push(&self, request: PushRequest, now_ms: u64) -> impl Future<Output = Result<PushAnswer, PushError>> + Send + use<> {
        self.submit(request, now_ms).answer()
    }

    /// Puts a push on its way into the log before it returns, so that pushes submitted one after another stay in order.
    pub fn submit(&self, request: PushRequest, now_ms: u64) -> Pending {
        self.try_submit(request, now_ms).unwrap_or_else(|error| {
            self.shared.metrics.refused(error.reason());
            Pending(State::Answered(Err(error)))
        })
    }

    /// Takes back what the log knows of an earlier push, so that its idempotency key holds over a restart, and that ids go on
    /// ascending. Called with the records of the log in their order, before any push is accepted; `ts_ms` is the record's.
    pub fn restore(&self, push: &PushMsg, ts_ms: u64) {
        self.ids.go_on_after(push.id);
        if push.id != 0 {
            self.shared.sent.put(push.id, Sent::of_push(push, ts_ms));
        }
        if push.idem.is_empty() {
            return;
        }
        let answer = PushAnswer { id: push.id, duplicate: false, recipients: push.recipients };
        let evicted = self.shared.retries().restore(RetryKey::new(&push.account, &push.idem), push.hash, answer, ts_ms);
        self.shared.metrics.idempotency_evicted(evicted);
    }

    fn try_submit(&self, mut request: PushRequest, now_ms: u64) -> Result<Pending, PushError> {
        check::check(&mut request, &self.bounds())?;
        let way = self.way(&request.target)?;
        if let Way::Stored(inbox) | Way::Group(inbox, _) = way {
            check::stored(&request, inbox.config().body_bytes_max)?;
        }
        let issued = self.ids.next(now_ms);
        if issued.lead_ms > LEAD_MS_MAX {
            return Err(PushError::RateLimited { retry_after_ms: issued.lead_ms });
        }
        let answer = PushAnswer { id: issued.id, duplicate: false, recipients: self.recipients(&request.target) };
        let hash = request.id.as_ref().map_or(0, |_| fingerprint::of(&request));
        let mut push = Accepted { request, answer, hash, now_ms, done: 0 };
        if matches!(way, Way::Transient) {
            check::encoded(&push.request)?;
        }
        let retry = push.retry_key(&self.shared);
        if let Some(retry) = &retry {
            match self.shared.retries().claim(retry, hash, now_ms) {
                Claim::First => {}
                Claim::Resume { id, done } => (push.answer.id, push.done) = (id, done),
                Claim::Answered(answer) => return Ok(self.superseded(State::Answered(Ok(answer)))),
                Claim::Waiting(outcome) => return Ok(self.superseded(State::Waiting(outcome))),
                Claim::Conflict => return Err(PushError::Conflict),
            }
        }
        let (tell, told) = oneshot::channel();
        let span = self.traces.append(push.request.trace);
        if let Some(span) = &span {
            push.request.trace = Some(span.context());
        }
        let completion = Completion::new(self.shared.clone(), retry, tell, &push, span);
        match way {
            Way::Transient => self.write_transient(push, completion),
            Way::Stored(_) => self.write_notice(&push, completion),
            Way::Room => self.write_room(push, completion),
            Way::Group(inbox, group) => Self::write_group(inbox.clone(), self.log.clone(), group, push, completion),
        }
        Ok(Pending(State::Waiting(told)))
    }

    fn write_transient(&self, push: Accepted, completion: Completion) {
        let (key, push) = push.into_transient();
        let value = Bytes::from(push.encode_to_vec());
        self.log.append(Topic::Push, key.as_bytes(), value, Box::new(move |result| completion.finish(result)));
    }

    /// How a push gets to its target.
    fn way(&self, target: &Target) -> Result<Way<'_>, PushError> {
        match target {
            Target::Notice(_) => self.inbox.as_ref().map(Way::Stored).ok_or(PushError::NoStore),
            Target::Group(group) => self.inbox.as_ref().map(|inbox| Way::Group(inbox, *group)).ok_or(PushError::NoStore),
            Target::Room(room) if self.inbox.as_ref().is_some_and(|inbox| inbox.config().room_keeps(room) > 0) => Ok(Way::Room),
            _ => Ok(Way::Transient),
        }
    }

    /// Another request has the same idempotency key, and answers for this one too.
    fn superseded(&self, state: State) -> Pending {
        self.shared.metrics.idempotent_hit();
        Pending(state)
    }

    fn recipients(&self, target: &Target) -> u64 {
        match target {
            Target::Keys(keys) => keys.len() as u64,
            Target::Mids(mids) | Target::Notice(mids) => mids.len() as u64,
            // Counted when the store was asked.
            Target::Group(_) => 0,
            Target::Room(room) => (self.room_online)(room),
            Target::All { .. } => self.registry.counts().sessions,
        }
    }
}

/// How a push gets to its target.
enum Way<'a> {
    /// To who is online.
    Transient,
    /// Through inboxes.
    Stored(&'a Arc<Inbox>),
    /// Through the timeline of a group.
    Group(&'a Arc<Inbox>, u64),
    /// Through a room that keeps its last frames.
    Room,
}

pub(crate) fn forgotten() -> PushError {
    PushError::Unknown("the log stopped before it answered: it is unknown whether the push was written".to_owned())
}

//! A push as records of the log.

use bytes::Bytes;
use perseid_protocol::trace::Trace;
use perseid_rpc::{GroupMessage, LogRecord, Notice, PushMsg, PushType, RoomMessage, log_record};

use super::retries::RetryKey;
use super::{PushAnswer, PushRequest, Shared, Target, fingerprint};

/// Users in one record; more are several records.
pub(super) const NOTICE_MIDS_MAX: usize = 1_000;

/// A push that was accepted, before it is written.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) request: PushRequest,
    pub(super) answer: PushAnswer,
    /// Its fingerprint; 0 without an idempotency key.
    pub(super) hash: u64,
    pub(super) now_ms: u64,
    /// Recipients that an earlier attempt was written for.
    pub(super) done: usize,
}

impl Accepted {
    /// Under what its answer is remembered; of what may be known from before a restart by its hash alone, under that.
    pub(super) fn retry_key(&self, shared: &Shared) -> Option<RetryKey> {
        let id = self.request.id.as_ref()?;
        let key = RetryKey::new(&self.request.account, id);
        Some(shared.retries().known_as(key, RetryKey::of_idem(self.idem())))
    }

    /// What stored records know the idempotency key by; 0: there is none.
    pub(super) fn idem(&self) -> u64 {
        self.request.id.as_ref().map_or(0, |id| fingerprint::of_key(&self.request.account, id))
    }

    /// The record of what goes to who is online, and the key that orders it: as goim orders them.
    pub(super) fn into_transient(self) -> (String, PushMsg) {
        let Self { request, answer, hash, now_ms, .. } = self;
        let expire_at_ms = request.expires_at_ms(now_ms);
        let mut push = PushMsg {
            operation: request.op,
            msg: request.body,
            id: answer.id,
            expire_at_ms,
            from: request.from,
            trace: request.trace.map(record_of).unwrap_or_default(),
            collapse: request.collapse.unwrap_or_default(),
            ..PushMsg::default()
        };
        push.set_priority(request.priority);
        let first = match request.target {
            Target::Keys(keys) => {
                push.keys = keys;
                push.keys.first().cloned().unwrap_or_default()
            }
            Target::Mids(mids) | Target::Notice(mids) => {
                push.mids = mids;
                push.mids.first().map(ToString::to_string).unwrap_or_default()
            }
            // Is never transient.
            Target::Group(group) => group.to_string(),
            Target::Room(room) => {
                push.set_type(PushType::Room);
                push.room.clone_from(&room);
                room
            }
            Target::All { speed } => {
                push.set_type(PushType::Broadcast);
                push.speed = i32::try_from(speed).unwrap_or(i32::MAX);
                request.op.to_string()
            }
        };
        if let Some(id) = request.id {
            push.idem = id;
            push.account = request.account;
            push.hash = hash;
            push.recipients = answer.recipients;
        }
        (first, push)
    }

    /// The record for some users, and its key.
    pub(super) fn notice(&self, mids: &[i64]) -> (String, LogRecord) {
        let users = mids.iter().map(|mid| mid.cast_unsigned()).collect();
        let key = match mids {
            [mid] => format!("u{mid}"),
            _ => format!("n{:016x}", self.answer.id),
        };
        let notice = Notice { mids: users, op: self.request.op, body: self.request.body.clone() };
        (key, self.record(log_record::Body::Notice(notice)))
    }

    /// The record for a group, which may have another id than the answer: that of an earlier attempt.
    pub(super) fn group(&self, group: u64) -> LogRecord {
        let PushRequest { op, body, .. } = &self.request;
        let message = GroupMessage { group, body: body.clone(), quiet: false, op: *op };
        LogRecord { idem: self.group_idem(), ..self.record(log_record::Body::Group(message)) }
    }

    /// In a group everything is known by something, so that it is reserved.
    pub(super) fn group_idem(&self) -> u64 {
        match self.idem() {
            0 => self.answer.id,
            idem => idem,
        }
    }

    /// The record for a room that keeps its last frames.
    pub(super) fn room(self, room: String) -> LogRecord {
        let PushRequest { op, body, .. } = &self.request;
        let expire_at_ms = self.request.expires_at_ms(self.now_ms);
        let message = RoomMessage { room, op: *op, body: body.clone(), expire_at_ms };
        self.record(log_record::Body::Room(message))
    }

    fn record(&self, body: log_record::Body) -> LogRecord {
        let Self { request, answer, hash, now_ms, .. } = self;
        LogRecord {
            id: answer.id,
            ts_ms: *now_ms,
            from: request.from,
            idem: self.idem(),
            hash: *hash,
            trace: request.trace.map(record_of).unwrap_or_default(),
            recipients: if request.id.is_some() { answer.recipients } else { 0 },
            // A frame of a room says it itself.
            expire_at_ms: match body {
                log_record::Body::Room(_) => 0,
                _ => request.expires_at_ms(*now_ms),
            },
            body: Some(body),
        }
    }
}

fn record_of(trace: Trace) -> Bytes {
    Bytes::copy_from_slice(&trace.to_record())
}

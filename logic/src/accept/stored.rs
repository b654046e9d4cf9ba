//! Pushes that are stored: to inboxes, to groups, to rooms that keep their last frames.

use std::sync::Arc;

use bytes::Bytes;
use perseid_log::{EventLog, Topic};
use perseid_protocol::room::room_hash;
use perseid_rpc::{LogRecord, log_record};
use perseid_store::Verdict;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{Reserve, Reserved, StoreDown};

use super::complete::{Completion, Parts};
use super::record::{Accepted, NOTICE_MIDS_MAX};
use super::retries::RetryKey;
use super::sent::Sent;
use super::{Accept, PushAnswer, PushError, RETRY_AFTER_MS, Target, fingerprint};
use crate::inbox::Inbox;

/// What the store says of a push to a group, and how many members that has.
type Asked = Result<(Reserved, u64), StoreDown>;

impl Accept {
    /// One record for up to 1,000 users.
    pub(super) fn write_notice(&self, push: &Accepted, completion: Completion) {
        let Target::Notice(mids) = &push.request.target else { return };
        let left = mids.get(push.done..).unwrap_or_default();
        let parts = Parts::new(completion, left.chunks(NOTICE_MIDS_MAX).map(<[i64]>::len), push.done);
        for (at, mids) in left.chunks(NOTICE_MIDS_MAX).enumerate() {
            let (key, record) = push.notice(mids);
            let parts = parts.clone();
            let done = Box::new(move |result| parts.finish(at, result));
            self.log.append(Topic::Log, key.as_bytes(), record.to_value(), done);
        }
    }

    pub(super) fn write_room(&self, push: Accepted, completion: Completion) {
        let Target::Room(room) = &push.request.target else { return };
        let room = room.clone();
        let key = Conv::Room(room_hash(&room)).to_string();
        append(&*self.log, &key, &push.room(room), completion);
    }

    /// To a group everything goes that a client's message goes through, but that the system need not be a member.
    pub(super) fn write_group(inbox: Arc<Inbox>, log: Arc<dyn EventLog>, group: u64, push: Accepted, completion: Completion) {
        let reserve = Reserve {
            conv: Conv::Group(group),
            from: push.request.from,
            idem: push.group_idem(),
            hash: group_hash(&push),
            id: push.answer.id,
            hold: true,
            now_ms: push.now_ms,
        };
        let store = inbox.store().clone();
        let asked: Verdict<Asked> = inbox.store().reserve(reserve).and_then(move |reserved| match reserved {
            Err(down) => Verdict::Now(Err(down)),
            Ok(reserved) => {
                store.group(group).then(move |view| Ok((reserved, view?.map_or(0, |view| view.members.len() as u64))))
            }
        });
        match asked {
            Verdict::Now(asked) => go_on(&*log, group, push, completion, asked),
            Verdict::Later(coming) => inbox.spawn(async move { go_on(&*log, group, push, completion, coming.await) }),
        }
    }

    /// Takes back what the log knows of an earlier push that was stored; see [`Accept::restore`]. Of clients' messages only the
    /// id.
    pub fn restore_stored(&self, record: &LogRecord) {
        self.ids.go_on_after(record.id);
        if let Some(inbox) = &self.inbox {
            inbox.restore(record);
        }
        let Some((sent, done)) = Sent::of_record(record) else { return };
        self.shared.sent.put(record.id, sent);
        let is_known = record.idem != 0 && record.idem != record.id;
        if is_known {
            let answer = PushAnswer { id: record.id, duplicate: false, recipients: record.recipients };
            let key = RetryKey::of_idem(record.idem);
            let evicted = self.shared.retries().restore_part(key, record.hash, answer, done, record.ts_ms);
            self.shared.metrics.idempotency_evicted(evicted);
        }
    }
}

/// The store compares bodies, also of pushes without an idempotency key, which have no fingerprint.
fn group_hash(push: &Accepted) -> u64 {
    if push.hash == 0 { fingerprint::of_body(&push.request.body) } else { push.hash }
}

fn go_on(log: &dyn EventLog, group: u64, mut push: Accepted, mut completion: Completion, asked: Asked) {
    let (reserved, recipients) = match asked {
        Ok(asked) => asked,
        Err(down) => return completion.refuse(unavailable(&format!("{down}: nothing was written"))),
    };
    push.answer.recipients = recipients;
    match reserved {
        Reserved::New { .. } => {}
        Reserved::Retry { id, .. } => push.answer.id = id,
        Reserved::Duplicate { id, .. } => {
            completion.set_answer(PushAnswer { id, ..push.answer });
            return completion.repeat();
        }
        Reserved::Conflict => return completion.refuse(PushError::Conflict),
        Reserved::NotMember if push.request.from == 0 => return completion.refuse(PushError::NoGroup),
        Reserved::NotMember => return completion.refuse(PushError::NotMember),
        Reserved::NotOwner => {
            let message = "only the owner writes to this channel: leave from out and send as the system".to_owned();
            return completion.refuse(PushError::Denied(message));
        }
        Reserved::Blocked => return completion.refuse(PushError::Denied("the receiver has blocked the sender".to_owned())),
        Reserved::Rebuilding => return completion.refuse(unavailable("what was sent before is being looked through")),
    }
    completion.set_answer(push.answer);
    let record = LogRecord { hash: group_hash(&push), ..push.group(group) };
    append(log, &Conv::Group(group).to_string(), &record, completion);
}

fn append(log: &dyn EventLog, key: &str, record: &LogRecord, completion: Completion) {
    let value: Bytes = record.to_value();
    log.append(Topic::Log, key.as_bytes(), value, Box::new(move |result| completion.finish(result)));
}

fn unavailable(message: &str) -> PushError {
    PushError::Unavailable { message: format!("{message}; try again"), retry_after_ms: RETRY_AFTER_MS }
}

impl Sent {
    /// What the log knows of a stored push, and for how many recipients the record is; `None`: it is no push.
    fn of_record(record: &LogRecord) -> Option<(Self, usize)> {
        use super::sent::SentTo;
        let (to, done) = match record.body.as_ref()? {
            log_record::Body::Notice(notice) => {
                (SentTo::Inboxes(notice.mids.iter().map(|mid| mid.cast_signed()).collect()), notice.mids.len())
            }
            log_record::Body::Group(message) if message.op != 0 => (SentTo::Group(message.group), usize::MAX),
            log_record::Body::Room(message) => (SentTo::Room(message.room.as_str().into()), usize::MAX),
            _ => return None,
        };
        let LogRecord { ts_ms: accepted_ms, recipients, expire_at_ms: expires_at_ms, .. } = *record;
        Some((Self { to, accepted_ms, recipients, expires_at_ms, undelivered: None }, done))
    }
}

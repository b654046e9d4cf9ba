//! READ: how far a user has read; who is to know is told at most once a second.

use std::sync::{Arc, Weak};
use std::time::Duration;

use perseid_log::Topic;
use perseid_protocol::frame::{Extension, kind};
use perseid_rpc::{LogRecord, ReadMark, log_record};
use perseid_store::Verdict;
use perseid_store::stored::Answer;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::StoreDown;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::ask::Named;
use super::marks::{Asked, MarkKey};
use super::write::{After, Next, Write};
use super::{Inbox, StoredRefusal, StoredReply, lock};
use crate::api::now_ms;

/// How often it is looked whether a mark is to be told, while there are any.
const LOOK: Duration = Duration::from_millis(50);
/// When to try again when there are too many marks, ms.
const FULL_RETRY_MS: u64 = 1_000;

/// What the store knows of a conversation and a reader.
struct Known {
    is_member: bool,
    head: u64,
    holds: u64,
}

impl Inbox {
    pub(super) fn read(self: &Arc<Self>, mid: u64, of: Named, pos: u64, now_ms: u64) -> Verdict<Next> {
        let inbox = self.clone();
        self.known(mid, of).then(move |known| inbox.mark(mid, of, pos, now_ms, known))
    }

    fn known(&self, mid: u64, of: Named) -> Answer<Known> {
        let (store, conv) = (self.parts.store.clone(), of.conv);
        let is_member = match of.group() {
            Some(group) => store.is_member(group, mid),
            None => Verdict::Now(Ok(true)),
        };
        is_member.and_then(move |is_member| match is_member {
            Err(down) => Verdict::Now(Err(down)),
            Ok(is_member) => store.head(conv).and_then(move |head| match head {
                Err(down) => Verdict::Now(Err(down)),
                Ok(head) => store.read_pos(mid, conv, mid).then(move |holds| Ok(Known { is_member, head, holds: holds? })),
            }),
        })
    }

    fn mark(&self, mid: u64, of: Named, pos: u64, now_ms: u64, known: Result<Known, StoreDown>) -> Next {
        let known = match known {
            Ok(known) if !known.is_member => return Err(StoredRefusal::not_member()).into(),
            Ok(Known { head, .. }) if pos > head => {
                return Err(StoredRefusal::bad(format!("conv_pos is above the head {head} of this conversation"))).into();
            }
            Ok(known) => known,
            Err(down) => return Err(down.into()).into(),
        };
        let reply = |pos| StoredReply { ext: Extension { conv_pos: pos, ..of.ext() }, ..StoredReply::default() };
        let key = (mid, of.conv);
        let asked = lock(&self.marks).ask(key, pos, known.holds, now_ms);
        match asked {
            Asked::Holds(held) => Ok(reply(held)).into(),
            Asked::Full => Err(StoredRefusal::rate_limited(FULL_RETRY_MS)).into(),
            Asked::Write { silent } => {
                let record = self.mark_record((mid, of.conv), of.kind, pos, silent, now_ms);
                Next::Write(Box::new(Write {
                    record,
                    conv: of.conv,
                    reply: reply(pos),
                    after: After::Marked { key, pos, silent },
                    span: None,
                }))
            }
        }
    }

    fn mark_record(&self, (mid, conv): MarkKey, kind: u16, conv_pos: u64, silent: bool, now_ms: u64) -> LogRecord {
        let mark = ReadMark { kind: kind.into(), conv: conv.seen_by(mid), conv_pos, silent };
        LogRecord {
            // Marks are rare beside messages: how far ids run ahead is for those to look at.
            id: self.parts.ids.next(now_ms).id,
            ts_ms: now_ms,
            from: mid,
            body: Some(log_record::Body::Read(mark)),
            ..LogRecord::default()
        }
    }

    pub(super) fn restore_mark(&self, mid: u64, mark: &ReadMark) {
        let kind = u16::try_from(mark.kind).unwrap_or(kind::NOTICE);
        if let Some(conv) = Conv::of_frame(kind, mark.conv, mid) {
            let mut marks = lock(&self.marks);
            marks.restore((mid, conv), mark.conv_pos, mark.silent);
            drop(marks);
            self.marks_wake.notify_one();
        }
    }

    /// Tells of the marks whose second is over.
    fn tell_due(self: &Arc<Self>, now_ms: u64) {
        let due = lock(&self.marks).due(now_ms);
        for ((mid, conv), pos) in due {
            let key = (mid, conv);
            let kind = if matches!(conv, Conv::Direct { .. }) { kind::DIRECT } else { kind::GROUP };
            let record = self.mark_record(key, kind, pos, false, now_ms);
            let inbox = self.clone();
            let done = move |result: Result<u64, _>| lock(&inbox.marks).settled(key, pos, false, result.is_ok());
            self.parts.log.append(Topic::Log, conv.to_string().as_bytes(), record.to_value(), Box::new(done));
        }
    }
}

/// Tells of read marks when their second is over, until the inbox is gone.
pub(super) async fn tell(inbox: Weak<Inbox>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        loop {
            let Some(inbox) = inbox.upgrade() else { return };
            inbox.tell_due(now_ms());
            if lock(&inbox.marks).is_empty() {
                break;
            }
            drop(inbox);
            sleep(LOOK).await;
        }
    }
}

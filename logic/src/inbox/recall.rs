//! RECALL: a message is taken back by its sender, or by the owner of the group; answered when it took effect.

use std::sync::Arc;

use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_rpc::{LogRecord, RecallMessage, log_record};
use perseid_store::Verdict;
use perseid_store::stored::Answer;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{Message, StoreDown};

use super::ask::Named;
use super::wait::{EFFECT_MS, until};
use super::write::{After, Next, Write};
use super::{Answerer, Inbox, Manner, StoredRefusal, StoredReply, Thread};
use crate::snowflake::LEAD_MS_MAX;

/// Who is asked for, and what.
#[derive(Clone, Copy)]
struct Recall {
    mid: u64,
    of: Named,
    pos: u64,
    recall_ms: u64,
    now_ms: u64,
}

/// What the user is to the conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Outsider,
    Member,
    Owner,
}

impl Inbox {
    pub(super) fn recall(self: &Arc<Self>, mid: u64, of: Named, pos: u64, recall_ms: u64, now_ms: u64) -> Verdict<Next> {
        let (inbox, recall) = (self.clone(), Recall { mid, of, pos, recall_ms, now_ms });
        self.parts.store.row(of.conv, pos).and_then(move |row| inbox.recall_row(recall, row))
    }

    fn recall_row(self: Arc<Self>, recall: Recall, row: Result<Option<Message>, StoreDown>) -> Verdict<Next> {
        match row {
            Err(down) => refused(down.into()),
            Ok(Some(row)) if row.from == recall.mid && row.kind != kind::EVENT => Verdict::Now(self.recall_own(recall, &row)),
            Ok(row) => {
                let inbox = self.clone();
                self.part(recall).and_then(move |part| match part {
                    Err(down) => refused(down.into()),
                    Ok(part) => inbox.recall_other(recall, row.as_ref(), part),
                })
            }
        }
    }

    /// What the user is to a conversation in which the message is of somebody else, or gone.
    fn part(&self, recall: Recall) -> Answer<Part> {
        let (mid, store) = (recall.mid, self.parts.store.clone());
        let Some(group) = recall.of.group() else { return Verdict::Now(Ok(Part::Member)) };
        self.parts.store.is_member(group, mid).and_then(move |is_member| match is_member {
            Ok(is_member) => store.group(group).then(move |group| match group? {
                Some(group) if group.owner == mid => Ok(Part::Owner),
                _ if is_member => Ok(Part::Member),
                _ => Ok(Part::Outsider),
            }),
            Err(down) => Verdict::Now(Err(down)),
        })
    }

    fn recall_other(self: Arc<Self>, recall: Recall, row: Option<&Message>, part: Part) -> Verdict<Next> {
        match (row, part) {
            (_, Part::Outsider) => refused(StoredRefusal::not_member()),
            (Some(row), Part::Owner) if row.kind != kind::EVENT => Verdict::Now(self.recall_own(recall, row)),
            (Some(_), _) => refused(StoredRefusal::denied("only its sender takes a message back, and the owner of the group")),
            (None, _) => self.parts.store.head(recall.of.conv).then(move |head| {
                let refusal = match head {
                    Err(down) => down.into(),
                    Ok(head) if recall.pos > head => StoredRefusal::bad(format!("conv_pos is above the head {head}")),
                    Ok(_) => StoredRefusal::new(Refusal::TooOld, "the message is not kept any more"),
                };
                Err(refusal).into()
            }),
        }
    }

    /// The message may be taken back by this user, if it is not too late.
    fn recall_own(&self, recall: Recall, row: &Message) -> Next {
        let Recall { mid, of, pos, now_ms, .. } = recall;
        let ext = Extension { id: row.id, conv_pos: pos, ..of.ext() };
        let reply = StoredReply { ext, ..StoredReply::default() };
        if row.flags & flag::GONE != 0 {
            return Ok(reply).into();
        }
        if now_ms.saturating_sub(row.ts_ms) > recall.recall_ms {
            let message = format!("a message can be taken back for {} ms, and this one is older", recall.recall_ms);
            return Err(StoredRefusal::denied(message)).into();
        }
        let issued = self.parts.ids.next(now_ms);
        if issued.lead_ms > LEAD_MS_MAX {
            return Err(StoredRefusal::rate_limited(issued.lead_ms)).into();
        }
        let body = RecallMessage { kind: of.kind.into(), conv: of.number, conv_pos: pos, id: row.id };
        let record = LogRecord {
            id: issued.id,
            ts_ms: now_ms,
            from: mid,
            body: Some(log_record::Body::Recall(body)),
            ..LogRecord::default()
        };
        Next::Write(Box::new(Write { record, conv: of.conv, reply, after: After::Recalled { conv: of.conv, pos }, span: None }))
    }

    /// The log has it: answers when nobody can read the message any more.
    pub(super) fn await_recall(self: &Arc<Self>, manner: Manner, conv: Conv, pos: u64, reply: StoredReply, answerer: Answerer) {
        if self.is_gone(conv, pos).now() == Some(Ok(true)) {
            return answerer(self.told(manner, Ok(reply)), Thread::Log);
        }
        let inbox = self.clone();
        self.parts.runtime.spawn(async move {
            let outcome = if until(EFFECT_MS, || inbox.is_gone(conv, pos)).await {
                Ok(reply)
            } else {
                let message = "it is written, and did not take effect in time: it will; asking once more does no harm";
                Err(StoredRefusal::new(Refusal::Unknown, message))
            };
            answerer(inbox.told(manner, outcome), Thread::Other);
        });
    }

    fn is_gone(&self, conv: Conv, pos: u64) -> Answer<bool> {
        self.parts.store.row(conv, pos).then(|row| Ok(row?.is_none_or(|row| row.flags & flag::GONE != 0)))
    }
}

fn refused(refusal: StoredRefusal) -> Verdict<Next> {
    Verdict::Now(Err(refusal).into())
}

//! SEND_MSG: reserved, written, answered when the log has it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, flag};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::trace::Open;
use perseid_rpc::{DirectMessage, GroupMessage, LogRecord, log_record};
use perseid_store::Verdict;
use perseid_store::stored::Answer;
use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::read::{Reserve, Reserved, StoreDown};

use super::ask::{Named, StoredRequest};
use super::late::{Offered, Queued};
use super::write::{After, Write, end};
use super::{Answerer, Inbox, Manner, StoredOutcome, StoredRefusal, StoredReply, Thread, lock};
use crate::accept::fingerprint;
use crate::snowflake::LEAD_MS_MAX;

/// A message that a client sends.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) addr: SessionAddr,
    mid: u64,
    to: Named,
    cid: u64,
    quiet: bool,
    pub(super) body: Bytes,
    /// By what a repetition is told from another message with its `cid`.
    hash: u64,
    now_ms: u64,
    /// Goes on until it is answered; `None`, as a rule: it is not traced.
    span: Option<Box<Open>>,
}

/// What a message would go with.
#[derive(Clone, Copy)]
struct Offer {
    id: u64,
    /// Or how long its sender has to wait, ms.
    allowed: Result<(), u64>,
}

impl Inbox {
    pub(super) fn send(
        self: &Arc<Self>,
        manner: Manner,
        sending: Sending,
        later: impl FnOnce() -> Answerer,
    ) -> Option<StoredOutcome> {
        let sending = Sending { span: self.parts.traces.send(), ..sending };
        let (mut sending, later) = match self.late.offer(sending, later) {
            Offered::NotLate(sending, later) => (sending, later),
            Offered::Queued => return None,
            Offered::Full => {
                let full = "too many messages wait for the store: send the same again";
                return Some(self.told(manner, Err(StoredRefusal::unavailable(full))));
            }
        };
        let offer = self.offer(&sending);
        match self.reserve(&sending, offer) {
            Verdict::Now(reserved) => match self.decide(&mut sending, offer, reserved) {
                Ok(write) => {
                    self.write(manner, write, later());
                    None
                }
                Err(outcome) => Some(self.told(manner, outcome)),
            },
            Verdict::Later(coming) => {
                self.late.begin(sending.addr);
                let (inbox, answerer) = (self.clone(), later());
                let sent = async move {
                    let reserved = coming.await;
                    inbox.send_late(manner, Queued { sending, answerer }, offer, reserved).await;
                };
                Verdict::Later(Box::pin(sent)).tell(|()| {});
                None
            }
        }
    }

    /// Sends what waited for the store, and then what came behind it meanwhile, in order.
    async fn send_late(self: Arc<Self>, manner: Manner, first: Queued, offer: Offer, reserved: Result<Reserved, StoreDown>) {
        let addr = first.sending.addr;
        self.send_one(manner, first, offer, reserved);
        while let Some(queued) = self.late.next(addr) {
            let offer = self.offer(&queued.sending);
            let reserved = self.reserve(&queued.sending, offer).get().await;
            self.send_one(manner, queued, offer, reserved);
        }
    }

    /// Sends one. If its client is to send it again, what is in flight behind it is refused: it would come before it.
    fn send_one(self: &Arc<Self>, manner: Manner, mut queued: Queued, offer: Offer, reserved: Result<Reserved, StoreDown>) {
        let outcome = match self.decide(&mut queued.sending, offer, reserved) {
            Ok(write) => return self.write(manner, write, queued.answerer),
            Err(outcome) => outcome,
        };
        // Taken before the answer: what is sent when that is known was not in flight.
        let behind = if is_to_come_again(&outcome) { self.late.all_of(queued.sending.addr) } else { VecDeque::new() };
        (queued.answerer)(self.told(manner, outcome), Thread::Other);
        for queued in behind {
            let behind = "a message sent before this one was not accepted: send both again, in their order";
            (queued.answerer)(self.told(manner, Err(StoredRefusal::unavailable(behind))), Thread::Other);
        }
    }

    /// Asked before the store is: what the sender may not send now must not be reserved either, or its repetition would pass
    /// by the questions of right.
    fn offer(&self, sending: &Sending) -> Offer {
        let issued = self.parts.ids.next(sending.now_ms);
        let allowed = match issued.lead_ms > LEAD_MS_MAX {
            true => Err(issued.lead_ms),
            false => lock(&self.rates).take(sending.mid, sending.now_ms),
        };
        Offer { id: issued.id, allowed }
    }

    fn reserve(&self, sending: &Sending, offer: Offer) -> Answer<Reserved> {
        self.parts.store.reserve(Reserve {
            conv: sending.to.conv,
            from: sending.mid,
            idem: sending.cid,
            hash: sending.hash,
            id: offer.id,
            hold: offer.allowed.is_ok(),
            now_ms: sending.now_ms,
        })
    }

    /// What is written, or the answer. What is not written does not count against the rate.
    fn decide(&self, sending: &mut Sending, offer: Offer, reserved: Result<Reserved, StoreDown>) -> Result<Write, StoredOutcome> {
        match self.may_write(sending, offer, reserved) {
            Ok((id, kind)) => Ok(sending.write(id, kind)),
            Err(outcome) => {
                if offer.allowed.is_ok() {
                    lock(&self.rates).give_back(sending.mid);
                }
                end(&mut sending.span, &outcome);
                Err(outcome)
            }
        }
    }

    /// Under which id it is written, and to what kind of conversation; or the answer.
    fn may_write(
        &self,
        sending: &Sending,
        offer: Offer,
        reserved: Result<Reserved, StoreDown>,
    ) -> Result<(u64, ConvKind), StoredOutcome> {
        let duplicate = |id, kind| Err(Ok(sending.reply(id, kind, flag::DUPLICATE)));
        let (id, kind) = match reserved.map_err(|down| Err(down.into()))? {
            Reserved::New { kind } => (offer.id, kind),
            Reserved::Retry { id, kind } if lock(&self.accepted).has(id) => return duplicate(id, kind),
            Reserved::Retry { id, kind } => (id, kind),
            Reserved::Duplicate { id, kind, .. } => return duplicate(id, kind),
            refused => return Err(Err(refusal(&refused))),
        };
        offer.allowed.map_err(|wait_ms| Err(StoredRefusal::rate_limited(wait_ms)))?;
        Ok((id, kind))
    }
}

impl Sending {
    pub(super) fn of(request: &StoredRequest<'_>, to: Named, cid: u64, quiet: bool) -> Self {
        let StoredRequest { mid, addr, now_ms, .. } = *request;
        let (body, hash) = (Bytes::copy_from_slice(request.body), fingerprint::of_body(request.body));
        Self { addr, mid, to, cid, quiet, body, hash, now_ms, span: None }
    }

    fn write(&mut self, id: u64, kind: ConvKind) -> Write {
        let (body, quiet) = (self.body.clone(), self.quiet);
        let body = match self.to.conv {
            Conv::Group(group) => log_record::Body::Group(GroupMessage { group, body, quiet, op: 0 }),
            _ => log_record::Body::Direct(DirectMessage { peer: self.to.number, body, quiet }),
        };
        let record = LogRecord {
            id,
            ts_ms: self.now_ms,
            from: self.mid,
            idem: self.cid,
            hash: self.hash,
            body: Some(body),
            ..LogRecord::default()
        };
        Write { record, conv: self.to.conv, reply: self.reply(id, kind, 0), after: After::Sent, span: self.span.take() }
    }

    /// The group's own kind counts, whichever the client named.
    fn reply(&self, id: u64, kind: ConvKind, flags: u16) -> StoredReply {
        let Self { mid: from, cid, .. } = *self;
        let ext = Extension { id, from, cid, kind: kind.to_frame(), flags, ..self.to.ext() };
        StoredReply { ext, ..StoredReply::default() }
    }
}

/// Whether the same message is to be sent once more, as opposed to those that are accepted or refused for good.
fn is_to_come_again(outcome: &StoredOutcome) -> bool {
    let again = [Refusal::Unavailable, Refusal::Unknown, Refusal::RateLimited];
    outcome.as_ref().is_err_and(|refusal| again.contains(&refusal.refusal))
}

/// Why what was asked for may not be written.
fn refusal(reserved: &Reserved) -> StoredRefusal {
    match reserved {
        Reserved::Conflict => {
            StoredRefusal::new(Refusal::Conflict, "this cid was used for another message: choose a new one for each message")
        }
        Reserved::NotMember => StoredRefusal::not_member(),
        Reserved::NotOwner => StoredRefusal::denied("only the owner writes to this channel"),
        Reserved::Blocked => StoredRefusal::new(Refusal::Blocked, "the receiver takes no messages from you"),
        Reserved::Rebuilding | Reserved::New { .. } | Reserved::Retry { .. } | Reserved::Duplicate { .. } => {
            StoredRefusal::unavailable("what was sent before is being looked through: nothing was written; try again")
        }
    }
}

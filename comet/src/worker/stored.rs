//! Requests about stored messages: to logic, and their answers back in order.

use perseid_protocol::frame::{Extension, Frame, Header, flag};
use perseid_protocol::refusal::InboxSpan;
use perseid_protocol::session::server::{ReplyTo, put_refusal_at};
use perseid_protocol::session::stored::{Inbox, wants_refusal, wants_reply};
use perseid_protocol::{Refusal, op};

use super::Worker;
use crate::encoding::Encoding;
use crate::gather::Gather;
use crate::link::{Answer, Stored, StoredOutcome, StoredRefusal, StoredReply, StoredTicket};
use crate::session::Failed;
use crate::slab::Key;
use crate::unanswered::is_send;

const NO_STORE: &str = "this node keeps no messages: use transient pushes";
const GUEST: &str = "a guest (mid 0) has no inbox: authenticate as a user";
const BEHIND: &str = "a message sent before this one failed, so this one was not taken: send both again, in order";

impl Worker {
    /// A request about stored messages was read.
    pub(super) fn ask_stored(&mut self, key: Key, frame: &Frame<'_>) {
        let header = &frame.header;
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.rules.inbox() == Inbox::None {
            let refused = if slot.mid <= 0 { (Refusal::PermissionDenied, GUEST) } else { (Refusal::Unsupported, NO_STORE) };
            if wants_refusal(header) {
                self.refuse(key, header, refused.0, refused.1);
            }
            return;
        }
        if is_send(header) && slot.input.as_ref().is_some_and(|input| input.failed > Failed::Nothing) {
            return self.take_outcome(key, header, frame.body.len(), Err(StoredRefusal::new(Refusal::Unavailable, BEHIND)));
        }
        let foreign = slot.rules.inbox() == Inbox::Foreign;
        let (Some(session), Ok(mid)) = (&slot.key, u64::try_from(slot.mid)) else { return };
        self.env.metrics.ask(header.op);
        self.requests_asked = self.requests_asked.wrapping_add(1);
        let number = self.requests_asked;
        let ticket = StoredTicket { session: key, number, mailbox: self.mailbox.clone() };
        let request = Stored { mid, key: session, addr: self.env.addr(key), header, body: frame.body, foreign };
        match self.env.link.stored(&request, ticket) {
            Answer::Now(outcome) => {
                // What is being read now is behind it; the end of this reading ends the run.
                if has_failed(header, &outcome)
                    && let Some(slot) = self.sessions.get_mut(key)
                {
                    slot.input.get_or_insert_default().fail_run(true);
                }
                self.take_outcome(key, header, frame.body.len(), outcome);
            }
            Answer::Later => {
                let Some(slot) = self.sessions.get_mut(key) else { return };
                slot.input.get_or_insert_default().unanswered.push(number, *header, frame.body.len(), None);
                if is_send(header) {
                    self.env.metrics.sends_in_flight.inc();
                }
            }
        }
    }

    /// An answer that is here at once goes out now, or behind those that are not here yet.
    fn take_outcome(&mut self, key: Key, header: &Header, body_bytes: usize, outcome: StoredOutcome) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if let Some(input) = slot.input.as_mut().filter(|input| !input.unanswered.is_empty()) {
            // Its number names nobody: it has its answer.
            return input.unanswered.push(0, *header, body_bytes, Some(outcome));
        }
        let mut replies = std::mem::take(&mut self.replies);
        self.put_outcome(key, header, outcome, &mut replies);
        self.replies = replies;
    }

    /// An answer has come.
    pub(super) fn go_on_stored(&mut self, key: Key, number: u32, outcome: StoredOutcome) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let Some(input) = slot.input.as_deref_mut() else { return };
        let refusal = outcome.as_ref().err().map(|refused| refused.refusal);
        let Some(header) = input.unanswered.answer(number, outcome) else { return };
        if is_send(&header) {
            self.env.metrics.sends_in_flight.dec();
            if refusal.is_some_and(ends_run) {
                // What came behind it, and was not asked yet, must not overtake it.
                input.fail_run(slot.unread);
            }
        }
        let mut gather = self.gathers.take(key);
        while let Some((header, outcome)) = self.next_answered(key) {
            self.put_outcome(key, &header, outcome, &mut gather);
        }
        self.gathers.put_back(key, gather);
        self.read_on(key);
    }

    fn next_answered(&mut self, key: Key) -> Option<(Header, StoredOutcome)> {
        self.sessions.get_mut(key)?.input.as_mut()?.unanswered.pop()
    }

    /// Requests that waited for an answer have their turn.
    fn read_on(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        slot.tidy_input();
        if slot.unread || slot.input.as_ref().is_some_and(|input| input.has_bytes()) {
            self.read_more.push(key);
        }
    }

    /// All that a session's socket held was read.
    pub(super) fn end_run(&mut self, key: Key) {
        if let Some(slot) = self.sessions.get_mut(key)
            && !slot.unread
            && let Some(input) = slot.input.as_mut()
        {
            input.end_run(Failed::Unread);
            slot.tidy_input();
        }
    }

    /// Carries out what an answer changes, and puts it where it is written from.
    fn put_outcome(&mut self, key: Key, header: &Header, outcome: StoredOutcome, gather: &mut Gather) {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.is_live()) else { return };
        let encoding = slot.encoding();
        match outcome {
            Ok(reply) => {
                if !reply.silent && wants_reply(header) {
                    put_reply(gather, encoding, header, &reply);
                }
                if header.op == op::SYNC {
                    let before = slot.rules.inbox();
                    let after = before.synced(reply.ext.flags & flag::MORE != 0);
                    slot.rules.set_inbox(after);
                    if before != after && slot.inbox_pos > reply.ext.pos {
                        let head = Extension { pos: slot.inbox_pos, ..Extension::default() };
                        self.env.metrics.heads.inc();
                        gather.put_reply(|out| encoding.put_head(out, head));
                    }
                    slot.inbox_pos = slot.inbox_pos.max(reply.ext.pos);
                }
            }
            Err(refused) => {
                if header.op == op::SYNC && refused.refusal == Refusal::EpochChanged {
                    slot.rules.set_inbox(slot.rules.inbox().epoch_told());
                }
                if !refused.silent && wants_refusal(header) {
                    self.env.metrics.requests_refused.inc();
                    put_error(gather, encoding, header, &refused);
                }
            }
        }
    }
}

/// Whether the sends behind one with this outcome must not be taken: it may have to be sent again, before them.
const fn ends_run(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Unavailable | Refusal::Unknown)
}

fn has_failed(header: &Header, outcome: &StoredOutcome) -> bool {
    is_send(header) && outcome.as_ref().is_err_and(|refused| ends_run(refused.refusal))
}

fn put_reply(gather: &mut Gather, encoding: Encoding, request: &Header, reply: &StoredReply) {
    let to = ReplyTo { ver: request.ver, op: request.op + 1, seq: request.seq, extended: true };
    gather.put_reply(|out| encoding.put_reply(out, to, reply.ext, &reply.body));
}

fn put_error(gather: &mut Gather, encoding: Encoding, request: &Header, refused: &StoredRefusal) {
    let StoredRefusal { refusal, message, retry_after_ms, detail, .. } = refused;
    let detail = detail.map(|(epoch, floor, head)| InboxSpan { epoch, floor, head });
    let mut error = Vec::new();
    put_refusal_at(&mut error, request, *refusal, message, *retry_after_ms, detail);
    gather.put_reply(|out| encoding.put_frame(out, &error));
}

//! comet → logic about stored messages: calls, and the same values under two names.

use std::sync::Arc;

use perseid_comet::link::{self, Answer};
use perseid_logic::{Inbox, StoredRequest, Thread, Verdict};

use super::adapters::Link;
use crate::clock::unix_ms;

impl Link {
    pub(super) fn ask_stored(&self, request: &link::Stored<'_>, ticket: link::StoredTicket) -> Answer<link::StoredOutcome> {
        let link::Stored { mid, key, addr, header, body, foreign } = *request;
        let asked = StoredRequest { mid, key, addr, header, body, foreign, now_ms: unix_ms() };
        let answerer = || -> perseid_logic::Answerer {
            Box::new(move |outcome, thread| match thread {
                // The job wakes the comet when it delivers, so that the reply leaves with the echo.
                Thread::Log => ticket.answer_quietly(translated(outcome)),
                Thread::Other => ticket.answer(translated(outcome)),
            })
        };
        match self.inbox.request(&asked, answerer) {
            Some(outcome) => Answer::Now(translated(outcome)),
            None => Answer::Later,
        }
    }

    pub(super) fn room_tail(&self, room: &str, pos: u64, ticket: link::RoomTicket) -> Answer<link::RoomTail> {
        match self.inbox.room_tail(room, pos) {
            Verdict::Now(tail) => Answer::Now(tail_of(tail)),
            Verdict::Later(coming) => {
                self.runtime.spawn(async move { ticket.answer(tail_of(coming.await)) });
                Answer::Later
            }
        }
    }
}

fn tail_of(tail: perseid_logic::RoomTail) -> link::RoomTail {
    link::RoomTail { head: tail.head, gone: tail.gone, frames: tail.frames }
}

fn translated(outcome: perseid_logic::StoredOutcome) -> link::StoredOutcome {
    match outcome {
        Ok(perseid_logic::StoredReply { ext, body, silent }) => Ok(link::StoredReply { ext, body, silent }),
        Err(refused) => Err(link::StoredRefusal {
            refusal: refused.refusal,
            message: refused.message,
            retry_after_ms: refused.retry_after_ms,
            detail: refused.detail.map(|inbox| (inbox.epoch, inbox.floor, inbox.head)),
            silent: refused.silent,
        }),
    }
}

/// What AUTH_REPLY tells of an inbox.
pub(super) fn greeting(inbox: perseid_logic::Greeting) -> link::Greeting {
    link::Greeting {
        head: inbox.head,
        floor: inbox.floor,
        epoch: inbox.epoch,
        cursor: inbox.cursor,
        live: inbox.live,
        foreign: inbox.foreign,
        cid_ms: inbox.cid_ms,
        recall_ms: inbox.recall_ms,
        fanout: inbox.fanout,
        inbox_max: inbox.inbox_max,
        inbox_days: inbox.inbox_days,
        page_bytes: inbox.page_bytes,
        body_bytes: inbox.body_bytes,
    }
}

/// The head of a user's inbox; guests have none.
pub(super) fn head(inbox: &Arc<Inbox>, mid: i64) -> u64 {
    u64::try_from(mid).ok().filter(|mid| *mid > 0).map_or(0, |mid| inbox.head(mid))
}

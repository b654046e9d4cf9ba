//! A session's requests about stored messages that are not answered yet. Answers come in any order and go out in the order
//! of the requests.

use std::collections::VecDeque;

use perseid_protocol::frame::Header;
use perseid_protocol::op;

use crate::link::StoredOutcome;

/// Sends of one session that logic may be asked at a time; more wait.
const SENDS_MAX: usize = 64;
/// Their bodies, bytes. One send alone may be of any size.
const SENDS_BYTES_MAX: usize = 256 * 1024;

/// One of them.
#[derive(Debug)]
struct Open {
    /// What its answer names; counts the requests of the worker.
    number: u32,
    header: Header,
    body_bytes: usize,
    /// Its answer, which waits for those before it.
    outcome: Option<StoredOutcome>,
}

/// Either sends, or one other request.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    requests: VecDeque<Open>,
    body_bytes: usize,
}

impl Unanswered {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Sends whose answers are not known.
    pub(crate) fn sends_in_flight(&self) -> usize {
        self.requests.iter().filter(|open| open.outcome.is_none() && is_send(&open.header)).count()
    }

    /// Whether a send with such a body may be asked now. Any other request waits until nothing is unanswered.
    pub(crate) fn admits_send(&self, body_bytes: usize) -> bool {
        let Some(last) = self.requests.back() else { return true };
        let fits = self.requests.len() < SENDS_MAX && self.body_bytes.saturating_add(body_bytes) <= SENDS_BYTES_MAX;
        is_send(&last.header) && fits
    }

    /// A request was asked, and its answer comes later; or it is here, and waits for those before it.
    pub(crate) fn push(&mut self, number: u32, header: Header, body_bytes: usize, outcome: Option<StoredOutcome>) {
        self.body_bytes += body_bytes;
        self.requests.push_back(Open { number, header, body_bytes, outcome });
    }

    /// Takes note of an answer; the header of its request, or `None` if no such request waits for one.
    pub(crate) fn answer(&mut self, number: u32, outcome: StoredOutcome) -> Option<Header> {
        let open = self.requests.iter_mut().find(|open| open.number == number && open.outcome.is_none())?;
        open.outcome = Some(outcome);
        Some(open.header)
    }

    /// The next request that can be answered, in order.
    pub(crate) fn pop(&mut self) -> Option<(Header, StoredOutcome)> {
        self.requests.front()?.outcome.as_ref()?;
        let open = self.requests.pop_front()?;
        self.body_bytes -= open.body_bytes;
        Some((open.header, open.outcome?))
    }
}

pub(crate) const fn is_send(header: &Header) -> bool {
    header.op == op::SEND_MSG
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{StoredRefusal, StoredReply};
    use perseid_protocol::Refusal;

    fn send(seq: i32) -> Header {
        Header { op: op::SEND_MSG, seq, ..Header::default() }
    }

    fn ok() -> StoredOutcome {
        Ok(StoredReply::default())
    }

    fn popped(unanswered: &mut Unanswered) -> Vec<i32> {
        std::iter::from_fn(|| unanswered.pop()).map(|(header, _)| header.seq).collect()
    }

    /// Whatever the order of the answers, each request is popped once, after all before it, with its own answer.
    #[test]
    fn out_of_order_in_and_in_order_out() {
        for order in [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3], [3, 1, 4, 2]] {
            let mut unanswered = Unanswered::default();
            for number in 1..=4 {
                unanswered.push(number, send(number as i32), 1, None);
            }
            let mut all = Vec::new();
            for (nth, number) in order.into_iter().enumerate() {
                assert_eq!(unanswered.sends_in_flight(), 4 - nth);
                let outcome = Err(StoredRefusal::new(Refusal::Unknown, number.to_string()));
                assert_eq!(unanswered.answer(number, outcome).unwrap().seq, number as i32);
                assert_eq!(unanswered.answer(number, ok()), None, "{number} is answered already");
                while let Some((header, outcome)) = unanswered.pop() {
                    assert_eq!(outcome.unwrap_err().message, header.seq.to_string());
                    all.push(header.seq);
                }
            }
            assert_eq!((all, unanswered.is_empty(), unanswered.body_bytes), (vec![1, 2, 3, 4], true, 0));
        }
    }

    #[test]
    fn an_answer_nobody_waits_for_changes_nothing() {
        let mut unanswered = Unanswered::default();
        assert_eq!(unanswered.answer(1, ok()), None);
        unanswered.push(u32::MAX, send(1), 0, None);
        unanswered.push(0, send(2), 0, None);
        assert_eq!(unanswered.answer(1, ok()), None);
        assert!(unanswered.answer(0, ok()).is_some() && popped(&mut unanswered).is_empty());
        assert!(unanswered.answer(u32::MAX, ok()).is_some());
        assert_eq!(popped(&mut unanswered), [1, 2]);
    }

    #[test]
    fn an_answer_that_was_here_at_once_waits_its_turn() {
        let mut unanswered = Unanswered::default();
        unanswered.push(1, send(1), 0, None);
        unanswered.push(2, send(2), 0, Some(ok()));
        assert!(popped(&mut unanswered).is_empty());
        unanswered.answer(1, ok());
        assert_eq!(popped(&mut unanswered), [1, 2]);
    }

    #[test]
    fn so_many_sends_and_no_other_request_beside_them() {
        let mut unanswered = Unanswered::default();
        assert!(unanswered.admits_send(usize::MAX), "one alone may be of any size");
        unanswered.push(0, send(0), SENDS_BYTES_MAX - 10, None);
        assert!(unanswered.admits_send(10) && !unanswered.admits_send(11) && !unanswered.admits_send(usize::MAX));
        for number in 1..SENDS_MAX as u32 {
            assert!(unanswered.admits_send(0));
            unanswered.push(number, send(0), 0, None);
        }
        assert!(!unanswered.admits_send(0));
        let mut other = Unanswered::default();
        other.push(1, Header { op: op::SYNC, ..Header::default() }, 0, None);
        assert!(!other.admits_send(0));
        assert_eq!(other.sends_in_flight(), 0);
    }
}

//! Requests of the application that wait for an answer. All of them may be repeated safely, so they outlive a session;
//! each ends at its deadline.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use perseid_protocol::Extension;

use super::Token;
use crate::error::Error;

/// What a request takes beside its body, bytes.
const ENTRY_BYTES: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) token: Token,
    pub(crate) op: i32,
    pub(crate) ext: Extension,
    pub(crate) body: Bytes,
    /// Whether it is sent again on a new session.
    pub(crate) again: bool,
    pub(crate) deadline_ms: u64,
}

impl Request {
    const fn bytes(&self) -> usize {
        self.body.len().saturating_add(ENTRY_BYTES)
    }
}

#[derive(Debug)]
pub(crate) struct Requests {
    waiting: VecDeque<Request>,
    in_flight: BTreeMap<i32, Request>,
    bytes: usize,
    bytes_max: usize,
}

impl Requests {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), in_flight: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(crate) fn push(&mut self, request: Request) -> Result<(), Error> {
        if self.bytes.saturating_add(request.bytes()) > self.bytes_max {
            return Err(Error::Full { waiting_bytes: self.bytes, bytes_max: self.bytes_max });
        }
        self.bytes += request.bytes();
        self.waiting.push_back(request);
        Ok(())
    }

    /// The next one to write; [`Requests::sent`] has to follow.
    pub(crate) fn next(&mut self) -> Option<Request> {
        self.waiting.pop_front()
    }

    pub(crate) fn sent(&mut self, seq: i32, request: Request) {
        self.in_flight.insert(seq, request);
    }

    /// The request that a reply with `seq` answers.
    pub(crate) fn answered(&mut self, seq: i32) -> Option<Request> {
        let request = self.in_flight.remove(&seq)?;
        self.bytes = self.bytes.saturating_sub(request.bytes());
        Some(request)
    }

    /// The session is gone. What may be repeated waits again, in its order; gives those that may not.
    pub(crate) fn lose(&mut self) -> Vec<Token> {
        let mut failed = Vec::new();
        // Backwards, because each goes to the front.
        for (_, request) in std::mem::take(&mut self.in_flight).into_iter().rev() {
            if request.again {
                self.waiting.push_front(request);
            } else {
                self.bytes = self.bytes.saturating_sub(request.bytes());
                failed.push(request.token);
            }
        }
        failed
    }

    /// Those whose time is over.
    pub(crate) fn take_expired(&mut self, now_ms: u64) -> Vec<Token> {
        let late: Vec<i32> =
            self.in_flight.iter().filter(|(_, request)| now_ms >= request.deadline_ms).map(|(seq, _)| *seq).collect();
        let mut expired: Vec<Token> = late.into_iter().filter_map(|seq| self.answered(seq)).map(|one| one.token).collect();
        let mut bytes = 0;
        self.waiting.retain(|request| {
            let late = now_ms >= request.deadline_ms;
            if late {
                bytes += request.bytes();
                expired.push(request.token);
            }
            !late
        });
        self.bytes = self.bytes.saturating_sub(bytes);
        expired
    }

    pub(crate) fn poll_timeout(&self) -> u64 {
        let all = self.in_flight.values().chain(&self.waiting);
        all.map(|request| request.deadline_ms).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(token: Token, again: bool, deadline_ms: u64) -> Request {
        Request { token, op: 22, ext: Extension::default(), body: Bytes::from_static(b"abcd"), again, deadline_ms }
    }

    #[test]
    fn a_lost_session_brings_them_back_in_order() {
        let mut requests = Requests::new(10_000);
        for token in 1..=3 {
            requests.push(request(token, token != 2, 100)).unwrap();
        }
        for seq in [10, 11] {
            let request = requests.next().unwrap();
            requests.sent(seq, request);
        }
        assert_eq!(requests.lose(), [2]);
        assert!(requests.answered(10).is_none(), "an answer of the old session");
        assert_eq!([requests.next().unwrap().token, requests.next().unwrap().token], [1, 3]);
    }

    #[test]
    fn time_ends_each_and_bytes_bound_all() {
        let mut requests = Requests::new(3 * (ENTRY_BYTES + 4));
        for token in 1..=3 {
            requests.push(request(token, true, 100 * token)).unwrap();
        }
        assert!(matches!(requests.push(request(4, true, 1)), Err(Error::Full { .. })));
        let first = requests.next().unwrap();
        requests.sent(1, first);
        assert_eq!(requests.poll_timeout(), 100);
        assert_eq!(requests.take_expired(200), [1, 2]);
        assert_eq!(requests.poll_timeout(), 300);
        requests.push(request(4, true, 1)).unwrap();
        requests.push(request(5, true, 1)).unwrap();
        assert!(requests.push(request(6, true, 1)).is_err());
    }
}

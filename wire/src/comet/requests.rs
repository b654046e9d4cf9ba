//! What a comet's sessions have asked logic, and what became of it. Pure: time is an argument, ms of any steady clock; `T` is
//! where an answer goes.
//!
//! ```text
//! ask ──▶ queue ──take──▶ on its way ──answer──▶ whoever asked
//!   │ away, full              │ expire: whoever asked is refused, and an answer that comes later is recognised
//!   ▼                         │ lost (the stream): a renewal is asked again, everything else is refused
//! refused at once             ▼
//! ```

use std::collections::{BTreeMap, VecDeque};

use perseid_protocol::push::SessionAddr;
use perseid_rpc::cluster as rpc;

use crate::limits::{ANSWER_MS, ASKED_BYTES_MAX, QUESTION_BYTES, RENEWAL_MS, REQUEST_BYTES_PER_MESSAGE, REQUESTS_PER_MESSAGE};

/// What is asked, and what has to be known when the answer is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// AUTH of a connection.
    Connect(Opening),
    /// AUTH of a living session.
    Renew,
    /// An upstream frame.
    Receive,
}

/// A session that may come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) addr: SessionAddr,
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) extended: bool,
    pub(crate) device_id: String,
}

/// Why a question can't be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CantAsk {
    /// No logic is connected.
    Away,
    /// Too much is waiting for answers.
    Full,
}

/// A question whose answer, or refusal, is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<T> {
    pub(crate) asked: Asked,
    pub(crate) ticket: T,
}

/// Whose an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered<T> {
    /// Whoever asked waits for it.
    Due(Due<T>),
    /// Whoever asked was refused meanwhile. Of a session that logic has let in it must be told.
    TooLate(Asked),
    /// Nobody asked.
    Unknown,
}

struct Question<T> {
    asked: Asked,
    /// `None`: whoever asked was refused.
    ticket: Option<T>,
    bytes: usize,
    deadline_ms: u64,
    /// A renewal is kept, to be asked again.
    request: Option<rpc::request::Request>,
}

/// See the module.
pub(crate) struct Requests<T> {
    is_up: bool,
    next_id: u64,
    queue: VecDeque<rpc::Request>,
    open: BTreeMap<u64, Question<T>>,
    bytes: usize,
}

impl<T> Default for Requests<T> {
    fn default() -> Self {
        Self { is_up: false, next_id: 1, queue: VecDeque::new(), open: BTreeMap::new(), bytes: 0 }
    }
}

impl<T> Requests<T> {
    /// Asks; `bytes` is what the question carries.
    ///
    /// # Errors
    /// Why not, and the ticket back.
    pub(crate) fn ask(
        &mut self,
        asked: Asked,
        request: rpc::request::Request,
        bytes: usize,
        ticket: T,
        now_ms: u64,
    ) -> Result<(), (T, CantAsk)> {
        let is_renewal = asked == Asked::Renew;
        if !self.is_up && !is_renewal {
            return Err((ticket, CantAsk::Away));
        }
        let bytes = bytes + QUESTION_BYTES;
        if self.bytes + bytes > ASKED_BYTES_MAX {
            return Err((ticket, CantAsk::Full));
        }
        let deadline_ms = now_ms + if is_renewal { RENEWAL_MS } else { ANSWER_MS };
        let id = self.next_id;
        self.next_id += 1;
        self.bytes += bytes;
        let kept = is_renewal.then(|| request.clone());
        self.open.insert(id, Question { asked, ticket: Some(ticket), bytes, deadline_ms, request: kept });
        self.queue.push_back(rpc::Request { id, request: Some(request) });
        Ok(())
    }

    /// Tells of a session's end, unless nobody is there to be told: then the list of living sessions says it.
    pub(crate) fn tell(&mut self, disconnect: rpc::Disconnect) {
        if self.is_up {
            self.queue.push_back(rpc::Request { id: 0, request: Some(rpc::request::Request::Disconnect(disconnect)) });
        }
    }

    /// The next questions, in order, at most a message full; none of those that were given up before they were asked.
    pub(crate) fn take(&mut self) -> Vec<rpc::Request> {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        while requests.len() < REQUESTS_PER_MESSAGE && bytes < REQUEST_BYTES_PER_MESSAGE {
            let Some(request) = self.queue.pop_front() else { break };
            if request.id != 0 {
                match self.open.get(&request.id) {
                    Some(question) if question.ticket.is_some() => bytes += question.bytes,
                    _ => {
                        self.close(request.id);
                        continue;
                    }
                }
            }
            requests.push(request);
        }
        requests
    }

    /// An answer is here.
    pub(crate) fn answer(&mut self, id: u64) -> Answered<T> {
        match self.close(id) {
            Some(Question { asked, ticket: Some(ticket), .. }) => Answered::Due(Due { asked, ticket }),
            Some(Question { asked, .. }) => Answered::TooLate(asked),
            None => Answered::Unknown,
        }
    }

    /// Questions whose time is over.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Due<T>> {
        let mut due = Vec::new();
        for question in self.open.values_mut().filter(|question| question.deadline_ms <= now_ms) {
            if let Some(ticket) = question.ticket.take() {
                due.push(Due { asked: question.asked.clone(), ticket });
            }
        }
        due
    }

    /// A logic is there, and will be told which sessions live.
    pub(crate) fn come_up(&mut self) {
        self.is_up = true;
    }

    /// The stream is gone. Renewals are asked again when there is a new one; gives the other questions.
    pub(crate) fn go_down(&mut self) -> Vec<Due<T>> {
        self.is_up = false;
        self.queue.clear();
        let mut lost = Vec::new();
        for (id, question) in std::mem::take(&mut self.open) {
            match (question.ticket, question.request) {
                (Some(ticket), Some(request)) => {
                    self.queue.push_back(rpc::Request { id, request: Some(request.clone()) });
                    self.open.insert(id, Question { ticket: Some(ticket), request: Some(request), ..question });
                }
                (ticket, _) => {
                    self.bytes -= question.bytes;
                    lost.extend(ticket.map(|ticket| Due { asked: question.asked, ticket }));
                }
            }
        }
        lost
    }

    /// Whether a logic is there.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Questions without an answer, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.open.len(), self.bytes)
    }

    fn close(&mut self, id: u64) -> Option<Question<T>> {
        let question = self.open.remove(&id)?;
        self.bytes -= question.bytes;
        Some(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc::request::Request;

    fn connect() -> Asked {
        Asked::Connect(Opening { addr: SessionAddr::default(), peer: None, extended: false, device_id: String::new() })
    }

    fn ask(requests: &mut Requests<u32>, asked: Asked, ticket: u32, now_ms: u64) -> Result<(), (u32, CantAsk)> {
        let request = match asked {
            Asked::Renew => Request::Renew(rpc::Renew::default()),
            _ => Request::Receive(rpc::Receive::default()),
        };
        requests.ask(asked, request, 10, ticket, now_ms)
    }

    fn ids(requests: &[rpc::Request]) -> Vec<u64> {
        requests.iter().map(|request| request.id).collect()
    }

    #[test]
    fn nobody_is_asked_while_logic_is_away_but_renewals_wait_for_it() {
        let mut requests = Requests::default();
        assert_eq!(ask(&mut requests, connect(), 1, 0), Err((1, CantAsk::Away)));
        assert_eq!(ask(&mut requests, Asked::Receive, 2, 0), Err((2, CantAsk::Away)));
        assert_eq!(ask(&mut requests, Asked::Renew, 3, 0), Ok(()));
        requests.tell(rpc::Disconnect::default());
        requests.come_up();
        assert_eq!(ids(&requests.take()), [1], "the end of a session was not kept");
        assert_eq!(requests.answer(1), Answered::Due(Due { asked: Asked::Renew, ticket: 3 }));
        assert_eq!(requests.waiting(), (0, 0));
    }

    #[test]
    fn a_lost_stream_refuses_all_but_renewals() {
        let mut requests = Requests::default();
        requests.come_up();
        for (asked, ticket) in [(connect(), 1), (Asked::Renew, 2), (Asked::Receive, 3)] {
            ask(&mut requests, asked, ticket, 0).unwrap();
        }
        requests.tell(rpc::Disconnect::default());
        assert_eq!(ids(&requests.take()), [1, 2, 3, 0]);
        let lost: Vec<u32> = requests.go_down().into_iter().map(|due| due.ticket).collect();
        assert_eq!(lost, [1, 3]);
        requests.come_up();
        assert_eq!(ids(&requests.take()), [2]);
        assert_eq!(requests.answer(1), Answered::Unknown);
    }

    #[test]
    fn what_takes_too_long_is_refused_once_and_recognised_later() {
        let mut requests = Requests::default();
        requests.come_up();
        ask(&mut requests, connect(), 1, 0).unwrap();
        assert_eq!(ids(&requests.take()), [1]);
        assert_eq!(requests.expire(ANSWER_MS - 1), []);
        assert_eq!(requests.expire(ANSWER_MS), [Due { asked: connect(), ticket: 1 }]);
        assert_eq!(requests.expire(ANSWER_MS + 1), []);
        assert_eq!(requests.answer(1), Answered::TooLate(connect()));
        ask(&mut requests, connect(), 2, 0).unwrap();
        assert_eq!(requests.expire(ANSWER_MS).len(), 1);
        assert_eq!(requests.take(), [], "given up before it was asked");
        assert_eq!(requests.waiting(), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut requests = Requests::default();
        requests.come_up();
        let mut taken = 0;
        while ask(&mut requests, Asked::Receive, taken, 0).is_ok() {
            taken += 1;
        }
        assert_eq!(taken as usize, ASKED_BYTES_MAX / (QUESTION_BYTES + 10));
        assert_eq!(ask(&mut requests, Asked::Receive, 9, 0), Err((9, CantAsk::Full)));
        assert_eq!(requests.take().len(), REQUESTS_PER_MESSAGE);
        assert!(matches!(requests.answer(1), Answered::Due(_)));
        assert_eq!(ask(&mut requests, Asked::Receive, 9, 0), Ok(()));
    }
}

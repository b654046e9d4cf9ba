//! Stored messages as a test scripts them: who has an inbox, what is answered at once, and what when the test says so.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use perseid_comet::link::{
    Answer, Greeting, RoomTail, RoomTicket, Stored, StoredOutcome, StoredRefusal, StoredReply, StoredTicket,
};
use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, Header};

/// A request that logic was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) mid: u64,
    pub(crate) key: String,
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) foreign: bool,
}

type OnStored = Box<dyn Fn(&Asked) -> Option<StoredOutcome> + Send>;
type OnRoom = Box<dyn Fn(&str, u64) -> Option<RoomTail> + Send>;

#[derive(Default)]
pub(crate) struct FakeStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    greetings: HashMap<i64, Greeting>,
    heads: HashMap<i64, u64>,
    asked: Vec<Asked>,
    tickets: Vec<Option<StoredTicket>>,
    on_stored: Option<OnStored>,
    rooms_asked: Vec<(String, u64)>,
    room_tickets: Vec<Option<RoomTicket>>,
    on_room: Option<OnRoom>,
}

impl FakeStore {
    /// The user has an inbox from the next AUTH on.
    pub(crate) fn greet(&self, mid: i64, greeting: Greeting) {
        self.state.lock().unwrap().greetings.insert(mid, greeting);
    }

    pub(crate) fn greeting(&self, mid: i64) -> Option<Greeting> {
        self.state.lock().unwrap().greetings.get(&mid).copied()
    }

    pub(crate) fn set_head(&self, mid: i64, head: u64) {
        self.state.lock().unwrap().heads.insert(mid, head);
    }

    pub(crate) fn head(&self, mid: i64) -> u64 {
        self.state.lock().unwrap().heads.get(&mid).copied().unwrap_or_default()
    }

    /// Requests for which `answer` has something are answered at once.
    pub(crate) fn answer_at_once(&self, answer: impl Fn(&Asked) -> Option<StoredOutcome> + Send + 'static) {
        self.state.lock().unwrap().on_stored = Some(Box::new(answer));
    }

    /// Rooms for which `tail` has something are answered at once.
    pub(crate) fn rooms_at_once(&self, tail: impl Fn(&str, u64) -> Option<RoomTail> + Send + 'static) {
        self.state.lock().unwrap().on_room = Some(Box::new(tail));
    }

    /// What logic was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Takes the ticket of the request that was asked as the `nth`, from 0.
    #[track_caller]
    pub(crate) fn ticket(&self, nth: usize) -> StoredTicket {
        self.state.lock().unwrap().tickets[nth].take().expect("a ticket not used yet")
    }

    #[track_caller]
    pub(crate) fn answer(&self, nth: usize, outcome: StoredOutcome) {
        self.ticket(nth).answer(outcome);
    }

    pub(crate) fn rooms_asked(&self) -> Vec<(String, u64)> {
        self.state.lock().unwrap().rooms_asked.clone()
    }

    #[track_caller]
    pub(crate) fn answer_room(&self, nth: usize, tail: RoomTail) {
        let ticket = self.state.lock().unwrap().room_tickets[nth].take().expect("a ticket not used yet");
        ticket.answer(tail);
    }

    pub(super) fn stored(&self, request: &Stored<'_>, ticket: StoredTicket) -> Answer<StoredOutcome> {
        let asked = Asked {
            mid: request.mid,
            key: request.key.to_string(),
            header: *request.header,
            body: request.body.to_vec(),
            foreign: request.foreign,
        };
        let mut state = self.state.lock().unwrap();
        let outcome = state.on_stored.as_ref().and_then(|answer| answer(&asked));
        state.asked.push(asked);
        state.tickets.push(outcome.is_none().then_some(ticket));
        outcome.map_or(Answer::Later, Answer::Now)
    }

    pub(super) fn recover_room(&self, room: &str, pos: u64, ticket: RoomTicket) -> Answer<RoomTail> {
        let mut state = self.state.lock().unwrap();
        state.rooms_asked.push((room.to_owned(), pos));
        // As if no room kept anything, where a test says nothing of them.
        let tail = match &state.on_room {
            None => Some(RoomTail::default()),
            Some(tail) => tail(room, pos),
        };
        state.room_tickets.push(tail.is_none().then_some(ticket));
        tail.map_or(Answer::Later, Answer::Now)
    }
}

/// An inbox of which the client has everything.
pub(crate) fn live_at(head: u64) -> Greeting {
    Greeting { head, floor: 1, epoch: 1_700_000_000_000, live: true, body_bytes: 64 * 1024, ..Greeting::default() }
}

/// An inbox that the client has to read on from.
pub(crate) fn behind_at(head: u64) -> Greeting {
    Greeting { live: false, ..live_at(head) }
}

/// A reply with these fields.
pub(crate) fn done(ext: Extension) -> StoredOutcome {
    Ok(StoredReply { ext, ..StoredReply::default() })
}

/// A page of SYNC.
pub(crate) fn page(head: u64, flags: u16, body: impl Into<Bytes>) -> StoredOutcome {
    Ok(StoredReply { ext: Extension { pos: head, flags, ..Extension::default() }, body: body.into(), silent: false })
}

pub(crate) fn refused(refusal: Refusal) -> StoredOutcome {
    Err(StoredRefusal::new(refusal, "do this"))
}

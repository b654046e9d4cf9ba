//! A logic that believes what clients say, remembers everything, and answers late where it is told to.

use std::collections::HashMap;
use std::sync::Mutex;

use perseid_comet::link::{
    Answer, Connect, Connected, LogicLink, Refused, Renew, Renewed, RoomTail, RoomTicket, Stored, StoredOutcome, StoredTicket,
    Ticket, Upstream,
};
use perseid_protocol::auth::AuthRequest;
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, Refusal, SessionKey};

use super::stored::FakeStore;

pub(crate) type Auth = AuthRequest;

/// A platform that makes AUTH be answered only by [`FakeLogic::answer_all`].
pub(crate) const LATER: &str = "later";
/// A platform that is refused, with `key` as the message.
pub(crate) const REFUSED: &str = "refused";
/// An operation whose upstream frames are answered only by [`FakeLogic::answer_all`].
pub(crate) const UPSTREAM_LATER: i32 = 777;

/// A platform of this beginning says in how many ms the session expires (`expires:1500`).
pub(crate) const EXPIRES: &str = "expires:";

fn expires_at_ms(auth: &Auth) -> u64 {
    let Some(in_ms) = auth.platform.strip_prefix(EXPIRES) else { return 0 };
    let unix = std::time::UNIX_EPOCH.elapsed().unwrap();
    unix.as_millis() as u64 + in_ms.parse::<u64>().unwrap()
}

pub(crate) fn auth(key: &str) -> Auth {
    Auth { mid: 42, key: key.into(), ..Auth::default() }
}

pub(crate) fn auth_in(key: &str, room: &str, accepts: &[i32]) -> Auth {
    Auth { mid: 42, key: key.into(), room_id: room.into(), accepts: accepts.into(), ..Auth::default() }
}

#[derive(Default)]
pub(crate) struct FakeLogic {
    state: Mutex<State>,
    pub(crate) store: FakeStore,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, SessionAddr>,
    /// Every address ever registered, and how often its end was told.
    registered: HashMap<SessionAddr, u32>,
    never_registered: Vec<SessionAddr>,
    upstream: Vec<(i32, Vec<u8>)>,
    later: Vec<Box<dyn FnOnce() + Send>>,
    made: u64,
    /// Who came from where, with which cookie.
    clients: HashMap<String, (String, String)>,
    renewed_by: String,
}

impl FakeLogic {
    pub(crate) fn addr(&self, key: &str) -> Option<SessionAddr> {
        self.state.lock().unwrap().sessions.get(key).copied()
    }

    /// The address that a session came from, as it was told.
    pub(crate) fn peer(&self, key: &str) -> String {
        self.state.lock().unwrap().clients[key].0.clone()
    }

    pub(crate) fn cookie(&self, key: &str) -> String {
        self.state.lock().unwrap().clients[key].1.clone()
    }

    /// The address that the last renewal came from.
    pub(crate) fn renewed_by(&self) -> String {
        self.state.lock().unwrap().renewed_by.clone()
    }

    pub(crate) fn registered(&self) -> usize {
        self.state.lock().unwrap().registered.len()
    }

    pub(crate) fn disconnected(&self, addr: SessionAddr) -> u32 {
        self.state.lock().unwrap().registered.get(&addr).copied().unwrap_or_default()
    }

    /// What the business was sent so far.
    pub(crate) fn upstream(&self) -> Vec<(i32, Vec<u8>)> {
        self.state.lock().unwrap().upstream.clone()
    }

    /// Questions whose answers are due.
    pub(crate) fn open_questions(&self) -> usize {
        self.state.lock().unwrap().later.len()
    }

    /// Gives the late answers, in the order of the questions.
    pub(crate) fn answer_all(&self) {
        let later = std::mem::take(&mut self.state.lock().unwrap().later);
        later.into_iter().for_each(|answer| answer());
    }

    pub(crate) fn assert_all_disconnected_once(&self) {
        let state = self.state.lock().unwrap();
        for (addr, count) in &state.registered {
            assert_eq!(*count, 1, "ends told of {addr:?}");
        }
        assert_eq!(state.never_registered, [], "ends of sessions that never were");
    }
}

impl LogicLink for FakeLogic {
    fn connect(&self, request: &Connect<'_>, ticket: Ticket) -> Answer<Result<Connected, Refused>> {
        let refused =
            |message: &str| Refused { reason: CloseReason::Unauthenticated, message: message.into(), retry_after_ms: None };
        let auth = match AuthRequest::parse(request.body) {
            Ok(auth) => auth,
            Err(message) => return Answer::Now(Err(refused(&message))),
        };
        if auth.platform.starts_with(REFUSED) {
            return Answer::Now(Err(refused(&auth.key)));
        }
        let expires_at_ms = expires_at_ms(&auth);
        let mut state = self.state.lock().unwrap();
        let key = if auth.key.is_empty() {
            state.made += 1;
            format!("made-{}", state.made)
        } else {
            auth.key
        };
        let peer = request.peer.map(|peer| peer.to_string()).unwrap_or_default();
        state.clients.insert(key.clone(), (peer, request.cookie.to_owned()));
        let replaced = state.sessions.insert(key.clone(), request.addr);
        state.registered.insert(request.addr, 0);
        let connected = Connected {
            mid: auth.mid,
            key: SessionKey::parse(&key),
            room: Some(auth.room_id).filter(|room| !room.is_empty()),
            accepts: auth.accepts,
            replaced,
            expires_at_ms,
            inbox: self.store.greeting(auth.mid),
        };
        if auth.platform == LATER {
            state.later.push(Box::new(move || ticket.connected(Ok(connected))));
            return Answer::Later;
        }
        Answer::Now(Ok(connected))
    }

    fn renew(&self, request: &Renew<'_>, _ticket: Ticket) -> Answer<Result<Renewed, Refused>> {
        self.state.lock().unwrap().renewed_by = request.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let refused = |message: String| Refused { reason: CloseReason::Unauthenticated, message, retry_after_ms: None };
        Answer::Now(match AuthRequest::parse(request.body) {
            Ok(auth) if auth.mid == request.mid => {
                Ok(Renewed { expires_at_ms: expires_at_ms(&auth), inbox: self.store.greeting(auth.mid) })
            }
            Ok(_) => Err(refused("a session can't be renewed for another user".into())),
            Err(message) => Err(refused(message)),
        })
    }

    fn stored(&self, request: &Stored<'_>, ticket: StoredTicket) -> Answer<StoredOutcome> {
        self.store.stored(request, ticket)
    }

    fn inbox_head(&self, mid: i64) -> u64 {
        self.store.head(mid)
    }

    fn recover_room(&self, room: &str, pos: u64, ticket: RoomTicket) -> Answer<RoomTail> {
        self.store.recover_room(room, pos, ticket)
    }

    fn disconnect(&self, session: &SessionKey, _mid: i64, addr: SessionAddr, _reason: Option<CloseReason>) {
        let mut state = self.state.lock().unwrap();
        match state.registered.get_mut(&addr) {
            Some(count) => *count += 1,
            None => state.never_registered.push(addr),
        }
        let key = session.to_string();
        if state.sessions.get(&key) == Some(&addr) {
            state.sessions.remove(&key);
        }
    }

    fn receive(&self, frame: &Upstream<'_>, ticket: Ticket) -> Answer<Result<(), Refusal>> {
        let mut state = self.state.lock().unwrap();
        state.upstream.push((frame.op, frame.body.to_vec()));
        if frame.op == UPSTREAM_LATER {
            state.later.push(Box::new(move || ticket.received(Ok(()))));
            return Answer::Later;
        }
        Answer::Now(Ok(()))
    }
}

//! The sessions of one child process: opened, greeted, closed. Nothing is kept
//! for a classic one but its place in the stream.

use super::books::Books;
use super::check::Track;
use super::classic;
use super::messages::{Greeting, Opened, Phase, PhaseResult, Progress, WorkerConfig};
use super::stored::{Head, Inbox, Ledger, Speech};
use super::tls::{self, Tls};
use super::{connect, websocket};
use crate::clock::now_ns;
use crate::stats::Latency;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConfig;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// What one receiving call may bring.
pub(super) const READ_BYTES: usize = 256 << 10;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not opened, or over.
    Closed,
    Connecting,
    /// The TLS handshake is under way.
    Securing,
    Upgrading,
    Authenticating,
    Online,
}

/// What is kept for one session: at most 64 bytes unless something is cut or
/// went wrong.
pub(super) struct Session {
    pub(super) stream: Option<TcpStream>,
    /// The beginning of a frame whose rest has not come yet.
    pub(super) carry: Option<Box<[u8]>>,
    pub(super) track: Track,
    /// When it was to be opened.
    due_ns: u64,
    /// WebSocket: bytes to come of the message being read.
    pub(super) message_left: u32,
    pub(super) state: State,
}

/// All sessions of this process and what they saw.
pub(crate) struct Pool {
    pub(super) config: WorkerConfig,
    registry: Registry,
    pub(super) sessions: Vec<Session>,
    /// By session; empty where they are classic.
    pub(super) inboxes: Vec<Inbox>,
    /// Checks of stored messages, and what is written of them.
    pub(super) ledger: Option<Ledger>,
    pub(super) speech: Option<Speech>,
    /// By session; empty where nothing is encrypted.
    pub(super) tls: Vec<Option<Tls>>,
    tls_config: Option<Arc<ClientConfig>>,
    pub(super) buffer: Vec<u8>,
    pub(super) out: Vec<u8>,
    ports: Box<dyn Iterator<Item = u16>>,
    pub(super) books: Books,
}

impl Pool {
    pub(crate) fn new(config: WorkerConfig, registry: Registry) -> Self {
        let fresh =
            || Session { stream: None, carry: None, track: Track::default(), due_ns: 0, message_left: 0, state: State::Closed };
        let sessions = (0..config.sessions).map(|_| fresh()).collect();
        // Cannot fail: the provider has the default versions. If it did, every session would say so.
        let tls_config = config.tls.then(|| tls::config().ok()).flatten();
        let tls = (0..config.sessions).filter(|_| config.tls).map(|_| None).collect();
        let ports = Box::new(connect::ports());
        let extended = matches!(config.greeting, Greeting::Auth { extended: Some(_), .. });
        let inboxes = (0..config.sessions).filter(|_| extended).map(|_| Inbox::default()).collect();
        Self {
            config,
            registry,
            sessions,
            inboxes,
            ledger: None,
            speech: None,
            tls,
            tls_config,
            buffer: vec![0; READ_BYTES],
            out: Vec::new(),
            ports,
            books: Books::new(),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.books.progress
    }

    /// Every session is online or has failed.
    pub(crate) fn settled(&self) -> bool {
        self.books.settled >= self.config.sessions
    }

    pub(crate) fn opened(&self) -> Opened {
        let latency = self.books.open_latency.sparse();
        Opened { online: self.books.progress.online, latency, ..self.books.opened.clone() }
    }

    /// All sessions are going to be opened, perhaps not for the first time.
    pub(crate) fn reopen(&mut self) {
        self.books.settled = 0;
        self.books.progress.failed = 0;
        (self.books.opened, self.books.open_latency) = (Opened::default(), Latency::default());
    }

    /// Opens session `n`, which was due at `due_ns`.
    pub(crate) fn open(&mut self, n: usize, due_ns: u64) {
        let index = self.global(n);
        let Some(session) = self.sessions.get_mut(n) else { return };
        session.due_ns = due_ns;
        session.message_left = 0;
        session.state = State::Connecting;
        let targets = self.config.targets.len() as u64;
        let target = usize::try_from(index.checked_rem(targets).unwrap_or(0)).unwrap_or(0);
        let Some(target) = self.config.targets.get(target).copied() else { return };
        match connect::connect(target, self.config.source, &mut self.ports) {
            Ok((mut stream, connected)) => {
                let interest = match connected {
                    true => Interest::READABLE,
                    false => Interest::READABLE | Interest::WRITABLE,
                };
                let registered = self.registry.register(&mut stream, Token(n), interest);
                session.stream = Some(stream);
                match registered {
                    Ok(()) if connected => self.greet(n, target),
                    Ok(()) => {}
                    Err(error) => self.fail(n, &format!("register: {error}")),
                }
            }
            Err(error) => self.fail(n, &format!("connect: {error}")),
        }
    }

    /// Something happened on the socket of session `n`.
    pub(crate) fn ready(&mut self, n: usize, writable: bool, ended: bool) {
        let Some(session) = self.sessions.get(n) else { return };
        let Some(stream) = session.stream.as_ref() else { return };
        if session.state == State::Connecting {
            if let Ok(Some(error)) = stream.take_error() {
                return self.fail(n, &format!("connect: {error}"));
            }
            match stream.peer_addr() {
                Ok(peer) if writable => self.greet(n, peer),
                _ => return,
            }
        }
        if self.sessions[n].state == State::Securing {
            self.shake_hands(n);
            if self.sessions[n].state == State::Securing {
                return;
            }
        }
        self.read(n, ended);
    }

    /// Session `n` says that it lives, as was due at `due_ns`.
    pub(crate) fn heartbeat(&mut self, n: usize, due_ns: u64) {
        let Some(session) = self.sessions.get(n) else { return };
        if session.state == State::Online {
            self.books.progress.heartbeats += 1;
            // The latency of one that is not answered goes on.
            if let Some(inbox) = self.inboxes.get_mut(n).filter(|inbox| inbox.beat_ns == 0) {
                inbox.beat_ns = due_ns;
            }
            // Wraps after four thousand million heartbeats, harmlessly.
            #[allow(clippy::cast_possible_truncation)]
            let seq = self.books.progress.heartbeats as u32;
            self.send_frame(n, classic::OP_HEARTBEAT, seq, &[]);
        }
    }

    /// Gives up what is not online yet.
    pub(crate) fn give_up(&mut self) {
        for n in 0..self.sessions.len() {
            match self.sessions[n].state {
                State::Connecting => self.fail(n, "no connection in time"),
                State::Securing => self.fail(n, "no end of the TLS handshake in time"),
                State::Upgrading => self.fail(n, "no answer to the WebSocket upgrade in time"),
                State::Authenticating => self.fail(
                    n,
                    if self.inboxes.is_empty() { "no AUTH_REPLY in time" } else { "no AUTH_REPLY, or no end of SYNC, in time" },
                ),
                State::Closed | State::Online => {}
            }
        }
    }

    /// A new phase: every stream starts at 1 again.
    pub(crate) fn begin(&mut self, phase: Phase) {
        self.books.begin(phase);
        for session in &mut self.sessions {
            session.track = Track::default();
        }
    }

    /// Ends the phase; `expect` gives each session's share by its number in
    /// the fleet.
    pub(crate) fn end(&mut self, expect: impl Fn(u64) -> u64) -> PhaseResult {
        let lost = |(n, session): (usize, &Session)| session.track.lost(expect(self.global(n)));
        let lost = self.sessions.iter().enumerate().map(lost).sum();
        let mut result = std::mem::take(&mut self.books.result);
        result.tally.lost = lost;
        result.latency = self.books.latency.sparse();
        result
    }

    /// Closes every session.
    pub(crate) fn close(&mut self) {
        let websocket = matches!(&self.config.greeting, Greeting::Auth { websocket: Some(_), .. });
        for (n, session) in self.sessions.iter_mut().enumerate() {
            let mut tls = self.tls.get_mut(n).and_then(Option::take);
            if let (Some(mut stream), State::Online) = (session.stream.take(), session.state) {
                if websocket {
                    self.out.clear();
                    websocket::put_close(&mut self.out, 0);
                    let _ = match &mut tls {
                        Some(tls) => tls.write(&mut stream, &self.out),
                        None => stream.write(&self.out),
                    };
                }
                if let Some(tls) = &mut tls {
                    let _ = tls.close(&mut stream);
                }
            }
            session.carry = None;
            session.state = State::Closed;
        }
        self.books.progress.online = 0;
    }

    /// The number of this child's session `n` in the whole fleet.
    pub(super) fn global(&self, n: usize) -> u64 {
        n as u64 * self.config.children + self.config.child
    }

    /// Connected: encryption comes first, if there is any.
    fn greet(&mut self, n: usize, target: SocketAddr) {
        if !self.config.tls {
            return self.greet_plainly(n, target);
        }
        let made = self.tls_config.clone().map(Tls::new);
        let (Some(Ok(tls)), Some(place)) = (made, self.tls.get_mut(n)) else {
            return self.fail(n, "no TLS");
        };
        *place = Some(tls);
        self.sessions[n].state = State::Securing;
        self.shake_hands(n);
    }

    /// Goes on with the handshake, and with the greeting behind it.
    fn shake_hands(&mut self, n: usize) {
        let (Some(Some(tls)), Some(stream)) = (self.tls.get_mut(n), self.sessions[n].stream.as_mut()) else { return };
        match tls.shake_hands(stream).map(|()| stream.peer_addr()) {
            Ok(_) if tls.is_handshaking() => {}
            Ok(Ok(peer)) => self.greet_plainly(n, peer),
            Ok(Err(error)) | Err(error) => self.fail(n, &format!("TLS: {error}")),
        }
    }

    fn greet_plainly(&mut self, n: usize, target: SocketAddr) {
        let next = match &self.config.greeting {
            Greeting::None => return self.online(n),
            Greeting::Auth { websocket: Some(path), .. } => {
                self.out = websocket::request(&target.to_string(), path);
                State::Upgrading
            }
            Greeting::Auth { websocket: None, .. } => return self.authenticate(n),
        };
        self.sessions[n].state = next;
        self.flush(n);
    }

    pub(super) fn authenticate(&mut self, n: usize) {
        let index = self.global(n).cast_signed();
        let Greeting::Auth { first_mid, room, key_prefix, token, extended, .. } = &self.config.greeting else {
            return;
        };
        let mid = first_mid.saturating_add(index);
        let key = key_prefix.as_ref().map_or_else(String::new, |prefix| format!("{prefix}{mid}"));
        let mut auth = serde_json::json!({
            "mid": mid,
            "key": key,
            "room_id": room.as_deref().unwrap_or(""),
            "platform": "bench",
            "accepts": [classic::OP_PUSH],
        });
        if let Some(token) = token {
            auth["token"] = token.as_str().into();
        }
        if let Some((pos, epoch)) = self.inboxes.get(n).and_then(Inbox::stands) {
            auth["pos"] = pos.into();
            auth["epoch"] = epoch.into();
        }
        let extended = extended.is_some();
        self.sessions[n].state = State::Authenticating;
        let auth = auth.to_string();
        if extended {
            self.send_extended(n, Head { op: classic::OP_AUTH, seq: 1, ..Head::default() }, auth.as_bytes());
        } else {
            self.send_frame(n, classic::OP_AUTH, 1, auth.as_bytes());
        }
    }

    pub(super) fn online(&mut self, n: usize) {
        let now = now_ns();
        self.sessions[n].state = State::Online;
        self.books.settled += 1;
        self.books.progress.online += 1;
        self.books.open_latency.record(now.saturating_sub(self.sessions[n].due_ns));
        self.books.opened.last_ns = now;
    }

    pub(super) fn fail(&mut self, n: usize, reason: &str) {
        let session = &mut self.sessions[n];
        let was = std::mem::replace(&mut session.state, State::Closed);
        session.stream = None;
        session.carry = None;
        if let Some(tls) = self.tls.get_mut(n) {
            *tls = None;
        }
        let reasons = match was {
            State::Closed => return,
            State::Online => {
                self.books.progress.online -= 1;
                self.books.progress.dropped += 1;
                &mut self.books.result.drops
            }
            _ => {
                self.books.settled += 1;
                self.books.progress.failed += 1;
                &mut self.books.opened.failures
            }
        };
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }

    fn send_frame(&mut self, n: usize, op: u32, seq: u32, body: &[u8]) {
        self.out.clear();
        classic::put_frame(&mut self.out, op, seq, body);
        self.send_out(n, seq);
    }

    pub(super) fn send_extended(&mut self, n: usize, head: Head, body: &[u8]) {
        self.out.clear();
        head.put(&mut self.out, body);
        self.send_out(n, head.seq);
    }

    /// Writes the frames in `out`, as one message where messages are.
    pub(super) fn send_out(&mut self, n: usize, mask: u32) {
        if matches!(&self.config.greeting, Greeting::Auth { websocket: Some(_), .. }) {
            let frames = std::mem::take(&mut self.out);
            websocket::put_message(&mut self.out, &frames, mask.wrapping_mul(0x9e37_79b9));
        }
        self.flush(n);
    }

    /// Writes `out`. What a session sends is tiny, so a socket that does not
    /// take it whole belongs to a server that has stopped reading.
    pub(super) fn flush(&mut self, n: usize) {
        let Some(stream) = self.sessions[n].stream.as_mut() else { return };
        let written = match self.tls.get_mut(n).and_then(Option::as_mut) {
            Some(tls) => tls.write(stream, &self.out),
            None => stream.write(&self.out),
        };
        match written {
            Ok(written) if written == self.out.len() => {}
            Ok(_) => self.fail(n, "the server stopped reading"),
            Err(error) => self.fail(n, &format!("send: {}", error.kind())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stays_small() {
        assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
    }
}

//! Reading, the hot path: one large shared buffer, one look at the clock for
//! each receiving call, frames walked in place.

use super::books::Reader;
use super::classic::{self, WireError};
use super::client::{Pool, READ_BYTES, State};
use super::messages::{Extended, Greeting};
use super::stored::Visit;
use super::websocket;
use crate::clock::now_ns;
use std::io::{ErrorKind, Read};

impl Pool {
    /// Reads all there is. `ended`: the peer closed, so read to the end; else a
    /// call that does not fill the buffer has emptied the socket, and the next
    /// byte is a new edge.
    pub(super) fn read(&mut self, n: usize, ended: bool) {
        loop {
            let session = &mut self.sessions[n];
            let Some(stream) = session.stream.as_mut() else { return };
            let kept = session.carry.as_ref().map_or(0, |carry| carry.len());
            if self.buffer.len() < kept + READ_BYTES / 2 {
                self.buffer.resize(kept + READ_BYTES, 0);
            }
            if let Some(carry) = &session.carry {
                self.buffer[..kept].copy_from_slice(carry);
            }
            let room = self.buffer.len() - kept;
            let tls = self.tls.get_mut(n).and_then(Option::as_mut);
            // A short read of what is encrypted does not say that the socket is empty.
            let to_end = ended || tls.is_some();
            let read = match tls {
                Some(tls) => tls.read(stream, &mut self.buffer[kept..]),
                None => stream.read(&mut self.buffer[kept..]),
            };
            match read {
                Ok(0) => return self.fail(n, "closed by the server"),
                Ok(got) => {
                    let end = kept + got;
                    match self.take(n, end) {
                        Ok(()) if got < room && !to_end => return,
                        Ok(()) => {}
                        Err(error) => return self.fail(n, error.0),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.fail(n, &format!("receive: {}", error.kind())),
            }
        }
    }

    /// Takes the first `end` bytes of the buffer, which belong to session `n`.
    #[inline]
    fn take(&mut self, n: usize, end: usize) -> Result<(), WireError> {
        let mut at = 0;
        if self.sessions[n].state == State::Upgrading {
            match websocket::response(&self.buffer[..end])? {
                Some(len) => at = len,
                None => {
                    self.sessions[n].carry = Some(self.buffer[..end].into());
                    return Ok(());
                }
            }
            self.authenticate(n);
        }
        let mid = self.mid(n);
        let extended = self.extended();
        let session = &mut self.sessions[n];
        let data = &self.buffer[at..end];
        let visit = self.inboxes.get_mut(n).zip(extended).map(|(inbox, Extended { from, .. })| {
            let ledger = self.ledger.as_mut();
            Visit { inbox, ledger, from, session: n, mid, failure: None }
        });
        self.books.result.reads += 1;
        self.books.result.bytes += data.len() as u64;
        let mut reader = Reader {
            track: &mut session.track,
            books: &mut self.books,
            now_ns: now_ns(),
            authenticated: false,
            pong: None,
            bye: None,
            visit,
        };
        let consumed = match &self.config.greeting {
            Greeting::Auth { websocket: Some(_), .. } => websocket::walk(&mut session.message_left, data, &mut reader)?,
            _ => classic::walk(data, &mut reader)?,
        };
        let Reader { mut authenticated, pong, bye, visit, .. } = reader;
        let failure = visit.and_then(|visit| {
            authenticated = visit.inbox.live();
            visit.failure
        });
        if consumed < data.len() {
            session.carry = Some(data[consumed..].into());
        } else if session.carry.is_some() {
            session.carry = None;
        }
        if authenticated && session.state == State::Authenticating {
            self.online(n);
        }
        self.read_inbox(n);
        if let Some(reason) = failure {
            self.fail(n, &reason);
        }
        if let Some(payload) = pong {
            self.out.clear();
            websocket::put_pong(&mut self.out, &payload, 0);
            self.flush(n);
        }
        if let Some(code) = bye {
            self.fail(n, &format!("closed by the server with code {code}"));
        }
        Ok(())
    }
}

//! The client's end: AUTH first, heartbeats while it lasts, and what each frame from the server means.

use crate::auth::{AuthReply, AuthRequest};
use crate::frame::{self, Extension, Frame, FrameError, Header, VER_CLASSIC, VER_EXTENDED};
use crate::limits::SERVER_FRAME_BYTES_MAX;
use crate::operation::op;

/// What a frame from the server means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// AUTH was accepted; the JSON only on an extended session.
    Ready(Option<Box<AuthReply>>),
    /// People online in the session's room.
    Online(i32),
    /// A reply to a request of ours.
    Reply {
        /// Its header: `op` and `seq` say to which request.
        header: Header,
        /// Its body.
        body: &'a [u8],
    },
    /// A push.
    Push {
        /// Its header.
        header: Header,
        /// Its body.
        body: &'a [u8],
    },
    /// The server says why it will close.
    Disconnect(&'a [u8]),
}

/// A session as the client sees it.
#[derive(Clone, Debug)]
pub struct Session {
    extended: bool,
    ready: bool,
    next_seq: i32,
    heartbeat_ms: u64,
    next_heartbeat_ms: u64,
    silence_deadline_ms: u64,
}

/// How often goim's clients are told to send HEARTBEAT, ms; used until an extended server says otherwise.
pub const HEARTBEAT_MS: u64 = 240_000;

impl Session {
    /// A session that is about to send AUTH.
    pub const fn new(extended: bool) -> Self {
        Self {
            extended,
            ready: false,
            next_seq: 1,
            heartbeat_ms: HEARTBEAT_MS,
            next_heartbeat_ms: u64::MAX,
            silence_deadline_ms: u64::MAX,
        }
    }

    /// Sends HEARTBEAT this often instead, ms.
    #[must_use]
    pub const fn with_heartbeat_ms(mut self, heartbeat_ms: u64) -> Self {
        self.heartbeat_ms = heartbeat_ms;
        self
    }

    /// Gives up when nothing has come from the server by `deadline_ms`; without this, AUTH is waited for without end.
    #[must_use]
    pub const fn with_deadline_ms(mut self, deadline_ms: u64) -> Self {
        self.silence_deadline_ms = deadline_ms;
        self
    }

    /// Whether AUTH was accepted.
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// Appends AUTH, the first frame of every session.
    pub fn put_auth(&mut self, out: &mut Vec<u8>, request: &AuthRequest) {
        // A plain struct of strings and numbers always serializes.
        let body = serde_json::to_vec(request).unwrap_or_default();
        self.put_request(out, op::AUTH, Extension::default(), &body);
    }

    /// Appends a request; gives the `seq` that its reply will echo.
    pub fn put_request(&mut self, out: &mut Vec<u8>, operation: i32, ext: Extension, body: &[u8]) -> i32 {
        let seq = self.next_seq;
        self.next_seq = self.next_seq.checked_add(1).unwrap_or(1);
        let ver = if self.extended { VER_EXTENDED } else { VER_CLASSIC };
        let header = Header { ver, op: operation, seq, ext };
        if self.extended {
            frame::put_extended(out, &header, body);
        } else {
            frame::put_classic(out, &header, body);
        }
        seq
    }

    /// Reads one frame at the start of `input`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The server broke the protocol: close the connection.
    pub fn decode(input: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
        frame::decode(input, SERVER_FRAME_BYTES_MAX)
    }

    /// Takes a frame and calls `on_event` for what it means; op 9 holds several.
    ///
    /// # Errors
    /// The server broke the protocol: close the connection.
    pub fn handle_frame<'a>(
        &mut self,
        frame: &Frame<'a>,
        now_ms: u64,
        on_event: &mut dyn FnMut(Event<'a>),
    ) -> Result<(), FrameError> {
        self.silence_deadline_ms = now_ms.saturating_add(self.heartbeat_ms.saturating_mul(2));
        let header = frame.header;
        let body = frame.body;
        match header.op {
            op::RAW => {
                let mut rest = body;
                while !rest.is_empty() {
                    // A frame cut off inside its wrapper can never be completed.
                    let Some(inner) = Self::decode(rest)? else {
                        return Err(FrameError::Cut { wrapper_bytes: rest.len() });
                    };
                    on_event(Event::Push { header: inner.header, body: inner.body });
                    rest = &rest[inner.len..];
                }
            }
            op::AUTH_REPLY => {
                let reply: Option<Box<AuthReply>> = serde_json::from_slice(body).ok();
                if let Some(heartbeat_ms) = reply.as_ref().map(|reply| reply.heartbeat_ms).filter(|ms| *ms > 0) {
                    self.heartbeat_ms = self.heartbeat_ms.min(heartbeat_ms);
                }
                self.ready = true;
                self.next_heartbeat_ms = now_ms.saturating_add(self.heartbeat_ms);
                self.silence_deadline_ms = now_ms.saturating_add(self.heartbeat_ms.saturating_mul(2));
                on_event(Event::Ready(reply));
            }
            op::HEARTBEAT_REPLY => {
                let online = body.get(..4).map_or(0, |b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
                on_event(Event::Online(online));
            }
            op::DISCONNECT => on_event(Event::Disconnect(body)),
            // Pushes have seq 0; a reply echoes a seq of ours, which never is.
            _ if header.seq == 0 => on_event(Event::Push { header, body }),
            _ => on_event(Event::Reply { header, body }),
        }
        Ok(())
    }

    /// Nothing was read until now, by the client's own choice: the server's silence counts from here.
    pub fn excuse_silence(&mut self, now_ms: u64) {
        if self.ready {
            self.silence_deadline_ms = now_ms.saturating_add(self.heartbeat_ms.saturating_mul(2));
        }
    }

    /// When [`Session::handle_timeout`] has to be called, ms.
    pub fn poll_timeout(&self) -> u64 {
        self.next_heartbeat_ms.min(self.silence_deadline_ms)
    }

    /// Appends HEARTBEAT if it is due. `false` when the server has been silent for two heartbeats: reconnect.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Vec<u8>) -> bool {
        if now_ms >= self.silence_deadline_ms {
            return false;
        }
        if now_ms >= self.next_heartbeat_ms {
            self.next_heartbeat_ms = now_ms.saturating_add(self.heartbeat_ms);
            self.put_request(out, op::HEARTBEAT, Extension::default(), &[]);
        }
        true
    }
}

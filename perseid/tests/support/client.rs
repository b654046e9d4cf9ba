//! A client over TCP or WebSocket: blocking, with a cap on every wait.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::frame::{self, Frame};
use super::{PATIENCE, Server, websocket};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    WebSocket,
}

pub(crate) const BOTH: [Transport; 2] = [Transport::Tcp, Transport::WebSocket];

/// Something that clients connect to: a process, or a standalone inside this one.
pub(crate) trait Serves {
    fn addr(&self, transport: Transport) -> SocketAddr;
}

impl Serves for Server {
    fn addr(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::WebSocket => self.ws,
        }
    }
}

impl<T: Serves + ?Sized> Serves for &T {
    fn addr(&self, transport: Transport) -> SocketAddr {
        (**self).addr(transport)
    }
}

impl Transport {
    pub(crate) fn addr(self, server: &impl Serves) -> SocketAddr {
        server.addr(self)
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Code and reason of the close frame, if one came (WebSocket).
    pub(crate) close: Option<(u16, String)>,
    /// The JSON of DISCONNECT, if one came (extended).
    pub(crate) disconnect: Option<Value>,
}

impl End {
    /// The bare end of a classic TCP session.
    pub(crate) const PLAIN: Self = Self { close: None, disconnect: None };
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) transport: Transport,
    input: Vec<u8>,
    frames: VecDeque<Frame>,
    close: Option<(u16, String)>,
    pongs: Vec<Vec<u8>>,
    ended: bool,
}

impl Client {
    /// Connects; on WebSocket the upgrade is done, too.
    pub(crate) fn connect(server: &impl Serves, transport: Transport) -> Self {
        let mut client = Self::connect_raw(transport.addr(server), transport);
        client.upgrade();
        client
    }

    /// On WebSocket: asks for the upgrade and reads the response.
    pub(crate) fn upgrade(&mut self) {
        if self.transport == Transport::WebSocket {
            self.write(&websocket::upgrade("/sub"));
            self.take_upgrade();
        }
    }

    /// Connects and does nothing more.
    pub(crate) fn connect_raw(addr: SocketAddr, transport: Transport) -> Self {
        let stream = TcpStream::connect(addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, transport, input: Vec::new(), frames: VecDeque::new(), close: None, pongs: Vec::new(), ended: false }
    }

    /// Reads the response to an upgrade.
    pub(crate) fn take_upgrade(&mut self) {
        let end = loop {
            if let Some(at) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_some(Instant::now() + PATIENCE), "no response to the upgrade");
        };
        let head: Vec<u8> = self.input.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(&format!("Sec-WebSocket-Accept: {}\r\n", websocket::ACCEPT)), "{head}");
    }

    /// Connects and authenticates as a classic client, with this AUTH body.
    pub(crate) fn classic(server: &impl Serves, transport: Transport, auth: &Value) -> Self {
        let mut client = Self::connect(server, transport);
        client.authenticate(auth);
        client
    }

    /// A classic AUTH that must be accepted.
    pub(crate) fn authenticate(&mut self, auth: &Value) {
        self.send(&frame::classic(1, frame::AUTH, 1, auth.to_string().as_bytes()));
        let reply = self.next();
        assert_eq!((reply.head(), reply.body.len(), reply.extended), ((1, frame::AUTH_REPLY, 1), 0, None));
    }

    /// A classic session of user `mid` that accepts operation 1000.
    pub(crate) fn user(server: &impl Serves, transport: Transport, mid: i64) -> Self {
        Self::classic(server, transport, &json!({ "mid": mid, "accepts": [1000] }))
    }

    /// Connects and authenticates as an extended client; gives the JSON of AUTH_REPLY, too.
    pub(crate) fn extended(server: &impl Serves, transport: Transport, auth: &Value) -> (Self, Value) {
        let mut client = Self::connect(server, transport);
        client.send(&frame::extended(frame::AUTH, 1, &frame::Extended::default(), auth.to_string().as_bytes()));
        let reply = client.next();
        assert_eq!(reply.head(), (2, frame::AUTH_REPLY, 1), "{reply:?}");
        assert!(reply.extended.is_some());
        let json = reply.json();
        (client, json)
    }

    /// Sends frames: as they are on TCP, as one message on WebSocket.
    pub(crate) fn send(&mut self, frames: &[u8]) {
        match self.transport {
            Transport::Tcp => self.write(frames),
            Transport::WebSocket => self.write(&websocket::message(websocket::BINARY, frames)),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap_or_else(|error| panic!("writing {} bytes: {error}", bytes.len()));
    }

    /// Writes bytes to a server that may have closed already.
    pub(crate) fn write_if_open(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// A request and its reply, which must be the next frame.
    pub(crate) fn ask(&mut self, op: i32, seq: i32, body: &[u8]) -> Frame {
        self.send(&frame::classic(1, op, seq, body));
        self.next()
    }

    /// HEARTBEAT; gives how many are online in the room.
    pub(crate) fn heartbeat(&mut self) -> i32 {
        let reply = self.ask(frame::HEARTBEAT, 99, &[]);
        assert_eq!(reply.head(), (1, frame::HEARTBEAT + 1, 99));
        i32::from_be_bytes(reply.body.try_into().unwrap())
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Frame {
        match self.next_within(PATIENCE) {
            Some(frame) => frame,
            None if self.ended => panic!("the connection ended instead of a frame; close frame {:?}", self.close),
            None => panic!("no frame within {PATIENCE:?}"),
        }
    }

    /// The next frame; `None` if none comes in time or the connection ends.
    pub(crate) fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        let deadline = Instant::now() + patience;
        loop {
            self.unpack();
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if !self.read_some(deadline) {
                return None;
            }
        }
    }

    /// The body of the next frame, which must be a push with operation 1000.
    pub(crate) fn push(&mut self) -> String {
        let frame = self.next();
        assert_eq!(frame.op, 1000, "{frame:?}");
        frame.text().to_owned()
    }

    /// All frames until this session's own heartbeat comes back: what was under way to it before.
    pub(crate) fn flush(&mut self) -> Vec<Frame> {
        const SEQ: i32 = 0x5eed;
        self.send(&frame::classic(1, frame::HEARTBEAT, SEQ, &[]));
        let mut frames = Vec::new();
        loop {
            let frame = self.next();
            if frame.head() == (1, frame::HEARTBEAT + 1, SEQ) {
                return frames;
            }
            frames.push(frame);
        }
    }

    /// Reads to the end of the connection; frames on the way are kept for [`Client::next`].
    pub(crate) fn end(&mut self) -> End {
        let deadline = Instant::now() + PATIENCE;
        while self.read_some(deadline) {
            self.unpack();
        }
        assert!(self.ended, "the connection is still open after {PATIENCE:?}");
        self.unpack();
        assert!(self.input.is_empty(), "{} bytes after the last whole frame", self.input.len());
        let disconnect = self.frames.back().filter(|frame| frame.op == frame::DISCONNECT).map(Frame::json);
        End { close: self.close.clone(), disconnect }
    }

    /// Exactly the next `count` bytes on the wire, not looked at.
    pub(crate) fn raw(&mut self, count: usize) -> Vec<u8> {
        assert!(self.frames.is_empty());
        while self.input.len() < count {
            assert!(self.read_some(Instant::now() + PATIENCE), "{} of {count} bytes", self.input.len());
        }
        self.input.drain(..count).collect()
    }

    /// The payload of the next pong.
    pub(crate) fn pong(&mut self) -> Vec<u8> {
        while self.pongs.is_empty() {
            assert!(self.read_some(Instant::now() + PATIENCE), "no pong");
            self.unpack();
        }
        self.pongs.remove(0)
    }

    /// Reads what there is; `false` when time is up or the connection has ended.
    fn read_some(&mut self, deadline: Instant) -> bool {
        let mut buffer = [0; 64 * 1024];
        while !self.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    return true;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A reset: the server closed with bytes of ours unread.
                Err(_) => self.ended = true,
            }
        }
        false
    }

    fn unpack(&mut self) {
        if self.transport == Transport::Tcp {
            while let Some(frame) = frame::take(&mut self.input) {
                self.frames.push_back(frame);
            }
            return;
        }
        while let Some((opcode, payload)) = websocket::take(&mut self.input) {
            match opcode {
                websocket::BINARY => self.unpack_message(&payload),
                websocket::PONG => self.pongs.push(payload),
                websocket::CLOSE if payload.is_empty() => self.close = Some((1005, String::new())),
                websocket::CLOSE => {
                    let code = u16::from_be_bytes(payload[..2].try_into().unwrap());
                    self.close = Some((code, String::from_utf8(payload[2..].to_vec()).unwrap()));
                }
                other => panic!("a message with opcode {other}"),
            }
        }
    }

    fn unpack_message(&mut self, payload: &[u8]) {
        for outer in frame::all(payload) {
            if outer.op == frame::RAW && outer.extended.is_none() && !outer.body.is_empty() {
                assert_eq!(outer.head(), (1, frame::RAW, 0));
                self.frames.extend(frame::all(&outer.body).into_iter().map(|inner| Frame { wrapped: true, ..inner }));
            } else {
                self.frames.push_back(outer);
            }
        }
    }
}

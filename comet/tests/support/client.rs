//! A blocking client with its own framing: what it takes for right is what the protocol says, not what the crate does.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use perseid_protocol::frame::{self, Extension, Header};
use perseid_protocol::op;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::stream::Stream;
use super::{Auth, PATIENCE, SECURE, Wire, certificates};

/// Frames of a server may be this long.
const FRAME_BYTES_MAX: usize = 2 << 20;
const MASK: [u8; 4] = [0x11, 0xa7, 0x00, 0xfe];

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) header: Header,
    pub(crate) header_len: usize,
    pub(crate) body: Vec<u8>,
    /// It came inside op 9.
    pub(crate) wrapped: bool,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Frame(Got),
    Text(String),
    Pong(Vec<u8>),
    /// A WebSocket close frame: code (0: none) and reason.
    Close(u16, String),
    /// The connection has ended; `true`: by a reset.
    End(bool),
}

/// How a session ended, as its client saw it.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) frames: Vec<Got>,
    /// The body of DISCONNECT.
    pub(crate) disconnect: Option<Value>,
    pub(crate) close: Option<(u16, String)>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) wire: Wire,
    raw: Vec<u8>,
    events: VecDeque<Event>,
    ended: bool,
    seq: i32,
}

impl Client {
    /// Connects, and upgrades where that is the wire; `receive_bytes` makes the receive buffer small.
    pub(crate) fn connect(addr: SocketAddr, wire: Wire, receive_bytes: Option<usize>) -> Self {
        let tcp = Self::connect_tcp(addr, receive_bytes);
        let stream = if SECURE {
            Stream::secure(tcp, certificates::shared_client_config(), "localhost").unwrap()
        } else {
            Stream::plain(tcp)
        };
        Self::on(stream, wire)
    }

    /// A client on a connection that is there.
    pub(crate) fn on(stream: Stream, wire: Wire) -> Self {
        let mut client = Self::on_quiet(stream, wire);
        if wire.websocket {
            client.upgrade();
        }
        client
    }

    /// The same, and nothing is said.
    pub(crate) fn on_quiet(stream: Stream, wire: Wire) -> Self {
        Self { stream, wire, raw: Vec::new(), events: VecDeque::new(), ended: false, seq: 0 }
    }

    /// Connected, and nothing said.
    pub(crate) fn connect_tcp(addr: SocketAddr, receive_bytes: Option<usize>) -> std::net::TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        socket.connect(&addr.into()).unwrap();
        let stream: std::net::TcpStream = socket.into();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Another end of the same connection, to send from another thread.
    pub(crate) fn sender(&self) -> Self {
        let stream = self.stream.try_clone().unwrap();
        Self { stream, wire: self.wire, raw: Vec::new(), events: VecDeque::new(), ended: false, seq: 0 }
    }

    fn upgrade(&mut self) {
        self.send_raw(UPGRADE);
        self.take_upgrade();
    }

    /// Reads the answer to [`UPGRADE`].
    pub(crate) fn take_upgrade(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends what may no longer be taken.
    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends bytes of frames: as they are, or as one binary message.
    pub(crate) fn send(&mut self, frames: &[u8]) {
        let wired = self.wired(frames);
        self.send_raw(&wired);
    }

    /// The bytes by which `frames` travel on this wire.
    pub(crate) fn wired(&self, frames: &[u8]) -> Vec<u8> {
        if self.wire.websocket { ws_frame(0x82, frames) } else { frames.to_vec() }
    }

    /// The next `seq`.
    pub(crate) fn next_seq(&mut self) -> i32 {
        self.seq += 1;
        self.seq
    }

    /// The bytes of a request on this wire's level, and its seq.
    pub(crate) fn frame(&mut self, op: i32, body: &[u8]) -> (i32, Vec<u8>) {
        let seq = self.next_seq();
        (seq, self.frame_with(op, seq, Extension::default(), body))
    }

    pub(crate) fn frame_with(&self, op: i32, seq: i32, ext: Extension, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if self.wire.extended {
            frame::put_extended(&mut out, &Header { ver: 2, op, seq, ext }, body);
        } else {
            frame::put_classic(&mut out, &Header { ver: 1, op, seq, ext }, body);
        }
        out
    }

    pub(crate) fn auth_frame(&mut self, auth: &Auth) -> Vec<u8> {
        self.frame(op::AUTH, &serde_json::to_vec(auth).unwrap()).1
    }

    pub(crate) fn send_auth(&mut self, auth: &Auth) {
        let frame = self.auth_frame(auth);
        self.send(&frame);
    }

    #[track_caller]
    pub(crate) fn login(&mut self, auth: &Auth) -> Got {
        self.send_auth(auth);
        let reply = self.next_frame();
        assert_eq!((reply.header.op, reply.header.seq), (op::AUTH_REPLY, self.seq), "{reply:?}");
        reply
    }

    /// Sends a request and gives the next frame, which has to be its reply.
    #[track_caller]
    pub(crate) fn request(&mut self, op: i32, body: &[u8]) -> Got {
        let (seq, frame) = self.frame(op, body);
        self.send(&frame);
        let reply = self.next_frame();
        assert_eq!(reply.header.seq, seq, "{reply:?}");
        reply
    }

    /// Changes the room, passing over pushes that are on their way.
    #[track_caller]
    pub(crate) fn change_room(&mut self, room: &str) -> Vec<Got> {
        let (seq, frame) = self.frame(op::CHANGE_ROOM, room.as_bytes());
        self.send(&frame);
        let mut before = Vec::new();
        loop {
            let got = self.next_frame();
            if (got.header.op, got.header.seq) == (op::CHANGE_ROOM_REPLY, seq) {
                assert_eq!(got.body, room.as_bytes());
                return before;
            }
            before.push(got);
        }
    }

    /// The number that HEARTBEAT is answered with.
    #[track_caller]
    pub(crate) fn heartbeat(&mut self) -> i32 {
        let reply = self.request(op::HEARTBEAT, &[]);
        assert_eq!(reply.header.op, op::HEARTBEAT_REPLY);
        i32::from_be_bytes(reply.body.try_into().unwrap())
    }

    #[track_caller]
    pub(crate) fn next_frame(&mut self) -> Got {
        match self.next() {
            Event::Frame(got) => got,
            other => panic!("wanted a frame, got {other:?}"),
        }
    }

    /// The next thing that happens.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert!(!self.ended, "asked on after the end");
            self.read_once(64 * 1024, true);
        }
    }

    /// Reads at most `bytes_max` of what is there, without waiting; gives the frames whole by now.
    pub(crate) fn read_now(&mut self, bytes_max: usize) -> Vec<Got> {
        self.stream.set_nonblocking(true).unwrap();
        let mut left = bytes_max;
        while left > 0 && !self.ended {
            match self.read_once(left.min(64 * 1024), false) {
                0 => break,
                count => left -= count,
            }
        }
        self.stream.set_nonblocking(false).unwrap();
        let mut frames = Vec::new();
        while let Some(Event::Frame(_)) = self.events.front() {
            if let Some(Event::Frame(got)) = self.events.pop_front() {
                frames.push(got);
            }
        }
        frames
    }

    /// Whether the end was read, or a close is next.
    pub(crate) fn is_over(&self) -> bool {
        self.ended
    }

    /// Reads until the connection ends.
    #[track_caller]
    pub(crate) fn until_end(&mut self) -> Ending {
        let mut ending = Ending::default();
        loop {
            match self.next() {
                Event::Frame(got) if got.header.op == op::DISCONNECT => ending.disconnect = Some(got.json()),
                Event::Frame(got) => ending.frames.push(got),
                Event::Close(code, reason) => ending.close = Some((code, reason)),
                Event::End(_) => return ending,
                other => panic!("{other:?} before the end"),
            }
        }
    }

    /// Reads until the end, which must tell `code` as far as this wire can.
    #[track_caller]
    pub(crate) fn expect_end(&mut self, code: u16) -> Ending {
        let ending = self.until_end();
        if self.wire.websocket {
            assert_eq!(ending.close.as_ref().map(|close| close.0), Some(code), "{ending:?}");
        }
        if self.wire.extended {
            let disconnect = ending.disconnect.as_ref().unwrap_or_else(|| panic!("no DISCONNECT: {ending:?}"));
            assert_eq!(disconnect["code"], code, "{ending:?}");
        } else {
            assert_eq!(ending.disconnect, None);
        }
        ending
    }

    pub(crate) fn shutdown_write(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// One read; gives how many bytes came.
    #[track_caller]
    fn read_once(&mut self, bytes_max: usize, wait: bool) -> usize {
        let mut chunk = vec![0; bytes_max];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.end(false),
            Ok(count) => {
                self.raw.extend_from_slice(&chunk[..count]);
                self.parse();
                return count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => assert!(!wait, "nothing came in {PATIENCE:?}"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.end(true),
        }
        0
    }

    fn end(&mut self, reset: bool) {
        self.ended = true;
        if !reset {
            assert!(self.raw.is_empty(), "{} bytes of half a frame at the end", self.raw.len());
        }
        self.events.push_back(Event::End(reset));
    }

    fn parse(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        let mut at = 0;
        while let Some(used) = if self.wire.websocket { self.parse_ws(&raw[at..]) } else { self.parse_frame(&raw[at..], false) } {
            at += used;
        }
        self.raw = raw[at..].to_vec();
    }

    fn parse_frame(&mut self, bytes: &[u8], wrapped: bool) -> Option<usize> {
        let frame = frame::decode(bytes, FRAME_BYTES_MAX).unwrap_or_else(|error| panic!("a frame from the server: {error}"))?;
        let header_len = frame.len - frame.body.len();
        assert!(header_len == 16 || header_len == 72);
        let got = Got { header: frame.header, header_len, body: frame.body.to_vec(), wrapped };
        self.events.push_back(Event::Frame(got));
        Some(frame.len)
    }

    fn parse_ws(&mut self, bytes: &[u8]) -> Option<usize> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        assert!(first & 0x80 != 0 && first & 0x70 == 0 && second & 0x80 == 0, "{first:#x} {second:#x}");
        let (len, start) = match second {
            126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
            short => (usize::from(short), 2),
        };
        let payload = bytes.get(start..start + len)?;
        match first & 0x0f {
            1 => self.events.push_back(Event::Text(String::from_utf8(payload.to_vec()).unwrap())),
            2 => self.parse_message(payload),
            8 if payload.is_empty() => self.events.push_back(Event::Close(0, String::new())),
            8 => {
                let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
                self.events.push_back(Event::Close(u16::from_be_bytes([payload[0], payload[1]]), reason));
            }
            10 => self.events.push_back(Event::Pong(payload.to_vec())),
            other => panic!("opcode {other} from the server"),
        }
        Some(start + len)
    }

    /// A binary message: whole frames, or op 9 around them.
    fn parse_message(&mut self, payload: &[u8]) {
        let mut at = 0;
        while at < payload.len() {
            let outer = frame::decode(&payload[at..], FRAME_BYTES_MAX + 64).unwrap().expect("a frame cut by its message");
            // An upstream frame with op 9 comes back as such: it has a seq.
            if outer.header.op == op::RAW && outer.header.seq == 0 {
                assert_eq!((outer.header.ver, outer.header.seq, outer.len - outer.body.len()), (1, 0, 16));
                let mut inner = 0;
                while inner < outer.body.len() {
                    inner += self.parse_frame(&outer.body[inner..], true).expect("a frame cut by its wrapper");
                }
            } else {
                self.parse_frame(&payload[at..], false);
            }
            at += outer.len;
        }
    }
}

/// A whole upgrade request; its answer holds `s3pPLMBiTxaQ9kYGzzhZRbK+xOo=`.
pub(crate) const UPGRADE: &[u8] = b"GET /sub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A masked WebSocket frame; `first` is FIN, reserved bits and opcode.
pub(crate) fn ws_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// A classic frame, with any version.
pub(crate) fn classic(ver: u16, op: i32, seq: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_classic(&mut out, &Header { ver, op, seq, ext: Extension::default() }, body);
    out
}

//! A classic TCP client: blocking, with a cap on every wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use perseid_protocol::frame::{Extension, Header, VER_CLASSIC, decode, put_classic};
use perseid_protocol::operation::op;
use serde_json::json;

use super::PATIENCE;

pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, input: Vec::new() }
    }

    /// Connected and let in; accepts operations 1000 and 1001.
    pub(crate) fn login(addr: SocketAddr, mid: i64, key: &str, room: &str) -> Self {
        let mut client = Self::connect(addr);
        client.auth(mid, key, room);
        assert_eq!(client.next(), Some((op::AUTH_REPLY, Vec::new())));
        client
    }

    pub(crate) fn auth(&mut self, mid: i64, key: &str, room: &str) {
        let body = json!({ "mid": mid, "key": key, "room_id": room, "platform": "test", "accepts": [1000, 1001] });
        self.send(op::AUTH, body.to_string().as_bytes());
    }

    pub(crate) fn send(&mut self, op: i32, body: &[u8]) {
        let mut frame = Vec::new();
        put_classic(&mut frame, &Header { ver: VER_CLASSIC, op, seq: 1, ext: Extension::default() }, body);
        self.stream.write_all(&frame).unwrap();
    }

    /// Enters a room, and is there.
    pub(crate) fn change_room(&mut self, room: &str) {
        self.send(op::CHANGE_ROOM, room.as_bytes());
        assert_eq!(self.next(), Some((op::CHANGE_ROOM + 1, room.as_bytes().to_vec())));
    }

    /// People online in the room, as HEARTBEAT says.
    pub(crate) fn heartbeat(&mut self) -> u32 {
        self.send(op::HEARTBEAT, &[]);
        let (op, body) = self.next().unwrap();
        assert_eq!(op, op::HEARTBEAT_REPLY);
        u32::from_be_bytes(body.try_into().unwrap())
    }

    /// The next frame: operation and body; none when the connection ends.
    pub(crate) fn next(&mut self) -> Option<(i32, Vec<u8>)> {
        loop {
            if let Some(frame) = decode(&self.input, 16 << 20).unwrap() {
                let (op, body, len) = (frame.header.op, frame.body.to_vec(), frame.len);
                self.input.drain(..len);
                return Some((op, body));
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no frame: {error}"),
            }
        }
    }

    /// The next frame is a push: its body.
    pub(crate) fn push(&mut self) -> String {
        let (op, body) = self.next().expect("a push");
        assert!([1000, 1001].contains(&op), "{op}");
        String::from_utf8(body).unwrap()
    }

    /// Whether nothing arrives before the answer to a heartbeat.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.send(op::HEARTBEAT, &[]);
        self.next().unwrap().0 == op::HEARTBEAT_REPLY
    }

    /// Whether the connection is still open, without waiting long.
    pub(crate) fn is_open(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let open = match self.stream.peek(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        open
    }
}

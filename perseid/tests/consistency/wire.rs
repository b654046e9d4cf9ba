//! One connection of an extended client: written by hand, tolerant of everything that a killed server does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::history::Row;
use crate::support::frame::{self, Extended, Frame};

/// How long an answer may take before the connection is given up.
const ANSWER: Duration = Duration::from_secs(10);
const GONE: u16 = 4;

/// The connection is over: whatever was under way is unknown.
#[derive(Debug)]
pub(crate) struct Lost;

pub(crate) struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    seq: i32,
    /// Answers that came before those asked for earlier: only a liar's do.
    early: Vec<Frame>,
}

impl Wire {
    pub(crate) fn open(addr: SocketAddr) -> Result<Self, Lost> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).map_err(|_| Lost)?;
        stream.set_nodelay(true).map_err(|_| Lost)?;
        Ok(Self { stream, input: Vec::new(), seq: 0, early: Vec::new() })
    }

    /// Writes a request, and gives its number.
    pub(crate) fn ask(&mut self, op: i32, ext: &Extended, body: &[u8]) -> Result<i32, Lost> {
        self.seq += 1;
        self.stream.write_all(&frame::extended(op, self.seq, ext, body)).map_err(|_| Lost)?;
        Ok(self.seq)
    }

    /// The next frame, if one comes within `patience`.
    pub(crate) fn next(&mut self, patience: Duration) -> Result<Option<Frame>, Lost> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = frame::take(&mut self.input) {
                return if frame.op == frame::DISCONNECT { Err(Lost) } else { Ok(Some(frame)) };
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            self.stream.set_read_timeout(Some(left)).map_err(|_| Lost)?;
            let mut bytes = [0; 16384];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Lost),
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(_) => return Err(Lost),
            }
        }
    }

    /// The answer to the request `seq`; what else comes meanwhile is given to `push`.
    pub(crate) fn answer(&mut self, seq: i32, mut push: impl FnMut(Frame)) -> Result<Frame, Lost> {
        if let Some(index) = self.early.iter().position(|frame| frame.seq == seq) {
            return Ok(self.early.swap_remove(index));
        }
        let deadline = Instant::now() + ANSWER;
        loop {
            let left = deadline.checked_duration_since(Instant::now()).ok_or(Lost)?;
            match self.next(left)? {
                Some(frame) if frame.seq == seq => return Ok(frame),
                Some(frame) if frame.seq > seq => self.early.push(frame),
                Some(frame) => push(frame),
                None => {}
            }
        }
    }

    /// Shows who this is; gives the answer.
    pub(crate) fn auth(&mut self, body: &serde_json::Value) -> Result<Frame, Lost> {
        let seq = self.ask(frame::AUTH, &Extended::default(), body.to_string().as_bytes())?;
        let reply = self.answer(seq, |_| {})?;
        assert_eq!(reply.op, frame::AUTH_REPLY, "{reply:?}");
        Ok(reply)
    }
}

/// The stored message of a frame.
pub(crate) fn row(frame: &Frame) -> Row {
    let ext = frame.extended.expect("a stored message has a header of 72 bytes");
    Row {
        pos: ext.pos,
        id: ext.id,
        conv: ext.conv,
        conv_pos: ext.conv_pos,
        from: ext.from,
        cid: ext.cid,
        kind: ext.kind,
        gone: ext.flags & GONE != 0,
        body: String::from_utf8_lossy(&frame.body).into_owned(),
    }
}

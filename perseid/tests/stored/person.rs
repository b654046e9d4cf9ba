//! A user with an extended session: asks, and keeps what is pushed meanwhile.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::support::frame::{self, Extended, Frame};
use crate::support::{Client, PATIENCE, Server, Serves, Transport};

pub(crate) const SEND: i32 = 4;
pub(crate) const SYNC: i32 = 18;
pub(crate) const ACK: i32 = 20;
pub(crate) const PULL: i32 = 22;
pub(crate) const READ: i32 = 24;
pub(crate) const HEADS: i32 = 26;
pub(crate) const RECALL: i32 = 28;
pub(crate) const EPHEMERAL: i32 = 30;
pub(crate) const HEAD: i32 = 31;

pub(crate) const STORED: u16 = 1;
pub(crate) const MORE: u16 = 2;
pub(crate) const GONE: u16 = 4;
pub(crate) const EPHEMERAL_FLAG: u16 = 8;
pub(crate) const DUPLICATE: u16 = 16;
pub(crate) const QUIET: u16 = 32;

pub(crate) struct Person {
    pub(crate) mid: u64,
    pub(crate) client: Client,
    /// What AUTH was answered with.
    pub(crate) told: Value,
    pushed: VecDeque<Frame>,
    seq: i32,
}

impl Person {
    /// Lets in a user, who is live afterwards.
    pub(crate) fn enter(server: &impl Serves, transport: Transport, mid: u64) -> Self {
        let mut person = Self::enter_with(server, transport, mid, json!({}));
        person.sync_all();
        person
    }

    /// Lets in a user with further fields of AUTH, who is live only if these say so.
    pub(crate) fn enter_with(server: &impl Serves, transport: Transport, mid: u64, more: Value) -> Self {
        let mut auth = json!({ "mid": mid, "platform": "test" });
        for (name, value) in more.as_object().into_iter().flatten() {
            auth[name] = value.clone();
        }
        let (client, told) = Client::extended(server, transport, &auth);
        Self { mid, client, told, pushed: VecDeque::new(), seq: 100 }
    }

    /// Asks, and gives the number of the request.
    pub(crate) fn begin(&mut self, op: i32, ext: Extended, body: &[u8]) -> i32 {
        self.seq += 1;
        self.client.send(&frame::extended(op, self.seq, &ext, body));
        self.seq
    }

    /// The answer to a request.
    pub(crate) fn answer(&mut self, seq: i32) -> Frame {
        loop {
            let frame = self.client.next();
            if frame.seq == seq {
                return frame;
            }
            self.pushed.push_back(frame);
        }
    }

    pub(crate) fn ask(&mut self, op: i32, ext: Extended, body: &[u8]) -> Frame {
        let seq = self.begin(op, ext, body);
        self.answer(seq)
    }

    /// Asks for what must be granted; gives the extended fields and the body of the reply.
    pub(crate) fn granted(&mut self, op: i32, ext: Extended, body: &[u8]) -> (Extended, Vec<u8>) {
        let reply = self.ask(op, ext, body);
        assert_eq!(reply.op, op + 1, "{}", String::from_utf8_lossy(&reply.body));
        (reply.extended.unwrap(), reply.body)
    }

    /// Asks for what must be refused; gives the reason and the whole body.
    pub(crate) fn refused(&mut self, op: i32, ext: Extended, body: &[u8]) -> (String, Value) {
        let reply = self.ask(op, ext, body);
        assert_eq!(reply.op, frame::ERROR, "{reply:?}");
        let echoed = reply.extended.unwrap();
        assert_eq!((echoed.kind, echoed.conv, echoed.conv_pos, echoed.cid), (ext.kind, ext.conv, ext.conv_pos, ext.cid));
        let error = reply.json();
        assert!(error["message"].as_str().is_some_and(|text| text.len() > 10), "what to do about it: {error}");
        (error["reason"].as_str().unwrap().to_owned(), error)
    }

    pub(crate) fn send(&mut self, kind: u16, conv: u64, cid: u64, body: &str) -> Extended {
        self.granted(SEND, Extended { kind, conv, cid, ..Extended::default() }, body.as_bytes()).0
    }

    /// A page of the inbox.
    pub(crate) fn sync(&mut self, pos: u64, limit: u32) -> (Extended, Vec<Frame>) {
        let (ext, body) = self.granted(SYNC, Extended { pos, ..Extended::default() }, &limit.to_be_bytes());
        (ext, frame::all(&body))
    }

    /// The whole inbox; live afterwards.
    pub(crate) fn sync_all(&mut self) -> Vec<Frame> {
        let (mut rows, mut pos) = (Vec::new(), 0);
        loop {
            let (ext, page) = self.sync(pos, 200);
            pos = page.last().map_or(ext.pos, |row| row.extended.unwrap().pos);
            rows.extend(page);
            if ext.flags & MORE == 0 {
                return rows;
            }
        }
    }

    /// A page of a timeline.
    pub(crate) fn pull(&mut self, kind: u16, conv: u64, conv_pos: u64, flags: u16, limit: u32) -> (Extended, Vec<Frame>) {
        let (ext, body) =
            self.granted(PULL, Extended { kind, conv, conv_pos, flags, ..Extended::default() }, &limit.to_be_bytes());
        (ext, frame::all(&body))
    }

    /// The next frame that was pushed.
    pub(crate) fn pushed(&mut self) -> Frame {
        self.pushed.pop_front().unwrap_or_else(|| self.client.next())
    }

    /// The next pushed frame that `wanted` accepts; others are dropped.
    pub(crate) fn pushed_where(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.pushed.pop_front().or_else(|| self.client.next_within(PATIENCE));
            let frame = frame.unwrap_or_else(|| panic!("{} was not pushed {what}", self.mid));
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// The next event of this type.
    pub(crate) fn event(&mut self, word: &str) -> (Extended, Value) {
        let is_it = |frame: &Frame| frame.extended.is_some_and(|ext| ext.kind == 5) && frame.json()["type"] == word;
        let frame = self.pushed_where(word, is_it);
        (frame.extended.unwrap(), frame.json())
    }

    /// Everything that was pushed until the answer to a heartbeat; its `pos` comes first.
    pub(crate) fn quiet(&mut self) -> (u64, Vec<Frame>) {
        let reply = self.ask(frame::HEARTBEAT, Extended::default(), b"");
        (reply.extended.unwrap().pos, self.pushed.drain(..).collect())
    }
}

pub(crate) fn direct(conv: u64, cid: u64) -> Extended {
    Extended { kind: 1, conv, cid, ..Extended::default() }
}

/// Kills the server with -9.
pub(crate) fn killed(server: Server) -> crate::support::server::Stopped {
    crate::support::server::signal(server.pid, "KILL");
    server.killed()
}

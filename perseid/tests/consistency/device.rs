//! A device that chats at random, follows the client's rule, and notes everything.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::history::{Event, History, Row, Talk};
use super::random::Random;
use super::wire::{Lost, Wire, row};
use crate::support::frame::{self, Extended, Frame};

pub(crate) const SYNC: i32 = 18;
pub(crate) const ACK: i32 = 20;
pub(crate) const PULL: i32 = 22;
pub(crate) const READ: i32 = 24;
pub(crate) const RECALL: i32 = 28;
const HEAD: i32 = 31;
pub(crate) const STORED: u16 = 1;
pub(crate) const MORE: u16 = 2;

/// Where the server listens now; nowhere while it is dead.
pub(crate) type Address = Arc<Mutex<Option<SocketAddr>>>;

/// How long a device may take to come to rest.
const SETTLE: Duration = Duration::from_secs(90);

struct Pending {
    talk: Talk,
    kind: u16,
    conv: u64,
    cid: u64,
    body: String,
}

pub(crate) struct Device {
    number: usize,
    mid: u64,
    peers: Vec<u64>,
    groups: Vec<u64>,
    address: Address,
    history: History,
    random: Random,
    wire: Option<Wire>,
    epoch: u64,
    cursor: u64,
    /// The server told of more than was applied.
    behind: bool,
    next_cid: u64,
    outbox: VecDeque<Pending>,
    /// Lately applied, to read and to take back.
    recent: VecDeque<Row>,
}

impl Device {
    pub(crate) fn new(
        number: usize,
        mid: u64,
        peers: &[u64],
        groups: &[u64],
        address: Address,
        history: History,
        seed: u64,
    ) -> Self {
        Self {
            number,
            mid,
            peers: peers.to_vec(),
            groups: groups.to_vec(),
            address,
            history,
            random: Random::new(seed ^ (number as u64 + 1)),
            wire: None,
            epoch: 0,
            cursor: 0,
            behind: false,
            next_cid: (number as u64 + 1) << 32,
            outbox: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// Chats until told to stop.
    pub(crate) fn chat(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            if self.step().is_err() {
                self.wire = None;
                std::thread::sleep(Duration::from_millis(self.random.below(60)));
            }
        }
    }

    /// Comes to rest, on a connection of its own: everything that was begun is known, and everything that is there was applied.
    pub(crate) fn settle(&mut self) {
        let deadline = Instant::now() + SETTLE;
        self.wire = None;
        // A liar may have told another.
        self.epoch = 0;
        while !self.try_settle(deadline).unwrap_or(false) {
            self.wire = None;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_settle(&mut self, deadline: Instant) -> Result<bool, Lost> {
        self.in_time(deadline);
        self.connected()?;
        while !self.outbox.is_empty() {
            self.in_time(deadline);
            self.flush(1)?;
        }
        self.sync()?;
        let is_whole = self.heartbeat()? == self.cursor;
        if is_whole {
            self.acknowledge()?;
        }
        Ok(is_whole)
    }

    fn in_time(&self, deadline: Instant) {
        let (number, waiting) = (self.number, self.outbox.len());
        assert!(Instant::now() < deadline, "device {number} does not come to rest: {waiting} under way");
    }

    fn step(&mut self) -> Result<(), Lost> {
        self.connected()?;
        let patience = Duration::from_millis(self.random.below(15));
        self.listen(patience)?;
        if self.behind {
            self.sync()?;
        }
        match self.random.below(100) {
            0..=59 => {
                let burst = 1 + self.random.below(4) as usize;
                (0..burst).for_each(|_| self.write());
                self.flush(burst)
            }
            60..=74 => self.acknowledge(),
            75..=82 => self.heartbeat().map(|_| ()),
            83..=92 => self.read(),
            93..=96 => self.recall(),
            _ => Err(Lost),
        }
    }

    fn connected(&mut self) -> Result<(), Lost> {
        if self.wire.is_some() {
            return Ok(());
        }
        let address = (*self.address.lock().unwrap()).ok_or(Lost)?;
        let mut wire = Wire::open(address)?;
        let device_id = format!("d{}", self.number);
        let mut body = json!({ "mid": self.mid, "platform": "test", "device_id": device_id });
        if self.epoch != 0 {
            body["epoch"] = self.epoch.into();
            body["pos"] = self.cursor.into();
        }
        let reply = wire.auth(&body)?;
        let told = reply.json();
        let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{name} in {told}"));
        let (epoch, head, cursor) = (number("epoch"), number("head"), number("cursor"));
        self.history.note(Event::Entered { device: self.number, mid: self.mid, epoch, head, cursor });
        self.epoch = epoch;
        self.wire = Some(wire);
        // What was under way is unknown until everything that is there was seen.
        self.sync()?;
        let under_way = self.outbox.len();
        self.flush(under_way)
    }

    fn wire(&mut self) -> Result<&mut Wire, Lost> {
        self.wire.as_mut().ok_or(Lost)
    }

    /// One more message for the outbox.
    fn write(&mut self) {
        self.next_cid += 1;
        let cid = self.next_cid;
        let (kind, conv) = if !self.groups.is_empty() && self.random.below(2) == 0 {
            (2, self.groups[self.random.below(self.groups.len() as u64) as usize])
        } else {
            (1, self.peers[self.random.below(self.peers.len() as u64) as usize])
        };
        let body = format!("{cid} from {} to {kind}/{conv}", self.mid);
        self.outbox.push_back(Pending { talk: Talk::of(kind, conv, self.mid), kind, conv, cid, body });
    }

    /// Sends the first of the outbox in one go, and reads the answers.
    fn flush(&mut self, count: usize) -> Result<(), Lost> {
        let mut asked = Vec::new();
        for index in 0..count.min(self.outbox.len()) {
            let Pending { talk, kind, conv, cid, body } = &self.outbox[index];
            let (talk, cid, body, ext) =
                (*talk, *cid, body.clone(), Extended { kind: *kind, conv: *conv, cid: *cid, ..Extended::default() });
            self.history.note(Event::Invoked { mid: self.mid, talk, cid, body: body.clone() });
            asked.push((self.wire()?.ask(frame::SEND_MSG, &ext, body.as_bytes())?, cid));
        }
        for (seq, cid) in asked {
            let reply = self.answer(seq)?;
            self.sent(cid, &reply);
        }
        Ok(())
    }

    fn sent(&mut self, cid: u64, reply: &Frame) {
        let Some(index) = self.outbox.iter().position(|pending| pending.cid == cid) else { return };
        if reply.op == frame::ERROR {
            let error = reply.json();
            // Surely not written, or nobody knows: the same again, later.
            if !matches!(error["code"].as_u64(), Some(429 | 503 | 504)) {
                self.outbox.remove(index);
                let reason = error["reason"].to_string();
                self.history.note(Event::Refused { mid: self.mid, cid, reason });
            }
            return;
        }
        let id = reply.extended.expect("a long header").id;
        let Some(Pending { talk, .. }) = self.outbox.remove(index) else { return };
        self.history.note(Event::Acknowledged { mid: self.mid, talk, cid, id });
    }

    /// An answer; what is pushed meanwhile is looked at.
    fn answer(&mut self, seq: i32) -> Result<Frame, Lost> {
        let mut pushed = Vec::new();
        let reply = self.wire()?.answer(seq, |frame| pushed.push(frame));
        pushed.iter().for_each(|frame| self.pushed(frame));
        reply
    }

    fn listen(&mut self, patience: Duration) -> Result<(), Lost> {
        while let Some(frame) = self.wire()?.next(patience)? {
            self.pushed(&frame);
        }
        Ok(())
    }

    /// The client's rule.
    fn pushed(&mut self, frame: &Frame) {
        let Some(ext) = frame.extended else { return };
        if frame.op == HEAD && ext.kind == 0 {
            self.told(ext.pos);
        } else if ext.flags & STORED != 0 {
            if ext.pos == self.cursor + 1 {
                self.apply(row(frame));
            } else if ext.pos > self.cursor {
                self.behind = true;
            }
        }
    }

    fn told(&mut self, head: u64) {
        self.history.note(Event::Head { device: self.number, mid: self.mid, head });
        self.behind |= head > self.cursor;
    }

    fn apply(&mut self, row: Row) {
        self.cursor = row.pos;
        // It came back: it was accepted, whatever became of the answer.
        if row.from == self.mid
            && let Some(index) = self.outbox.iter().position(|pending| pending.cid == row.cid)
            && let Some(Pending { talk, cid, .. }) = self.outbox.remove(index)
        {
            self.history.note(Event::Acknowledged { mid: self.mid, talk, cid, id: row.id });
        }
        if self.recent.len() > 30 {
            self.recent.pop_front();
        }
        self.recent.push_back(row.clone());
        self.history.note(Event::Applied { device: self.number, mid: self.mid, row });
    }

    fn sync(&mut self) -> Result<(), Lost> {
        loop {
            let ext = Extended { pos: self.cursor, ..Extended::default() };
            let seq = self.wire()?.ask(SYNC, &ext, &50_u32.to_be_bytes())?;
            let reply = self.answer(seq)?;
            assert_ne!(reply.op, frame::ERROR, "SYNC from {} was refused: {}", self.cursor, reply.text());
            let header = reply.extended.expect("a long header");
            for frame in frame::all(&reply.body) {
                let row = row(&frame);
                // Pushes may have come before the page.
                if row.pos == self.cursor + 1 {
                    self.apply(row);
                } else {
                    assert!(row.pos <= self.cursor, "a page from {} jumps to {}", self.cursor, row.pos);
                }
            }
            self.behind = false;
            self.told(header.pos);
            if header.flags & MORE == 0 && !self.behind {
                return Ok(());
            }
        }
    }

    fn acknowledge(&mut self) -> Result<(), Lost> {
        let ext = Extended { pos: self.cursor, ..Extended::default() };
        let seq = self.wire()?.ask(ACK, &ext, b"")?;
        let reply = self.answer(seq)?;
        assert_ne!(reply.op, frame::ERROR, "ACK of {} was refused: {}", self.cursor, reply.text());
        let pos = reply.extended.expect("a long header").pos;
        self.history.note(Event::Cursor { device: self.number, mid: self.mid, pos });
        Ok(())
    }

    fn heartbeat(&mut self) -> Result<u64, Lost> {
        let seq = self.wire()?.ask(frame::HEARTBEAT, &Extended::default(), b"")?;
        let head = self.answer(seq)?.extended.expect("a long header").pos;
        self.told(head);
        Ok(head)
    }

    fn read(&mut self) -> Result<(), Lost> {
        let messages: Vec<_> = self.recent.iter().filter(|row| matches!(row.kind, 1 | 2)).collect();
        let Some(row) = messages.last() else { return Ok(()) };
        let (kind, conv, conv_pos) = (row.kind, row.conv, row.conv_pos);
        let seq = self.wire()?.ask(READ, &Extended { kind, conv, conv_pos, ..Extended::default() }, b"")?;
        let reply = self.answer(seq)?;
        if reply.op != frame::ERROR {
            let pos = reply.extended.expect("a long header").conv_pos;
            self.history.note(Event::Read { mid: self.mid, talk: Talk::of(kind, conv, self.mid), pos });
        }
        Ok(())
    }

    fn recall(&mut self) -> Result<(), Lost> {
        let Some(row) = self.recent.iter().find(|row| row.from == self.mid && matches!(row.kind, 1 | 2)).cloned() else {
            return Ok(());
        };
        let ext = Extended { kind: row.kind, conv: row.conv, conv_pos: row.conv_pos, ..Extended::default() };
        let seq = self.wire()?.ask(RECALL, &ext, b"")?;
        let reply = self.answer(seq)?;
        if reply.op != frame::ERROR {
            let talk = Talk::of(row.kind, row.conv, self.mid);
            self.history.note(Event::Recalled { talk, pos: row.conv_pos, id: row.id });
        }
        Ok(())
    }
}

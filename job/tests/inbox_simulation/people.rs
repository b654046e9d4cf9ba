//! Clients and their sessions. A client knows the client rule and nothing else; a session does what a comet does.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use perseid_protocol::frame::flag;
use perseid_protocol::operation::op;
use perseid_protocol::push::{Delivery, Push, SessionAddr, Target};
use perseid_store::stored::Store;
use perseid_store::stored::read::{InboxView, Message, OpenInbox, OutOfRange, PageBound};

/// A stored message as a client holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: u64,
    pub(crate) from: u64,
    pub(crate) cid: u64,
    pub(crate) kind: u16,
    pub(crate) op: i32,
    pub(crate) flags: u16,
    pub(crate) conv: u64,
    pub(crate) conv_pos: u64,
    pub(crate) body: Bytes,
}

impl Frame {
    fn of_push(push: &Push, conv: u64) -> Self {
        let Push { id, from, cid, kind, op, flags, conv_pos, .. } = *push;
        Self { id, from, cid, kind, op, flags: flags & !flag::STORED, conv, conv_pos, body: push.body.clone() }
    }

    pub(crate) fn of_message(message: &Message, reader: u64) -> Self {
        let Message { id, from, cid, kind, op, flags, conv_pos, .. } = *message;
        let conv = message.conv.map_or(0, |conv| conv.seen_by(reader));
        Self { id, from, cid, kind, op, flags: flags & !flag::STORED, conv, conv_pos, body: message.body.clone() }
    }

    /// The same, or what a recall left of it.
    pub(crate) fn became(&self, later: &Self) -> bool {
        let gone = later.flags & flag::GONE != 0;
        let was = Self { flags: self.flags | (later.flags & flag::GONE), ..self.clone() };
        if gone { Self { body: later.body.clone(), ..was } == *later } else { was == *later }
    }
}

/// A device with what it has stored.
pub(crate) struct Device {
    pub(crate) mid: u64,
    pub(crate) name: Box<str>,
    pub(crate) epoch: u64,
    pub(crate) cursor: u64,
    pub(crate) items: BTreeMap<u64, Frame>,
    waiting: BTreeMap<u64, Frame>,
    pub(crate) wants_sync: bool,
    pub(crate) session: Option<usize>,
    /// The newest head that it was shown, by its epoch.
    head: (u64, u64),
}

impl Device {
    fn apply(&mut self, pos: u64, frame: Frame) {
        self.items.insert(pos, frame);
        self.cursor = pos;
        while let Some(frame) = self.waiting.remove(&(self.cursor + 1)) {
            self.cursor += 1;
            self.items.insert(self.cursor, frame);
        }
        self.waiting = self.waiting.split_off(&(self.cursor + 1));
    }

    /// The client rule.
    fn frame(&mut self, pos: u64, frame: Frame) {
        if pos == self.cursor + 1 {
            self.apply(pos, frame);
        } else if pos > self.cursor {
            self.waiting.insert(pos, frame);
            // After 500 ms; the world decides when that is.
            self.wants_sync = true;
        }
    }

    fn head(&mut self, pos: u64) {
        self.wants_sync |= pos > self.cursor;
    }

    fn begin_anew(&mut self, inbox: InboxView) {
        self.epoch = inbox.epoch;
        self.cursor = inbox.floor - 1;
        self.items.clear();
        self.waiting.clear();
        self.wants_sync = true;
        self.head = (inbox.epoch, inbox.head);
    }
}

/// What waits for a session in its comet.
pub(crate) enum Mail {
    Delivery(Delivery),
    /// The comet was told to resync, or the heart beats.
    Touch,
}

/// A session.
pub(crate) struct Session {
    pub(crate) device: usize,
    pub(crate) epoch: u64,
    foreign: bool,
    live: bool,
    withheld: u64,
    pub(crate) mailbox: VecDeque<Mail>,
    pub(crate) open: bool,
}

/// Everybody.
pub(crate) struct People {
    pub(crate) devices: Vec<Device>,
    pub(crate) sessions: Vec<Session>,
    /// What was shown where: (user, epoch, position) → ids.
    pub(crate) shown: HashMap<(u64, u64, u64), Vec<u64>>,
    pub(crate) wrong: Option<String>,
    /// Clients that had to begin anew, and pages that a timeline was not whole enough for.
    pub(crate) began_anew: u64,
    pub(crate) unavailable: u64,
}

fn now<T>(answer: perseid_store::Verdict<Result<T, perseid_store::stored::read::StoreDown>>) -> T {
    answer.now().unwrap().unwrap()
}

impl People {
    pub(crate) fn new(mids: &[u64]) -> Self {
        let device = |(index, mid): (usize, &u64)| Device {
            mid: *mid,
            name: format!("device-{index}").into(),
            epoch: 0,
            cursor: 0,
            items: BTreeMap::new(),
            waiting: BTreeMap::new(),
            wants_sync: false,
            session: None,
            head: (0, 0),
        };
        let devices = mids.iter().enumerate().map(device).collect();
        Self { devices, sessions: Vec::new(), shown: HashMap::new(), wrong: None, began_anew: 0, unavailable: 0 }
    }

    /// Something is not as it has to be. The first thing counts.
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn show(&mut self, mid: u64, epoch: u64, pos: u64, id: u64) {
        let ids = self.shown.entry((mid, epoch, pos)).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    /// Where all sessions of a user are.
    pub(crate) fn sessions_of(&self, mid: u64, out: &mut Vec<SessionAddr>) {
        let of = self.devices.iter().filter(|device| device.mid == mid).filter_map(|device| device.session);
        out.extend(of.map(|slot| SessionAddr { slot: slot as u32, ..SessionAddr::default() }));
    }

    pub(crate) fn connect(&mut self, at: usize, store: &dyn Store, now_ms: u64) {
        let device = &mut self.devices[at];
        let (mid, epoch, cursor) = (device.mid, device.epoch, device.cursor);
        let has = (epoch != 0).then_some((epoch, cursor));
        let opened = now(store.open_inbox(OpenInbox { mid, device: device.name.clone(), has, now_ms }));
        if has.is_none() {
            device.begin_anew(InboxView { floor: 1, ..opened.inbox });
        }
        let live = has.is_some() && !opened.foreign && cursor == opened.inbox.head;
        device.session = Some(self.sessions.len());
        device.wants_sync = !live;
        device.waiting.clear();
        let (epoch, foreign) = (opened.inbox.epoch, opened.foreign);
        self.sessions.push(Session { device: at, epoch, foreign, live, withheld: 0, mailbox: VecDeque::new(), open: true });
    }

    pub(crate) fn end(&mut self, slot: usize) {
        let session = &mut self.sessions[slot];
        if std::mem::take(&mut session.open) {
            session.mailbox.clear();
            self.devices[session.device].session = None;
        }
    }

    /// Puts a delivery into the mailbox of its session.
    pub(crate) fn post(&mut self, slot: usize, mail: Mail) {
        if let Some(session) = self.sessions.get_mut(slot).filter(|session| session.open) {
            session.mailbox.push_back(mail);
        }
    }

    /// The session takes what waits longest.
    pub(crate) fn deliver(&mut self, slot: usize, store: &dyn Store) {
        match self.sessions[slot].mailbox.pop_front() {
            Some(Mail::Touch) => self.touch(slot, store),
            Some(Mail::Delivery(delivery)) => self.take(slot, &delivery),
            None => {}
        }
    }

    fn take(&mut self, slot: usize, delivery: &Delivery) {
        let session = &mut self.sessions[slot];
        let device = &mut self.devices[session.device];
        match delivery.target {
            Target::End(..) => self.end(slot),
            Target::Inbox { pos, .. } if !session.live => session.withheld = session.withheld.max(pos),
            Target::Inbox { pos, .. } if delivery.push.op == op::HEAD => device.head(pos),
            Target::Inbox { pos, conv, .. } => device.frame(pos, Frame::of_push(&delivery.push, conv)),
            _ => self.wrong(format!("a session got {:?}", delivery.target)),
        }
    }

    /// The comet looks where the inbox stands.
    fn touch(&mut self, slot: usize, store: &dyn Store) {
        let session = &self.sessions[slot];
        let device = &mut self.devices[session.device];
        let view = now(store.inbox(device.mid));
        if view.epoch != session.epoch {
            return self.end(slot);
        }
        if session.live {
            device.head(view.head);
        }
    }

    /// The client of this session asks for what follows its cursor.
    pub(crate) fn sync(&mut self, slot: usize, store: &dyn Store, messages_max: usize) {
        let session = &mut self.sessions[slot];
        let device = &mut self.devices[session.device];
        let view = now(store.inbox(device.mid));
        device.wants_sync = false;
        // Nothing waits for longer than this.
        device.waiting.clear();
        if session.foreign || session.epoch != view.epoch {
            return self.epoch_changed(slot, view);
        }
        let Ok(answer) = store.sync(device.mid, device.cursor, PageBound { messages_max, bytes_max: 1 << 20 }).now().unwrap()
        else {
            // A timeline is being filled again: UNAVAILABLE.
            device.wants_sync = true;
            self.unavailable += 1;
            return;
        };
        match answer {
            Err(OutOfRange::TooOld(view)) => {
                device.cursor = view.floor - 1;
                device.wants_sync = true;
            }
            Err(OutOfRange::AboveHead(view)) => self.epoch_changed(slot, view),
            Ok(page) => {
                let (mid, epoch, head) = (device.mid, page.inbox.epoch, page.inbox.head);
                if device.head.0 == epoch && head < device.head.1 && device.cursor > head {
                    self.wrong(format!("the head of {mid} went back to {head} in the epoch {epoch}"));
                    return;
                }
                device.head = (epoch, head);
                for message in &page.messages {
                    if message.pos != device.cursor + 1 {
                        let cursor = device.cursor;
                        self.wrong(format!("a page of {mid} has {} after {cursor}", message.pos));
                        return;
                    }
                    device.apply(message.pos, Frame::of_message(message, mid));
                }
                device.wants_sync = page.more;
                if !page.more {
                    session.live = true;
                    // HEAD, once.
                    device.wants_sync = std::mem::take(&mut session.withheld) > device.cursor;
                }
                for message in &page.messages {
                    self.show(mid, epoch, message.pos, message.id);
                }
            }
        }
    }

    /// What the session began with does not hold. One that is live may have frames of before on their way: it has to go.
    fn epoch_changed(&mut self, slot: usize, view: InboxView) {
        let session = &mut self.sessions[slot];
        if session.live {
            return self.end(slot);
        }
        (session.foreign, session.epoch, session.withheld) = (false, view.epoch, 0);
        self.began_anew += 1;
        self.devices[session.device].begin_anew(view);
    }
}

//! From what the parts want to what the driver does; runs after every input.

use bytes::Bytes;
use perseid_protocol::frame::{self, Extension, Header, VER_EXTENDED};
use perseid_protocol::op;

use super::inbox::Applied;
use super::outbox::{self, Outcome};
use super::rooms::RoomTells;
use super::{Action, Core, Link, Reply};
use crate::event::{self, Change, Event, Message, What};
use crate::storage::Record;

/// Messages that one SYNC asks for: the most that a server gives.
const PAGE: u32 = 200;

impl Core {
    pub(super) fn pump(&mut self, now_ms: u64) {
        for applied in self.inbox.take_applied() {
            self.give(applied);
        }
        self.settle();
        self.tell_room();
        self.keep_cursor(now_ms);
        if !self.is_ready() {
            return;
        }
        self.open_outbox();
        self.write_sync(now_ms);
        self.write_messages(now_ms);
        self.write_room();
        self.write_requests();
    }

    /// One thing from the inbox. That an own message has come back is stored before the application can move its cursor
    /// past it: else a restart could send it again.
    fn give(&mut self, applied: Applied) {
        match applied {
            Applied::Skipped(skipped) => {
                self.outbox.note_skipped();
                self.tell(Event::Skipped(skipped));
            }
            Applied::Frame(header, body) => {
                let epoch = self.inbox.position().epoch;
                if event::is_change(&header) {
                    let change = Change::new(epoch, &header, body);
                    if let What::Rejected { cid, reason } = &change.what {
                        self.outbox.handle_rejected(*cid, reason);
                    }
                    self.settle();
                    self.tell(Event::Change(change));
                } else {
                    if i64::try_from(header.ext.from).is_ok_and(|from| from == self.mid) && header.ext.cid != 0 {
                        self.outbox.handle_echo(&header);
                    }
                    self.settle();
                    self.tell(Event::Message(Message::new(epoch, &header, body)));
                }
            }
        }
    }

    /// What became of messages: stored first, then told.
    fn settle(&mut self) {
        for Outcome { cid, token, result } in self.outbox.take_outcomes() {
            self.actions.push_back(Action::Store(Record::Done { cid }));
            match token {
                Some(token) => self.answer(token, result.map(Reply::Sent)),
                None => self.tell(Event::Outcome { cid, result }),
            }
        }
    }

    fn tell_room(&mut self) {
        for tells in self.room.take_tells() {
            match tells {
                RoomTells::Frame(frame) => self.tell(Event::RoomFrame(frame)),
                RoomTells::Gap(gap) => self.tell(Event::RoomGap(gap)),
                RoomTells::Answer(token, answer) => self.answer(token, answer.map(Reply::Joined)),
            }
        }
    }

    fn open_outbox(&mut self) {
        if !self.inbox.is_synced() {
            return;
        }
        self.outbox.open(self.limits.cid_ms, usize::try_from(self.limits.body_bytes).unwrap_or(usize::MAX));
        if !std::mem::replace(&mut self.told_synced, true) {
            self.tell(Event::Synced { head: self.inbox.position().pos });
        }
    }

    fn write_sync(&mut self, now_ms: u64) {
        let Some(after) = self.inbox.take_sync(now_ms) else { return };
        let seq = self.write(op::SYNC, Extension { pos: after, ..Extension::default() }, &PAGE.to_be_bytes());
        if let Link::Open(open) = &mut self.link {
            open.sync = Some((seq, now_ms));
        }
    }

    fn write_messages(&mut self, now_ms: u64) {
        while let Some(next) = self.outbox.next_to_send(now_ms, &mut self.random) {
            if next.first {
                self.actions.push_back(Action::Store(Record::Sent { cid: next.entry.cid, at_ms: next.entry.sent_ms }));
            }
            let seq = self.write(op::SEND_MSG, outbox::extension(&next.entry), &next.entry.body);
            self.outbox.sent(seq, now_ms);
        }
        self.settle();
    }

    fn write_room(&mut self) {
        if let Some((id, after)) = self.room.next() {
            let seq = self.write(op::CHANGE_ROOM, Extension { pos: after, ..Extension::default() }, id.as_bytes());
            self.room.sent(seq);
        }
    }

    fn write_requests(&mut self) {
        while let Some(request) = self.requests.next() {
            let seq = self.write(request.op, request.ext, &request.body);
            self.requests.sent(seq, request);
        }
    }

    /// Stored always, acknowledged where somebody listens; AUTH names it to the next session.
    fn keep_cursor(&mut self, now_ms: u64) {
        let Some(position) = self.acks.take_due(self.inbox.position(), now_ms) else { return };
        self.actions.push_back(Action::Store(Record::Cursor(position)));
        // A session is in the epoch of the inbox; a cursor of another means nothing to it.
        if self.is_ready() && position.epoch == self.inbox.position().epoch {
            self.write_silent(op::ACK, Extension { pos: position.pos, ..Extension::default() }, &Bytes::new());
        }
    }

    /// A request that is not answered: `seq` 0.
    pub(super) fn write_silent(&mut self, op: i32, ext: Extension, body: &Bytes) {
        let mut bytes = Vec::with_capacity(frame::EXTENDED_HEADER_LEN + body.len());
        frame::put_extended(&mut bytes, &Header { ver: VER_EXTENDED, op, seq: 0, ext }, body);
        self.put_bytes(bytes);
    }
}

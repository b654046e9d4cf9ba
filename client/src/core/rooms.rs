//! The room of a session: joined again on each session from the last position seen, and never a silent gap.

use bytes::Bytes;
use perseid_protocol::frame::{Header, flag};
use perseid_protocol::room::room_hash;

use super::Token;
use crate::error::Error;
use crate::event::{RoomFrame, RoomGap};

/// The answer to `change_room`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The room's id; empty after leaving.
    pub room: String,
    /// The room's head; 0 if it has no recovery.
    pub head: u64,
}

/// What to tell the application.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RoomTells {
    Frame(RoomFrame),
    Gap(RoomGap),
    Answer(Token, Result<Joined, Error>),
}

#[derive(Debug, Default)]
pub(crate) struct Room {
    id: String,
    hash: u64,
    /// The last position seen; 0: none.
    last: u64,
    /// Whether the application was in this room on an earlier session, or is now.
    joined: bool,
    /// Whether CHANGE_ROOM has to be sent.
    wanted: bool,
    /// Whether a frame was left out that can be had again.
    missed: bool,
    asked: Option<Asked>,
    token: Option<Token>,
    tells: Vec<RoomTells>,
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    seq: i32,
    hash: u64,
    after: u64,
}

impl Room {
    /// The application goes to another room; an empty id leaves.
    pub(crate) fn change(&mut self, id: &str, token: Token) {
        if let Some(earlier) = self.token.replace(token) {
            self.tells.push(RoomTells::Answer(earlier, Err(Error::Invalid("another change_room followed this one"))));
        }
        self.id = id.to_owned();
        self.hash = room_hash(id);
        self.last = 0;
        self.joined = false;
        self.wanted = true;
    }

    /// The CHANGE_ROOM to write now, if any: room and last position. [`Room::sent`] has to follow.
    pub(crate) fn next(&mut self) -> Option<(String, u64)> {
        if !self.wanted || self.asked.is_some() {
            return None;
        }
        self.wanted = false;
        Some((self.id.clone(), self.last))
    }

    pub(crate) const fn sent(&mut self, seq: i32) {
        self.asked = Some(Asked { seq, hash: self.hash, after: self.last });
    }

    /// The session is gone; the next one joins again.
    pub(crate) fn lose(&mut self) {
        self.asked = None;
        self.wanted = self.wanted || self.token.is_some() || !self.id.is_empty();
    }

    /// A frame of a room.
    pub(crate) fn handle_frame(&mut self, header: &Header, body: Bytes) {
        let ext = &header.ext;
        if self.id.is_empty() || (ext.conv != 0 && ext.conv != self.hash) {
            self.dropped += 1; // of the room before
            return;
        }
        if ext.pos != 0 && self.last != 0 {
            if ext.pos <= self.last {
                self.dropped += 1;
                return;
            }
            if ext.pos > self.last + 1 {
                // It comes again with what is missing before it.
                self.dropped += 1;
                self.wanted = self.wanted || self.asked.is_none();
                return;
            }
        }
        self.last = self.last.max(ext.pos);
        let frame = RoomFrame { op: header.op, id: ext.id, pos: ext.pos, from: ext.from, body };
        self.tells.push(RoomTells::Frame(frame));
    }

    /// A frame came for which there is no room: whether it can be had again.
    pub(crate) const fn misses(&mut self, header: &Header) -> bool {
        self.dropped += 1;
        self.missed = self.last != 0 && header.ext.pos != 0;
        self.missed
    }

    /// There is room again.
    pub(crate) fn resume(&mut self) {
        self.wanted = std::mem::take(&mut self.missed) || self.wanted;
    }

    /// The reply to CHANGE_ROOM. `false` when `seq` is none of ours.
    pub(crate) fn handle_reply(&mut self, header: &Header) -> bool {
        let Some(asked) = self.asked.filter(|asked| asked.seq == header.seq) else { return false };
        self.asked = None;
        if asked.hash != self.hash {
            return true; // the application has gone on
        }
        let head = header.ext.pos;
        let again = std::mem::replace(&mut self.joined, true);
        let missed = if asked.after == 0 {
            again && !self.id.is_empty()
        } else {
            header.ext.flags & flag::GONE != 0 || self.last < head || head == 0
        };
        if missed {
            self.tells.push(RoomTells::Gap(RoomGap { room: self.id.clone(), after: self.last, head }));
        }
        if missed || self.last == 0 {
            self.last = head;
        }
        if let Some(token) = self.token.take() {
            self.tells.push(RoomTells::Answer(token, Ok(Joined { room: self.id.clone(), head })));
        }
        true
    }

    /// CHANGE_ROOM was refused. `false` when `seq` is none of ours.
    pub(crate) fn handle_refused(&mut self, seq: i32, error: &Error) -> bool {
        let Some(asked) = self.asked.filter(|asked| asked.seq == seq) else { return false };
        self.asked = None;
        if asked.hash != self.hash {
            return true;
        }
        match self.token.take() {
            Some(token) => {
                self.id.clear();
                self.tells.push(RoomTells::Answer(token, Err(error.clone())));
            }
            // What was missed can't be had: say so, and take what comes.
            None => self.tells.push(RoomTells::Gap(RoomGap { room: self.id.clone(), after: self.last, head: 0 })),
        }
        self.last = 0;
        true
    }

    /// Room frames that were not given to the application: seen before, of another room, or coming again.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn take_tells(&mut self) -> Vec<RoomTells> {
        std::mem::take(&mut self.tells)
    }
}

#[cfg(test)]
mod tests;

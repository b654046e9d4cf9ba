//! The client rule: each stored message once and in order, whatever the network does to pushes.
//!
//! `pos` = cursor + 1: apply. `pos` ≤ cursor: drop. `pos` > cursor + 1: keep it for at most 500 ms, then SYNC from the
//! cursor. And SYNC as often as the server names a head above the cursor.

mod held;

use bytes::Bytes;
use perseid_protocol::auth::AuthReply;
use perseid_protocol::frame::{self, Header, flag};
use perseid_protocol::limits::SERVER_FRAME_BYTES_MAX;
use perseid_protocol::refusal::Refusal;

use self::held::Held;
use super::mutation::{self, Mutation};
use crate::error::Refused;
use crate::event::{Position, Skipped};
use crate::json;

/// How long a message beyond a gap waits for the gap to close, ms.
pub(crate) const GAP_MS: u64 = 500;
/// The pause before a SYNC that follows one which brought nothing, ms.
const FUTILE_MS: u64 = 500;
/// The longest such pause, ms.
const FUTILE_MS_MAX: u64 = 8_000;

/// Where a device begins that has no cursor yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that the inbox still holds.
    #[default]
    Oldest,
    /// With the next message; the past comes by `heads` and `pull`.
    Newest,
    /// With what this `device_id` had acknowledged to the server: for programs that keep nothing themselves.
    Acknowledged,
}

/// What the inbox gives to the application, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Frame(Header, Bytes),
    Skipped(Skipped),
}

/// How far a device has read its user's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    epoch: u64,
    cursor: u64,
    /// Whether it has no cursor yet.
    fresh: bool,
    start: Start,
    /// The highest position that the server named since the last SYNC was asked.
    head: u64,
    held: Held,
    held_until_ms: u64,
    /// The cursor for which a SYNC is under way.
    asked: Option<u64>,
    wanted: bool,
    not_before_ms: u64,
    futile: u32,
    /// Whether this session's SYNC has reached the head.
    synced: bool,
    /// Whether this session has an inbox at all: guests have none.
    enabled: bool,
    /// Whether the application has too much to do to be given more.
    suspended: bool,
    applied: Vec<Applied>,
    dropped: u64,
}

impl Inbox {
    pub(crate) fn new(stored: Position, start: Start, held_bytes_max: usize) -> Self {
        Self {
            epoch: stored.epoch,
            cursor: stored.pos,
            fresh: stored.epoch == 0,
            start,
            head: 0,
            held: Held::new(held_bytes_max),
            held_until_ms: u64::MAX,
            asked: None,
            wanted: false,
            not_before_ms: 0,
            futile: 0,
            synced: false,
            enabled: false,
            suspended: false,
            applied: Vec::new(),
            dropped: 0,
        }
    }

    /// The last position given to the application.
    pub(crate) const fn position(&self) -> Position {
        Position { epoch: self.epoch, pos: self.cursor }
    }

    pub(crate) const fn is_synced(&self) -> bool {
        self.synced
    }

    /// Stored frames that were not applied: seen before, or beyond a gap when too much was kept already.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A session begins that named `auth` as its cursor.
    pub(crate) fn begin(&mut self, reply: &AuthReply, auth: Position, now_ms: u64) {
        self.lose();
        self.enabled = reply.mid > 0;
        self.head = reply.head;
        self.not_before_ms = now_ms;
        self.futile = 0;
        if !self.enabled {
            self.synced = true;
            return;
        }
        if self.fresh {
            self.fresh = false;
            self.epoch = reply.epoch;
            self.cursor = match self.start {
                Start::Oldest => reply.floor.saturating_sub(1),
                Start::Newest => reply.head,
                Start::Acknowledged => reply.cursor.max(reply.floor.saturating_sub(1)).min(reply.head),
            };
        } else {
            self.adopt(reply.epoch, reply.floor, reply.head);
        }
        // Such a session is live at once; every other begins with SYNC.
        self.synced = self.cursor == reply.head && auth == Position { epoch: reply.epoch, pos: reply.head };
        self.wanted = !self.synced;
    }

    /// The session is gone; what it kept comes again.
    pub(crate) fn lose(&mut self) {
        self.held.clear();
        self.held_until_ms = u64::MAX;
        self.asked = None;
        self.wanted = false;
        self.synced = false;
        self.enabled = false;
    }

    /// A stored frame was pushed.
    pub(crate) fn handle_push(&mut self, header: &Header, body: Bytes, now_ms: u64) {
        let pos = header.ext.pos;
        self.note_head(pos);
        if !self.enabled || (pos <= self.cursor && !mutation::is(Mutation::ApplyOld)) {
            self.dropped += 1;
        } else if self.suspended {
            // It comes again by SYNC.
            self.dropped += 1;
            self.wanted = true;
        } else if pos == self.cursor + 1 || mutation::is(Mutation::ApplyBeyondGap) || pos <= self.cursor {
            self.apply(*header, body);
            self.release();
        } else if self.held.insert(*header, body) {
            self.held_until_ms = self.held_until_ms.min(now_ms.saturating_add(GAP_MS));
        } else {
            // The SYNC that closes the gap brings it again.
            self.dropped += 1;
            self.wanted = true;
        }
    }

    /// The server named the inbox head: in HEARTBEAT_REPLY or HEAD.
    pub(crate) fn handle_head(&mut self, pos: u64) {
        if mutation::is(Mutation::IgnoreHeads) {
            return;
        }
        self.note_head(pos);
        if pos > self.cursor && self.enabled {
            self.wanted = true;
        }
    }

    /// Applies no more pushes and asks for no more pages, or does again.
    pub(crate) const fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    /// The cursor from which to SYNC now, if that is due; it counts as asked.
    pub(crate) fn take_sync(&mut self, now_ms: u64) -> Option<u64> {
        if !self.enabled || self.suspended || !self.wanted || self.asked.is_some() || now_ms < self.not_before_ms {
            return None;
        }
        self.wanted = false;
        self.asked = Some(self.cursor);
        self.head = 0;
        Some(self.cursor)
    }

    /// The answer to SYNC.
    ///
    /// # Errors
    /// The server broke the protocol: a page that is no sequence of frames, or one with a hole.
    pub(crate) fn handle_page(&mut self, header: &Header, page: &Bytes, now_ms: u64) -> Result<(), String> {
        let Some(after) = self.asked.take() else { return Ok(()) };
        let mut frames = 0u32;
        let mut at = 0;
        while let Some(frame) = decode(page, at)? {
            let body = page.slice(at + frame.len - frame.body.len()..at + frame.len);
            at += frame.len;
            frames += 1;
            self.take_from_page(frame.header, body, after)?;
        }
        self.release();
        self.note_head(header.ext.pos);
        let more = header.ext.flags & flag::MORE != 0;
        if !more {
            self.synced = true;
            self.held_until_ms = u64::MAX;
        }
        self.wanted = more || self.head > self.cursor || !self.held.is_empty();
        self.pause(frames > 0, now_ms);
        Ok(())
    }

    /// SYNC was refused.
    pub(crate) fn handle_refused(&mut self, refused: &Refused, now_ms: u64) {
        self.asked = None;
        let detail = |name: &str| json::number(&refused.detail[name]);
        match (refused.refusal(), detail("epoch"), detail("floor"), detail("head")) {
            (Some(Refusal::TooOld | Refusal::EpochChanged), Some(epoch), Some(floor), Some(head)) => {
                let moved = self.adopt(epoch, floor, head);
                self.note_head(head);
                self.wanted = true;
                self.pause(moved, now_ms);
            }
            _ if refused.is_passing() => {
                self.wanted = true;
                self.pause(false, now_ms);
                self.not_before_ms = self.not_before_ms.max(now_ms.saturating_add(refused.retry_after_ms.unwrap_or(0)));
            }
            // There is no inbox for this session.
            _ => {
                self.enabled = false;
                self.synced = true;
            }
        }
    }

    pub(crate) const fn poll_timeout(&self) -> u64 {
        let gap = self.held_until_ms;
        let again = if self.wanted && self.asked.is_none() && !self.suspended { self.not_before_ms } else { u64::MAX };
        if gap < again { gap } else { again }
    }

    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        if now_ms >= self.held_until_ms {
            self.held_until_ms = u64::MAX;
            self.wanted = true;
        }
    }

    /// What to give to the application, in order.
    pub(crate) fn take_applied(&mut self) -> Vec<Applied> {
        std::mem::take(&mut self.applied)
    }

    /// Goes on where the server can: in its epoch, not below its floor. Says whether that moved anything.
    fn adopt(&mut self, epoch: u64, floor: u64, head: u64) -> bool {
        let before = floor.saturating_sub(1);
        let changed = (epoch != self.epoch || self.cursor > head) && !mutation::is(Mutation::KeepCursorInNewEpoch);
        if !changed && self.cursor >= before {
            self.epoch = epoch;
            return false;
        }
        let from = self.cursor + 1;
        self.epoch = epoch;
        self.cursor = before;
        if changed {
            self.held.clear();
            self.head = 0;
        }
        let at = self.position();
        self.applied.push(Applied::Skipped(Skipped { at, from, to: before, epoch_changed: changed }));
        self.release();
        true
    }

    fn take_from_page(&mut self, header: Header, body: Bytes, after: u64) -> Result<(), String> {
        let pos = header.ext.pos;
        if pos <= self.cursor {
            self.dropped += 1; // pushed meanwhile
            return Ok(());
        }
        if pos > self.cursor + 1 {
            // Position 0 asks for the floor, wherever that is by now.
            if after != 0 || self.cursor != 0 {
                return Err(format!("a page goes on at position {pos} after {}", self.cursor));
            }
            self.adopt(self.epoch, pos, u64::MAX);
        }
        self.apply(header, body);
        Ok(())
    }

    fn apply(&mut self, header: Header, body: Bytes) {
        self.cursor = header.ext.pos;
        self.applied.push(Applied::Frame(header, body));
    }

    /// Applies what was kept, as far as there is no gap any more.
    fn release(&mut self) {
        self.held.forget_up_to(self.cursor);
        while let Some((header, body)) = self.held.take(self.cursor + 1) {
            self.apply(header, body);
        }
        if self.held.is_empty() {
            self.held_until_ms = u64::MAX;
        }
    }

    const fn note_head(&mut self, pos: u64) {
        if pos > self.head {
            self.head = pos;
        }
    }

    /// The next SYNC at once if the last one helped, later and later if it did not.
    fn pause(&mut self, helped: bool, now_ms: u64) {
        if helped {
            self.futile = 0;
            self.not_before_ms = now_ms;
            return;
        }
        let wait_ms = FUTILE_MS.saturating_mul(1 << self.futile.min(8)).min(FUTILE_MS_MAX);
        self.futile = self.futile.saturating_add(1);
        self.not_before_ms = now_ms.saturating_add(wait_ms);
    }
}

/// The frame at `at` in a page; `None` at its end.
fn decode(page: &Bytes, at: usize) -> Result<Option<frame::Frame<'_>>, String> {
    let rest = page.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    match frame::decode(rest, SERVER_FRAME_BYTES_MAX) {
        Ok(Some(frame)) => Ok(Some(frame)),
        Ok(None) => Err(format!("a page ends within a frame: {} bytes are left", rest.len())),
        Err(error) => Err(format!("a page holds what is no frame: {error}")),
    }
}

#[cfg(test)]
mod tests;

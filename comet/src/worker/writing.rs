//! To the sockets: everything that waits for a session in one write, and what happens when the socket is full.

use mio::Interest;
use perseid_protocol::push::Drop;

use super::commands::unix_ms;
use super::secure::{Sent, send};
use super::{Env, Worker, token};
use crate::gather::Gather;
use crate::outbox::{Outbox, Way, Ways};
use crate::ring::ByteRing;
use crate::room::Member;
use crate::slab::Key;
use crate::terms::Terms;

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Done,
    Blocked,
    Broken,
}

impl Worker {
    /// Puts together all that was pushed to a session and not written yet: frames of its room and pushes to all, in
    /// order of arrival. They count as handed out from here on.
    pub(super) fn gather_outstanding(&mut self, key: Key, gather: &mut Gather) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let seen = std::mem::replace(&mut slot.broadcasts_seen, self.broadcasts.last_number());
        if !slot.is_live() {
            return;
        }
        let metrics = &self.env.metrics;
        let accepts = slot.accepts.map(|id| self.accepts.get(id));
        let encoding = slot.encoding();
        let mut audience = slot.membership.and_then(|membership| {
            let audience = self.rooms.get_mut(membership.room() as usize)?.as_mut()?.audiences[encoding.index()].as_mut()?;
            Some((&audience.ring, audience.members.get_mut(membership.member as usize)?))
        });
        if let Some((ring, member)) = &mut audience {
            finish_torn_frame(&self.env, slot.outbox.as_deref_mut(), ring, member);
        }
        let mut audience = audience.filter(|(_, member)| !member.held);
        for broadcast in self.broadcasts.after(seen) {
            if let Some((ring, member)) = &mut audience {
                gather_ring(&self.env, ring, member, ring.end_before_arrival(broadcast.arrival), gather);
            }
            let push = &broadcast.push;
            if !accepts.is_some_and(|accepts| accepts.contains(push.accepted_as())) {
                metrics.drop_pushes(Drop::Filtered, 1);
            } else if push.expires_at_ms != 0 && push.is_expired(unix_ms()) {
                metrics.drop_pushes(Drop::Expired, 1);
            } else {
                let replaced = gather.put_push(Way::All, Terms::of(push), |out| encoding.put_push(out, push));
                metrics.collapse(replaced);
                if let Some(traced) = &broadcast.traced {
                    traced.add(1);
                }
            }
        }
        if let Some((ring, member)) = &mut audience {
            gather_ring(&self.env, ring, member, ring.head(), gather);
        }
    }

    /// Counts the pushes to all that a session leaves without.
    pub(super) fn drop_unseen(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.is_live()) else { return };
        let seen = std::mem::replace(&mut slot.broadcasts_seen, self.broadcasts.last_number());
        let accepts = slot.accepts.map(|id| self.accepts.get(id));
        for broadcast in self.broadcasts.after(seen) {
            let accepted = accepts.is_some_and(|accepts| accepts.contains(broadcast.push.op));
            self.env.metrics.drop_pushes(if accepted { Drop::Closing } else { Drop::Filtered }, 1);
        }
    }

    /// Writes what was put together, or queues it where the socket is full.
    pub(super) fn write(&mut self, key: Key, gather: &Gather) {
        if !self.gathers.is_empty() {
            self.flush_gathered(key);
        }
        self.write_now(key, gather);
    }

    /// The same, whatever else was put together.
    pub(super) fn write_now(&mut self, key: Key, gather: &Gather) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if gather.is_empty() {
            return;
        }
        if slot.outbox.is_some() {
            return self.queue(key, gather, 0);
        }
        let metrics = &self.env.metrics;
        let Sent { taken: sent, full, .. } =
            match send(&self.env, &mut self.scratch, slot.fd(), slot.tls.as_deref_mut(), &gather.bytes) {
                Ok(sent) => sent,
                Err(_) => {
                    metrics.drop_pushes(Drop::Closing, gather.pushes() as u64);
                    return self.broken.push(key);
                }
            };
        let mut end = 0;
        let mut finished = Ways::default();
        for frame in &gather.frames {
            end += frame.len;
            finished[frame.way as usize] += u64::from(end <= sent);
        }
        metrics.deliver(&finished);
        if full {
            self.block(key);
            self.queue(key, gather, sent);
        }
    }

    /// The socket takes bytes again.
    pub(super) fn handle_writable(&mut self, key: Key) {
        self.write_on(key);
        // Still behind perhaps, but not so far any more that its requests have to wait.
        if let Some(slot) = self.sessions.get_mut(key)
            && slot.unread
            && slot.outbox.is_some()
            && !slot.is_paused()
        {
            self.read_more.push(key);
        }
    }

    fn write_on(&mut self, key: Key) {
        loop {
            match self.write_outbox(key) {
                Some(Progress::Done) => {}
                Some(Progress::Broken) => return self.broken.push(key),
                Some(Progress::Blocked) | None => return,
            }
            match self.write_ring(key) {
                Progress::Done => {}
                Progress::Broken => return self.broken.push(key),
                Progress::Blocked => return,
            }
            let mut gather = std::mem::take(&mut self.gather);
            gather.clear();
            self.gather_owed(key, &mut gather);
            self.gather_outstanding(key, &mut gather);
            self.queue(key, &gather, 0);
            self.gather = gather;
            // Not the same as nothing gathered: the rest of a torn frame goes to the outbox by itself.
            if self.sessions.get_mut(key).is_none_or(|slot| slot.outbox.as_ref().is_none_or(|outbox| outbox.is_empty())) {
                break;
            }
        }
        self.unblock(key);
    }

    /// Puts together the hints that a session is owed, now that everything else was taken.
    fn gather_owed(&mut self, key: Key, gather: &mut Gather) {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.is_live()) else { return };
        let encoding = slot.encoding();
        for hint in slot.outbox.as_deref_mut().into_iter().flat_map(Outbox::take_owed) {
            self.env.metrics.heads.inc();
            gather.put_reply(|out| encoding.put_head(out, hint));
        }
    }

    /// Writes what is queued; `None` if the session is not blocked at all.
    fn write_outbox(&mut self, key: Key) -> Option<Progress> {
        let env = &self.env;
        let slot = self.sessions.get_mut(key)?;
        let fd = slot.fd();
        let tls = slot.tls.as_deref_mut();
        let outbox = slot.outbox.as_deref_mut()?;
        if outbox.has_mortal_frames() {
            let (frames, bytes) = outbox.drop_expired(unix_ms());
            env.metrics.drop_pushes(Drop::Expired, frames as u64);
            env.node.budget.sub(bytes);
        }
        if outbox.is_empty() && !tls.as_ref().is_some_and(|tls| tls.has_unsent()) {
            return Some(Progress::Done);
        }
        let Ok(sent) = send(env, &mut self.scratch, fd, tls, outbox.unwritten()) else { return Some(Progress::Broken) };
        env.metrics.deliver(&outbox.advance(sent.taken, env.now_ms));
        env.node.budget.sub(sent.taken);
        if sent.wrote > 0 {
            outbox.progress_ms = env.now_ms;
        }
        Some(if sent.full { Progress::Blocked } else { Progress::Done })
    }

    /// Writes what the room's ring holds for a session with nothing queued, straight from the ring, where nothing else
    /// has to be put in between or left out.
    fn write_ring(&mut self, key: Key) -> Progress {
        let Some(slot) = self.sessions.get_mut(key) else { return Progress::Done };
        if !slot.is_live() || self.broadcasts.after(slot.broadcasts_seen).next().is_some() {
            return Progress::Done;
        }
        let encoding = slot.encoding();
        let fd = slot.fd();
        let tls = slot.tls.as_deref_mut();
        let (Some(membership), Some(outbox)) = (slot.membership, slot.outbox.as_deref_mut()) else { return Progress::Done };
        let Some(Some(room)) = self.rooms.get_mut(membership.room() as usize) else { return Progress::Done };
        let Some(audience) = &mut room.audiences[encoding.index()] else { return Progress::Done };
        let Some(member) = audience.members.get_mut(membership.member as usize) else { return Progress::Done };
        let head = audience.ring.head();
        if audience.ring.has_mortal_frames() || member.cursor == head || member.held {
            return Progress::Done;
        }
        let before = member.cursor;
        let Ok(sent) = send(&self.env, &mut self.scratch, fd, tls, audience.ring.bytes_from(before)) else {
            return Progress::Broken;
        };
        member.cursor += sent.taken as u64;
        self.env.metrics.deliver(&[0, audience.ring.frames_between(before, member.cursor) as u64, 0, 0, 0]);
        if sent.wrote > 0 {
            outbox.progress_ms = self.env.now_ms;
        }
        if sent.full { Progress::Blocked } else { Progress::Done }
    }

    /// Takes note that a session's socket is full.
    pub(super) fn block(&mut self, key: Key) {
        let now_ms = self.env.now_ms;
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.outbox.is_some() {
            return;
        }
        slot.outbox = Some(Box::new(Outbox::new(now_ms)));
        if !slot.watches_writing {
            slot.watches_writing = true;
            // The poll looks at once: what became writable since the write is not missed.
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().reregister(&mut slot.stream, token(key), both).is_err() {
                self.broken.push(key);
            }
        }
        self.env.metrics.blocked.inc();
        self.mark_member(key, true);
        self.arm(key, now_ms + self.env.config.write_stall_ms);
    }

    /// Takes note that nothing waits for a session any more.
    fn unblock(&mut self, key: Key) {
        self.mark_member(key, false);
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.outbox.take().is_some() {
            self.env.metrics.blocked.dec();
        }
        if let Some(membership) = slot.membership {
            self.tidy(membership.room());
        }
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.is_ended() {
            self.shut(key);
        } else if slot.unread || slot.input.is_some() {
            self.read_more.push(key);
        }
    }

    fn mark_member(&mut self, key: Key, blocked: bool) {
        if let Some(slot) = self.sessions.get_mut(key)
            && let Some(membership) = slot.membership
            && let Some(Some(room)) = self.rooms.get_mut(membership.room() as usize)
            && let Some(audience) = &mut room.audiences[slot.encoding().index()]
            && let Some(member) = audience.members.get_mut(membership.member as usize)
        {
            member.blocked = blocked;
        }
    }
}

/// Moves the rest of a half-written frame of the room to the outbox, which is empty then.
pub(super) fn finish_torn_frame(env: &Env, outbox: Option<&mut Outbox>, ring: &ByteRing, member: &mut Member) {
    let end = ring.boundary_at_or_after(member.cursor);
    if end == member.cursor {
        return;
    }
    // A torn frame means a full socket, and a full socket means an outbox.
    let Some(outbox) = outbox else { return };
    let rest = ring.bytes_between(member.cursor, end);
    outbox.push_rest(rest, Way::Room);
    env.node.budget.add(rest.len());
    member.cursor = end;
}

/// Puts the ring's frames from the member's cursor up to `end`.
fn gather_ring(env: &Env, ring: &ByteRing, member: &mut Member, end: u64, gather: &mut Gather) {
    if member.cursor >= end {
        return;
    }
    let mut start = member.cursor;
    for frame in ring.frames_after(member.cursor).take_while(|frame| frame.end <= end) {
        if frame.terms.expires_at_ms != 0 && frame.terms.is_expired(unix_ms()) {
            env.metrics.drop_pushes(Drop::Expired, 1);
        } else {
            let bytes = ring.bytes_between(start, frame.end);
            env.metrics.collapse(gather.put_push(Way::Room, frame.terms, |out| out.extend_from_slice(bytes)));
        }
        start = frame.end;
    }
    member.cursor = end;
}

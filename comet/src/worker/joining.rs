//! CHANGE_ROOM: a room may have to be announced to logic first, and may keep its last frames for those who missed them.

use perseid_protocol::frame::{self, Extension};
use perseid_protocol::limits::SERVER_FRAME_BYTES_MAX;
use perseid_protocol::push::Drop;
use perseid_protocol::session::server::room_reply;
use perseid_protocol::{CloseReason, Refusal};

use super::Worker;
use super::writing::finish_torn_frame;
use crate::link::{Answer, RoomTail, RoomTicket};
use crate::metrics::Recovery;
use crate::room::{Audience, Member};
use crate::session::{Asked, Entering};
use crate::slab::Key;

pub(super) const ROOMS_FULL: &str = "this node holds as many rooms as it may: join one that is there, or try again later";

/// How often the end of a room is asked for before its client is told that it is gone.
const TAILS_MAX: u8 = 3;

/// What CHANGE_ROOM asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Empty: none.
    pub(super) room: &'a str,
    /// What the reply echoes.
    pub(super) body: &'a [u8],
    /// What the client has seen of the room; 0: it asks for nothing.
    pub(super) pos: u64,
}

impl Worker {
    /// Changes the room, or leaves it. One that this node does not hold is announced first.
    pub(super) fn enter_room(&mut self, key: Key, asked: Asked, wish: Wish<'_>) {
        if !wish.room.is_empty() && self.env.node.rooms.workers(wish.room) == 0 {
            let ticket = self.ticket(key);
            if let Answer::Later = self.env.link.enter_room(wish.room, ticket) {
                // No frame of the old room is begun after this request was read.
                self.change_room(key, None);
                return self.wait_for_room(key, asked, wish, 0);
            }
        }
        self.take_seat(key, asked, wish);
    }

    /// The room was announced.
    pub(super) fn go_on_entering(&mut self, key: Key) {
        self.go_on_with_room(key, |entering| entering.asked == 0, |worker, asked, wish, _| worker.take_seat(key, asked, wish));
    }

    /// The room's end is here.
    pub(super) fn go_on_recovering(&mut self, key: Key, tail: &RoomTail) {
        let asked_for = |entering: &Entering| entering.asked > 0;
        self.go_on_with_room(key, asked_for, |worker, asked, wish, times| {
            match worker.take_tail(key, &asked, wish, tail, times) {
                true => {}
                false => worker.recover(key, asked, wish, times),
            }
        });
    }

    fn go_on_with_room(
        &mut self,
        key: Key,
        is_due: impl FnOnce(&Entering) -> bool,
        go_on: impl FnOnce(&mut Self, Asked, Wish<'_>, u8),
    ) {
        let input = self.sessions.get_mut(key).and_then(|slot| slot.input.as_mut());
        let Some(entering) = input.and_then(|input| input.entering.take_if(|entering| is_due(entering))) else { return };
        if let Some(asked) = self.stop_waiting(key) {
            let wish = Wish { room: &entering.room, body: &entering.body, pos: entering.pos };
            go_on(self, asked, wish, entering.asked);
            self.flush_replies(key);
        }
    }

    fn wait_for_room(&mut self, key: Key, asked: Asked, wish: Wish<'_>, times: u8) {
        self.wait(key, asked);
        if let Some(input) = self.sessions.get_mut(key).and_then(|slot| slot.input.as_mut()) {
            let entering = Entering { room: wish.room.into(), body: wish.body.into(), pos: wish.pos, asked: times };
            input.entering = Some(Box::new(entering));
        }
    }

    /// Moves into the room; what was missed of it comes before anything else.
    fn take_seat(&mut self, key: Key, asked: Asked, wish: Wish<'_>) {
        let room = Some(wish.room).filter(|room| !room.is_empty());
        let given = room.filter(|_| asked.reply.extended && wish.pos == 0).and_then(|room| self.given_of(key, room));
        if !self.change_room(key, room) {
            self.refuse_room(key, &asked);
        } else if let Some(given) = given {
            self.reply(key, asked.reply, room_reply(given, false), wish.body);
        } else if asked.reply.extended && room.is_some() {
            self.recover(key, asked, wish, 0);
        } else {
            self.reply(key, asked.reply, Extension::default(), wish.body);
        }
    }

    /// Up to where a member of the room was given what came: to stay where one is, and to ask for nothing, loses nothing.
    /// `None`: it is no member of it, or nothing with a position came.
    fn given_of(&mut self, key: Key, name: &str) -> Option<u64> {
        let slot = self.sessions.get_mut(key)?;
        let (membership, encoding) = (slot.membership?, slot.encoding().index());
        let room = self.rooms.get(membership.room() as usize)?.as_ref().filter(|room| &*room.name == name)?;
        let Audience { ring, members } = room.audiences[encoding].as_deref()?;
        let next = ring.next_pos(members.get(membership.member as usize)?.cursor);
        let early = room.early.get(&key).copied().unwrap_or(0);
        let given = next.map_or(room.newest_pos.max(early), |next| next - 1);
        (given != 0).then_some(given)
    }

    /// A classic session can't be told that there is no room: it would believe that it is in it.
    fn refuse_room(&mut self, key: Key, asked: &Asked) {
        if asked.reply.extended {
            self.refuse(key, &asked.header(), Refusal::Unavailable, ROOMS_FULL);
        } else {
            self.end(key, CloseReason::Overloaded, Some(ROOMS_FULL), None);
        }
    }

    /// Asks for what a member missed; it was asked `times` before. What comes meanwhile waits in the ring.
    fn recover(&mut self, key: Key, asked: Asked, wish: Wish<'_>, mut times: u8) {
        loop {
            times = times.saturating_add(1);
            let ticket = RoomTicket { session: key, mailbox: self.mailbox.clone() };
            match self.env.link.recover_room(wish.room, wish.pos, ticket) {
                Answer::Later => {
                    if let Some((_, member)) = self.seat_of(key) {
                        member.held = true;
                    }
                    return self.wait_for_room(key, asked, wish, times);
                }
                Answer::Now(tail) if self.take_tail(key, &asked, wish, &tail, times) => return,
                Answer::Now(_) => {}
            }
        }
    }

    /// Gives a member what it missed, the reply, and then lets it have what comes; `false`: between the room's end and what
    /// came since, something is missing, so the end has to be asked for again.
    fn take_tail(&mut self, key: Key, asked: &Asked, wish: Wish<'_>, tail: &RoomTail, times: u8) -> bool {
        if tail.head == 0 {
            // What was asked for of a room that has lost everything is gone, too.
            self.env.metrics.recover(if tail.gone { Recovery::Gone } else { Recovery::Off });
            self.finish_room(key, asked, wish, 0, tail.gone);
            return true;
        }
        let Some(next) = self.skip_seen(key, tail) else { return true };
        let (mut head, mut gone) = (tail.head, tail.gone);
        if next.is_some_and(|next| next > head.saturating_add(1)) {
            if times < TAILS_MAX {
                return false;
            }
            // What comes goes on behind what is told to be gone, so that there is no other jump.
            (head, gone) = (next.unwrap_or(head) - 1, true);
        }
        self.env.metrics.recover(if gone { Recovery::Gone } else { Recovery::Whole });
        if !gone {
            self.replay(key, &tail.frames);
        }
        self.finish_room(key, asked, wish, head, gone);
        true
    }

    /// Takes from a member what the room's end holds already; the position of what comes next to it, if something has come.
    /// `None`: it is no member any more.
    #[allow(clippy::option_option)] // nothing has come is the rule
    fn skip_seen(&mut self, key: Key, tail: &RoomTail) -> Option<Option<u64>> {
        let slot = self.sessions.get_mut(key)?;
        let (membership, encoding) = (slot.membership?, slot.encoding().index());
        let room = self.rooms.get_mut(membership.room() as usize)?.as_mut()?;
        let Audience { ring, members } = room.audiences[encoding].as_deref_mut()?;
        let member = members.get_mut(membership.member as usize)?;
        finish_torn_frame(&self.env, slot.outbox.as_deref_mut(), ring, member);
        let seen = ring.end_of_pos(member.cursor, tail.head);
        let mut skipped = ring.frames_between(member.cursor, seen);
        member.cursor = seen;
        if let Some(outbox) = slot.outbox.as_deref_mut() {
            let (frames, bytes) = outbox.drop_room();
            self.env.node.budget.sub(bytes);
            skipped += frames;
        }
        if tail.gone {
            self.env.metrics.drop_pushes(Drop::Slow, skipped as u64);
        } else {
            // They go out with the room's end.
            self.env.metrics.deliver(&[0, skipped as u64, 0, 0, 0]);
        }
        let next = ring.next_pos(member.cursor);
        room.was_given(key, tail.head);
        Some(next)
    }

    /// Puts the frames that were missed before the reply.
    fn replay(&mut self, key: Key, mut frames: &[u8]) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let encoding = slot.encoding();
        // A client takes each as it takes a push.
        while let Ok(Some(frame)) = frame::decode(frames, SERVER_FRAME_BYTES_MAX) {
            let (bytes, rest) = frames.split_at(frame.len);
            self.replies.put_reply(|out| encoding.put_frame(out, bytes));
            frames = rest;
        }
    }

    fn finish_room(&mut self, key: Key, asked: &Asked, wish: Wish<'_>, head: u64, gone: bool) {
        self.reply(key, asked.reply, room_reply(head, gone), wish.body);
        if let Some((room, member)) = self.seat_of(key)
            && std::mem::take(&mut member.held)
        {
            self.schedule(room);
        }
    }

    /// The room in which a session is, and its entry there.
    fn seat_of(&mut self, key: Key) -> Option<(u32, &mut Member)> {
        let slot = self.sessions.get_mut(key)?;
        let (membership, encoding) = (slot.membership?, slot.encoding().index());
        let room = self.rooms.get_mut(membership.room() as usize)?.as_mut()?;
        let audience = room.audiences[encoding].as_deref_mut()?;
        Some((membership.room(), audience.members.get_mut(membership.member as usize)?))
    }
}

//! Rooms: who is in them, what they get, and when.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use perseid_protocol::push::{Drop, Push};

use super::commands::unix_ms;
use super::lagging::{Losers, limit_lag, replace_in_room, shorten};
use super::secure::send;
use super::writing::finish_torn_frame;
use super::{Env, Worker};
use crate::directory::RoomShared;
use crate::encoding::ENCODINGS;
use crate::metrics::Limit;
use crate::net::sys;
use crate::ring::ByteRing;
use crate::room::{Member, Room, Turn, rest_us};
use crate::session::Membership;
use crate::slab::{Key, Slab};
use crate::terms::Terms;
use crate::traced::Traced;

/// Sockets written to before others get their turn.
const SLICE_SOCKETS: usize = 128;
/// The same in time, µs; looked at every 16 sockets.
const SLICE_US: u128 = 500;

pub(super) type Sessions = Slab<crate::session::Slot>;

impl Worker {
    /// Makes a session a member of `name`; what is pushed from now on reaches it. `false` (and counted): the room is new, and
    /// there are as many as there may be.
    pub(super) fn join(&mut self, key: Key, name: &str) -> bool {
        let claim = self.claim(name, false);
        claim.map(|(name, shared)| self.seat(key, name, shared)).is_some()
    }

    /// Counts one more member of a room; `frees` says that another room will be gone for it.
    fn claim(&self, name: &str, frees: bool) -> Option<(Arc<str>, Arc<RoomShared>)> {
        let known = self.rooms_by_name.get(name).and_then(|index| self.rooms[*index as usize].as_ref());
        let name: Arc<str> = known.map_or_else(|| name.into(), |room| room.name.clone());
        let max = match self.env.config.limit.rooms_max {
            0 => 0,
            max => max + usize::from(frees),
        };
        let shared = self.env.node.rooms.join(&name, self.env.worker, max);
        if shared.is_none() {
            self.env.metrics.limit(Limit::Rooms);
        }
        Some((name, shared?))
    }

    /// Gives a session its place in a room in which it is counted already.
    fn seat(&mut self, key: Key, name: Arc<str>, shared: Arc<RoomShared>) {
        let known = self.rooms_by_name.get(&*name).copied();
        let index = known.unwrap_or_else(|| {
            let index = self.rooms_free.pop().unwrap_or_else(|| {
                self.rooms.push(None);
                (self.rooms.len() - 1) as u32
            });
            self.rooms[index as usize] = Some(Room::new(name.clone(), shared));
            self.rooms_by_name.insert(name, index);
            self.env.metrics.rooms.inc();
            index
        });
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let encoding = slot.encoding().index();
        let Some(room) = &mut self.rooms[index as usize] else { return };
        let audience = room.audiences[encoding].get_or_insert_default();
        slot.membership = Some(Membership::new(index, audience.members.len() as u32));
        let (fd, tls, blocked) = (slot.fd(), slot.tls.is_some(), slot.outbox.is_some());
        audience.members.push(Member { cursor: audience.ring.head(), fd, session: key, tls, blocked, held: false });
    }

    /// Moves a session to another room, or out of the one it is in; to stay where it is loses it nothing. `false`: as in
    /// [`Worker::join`], and it stays where it is.
    pub(super) fn change_room(&mut self, key: Key, name: Option<&str>) -> bool {
        let Some(slot) = self.sessions.get_mut(key) else { return true };
        let current = slot.membership.and_then(|membership| self.rooms.get(membership.room() as usize)?.as_ref());
        if current.is_some_and(|room| Some(&*room.name) == name) {
            return true;
        }
        let alone = current.is_some_and(|room| room.shared.online() == 1);
        let claim = match name.map(|name| self.claim(name, alone)) {
            None => None,
            Some(None) => return false,
            Some(claim) => claim,
        };
        self.leave_room(key);
        if let Some(outbox) = self.sessions.get_mut(key).and_then(|slot| slot.outbox.as_deref_mut()) {
            let (frames, bytes) = outbox.drop_room();
            self.env.node.budget.sub(bytes);
            self.env.metrics.drop_pushes(Drop::Closing, frames as u64);
        }
        if let Some((name, shared)) = claim {
            self.seat(key, name, shared);
        }
        true
    }

    /// Ends a membership. A frame that is half written is finished; what was not begun is not sent any more.
    pub(super) fn leave_room(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let Some(membership) = slot.membership.take() else { return };
        let (index, at) = (membership.room(), membership.member);
        let encoding = slot.encoding().index();
        let Some(room) = &mut self.rooms[index as usize] else { return };
        let Some(audience) = &mut room.audiences[encoding] else { return };
        finish_torn_frame(&self.env, slot.outbox.as_deref_mut(), &audience.ring, &mut audience.members[at as usize]);
        let member = audience.members.swap_remove(at as usize);
        room.early.remove(&key);
        let unsent = audience.ring.frames_between(member.cursor, audience.ring.head());
        self.env.metrics.drop_pushes(Drop::Closing, unsent as u64);
        if let Some(moved) = audience.members.get(at as usize).copied() {
            if let Some(slot) = self.sessions.get_mut(moved.session) {
                slot.membership = Some(Membership::new(index, at));
            }
            // The pass may have been past this place already.
            room.pass.again = true;
        }
        if audience.members.is_empty() {
            self.env.node.budget.sub(audience.ring.len());
            room.audiences[encoding] = None;
        } else if audience.members.capacity() > 1024 && audience.members.len() < audience.members.capacity() / 4 {
            audience.members.shrink_to(audience.members.len() * 2);
        }
        let last = room.is_empty();
        self.env.node.rooms.leave(&room.name, self.env.worker, last);
        if last {
            self.forget_room(index);
        } else {
            self.tidy(index);
        }
    }

    /// Somebody who was behind is not any more, or has gone: a pass finds what nobody needs now.
    pub(super) fn tidy(&mut self, index: u32) {
        let Some(Some(room)) = self.rooms.get(index as usize) else { return };
        if room.turn == Turn::Idle && room.audiences.iter().flatten().any(|audience| audience.ring.len() > 0) {
            self.schedule(index);
        }
    }

    fn forget_room(&mut self, index: u32) {
        let Some(room) = self.rooms[index as usize].take() else { return };
        self.rooms_by_name.remove(&room.name);
        self.rooms_ready.retain(|ready| *ready != index);
        self.rooms_resting.retain(|rest| rest.0.1 != index);
        self.rooms_free.push(index);
        self.env.metrics.rooms.dec();
        if self.rooms_by_name.is_empty() {
            self.rooms = Vec::new();
            self.rooms_free = Vec::new();
            self.rooms_by_name.shrink_to_fit();
        }
    }

    /// Puts a push into a room's rings and has the room's turn come.
    pub(super) fn publish(&mut self, index: u32, push: &Push, arrival: u64, traced: Option<Arc<Traced>>) {
        let Some(Some(room)) = self.rooms.get_mut(index as usize) else { return };
        if push.expires_at_ms != 0 && push.is_expired(unix_ms()) {
            let members: usize = room.audiences.iter().flatten().map(|audience| audience.members.len()).sum();
            return self.env.metrics.drop_pushes(Drop::Expired, members as u64);
        }
        let terms = Terms::of(push);
        if terms.collapse != 0 {
            replace_in_room(&self.env, &mut self.sessions, room, terms.collapse);
        }
        self.env.node.budget.add(room.push(push, terms, arrival));
        if let Some(traced) = traced {
            traced.add(room.audiences.iter().flatten().map(|audience| audience.members.len()).sum());
            room.passing.add(traced, room.pass.running);
        }
        for audience in room.audiences.iter_mut().flatten() {
            let len = audience.ring.len();
            let bytes_max = self.env.config.room.ring_bytes_max;
            if len > bytes_max {
                shorten(&self.env, &mut self.sessions, audience, bytes_max, Losers::All, &mut self.lagging);
            } else if self.env.node.budget.is_over() {
                shorten(&self.env, &mut self.sessions, audience, len / 2, Losers::Blocked, &mut self.lagging);
            }
        }
        self.settle_lagging();
        self.schedule(index);
    }

    /// Has a room's turn come, as soon as it has rested.
    pub(super) fn schedule(&mut self, index: u32) {
        let now_us = self.now_us();
        let Some(Some(room)) = self.rooms.get_mut(index as usize) else { return };
        match room.turn {
            Turn::Queued => room.pass.again = true,
            Turn::Resting => {}
            Turn::Idle if now_us < room.rest_until_us => {
                room.turn = Turn::Resting;
                self.rooms_resting.push(std::cmp::Reverse((room.rest_until_us, index)));
            }
            Turn::Idle => {
                room.turn = Turn::Queued;
                self.rooms_ready.push_back(index);
            }
        }
    }

    /// Rooms that have rested enough.
    pub(super) fn wake_rooms(&mut self) {
        if self.rooms_resting.is_empty() {
            return;
        }
        let now_us = self.now_us();
        while let Some(rest) = self.rooms_resting.peek().filter(|rest| rest.0.0 <= now_us) {
            let index = rest.0.1;
            self.rooms_resting.pop();
            if let Some(Some(room)) = self.rooms.get_mut(index as usize) {
                room.turn = Turn::Queued;
                self.rooms_ready.push_back(index);
            }
        }
    }

    /// Goes on with the pass of the room whose turn it is; whether there was one.
    pub(super) fn run_room_slice(&mut self) -> bool {
        self.wake_rooms();
        let Some(index) = self.rooms_ready.pop_front() else { return false };
        let now_us = self.now_us();
        let cpu_before = sys::thread_cpu_ns();
        let ended =
            if self.broadcasts.is_empty() { self.write_slice(index, now_us) } else { self.write_careful_slice(index, now_us) };
        self.settle_lagging();
        let cpu_ns = sys::thread_cpu_ns().saturating_sub(cpu_before);
        let Some(Some(room)) = self.rooms.get_mut(index as usize) else { return true };
        room.pass.cpu_ns += cpu_ns;
        if ended {
            self.end_pass(index);
        } else {
            self.rooms_ready.push_back(index);
        }
        true
    }

    /// Writes to members of a room, up to a slice's end; whether the pass has ended.
    fn write_slice(&mut self, index: u32, now_us: u64) -> bool {
        let Some(Some(room)) = self.rooms.get_mut(index as usize) else { return true };
        begin_pass(room, now_us);
        let env = &self.env;
        let metrics = &env.metrics;
        let started = Instant::now();
        let mut writes = 0;
        let mut plain_writes = 0;
        let mut bytes = 0;
        let mut delivered = 0;
        // Most members stand at the same position: count its frames once.
        let mut counted = (usize::MAX, 0, 0);
        let ended = loop {
            let Some((encoding, at)) = next_place(room) else { break true };
            let Some(audience) = &mut room.audiences[encoding] else { continue };
            let (ring, member) = (&audience.ring, &mut audience.members[at]);
            let head = ring.head();
            if member.cursor == head {
                continue;
            }
            if member.blocked || member.held {
                limit_lag(env, &mut self.sessions, ring, member, &mut self.lagging);
                continue;
            }
            writes += 1;
            plain_writes += u64::from(!member.tls);
            let before = member.cursor;
            if member.tls {
                match send_member(env, &mut self.sessions, &mut self.scratch, ring, member) {
                    Some(true) => {}
                    full => {
                        member.blocked = true;
                        self.broken_or_full.push((member.session, full.is_some()));
                    }
                }
                if is_slice_over(writes, started) {
                    break false;
                }
                continue;
            }
            match sys::send(member.fd, ring.bytes_from(before)) {
                Ok(sent) => {
                    member.cursor += sent as u64;
                    bytes += sent as u64;
                    if member.cursor == head {
                        if (counted.0, counted.1) != (encoding, before) {
                            counted = (encoding, before, ring.frames_between(before, head) as u64);
                        }
                        delivered += counted.2;
                    } else {
                        delivered += ring.frames_between(before, member.cursor) as u64;
                        member.blocked = true;
                        self.broken_or_full.push((member.session, true));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    member.blocked = true;
                    self.broken_or_full.push((member.session, true));
                }
                Err(_) => {
                    // It leaves the room with its session, at the end of this slice.
                    member.blocked = true;
                    self.broken_or_full.push((member.session, false));
                }
            }
            if is_slice_over(writes, started) {
                break false;
            }
        };
        metrics.writes.add(plain_writes);
        metrics.bytes_sent.add(bytes);
        metrics.deliver(&[0, delivered, 0, 0, 0]);
        self.settle_slice();
        ended
    }

    /// As [`Self::write_slice`], while a push to all is under way: each member gets that in its place.
    fn write_careful_slice(&mut self, index: u32, now_us: u64) -> bool {
        let mut writes = 0;
        let mut gather = std::mem::take(&mut self.gather);
        let ended = loop {
            let Some(Some(room)) = self.rooms.get_mut(index as usize) else { break true };
            begin_pass(room, now_us);
            let Some((encoding, at)) = next_place(room) else { break true };
            let Some(audience) = &mut room.audiences[encoding] else { continue };
            let (ring, member) = (&audience.ring, &mut audience.members[at]);
            if member.blocked || member.held {
                limit_lag(&self.env, &mut self.sessions, ring, member, &mut self.lagging);
            } else {
                let member = *member;
                gather.clear();
                self.gather_outstanding(member.session, &mut gather);
                self.write(member.session, &gather);
                writes += 1;
            }
            if writes >= SLICE_SOCKETS {
                break false;
            }
        };
        self.gather = gather;
        ended
    }

    /// Sessions that a slice found with a full socket or a broken connection.
    fn settle_slice(&mut self) {
        for (key, full) in std::mem::take(&mut self.broken_or_full) {
            self.block(key);
            if !full {
                self.broken.push(key);
            }
        }
    }

    fn end_pass(&mut self, index: u32) {
        let now_us = self.now_us();
        let Some(Some(room)) = self.rooms.get_mut(index as usize) else { return };
        let mut outstanding = false;
        for audience in room.audiences.iter_mut().flatten() {
            // The ring begins at a frame's start, always.
            let lowest = audience.ring.boundary_at_or_before(audience.lowest_cursor());
            let trimmed = audience.ring.trim(lowest);
            self.env.node.budget.sub(trimmed);
            let head = audience.ring.head();
            outstanding |=
                room.pass.again && audience.members.iter().any(|member| !member.blocked && !member.held && member.cursor < head);
        }
        room.passing.end_pass();
        let config = &self.env.config.room;
        self.env.metrics.pass.observe_ns(room.pass.cpu_ns);
        let rested = now_us + rest_us(room.pass.cpu_ns, config.share, config.rest_ms_max);
        room.rest_until_us = rested.max(room.pass.started_us + config.pace_ms * 1000);
        room.pass = crate::room::Pass::default();
        if outstanding {
            room.turn = Turn::Resting;
            self.rooms_resting.push(std::cmp::Reverse((room.rest_until_us, index)));
        } else {
            room.turn = Turn::Idle;
        }
    }
}

/// The next member of a pass, by encoding and index in its table, which is there; `None` at the end.
fn next_place(room: &mut Room) -> Option<(usize, usize)> {
    loop {
        let members = room.audiences.get(room.pass.encoding)?.as_ref().map_or(0, |audience| audience.members.len());
        let place = (room.pass.encoding, room.pass.member);
        if place.1 < members {
            room.pass.member += 1;
            return Some(place);
        }
        room.pass.encoding += 1;
        room.pass.member = 0;
    }
}

fn is_slice_over(writes: usize, started: Instant) -> bool {
    writes >= SLICE_SOCKETS || (writes.is_multiple_of(16) && started.elapsed().as_micros() >= SLICE_US)
}

/// Writes to a member whose session is encrypted, and counts it: whether its socket takes more; `None` if it is broken.
fn send_member(env: &Env, sessions: &mut Sessions, scratch: &mut Vec<u8>, ring: &ByteRing, member: &mut Member) -> Option<bool> {
    let slot = sessions.get_mut(member.session)?;
    let before = member.cursor;
    let sent = send(env, scratch, member.fd, slot.tls.as_deref_mut(), ring.bytes_from(before)).ok()?;
    member.cursor += sent.taken as u64;
    env.metrics.deliver(&[0, ring.frames_between(before, member.cursor) as u64, 0, 0, 0]);
    Some(!sent.full)
}

fn begin_pass(room: &mut Room, now_us: u64) {
    if !room.pass.running {
        room.pass = crate::room::Pass { running: true, started_us: now_us, ..crate::room::Pass::default() };
    }
}

// A pass walks over the encodings by index.
const _: () = assert!(ENCODINGS == 4);

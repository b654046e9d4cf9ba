//! What does not stay in a room's ring until everybody has it: what a later push replaces, and what is too much.

use perseid_protocol::push::{Drop, Priority};

use super::queueing::replace;
use super::rooms::Sessions;
use super::writing::finish_torn_frame;
use super::{Env, Worker};
use crate::outbox::Way;
use crate::ring::{ByteRing, RingFrame};
use crate::room::{Audience, Member, Room};
use crate::slab::Key;
use crate::terms::Shares;

/// Who may lose frames when a ring is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Losers {
    All,
    /// Only those whose sockets are full: what the others are about to get is not the reason why the node is.
    Blocked,
}

/// A later push to the room is about to come: who has not begun the one that it replaces goes without.
pub(super) fn replace_in_room(env: &Env, sessions: &mut Sessions, room: &mut Room, collapse: u64) {
    for audience in room.audiences.iter_mut().flatten() {
        if audience.ring.holds_collapsing(collapse) {
            cut_out(env, sessions, audience, Drop::Collapsed, |frame, _| frame.terms.collapse == collapse);
        }
        for member in audience.members.iter().filter(|member| member.blocked) {
            if let Some(outbox) = sessions.get_mut(member.session).and_then(|slot| slot.outbox.as_deref_mut()) {
                replace(env, outbox, Way::Room, collapse);
            }
        }
    }
}

/// Shortens a ring that is over its bound: who still needs what goes loses it. `lagging` is who is to be handed what waits for it.
pub(super) fn shorten(
    env: &Env,
    sessions: &mut Sessions,
    audience: &mut Audience,
    bytes_max: usize,
    losers: Losers,
    lagging: &mut Vec<Key>,
) {
    if losers == Losers::All && audience.ring.is_ranked() {
        return shorten_by_priority(env, sessions, audience, bytes_max);
    }
    let keep = audience.ring.head() - kept_bytes(bytes_max) as u64;
    let to = audience.ring.boundary_at_or_after(keep);
    for member in audience.members.iter_mut().filter(|member| member.cursor < to) {
        if member.blocked || losers == Losers::All {
            skip(env, sessions, &audience.ring, member, to, lagging);
        }
    }
    trim(env, audience, to);
}

/// A quarter goes at a time, so that looking at all members is rare.
const fn kept_bytes(bytes_max: usize) -> usize {
    bytes_max - bytes_max / 4
}

/// Forgets what lies before `to` and nobody needs.
fn trim(env: &Env, audience: &mut Audience, to: u64) {
    let needed = audience.ring.boundary_at_or_before(audience.lowest_cursor());
    env.node.budget.sub(audience.ring.trim(to.min(needed)));
}

/// Takes out of a ring what matters least, for all.
fn shorten_by_priority(env: &Env, sessions: &mut Sessions, audience: &mut Audience, bytes_max: usize) {
    trim(env, audience, u64::MAX);
    let len = audience.ring.len();
    if len > bytes_max {
        let mut shares = Shares::of(len - kept_bytes(bytes_max), Priority::High, &audience.ring.weights());
        cut_out(env, sessions, audience, Drop::Slow, |frame, len| shares.take(frame.terms.priority, len));
    }
}

/// Takes frames out of a ring: who has begun one finishes it, who has not goes without, counted.
fn cut_out(
    env: &Env,
    sessions: &mut Sessions,
    audience: &mut Audience,
    reason: Drop,
    goes: impl FnMut(&RingFrame, usize) -> bool,
) {
    let Audience { ring, members } = audience;
    if !finish_torn_frames(env, sessions, ring, members) {
        return;
    }
    let cut = ring.cut(goes);
    env.node.budget.sub(cut.bytes());
    let mut all_missed = 0;
    for member in members {
        let (cursor, missed) = cut.place(member.cursor);
        member.cursor = cursor;
        all_missed += missed as u64;
        if missed > 0 && reason == Drop::Slow {
            note_lost(sessions, member, missed as u64);
        }
    }
    env.metrics.drop_pushes(reason, all_missed);
}

/// Has everybody stand between two frames; `false`: somebody can't.
fn finish_torn_frames(env: &Env, sessions: &mut Sessions, ring: &ByteRing, members: &mut [Member]) -> bool {
    // Most stand where the one before them does.
    let mut whole = ring.head();
    for member in members {
        if member.cursor != whole {
            let outbox = sessions.get_mut(member.session).and_then(|slot| slot.outbox.as_deref_mut());
            finish_torn_frame(env, outbox, ring, member);
            whole = ring.boundary_at_or_after(member.cursor);
            if member.cursor != whole {
                return false;
            }
        }
    }
    true
}

/// Bounds what waits for one member whose socket is full; `lagging` is who is to be handed what waits for it.
pub(super) fn limit_lag(env: &Env, sessions: &mut Sessions, ring: &ByteRing, member: &mut Member, lagging: &mut Vec<Key>) {
    let (head, max) = (ring.head(), env.config.session_bytes_max as u64);
    if head - member.cursor > max {
        skip(env, sessions, ring, member, ring.boundary_at_or_after(head - max / 2), lagging);
    }
}

/// Takes from a member what lies before `to`, counted; a frame that is half written is finished. Where some frames matter more
/// than others its outbox is to decide which.
fn skip(env: &Env, sessions: &mut Sessions, ring: &ByteRing, member: &mut Member, to: u64, lagging: &mut Vec<Key>) {
    let Some(slot) = sessions.get_mut(member.session) else { return };
    let outbox = slot.outbox.as_deref_mut();
    if ring.is_ranked() && outbox.is_some() && !member.held {
        return lagging.push(member.session);
    }
    finish_torn_frame(env, outbox, ring, member);
    let lost = ring.frames_between(member.cursor, to) as u64;
    env.metrics.drop_pushes(Drop::Slow, lost);
    member.cursor = member.cursor.max(to);
    note_lost(sessions, member, lost);
}

impl Worker {
    /// Hands what waits in rings to the outboxes of those who lag too far behind: there priority decides.
    pub(super) fn settle_lagging(&mut self) {
        for key in std::mem::take(&mut self.lagging) {
            let mut gather = std::mem::take(&mut self.gather);
            gather.clear();
            self.gather_outstanding(key, &mut gather);
            self.write(key, &gather);
            self.gather = gather;
        }
    }
}

/// A blocked session that loses pushes may have to go.
fn note_lost(sessions: &mut Sessions, member: &Member, lost: u64) {
    if let Some(outbox) = sessions.get_mut(member.session).and_then(|slot| slot.outbox.as_deref_mut()) {
        outbox.dropped += lost;
    }
}

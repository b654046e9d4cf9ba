//! What gets into the queue of a session whose socket is full, and what has to make way for it.

use perseid_protocol::push::Drop;

use super::writing::finish_torn_frame;
use super::{Env, Worker};
use crate::gather::Gather;
use crate::outbox::{Outbox, QueuedFrame, Way};
use crate::slab::Key;

impl Worker {
    /// Queues whole frames behind what waits already; the first `sent` bytes are on their way.
    pub(super) fn queue(&mut self, key: Key, gather: &Gather, sent: usize) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let encoding = slot.encoding();
        let Some(outbox) = slot.outbox.as_deref_mut() else { return };
        if let Some(membership) = slot.membership
            && let Some(Some(room)) = self.rooms.get_mut(membership.room() as usize)
            && let Some(audience) = &mut room.audiences[encoding.index()]
            && let Some(member) = audience.members.get_mut(membership.member as usize)
        {
            finish_torn_frame(&self.env, Some(outbox), &audience.ring, member);
        }
        let mut start = 0;
        for frame in &gather.frames {
            let end = start + frame.len;
            if end <= sent {
                // Written.
            } else if start < sent {
                outbox.push_rest(&gather.bytes[sent..end], frame.way);
                self.env.node.budget.add(end - sent);
            } else {
                queue_frame(&self.env, outbox, &gather.bytes[start..end], frame);
            }
            start = end;
        }
    }
}

/// Queues a whole frame, instead of the one that it replaces; or drops it, counted.
fn queue_frame(env: &Env, outbox: &mut Outbox, bytes: &[u8], frame: &QueuedFrame) {
    if frame.terms.collapse != 0 {
        replace(env, outbox, frame.way, frame.terms.collapse);
    }
    if has_room(env, outbox, frame) {
        outbox.push(bytes, *frame);
        env.node.budget.add(frame.len);
    }
}

/// A later push has come by the same way: the one that it replaces is not sent any more.
pub(super) fn replace(env: &Env, outbox: &mut Outbox, way: Way, collapse: u64) {
    if let Some(bytes) = outbox.replace(way, collapse) {
        env.node.budget.sub(bytes);
        env.metrics.collapse(1);
    }
}

/// Whether an outbox takes a frame. A push may find no room even when others have made way for it: it is counted then.
fn has_room(env: &Env, outbox: &mut Outbox, frame: &QueuedFrame) -> bool {
    let fits = frame.way == Way::Reply || outbox.has_lost() && frame.way == Way::Inbox || make_room(env, outbox, frame);
    // What comes behind a lost message can't be applied: its client reads all of it, once it can.
    let lost = frame.way == Way::Inbox && outbox.has_lost();
    if lost {
        outbox.lose(frame.pos);
        env.metrics.drop_pushes(Drop::Slow, 1);
    } else if !fits {
        outbox.dropped += 1;
        env.metrics.drop_pushes(Drop::Slow, 1);
    }
    fits && !lost
}

/// Makes room in an outbox: messages of the inbox go first, because they can be read again, then pushes that matter no more
/// than the new one, the least first, and of them the oldest.
fn make_room(env: &Env, outbox: &mut Outbox, frame: &QueuedFrame) -> bool {
    let (len, max) = (frame.len, env.config.session_bytes_max);
    let fits = |outbox: &Outbox| outbox.len() + len <= max && !env.node.budget.is_over_with(len);
    if fits(outbox) {
        return true;
    }
    let (frames, bytes) = outbox.drop_inbox();
    count_slow(env, frames, bytes);
    if fits(outbox) {
        return true;
    }
    if !outbox.can_spare(frame.terms.priority) {
        return false;
    }
    // A quarter at a time: what is dropped has to be copied around.
    let (frames, bytes) = outbox.drop_pushes(len.max(max / 4), frame.terms.priority);
    count_slow(env, frames, bytes);
    fits(outbox)
}

fn count_slow(env: &Env, frames: usize, bytes: usize) {
    env.node.budget.sub(bytes);
    env.metrics.drop_pushes(Drop::Slow, frames as u64);
}

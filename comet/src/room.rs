//! A room as one worker holds it: for each encoding a ring of bytes and a dense table of members.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;

use perseid_protocol::push::Push;

use crate::directory::RoomShared;
use crate::encoding::{ENCODINGS, Encoding};
use crate::ring::ByteRing;
use crate::slab::Key;
use crate::terms::Terms;
use crate::traced::Passing;

/// A member, as a pass sees it: the session's slot is not touched on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Position in the ring up to which its socket took bytes.
    pub(crate) cursor: u64,
    pub(crate) fd: RawFd,
    pub(crate) session: Key,
    /// What it gets has to be encrypted.
    pub(crate) tls: bool,
    /// Its socket is full: whoever finds it writable goes on.
    pub(crate) blocked: bool,
    /// It gets what it missed first: what comes meanwhile waits in the ring.
    pub(crate) held: bool,
}

const _: () = assert!(size_of::<Member>() <= 24);

/// The members that share an encoding, and what they are to get.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    pub(crate) ring: ByteRing,
    pub(crate) members: Vec<Member>,
}

impl Audience {
    /// The lowest position that somebody still needs.
    pub(crate) fn lowest_cursor(&self) -> u64 {
        self.members.iter().map(|member| member.cursor).min().unwrap_or(self.ring.head())
    }
}

impl Audience {
    /// Moves those over the frame that was just put at `start`, at `pos` of the room, who have it already.
    fn skip_early(&mut self, early: &HashMap<Key, u64>, start: u64, pos: u64) {
        let end = self.ring.head();
        for member in self.members.iter_mut().filter(|member| member.cursor == start) {
            if early.get(&member.session).is_some_and(|head| pos <= *head) {
                member.cursor = end;
            }
        }
    }
}

/// Where a room stands in the worker's round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing to write.
    #[default]
    Idle,
    /// In the queue, or in the middle of a pass.
    Queued,
    /// Something to write, but the last pass has not rested enough.
    Resting,
}

/// A walk over all members, in slices.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pass {
    pub(crate) encoding: usize,
    pub(crate) member: usize,
    pub(crate) cpu_ns: u64,
    pub(crate) started_us: u64,
    pub(crate) running: bool,
    /// Something came, or somebody was moved to where the walk had been: walk again.
    pub(crate) again: bool,
}

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: Arc<str>,
    pub(crate) shared: Arc<RoomShared>,
    pub(crate) audiences: [Option<Box<Audience>>; ENCODINGS],
    pub(crate) turn: Turn,
    pub(crate) pass: Pass,
    /// Before this time no pass begins, µs of the worker's time.
    pub(crate) rest_until_us: u64,
    pub(crate) passing: Passing,
    /// Newest position that was published here; 0: none that has one.
    pub(crate) newest_pos: u64,
    /// Members who were given the room's end up to a position that is not published here yet: they have those frames already.
    pub(crate) early: HashMap<Key, u64>,
}

impl Room {
    pub(crate) fn new(name: Arc<str>, shared: Arc<RoomShared>) -> Self {
        let audiences = [None, None, None, None];
        Self {
            name,
            shared,
            audiences,
            turn: Turn::Idle,
            pass: Pass::default(),
            rest_until_us: 0,
            passing: Passing::default(),
            newest_pos: 0,
            early: HashMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.audiences.iter().all(Option::is_none)
    }

    /// Puts a push into the ring of each encoding that somebody listens to; the bytes added.
    pub(crate) fn push(&mut self, push: &Push, terms: Terms, arrival: u64) -> usize {
        let mut bytes = 0;
        for (index, audience) in self.audiences.iter_mut().enumerate() {
            if let Some(audience) = audience {
                let (encoding, start) = (Encoding::from_index(index), audience.ring.head());
                bytes += audience.ring.push(arrival, terms, push.pos, |out| encoding.put_push(out, push));
                if push.pos != 0 && !self.early.is_empty() {
                    audience.skip_early(&self.early, start, push.pos);
                }
            }
        }
        if push.pos != 0 {
            self.newest_pos = push.pos;
            self.early.retain(|_, head| *head > push.pos);
        }
        bytes
    }

    /// A member was given the room's end up to `head`, outside the ring.
    pub(crate) fn was_given(&mut self, session: Key, head: u64) {
        if head > self.newest_pos {
            self.early.insert(session, head);
        }
    }
}

/// How long a room rests after a pass, µs.
///
/// `pass` times (1 − share) / share gives the pass its share of the worker; a pass longer than 16 ms rests longer in
/// proportion, because there a few frames more in each write save most. Measured in CPU time: in wall time a busy
/// neighbour would lengthen pass and rest alike.
pub(crate) fn rest_us(pass_cpu_ns: u64, share: f64, rest_ms_max: u64) -> u64 {
    let pass_us = pass_cpu_ns as f64 / 1000.0;
    let rest = pass_us * (1.0 - share) / share * (pass_us / 16_000.0).max(1.0);
    (rest as u64).min(rest_ms_max * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_with_the_pass() {
        assert_eq!(rest_us(10_000_000, 0.5, 200), 10_000);
        assert_eq!(rest_us(32_000_000, 0.5, 200), 64_000);
        assert_eq!(rest_us(10_000_000, 0.25, 200), 30_000);
        assert_eq!(rest_us(10_000_000, 1.0, 200), 0);
        assert_eq!(rest_us(900_000_000, 0.5, 200), 200_000);
    }
}

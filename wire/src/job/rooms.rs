//! The rooms that a comet holds, as it has told this job.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use perseid_job::RoomInterest;
use perseid_rpc::cluster as rpc;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct HeldRooms {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    rooms: HashSet<Box<str>>,
    /// All have been named: what is not among them is not held.
    is_complete: bool,
}

impl HeldRooms {
    /// The comet has said something.
    pub(crate) fn update(&self, interest: rpc::Interest) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if interest.restart {
            *known = Known::default();
        }
        for room in &interest.removed {
            known.rooms.remove(room.as_str());
        }
        known.rooms.extend(interest.added.into_iter().map(String::into_boxed_str));
        known.is_complete |= interest.complete;
    }

    /// The stream is gone: the comet may hold other rooms by the time it is back, and what waits for it must not pass by.
    pub(crate) fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }
}

impl RoomInterest for HeldRooms {
    fn holds(&self, room: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        !known.is_complete || known.rooms.contains(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rooms_until_all_are_named_and_then_those() {
        let held = HeldRooms::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert!(held.holds("live://1"));
        held.update(rpc::Interest { restart: true, added: names(&["live://1"]), ..rpc::Interest::default() });
        assert!(held.holds("live://9"), "not all are named");
        held.update(rpc::Interest { added: names(&["live://2"]), complete: true, ..rpc::Interest::default() });
        assert_eq!(["live://1", "live://2", "live://9"].map(|room| held.holds(room)), [true, true, false]);
        held.update(rpc::Interest { removed: names(&["live://1"]), complete: true, ..rpc::Interest::default() });
        assert!(!held.holds("live://1"));
        held.forget();
        assert!(held.holds("live://1"));
    }
}

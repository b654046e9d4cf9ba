//! Which rooms this node holds, how many people are in each, and which workers have them.
//!
//! Written when somebody comes or goes, read for each room push. No guard of the map ever leaves this module.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// What all workers of a node know of a room.
#[derive(Debug, Default)]
pub(crate) struct RoomShared {
    online: AtomicU64,
    /// People in the room on other nodes, as last told.
    elsewhere: AtomicU64,
    /// One bit for each worker that has members of it.
    workers: AtomicU64,
}

impl RoomShared {
    pub(crate) fn online(&self) -> u64 {
        self.online.load(Ordering::Relaxed)
    }

    pub(crate) fn online_everywhere(&self) -> u64 {
        self.online() + self.elsewhere.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct RoomDirectory {
    rooms: DashMap<Arc<str>, Arc<RoomShared>>,
    /// How many those are: asked where the map is locked.
    len: AtomicUsize,
}

impl RoomDirectory {
    /// Counts one more member in `worker`; `None` if the room is new and there are `rooms_max` (0: any number).
    pub(crate) fn join(&self, room: &Arc<str>, worker: u16, rooms_max: usize) -> Option<Arc<RoomShared>> {
        // The entry stays locked until the member is counted.
        let shared = match self.rooms.entry(room.clone()) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) => {
                let below = |len: usize| (rooms_max == 0 || len < rooms_max).then_some(len + 1);
                self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
                entry.insert(Arc::default())
            }
        };
        shared.online.fetch_add(1, Ordering::Relaxed);
        shared.workers.fetch_or(1 << worker, Ordering::Release);
        Some(Arc::clone(&shared))
    }

    /// Counts one member less; `last` says that `worker` has none left.
    pub(crate) fn leave(&self, room: &Arc<str>, worker: u16, last: bool) {
        let emptied = match self.rooms.entry(room.clone()) {
            Entry::Occupied(entry) => {
                let shared = entry.get();
                if last {
                    shared.workers.fetch_and(!(1 << worker), Ordering::Release);
                }
                let emptied = shared.online.fetch_sub(1, Ordering::Relaxed) == 1;
                if emptied {
                    entry.remove();
                    self.len.fetch_sub(1, Ordering::Relaxed);
                }
                emptied
            }
            Entry::Vacant(_) => false,
        };
        if emptied && self.rooms.is_empty() {
            self.rooms.shrink_to_fit();
        }
    }

    /// The workers that hold `room`, as bits; 0 when nobody is in it.
    pub(crate) fn workers(&self, room: &str) -> u64 {
        self.rooms.get(room).map_or(0, |shared| shared.workers.load(Ordering::Acquire))
    }

    /// How many are in `room`.
    pub(crate) fn online(&self, room: &str) -> u64 {
        self.rooms.get(room).map_or(0, |shared| shared.online())
    }

    /// Notes how many are in `room` on other nodes, if it is held here.
    pub(crate) fn set_elsewhere(&self, room: &str, count: u64) {
        if let Some(shared) = self.rooms.get(room) {
            shared.elsewhere.store(count, Ordering::Relaxed);
        }
    }

    /// Every room with how many are in it, in no order.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, u64)> {
        self.rooms.iter().map(|entry| (entry.key().clone(), entry.value().online())).collect()
    }

    /// Rooms held.
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// The `limit` fullest rooms of a kind (or of all), fullest first.
    pub(crate) fn top(&self, kind: Option<&str>, limit: usize) -> Vec<(String, u64)> {
        let is_kind = |room: &str| kind.is_none_or(|kind| room.split_once("://").is_some_and(|(of, _)| of == kind));
        let mut rooms: Vec<(String, u64)> = self
            .rooms
            .iter()
            .filter(|entry| is_kind(entry.key()))
            .map(|entry| (entry.key().to_string(), entry.value().online()))
            .collect();
        rooms.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        rooms.truncate(limit);
        rooms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_workers() {
        let directory = RoomDirectory::default();
        let room: Arc<str> = "live://1".into();
        directory.join(&room, 0, 0).unwrap();
        directory.join(&room, 3, 0).unwrap();
        directory.join(&"chat://1".into(), 1, 0).unwrap();
        assert_eq!((directory.online("live://1"), directory.workers("live://1")), (2, 0b1001));
        assert_eq!(directory.top(Some("live"), 9), [("live://1".to_owned(), 2)]);
        assert_eq!(directory.top(Some("li"), 9), [], "a type is matched whole");
        directory.leave(&room, 3, true);
        assert_eq!((directory.online("live://1"), directory.workers("live://1")), (1, 1));
        directory.leave(&room, 0, true);
        assert_eq!((directory.online("live://1"), directory.workers("live://1"), directory.len()), (0, 0, 1));
    }

    #[test]
    fn so_many_rooms_and_no_more() {
        let directory = RoomDirectory::default();
        let (first, second): (Arc<str>, Arc<str>) = ("live://1".into(), "live://2".into());
        assert!(directory.join(&first, 0, 1).is_some());
        assert!(directory.join(&second, 0, 1).is_none());
        assert!(directory.join(&first, 1, 1).is_some(), "one that is there takes more");
        directory.leave(&first, 0, true);
        assert!(directory.join(&second, 0, 1).is_none());
        directory.leave(&first, 1, true);
        assert!(directory.join(&second, 0, 1).is_some());
        assert_eq!(directory.len(), 1);
    }
}

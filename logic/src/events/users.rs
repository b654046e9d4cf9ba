//! How many sessions each user has, in the order in which the log tells of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many parts the table has, each with its lock.
const PARTS: usize = 64;

/// See the module.
pub(super) struct Users(Box<[Mutex<HashMap<i64, u32>>]>);

/// One or two users that nobody else can change.
pub(super) struct Locked<'a> {
    first: (usize, MutexGuard<'a, HashMap<i64, u32>>),
    second: Option<(usize, MutexGuard<'a, HashMap<i64, u32>>)>,
}

impl Default for Users {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }
}

const fn part_of(mid: i64) -> usize {
    // Users in a row are in different parts.
    (mid as u64 % PARTS as u64) as usize
}

impl Users {
    /// Locks these two, or one that is both. Always in the order of the parts, so that two of these never wait for each other.
    pub(super) fn lock(&self, one: i64, other: i64) -> Locked<'_> {
        let (low, high) = (part_of(one).min(part_of(other)), part_of(one).max(part_of(other)));
        let part = |at: usize| (at, self.0[at].lock().unwrap_or_else(PoisonError::into_inner));
        let first = part(low);
        Locked { first, second: (low != high).then(|| part(high)) }
    }
}

impl Locked<'_> {
    /// How many a user has.
    pub(super) fn count(&mut self, mid: i64) -> u32 {
        let at = part_of(mid);
        let users = match &self.second {
            Some((part, users)) if *part == at => users,
            _ => &self.first.1,
        };
        users.get(&mid).copied().unwrap_or(0)
    }

    /// One more for a user (or one less); how many there are then. Guests have no count.
    pub(super) fn add(&mut self, mid: i64, more: bool) -> u32 {
        if mid <= 0 {
            return 0;
        }
        let at = part_of(mid);
        let users = match &mut self.second {
            Some((part, users)) if *part == at => users,
            _ => &mut self.first.1,
        };
        match users.entry(mid) {
            Entry::Occupied(mut entry) => {
                let count = if more { entry.get().saturating_add(1) } else { entry.get().saturating_sub(1) };
                if count == 0 {
                    entry.remove();
                } else {
                    entry.insert(count);
                }
                count
            }
            Entry::Vacant(entry) if more => *entry.insert(1),
            Entry::Vacant(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_and_of_two() {
        let users = Users::default();
        let mut both = users.lock(1, 65);
        assert_eq!((both.add(1, true), both.add(65, true), both.add(1, true)), (1, 1, 2));
        drop(both);
        let mut both = users.lock(2, 1);
        assert_eq!((both.add(1, false), both.add(2, true), both.add(0, true), both.add(2, false)), (1, 1, 0, 0));
        assert_eq!(both.add(2, false), 0, "never below");
        drop(both);
        assert_eq!(users.lock(65, 65).add(65, false), 0);
    }
}

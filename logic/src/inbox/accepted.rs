//! Messages that the log took a moment ago, before anybody has applied them: by these a repetition is told as one. Pure.

use std::collections::HashSet;

/// Ids in each of two generations: three seconds of 20,000 messages a second. What is older is applied, and the store knows it.
const IDS_MAX: usize = 1 << 16;

/// Ids of messages that the log has.
#[derive(Default)]
pub(super) struct Accepted {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Accepted {
    /// Whether the log has this message.
    pub(super) fn has(&self, id: u64) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }

    /// The log has it now; `false`: it had it before.
    pub(super) fn insert(&mut self, id: u64) -> bool {
        if self.has(id) {
            return false;
        }
        if self.young.len() >= IDS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_an_id_is_told_apart_and_the_oldest_are_forgotten() {
        let mut accepted = Accepted::default();
        let ids = 1..=3 * IDS_MAX as u64;
        assert!(ids.clone().all(|id| accepted.insert(id)));
        assert!(ids.clone().skip(2 * IDS_MAX).all(|id| accepted.has(id) && !accepted.insert(id)));
        assert!(accepted.young.len() + accepted.old.len() <= 2 * IDS_MAX);
        assert!(!accepted.has(1));
    }
}

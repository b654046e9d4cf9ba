//! Sets of accepted operations, one copy for all sessions of a worker that accept the same.

use std::collections::HashMap;
use std::num::NonZeroU32;

use perseid_protocol::operations::OperationSet;

/// Names a set in an [`Interner`]: its index plus one, so that a slot's `Option` of it takes four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptsId(NonZeroU32);

impl AcceptsId {
    fn of(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Debug, Default)]
pub(crate) struct Interner {
    sets: Vec<(OperationSet, u32)>,
    ids: HashMap<OperationSet, u32>,
    free: Vec<u32>,
}

impl Interner {
    /// The id of `set`, which the caller gives back with [`Interner::release`].
    pub(crate) fn intern(&mut self, set: OperationSet) -> AcceptsId {
        if let Some(&id) = self.ids.get(&set) {
            self.sets[id as usize].1 += 1;
            return AcceptsId::of(id);
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.sets.push((OperationSet::default(), 0));
            // As many sets as sessions at most, and a worker's slots are 32-bit.
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        });
        self.sets[id as usize] = (set.clone(), 1);
        self.ids.insert(set, id);
        AcceptsId::of(id)
    }

    pub(crate) fn get(&self, id: AcceptsId) -> &OperationSet {
        &self.sets[id.index()].0
    }

    pub(crate) fn release(&mut self, id: AcceptsId) {
        let entry = &mut self.sets[id.index()];
        entry.1 -= 1;
        if entry.1 == 0 {
            let set = std::mem::take(&mut entry.0);
            self.ids.remove(&set);
            self.free.push(id.index() as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_counted_and_forgotten() {
        let set = |list: &[i32]| OperationSet::from_list(list, 10).unwrap();
        let mut interner = Interner::default();
        let a = interner.intern(set(&[1, 2]));
        let b = interner.intern(set(&[2, 1]));
        assert_eq!(a, b);
        interner.release(a);
        assert!(interner.get(b).contains(1));
        interner.release(b);
        assert!(interner.ids.is_empty());
        let c = interner.intern(set(&[3]));
        assert_eq!(c, a, "the place is used again");
    }
}

//! Where a worker keeps its sessions: fixed chunks, so that growing copies nothing and leaving gives memory back.

/// A place in a [`Slab`]: which slot, and which use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Slots per chunk: large enough that the allocator maps a chunk by itself and unmaps it when it goes.
const CHUNK: usize = 2048;

type Chunk<T> = Box<[Option<(u32, T)>]>;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    free: Vec<u32>,
    len: usize,
    generation: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0, generation: 0 }
    }
}

impl<T> Slab<T> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// One more than the highest slot that can be taken.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).unwrap_or(u32::MAX)
    }

    /// Puts what `make` makes of its key.
    pub(crate) fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        if self.free.is_empty() {
            let first = self.slots();
            self.chunks.push((0..CHUNK).map(|_| None).collect());
            self.free.extend((first..self.slots()).rev());
        }
        // Never 0, so that a token made of a key is never one of the small fixed tokens.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        // `free` was just filled if it was empty.
        let key = Key { slot: self.free.pop().unwrap_or_default(), generation: self.generation };
        let value = make(key);
        *self.entry(key.slot) = Some((key.generation, value));
        self.len += 1;
        key
    }

    fn entry(&mut self, slot: u32) -> &mut Option<(u32, T)> {
        let slot = slot as usize;
        &mut self.chunks[slot / CHUNK][slot % CHUNK]
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = key.slot as usize;
        match self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)? {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The key of the session in `slot`, if there is one.
    pub(crate) fn key_at(&self, slot: u32) -> Option<Key> {
        let index = slot as usize;
        let entry = self.chunks.get(index / CHUNK)?.get(index % CHUNK)?.as_ref()?;
        Some(Key { slot, generation: entry.0 })
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let (_, value) = self.entry(key.slot).take()?;
        self.free.push(key.slot);
        self.len -= 1;
        if self.len == 0 {
            self.chunks = Vec::new();
            self.free = Vec::new();
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_used_again_has_another_key() {
        let mut slab = Slab::default();
        let first = slab.insert(|_| 'a');
        let other = slab.insert(|_| 'x');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert(|_| 'b');
        assert_eq!(first.slot, second.slot);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.key_at(other.slot), Some(other));
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn an_empty_slab_holds_no_memory_and_no_key_comes_back() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..5000).map(|n| slab.insert(|_| n)).collect();
        for key in &keys {
            assert!(slab.remove(*key).is_some());
        }
        assert_eq!(slab.slots(), 0);
        assert_eq!(slab.get_mut(keys[0]), None);
        assert!(slab.insert(|_| 1).generation > keys[4999].generation);
    }
}

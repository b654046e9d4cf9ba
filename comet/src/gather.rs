//! Everything that waits for one session, put together in order for one write.

use std::collections::HashMap;
use std::sync::Arc;

use crate::outbox::{QueuedFrame, Way, find_replaced};
use crate::slab::Key;
use crate::terms::Terms;
use crate::traced::Traced;

/// Whole frames, back to back, with what is known of each. One per worker, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<QueuedFrame>,
}

/// A worker keeps no larger buffer than this between two uses.
const KEPT_BYTES: usize = 256 * 1024;

impl Gather {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Puts the reply, hint or farewell that `encode` writes.
    pub(crate) fn put_reply(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.put_at(Way::Reply, Terms::default(), 0, encode);
    }

    /// Puts the push that `encode` writes; how many in here it replaces: none, or one.
    pub(crate) fn put_push(&mut self, way: Way, terms: Terms, encode: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let replaced = if terms.collapse == 0 { 0 } else { self.replace(way, terms.collapse) };
        self.put_at(way, terms, 0, encode);
        replaced
    }

    fn replace(&mut self, way: Way, collapse: u64) -> u64 {
        let Some((at, after)) = find_replaced(self.frames.iter(), way, collapse) else { return 0 };
        let end = self.bytes.len() - after;
        self.bytes.drain(end - self.frames.remove(at).len..end);
        1
    }

    /// Puts what stands at `pos` in the inbox.
    pub(crate) fn put_inbox(&mut self, pos: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        self.put_at(Way::Inbox, Terms::default(), pos, encode);
    }

    fn put_at(&mut self, way: Way, terms: Terms, pos: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        self.frames.push(QueuedFrame { len: self.bytes.len() - before, way, terms, pos });
    }

    /// Pushes in it.
    pub(crate) fn pushes(&self) -> usize {
        self.frames.iter().filter(|frame| frame.way != Way::Reply).count()
    }
}

/// What the commands of one batch have for each of several sessions: it goes out when the batch has been taken, in one write
/// for each.
#[derive(Debug, Default)]
pub(crate) struct Gathers {
    by_session: HashMap<Key, usize>,
    /// In the order in which the sessions came up; `None` was written already.
    gathers: Vec<Option<(Key, Gather)>>,
    spare: Vec<Gather>,
    bytes: usize,
    /// Spans that go on until it was written.
    traced: Vec<Arc<Traced>>,
}

/// What may be put together before it is written, whether or not the batch has ended, bytes.
const GATHERED_BYTES_MAX: usize = 1024 * 1024;
/// Buffers that are kept between batches, and how large each may be, bytes.
const SPARES: usize = 64;
const SPARE_BYTES: usize = 8 * 1024;

impl Gathers {
    pub(crate) fn is_empty(&self) -> bool {
        self.gathers.is_empty()
    }

    /// Whether it is time to write.
    pub(crate) const fn is_full(&self) -> bool {
        self.bytes > GATHERED_BYTES_MAX
    }

    /// What a session has so far; to be put back.
    pub(crate) fn take(&mut self, key: Key) -> Gather {
        let held = self.by_session.get(&key).and_then(|at| self.gathers.get_mut(*at)?.as_mut());
        let Some((_, gather)) = held else {
            return self.spare.pop().unwrap_or_default();
        };
        self.bytes -= gather.bytes.len();
        std::mem::take(gather)
    }

    pub(crate) fn put_back(&mut self, key: Key, gather: Gather) {
        self.bytes += gather.bytes.len();
        match self.by_session.get(&key).and_then(|at| self.gathers.get_mut(*at)) {
            Some(place) => *place = Some((key, gather)),
            None => {
                self.by_session.insert(key, self.gathers.len());
                self.gathers.push(Some((key, gather)));
            }
        }
    }

    /// A push of a span was put.
    pub(crate) fn trace(&mut self, traced: Option<&Arc<Traced>>) {
        if let Some(traced) = traced {
            traced.add(1);
            self.traced.push(Arc::clone(traced));
        }
    }

    /// What one session has, before the others.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Gather> {
        let at = self.by_session.remove(&key)?;
        let (_, gather) = self.gathers.get_mut(at)?.take()?;
        self.bytes -= gather.bytes.len();
        Some(gather)
    }

    /// What all have.
    pub(crate) fn drain(&mut self) -> Vec<Option<(Key, Gather)>> {
        self.by_session.clear();
        self.bytes = 0;
        std::mem::take(&mut self.gathers)
    }

    /// Takes the buffers back.
    pub(crate) fn recycle(&mut self, mut all: Vec<Option<(Key, Gather)>>) {
        self.traced.clear();
        for (_, mut gather) in all.drain(..).flatten() {
            if self.spare.len() < SPARES && gather.bytes.capacity() <= SPARE_BYTES {
                gather.clear();
                self.spare.push(gather);
            }
        }
        if self.gathers.is_empty() && all.capacity() <= SPARES * 16 {
            self.gathers = all;
        }
        if self.by_session.capacity() > SPARES * 16 {
            self.by_session = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 1 }
    }

    fn put(gathers: &mut Gathers, slot: u32, text: &str) {
        let mut gather = gathers.take(key(slot));
        gather.put_push(Way::Direct, Terms::default(), |out| out.extend_from_slice(text.as_bytes()));
        gathers.put_back(key(slot), gather);
    }

    fn texts(gathers: &mut Gathers) -> Vec<(u32, String)> {
        let all = gathers.drain();
        let texts = all.iter().flatten().map(|(key, gather)| (key.slot, String::from_utf8_lossy(&gather.bytes).into_owned()));
        let texts = texts.collect();
        gathers.recycle(all);
        texts
    }

    #[test]
    fn a_later_one_replaces_the_one_by_the_same_way_with_the_same_number() {
        let mut gather = Gather::default();
        for (way, collapse, text, replaced, whole) in [
            (Way::Direct, 1, "one", 0, "one"),
            (Way::Room, 1, "two", 0, "onetwo"),
            (Way::Direct, 0, "none", 0, "onetwonone"),
            (Way::Direct, 1, "three", 1, "twononethree"),
            (Way::Direct, 0, "none", 0, "twononethreenone"),
            (Way::Room, 1, "four", 1, "nonethreenonefour"),
            (Way::Direct, 1, "five", 1, "nonenonefourfive"),
        ] {
            let terms = Terms { collapse, ..Terms::default() };
            assert_eq!(gather.put_push(way, terms, |out| out.extend_from_slice(text.as_bytes())), replaced, "{text}");
            assert_eq!(String::from_utf8_lossy(&gather.bytes), whole);
            assert_eq!(gather.frames.iter().map(|frame| frame.len).sum::<usize>(), whole.len());
        }
    }

    #[test]
    fn one_buffer_for_each_session_in_the_order_in_which_they_came_up() {
        let mut gathers = Gathers::default();
        for round in 0..3 {
            assert!(gathers.is_empty());
            for (slot, text) in [(2, "a"), (1, "b"), (2, "c"), (3, "d"), (1, "e")] {
                put(&mut gathers, slot, text);
            }
            assert_eq!((gathers.is_empty(), gathers.bytes), (false, 5));
            let early = gathers.remove(key(1)).map(|gather| gather.bytes);
            assert_eq!((early.as_deref(), gathers.bytes), (Some(&b"be"[..]), 3), "round {round}");
            assert!(gathers.remove(key(1)).is_none() && gathers.remove(key(9)).is_none());
            put(&mut gathers, 1, "f");
            assert_eq!(texts(&mut gathers), [(2, "ac".into()), (3, "d".into()), (1, "f".into())]);
            assert_eq!(gathers.bytes, 0);
        }
    }

    #[test]
    fn full_by_bytes_and_buffers_that_grew_are_given_back() {
        let mut gathers = Gathers::default();
        for slot in 0..100 {
            put(&mut gathers, slot, &"x".repeat(GATHERED_BYTES_MAX / 100));
            assert!(!gathers.is_full());
        }
        put(&mut gathers, 7, &"x".repeat(100));
        assert!(gathers.is_full());
        texts(&mut gathers);
        assert!(gathers.spare.is_empty(), "large ones are not kept");
        for slot in 0..100 {
            put(&mut gathers, slot, "x");
        }
        texts(&mut gathers);
        assert_eq!(gathers.spare.len(), SPARES);
    }
}

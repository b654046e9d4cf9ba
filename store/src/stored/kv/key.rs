//! Keys without an allocation.

use std::cmp::Ordering;
use std::fmt;

/// More bytes than this no key has.
pub(crate) const KEY_BYTES_MAX: usize = 39;

/// The bytes of a key, and how many they are.
const WIDTH: usize = KEY_BYTES_MAX + 1;

/// A key: up to [`KEY_BYTES_MAX`] bytes, compared as bytes.
///
/// Behind its bytes stand zeros, and last of all its length: so whole words can be compared, and of two keys that differ in
/// zeros at the end only, the shorter one comes first, as it does among bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; WIDTH]);

impl Key {
    /// A key of one byte: what sort of row it is.
    pub(crate) const fn new(sort: u8) -> Self {
        let mut bytes = [0; WIDTH];
        (bytes[0], bytes[KEY_BYTES_MAX]) = (sort, 1);
        Self(bytes)
    }

    /// These bytes as a key; `None` if they are too many.
    pub(crate) fn from_bytes(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; WIDTH];
        bytes[..KEY_BYTES_MAX].get_mut(..from.len())?.copy_from_slice(from);
        bytes[KEY_BYTES_MAX] = from.len() as u8;
        Some(Self(bytes))
    }

    const fn len(&self) -> usize {
        self.0[KEY_BYTES_MAX] as usize
    }

    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word))
    }

    /// Appends bytes. What does not fit is a mistake in the table of keys, which its tests would show.
    pub(crate) fn and(mut self, more: &[u8]) -> Self {
        let start = self.len();
        let end = (start + more.len()).min(KEY_BYTES_MAX);
        debug_assert_eq!(end - start, more.len(), "a key is too long");
        self.0[start..end].copy_from_slice(&more[..end - start]);
        self.0[KEY_BYTES_MAX] = end as u8;
        self
    }

    /// Appends a number, so that keys sort by it.
    pub(crate) fn and_u64(self, number: u64) -> Self {
        self.and(&number.to_be_bytes())
    }

    /// Appends a number, so that keys sort by it.
    pub(crate) fn and_u32(self, number: u32) -> Self {
        self.and(&number.to_be_bytes())
    }

    /// The bytes behind the first `skip`.
    pub(crate) fn tail(&self, skip: usize) -> &[u8] {
        self.as_ref().get(skip..).unwrap_or_default()
    }

    /// The number in the last eight bytes.
    pub(crate) fn last_u64(&self) -> u64 {
        self.as_ref().last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// The greatest key that starts with these bytes.
    pub(crate) fn last_with_prefix(mut self) -> Self {
        let start = self.len();
        self.0[start..KEY_BYTES_MAX].fill(0xff);
        self.0[KEY_BYTES_MAX] = KEY_BYTES_MAX as u8;
        self
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.len()]
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.words().cmp(other.words())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_bytes() {
        let key = Key::new(b'T').and_u64(7);
        assert_eq!(key.as_ref(), [b'T', 0, 0, 0, 0, 0, 0, 0, 7]);
        assert!(key < Key::new(b'T').and_u64(8) && key > Key::new(b'T') && key < Key::new(b'U'));
        assert!(key < key.last_with_prefix() && key.and_u64(u64::MAX) < key.last_with_prefix());
        assert!(key.last_with_prefix() < Key::new(b'T').and_u64(8));
        assert_eq!((key.last_u64(), key.tail(1).len()), (7, 8));
        assert_eq!(Key::from_bytes(key.as_ref()), Some(key));
        assert_eq!(Key::from_bytes(&[0; KEY_BYTES_MAX + 1]), None);
    }

    #[test]
    fn words_are_compared_as_bytes_are() {
        let texts: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\0b", b"ab", b"abcdefgh\xff", b"abcdefgh\xff\0"];
        for one in texts {
            for other in texts {
                let keys = (Key::from_bytes(one).unwrap(), Key::from_bytes(other).unwrap());
                assert_eq!(keys.0.cmp(&keys.1), one.cmp(other), "{one:?} {other:?}");
            }
        }
    }
}

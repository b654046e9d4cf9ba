//! Keys without an allocation.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;

/// More bytes than this no key has.
pub(crate) const KEY_BYTES_MAX: usize = 39;

/// A key: up to [`KEY_BYTES_MAX`] bytes, compared as bytes.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    len: u8,
    bytes: [u8; KEY_BYTES_MAX],
}

impl Key {
    /// A key of one byte: what sort of row it is.
    pub(crate) const fn new(sort: u8) -> Self {
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes[0] = sort;
        Self { len: 1, bytes }
    }

    /// These bytes as a key; `None` if they are too many.
    pub(crate) fn from_bytes(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { len: u8::try_from(from.len()).ok()?, bytes })
    }

    /// Appends bytes. What does not fit is a mistake in the table of keys, which its tests would show.
    pub(crate) fn and(mut self, more: &[u8]) -> Self {
        let start = usize::from(self.len);
        let end = (start + more.len()).min(KEY_BYTES_MAX);
        debug_assert_eq!(end - start, more.len(), "a key is too long");
        self.bytes[start..end].copy_from_slice(&more[..end - start]);
        self.len = end as u8;
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
    pub(crate) fn last_with_prefix(self) -> Self {
        let mut key = Self { len: KEY_BYTES_MAX as u8, ..self };
        key.bytes[usize::from(self.len)..].fill(0xff);
        key
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_ref()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(other.as_ref())
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
}

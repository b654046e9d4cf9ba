//! Numbers in as many bytes as they need, and the checks of reading them.

use bytes::{Buf, Bytes};

/// Format of a message's row.
const PLAIN: u8 = 1;
/// The same, and before all else the time from which on it is too late for it, unix ms.
const MORTAL: u8 = 2;

/// Builds a row.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// A row of this format; `room`: bytes it will need, about.
    pub(crate) fn new(format: u8, room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room + 1);
        bytes.push(format);
        Self(bytes)
    }

    /// The row of a message; `expires_at_ms` 0: it is never too late for it.
    pub(crate) fn of_message(expires_at_ms: u64, room: usize) -> Self {
        if expires_at_ms == 0 {
            return Self::new(PLAIN, room);
        }
        let mut row = Self::new(MORTAL, room + 8);
        row.small(expires_at_ms);
        row
    }

    pub(crate) fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    /// A number that is small as a rule: seven bits a byte, the low ones first.
    pub(crate) fn small(&mut self, mut number: u64) -> &mut Self {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        self
    }

    /// A number whose bits are all used.
    pub(crate) fn wide(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn int(&mut self, number: i32) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Bytes up to the end of the row.
    pub(crate) fn rest(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes with their length before them.
    pub(crate) fn counted(&mut self, bytes: &[u8]) -> &mut Self {
        self.small(bytes.len() as u64).rest(bytes)
    }

    pub(crate) fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }
}

/// Reads a row; `None` as soon as something can't be.
pub(crate) struct Reader(Bytes);

impl Reader {
    /// The row behind its format byte.
    pub(crate) fn new(row: &Bytes, format: u8) -> Option<Self> {
        Self::of(row.clone(), format)
    }

    /// The same without a second handle on its bytes, which costs more than to read a short row.
    pub(crate) fn of(row: Bytes, format: u8) -> Option<Self> {
        let mut reader = Self(row);
        (reader.byte()? == format).then_some(reader)
    }

    /// The row of a message behind what [`Writer::of_message`] begins it with, and when it is too late for it.
    pub(crate) fn of_message(row: Bytes) -> Option<(Self, u64)> {
        let mut reader = Self(row);
        let expires_at_ms = match reader.byte()? {
            PLAIN => 0,
            MORTAL => reader.small()?,
            _ => return None,
        };
        Some((reader, expires_at_ms))
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub(crate) fn small(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn wide(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    pub(crate) fn int(&mut self) -> Option<i32> {
        self.0.try_get_i32().ok()
    }

    pub(crate) fn counted(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.small()?).ok()?;
        (len <= self.0.len()).then(|| self.0.split_to(len))
    }

    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    /// The value, if nothing is left.
    pub(crate) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 53, u64::MAX - 1, u64::MAX] {
            let row = Writer::new(1, 10).small(number).finish();
            let mut reader = Reader::new(&row, 1).unwrap();
            assert_eq!(reader.small(), Some(number));
            assert!(reader.is_empty());
            for cut in 1..row.len() {
                assert_eq!(Reader::new(&row.slice(..cut), 1).unwrap().small(), None, "{number} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_row() {
        assert!(Reader::new(&Bytes::new(), 1).is_none());
        assert!(Reader::new(&Bytes::from_static(&[2, 0]), 1).is_none());
        let too_large = Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]);
        assert_eq!(Reader::new(&too_large, 1).unwrap().small(), None);
        assert_eq!(Reader::new(&Bytes::from_static(&[1, 9, 1]), 1).unwrap().counted(), None);
    }
}

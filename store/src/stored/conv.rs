//! Which conversation: the unit of order.

use std::fmt;

use perseid_protocol::frame::kind;

/// A conversation. Both sides of a direct chat name the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Conv {
    /// Between two users, or of one with himself.
    Direct {
        /// The smaller mid.
        lo: u64,
        /// The larger mid, or the same.
        hi: u64,
    },
    /// A group or a channel, by its id: which of the two it is changes, the id does not.
    Group(u64),
    /// A room that keeps its last frames, by the hash of its id.
    Room(u64),
}

/// What a conversation is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum ConvKind {
    /// Both sides have it in their inboxes.
    Direct = kind::DIRECT,
    /// Every member has it in the inbox.
    Group = kind::GROUP,
    /// Written once, to its timeline.
    Channel = kind::CHANNEL,
    /// Live, with a ring of the last frames.
    Room = kind::ROOM,
}

impl ConvKind {
    /// The kind of this number in frames.
    #[must_use]
    pub const fn from_frame(number: u16) -> Option<Self> {
        match number {
            kind::DIRECT => Some(Self::Direct),
            kind::GROUP => Some(Self::Group),
            kind::CHANNEL => Some(Self::Channel),
            kind::ROOM => Some(Self::Room),
            _ => None,
        }
    }

    /// Its number in frames.
    #[must_use]
    pub const fn to_frame(self) -> u16 {
        self as u16
    }
}

impl Conv {
    /// The chat of two users.
    #[must_use]
    pub const fn direct(one: u64, other: u64) -> Self {
        if one <= other { Self::Direct { lo: one, hi: other } } else { Self::Direct { lo: other, hi: one } }
    }

    /// The conversation that `reader` calls (`kind`, `conv`) in frames; `None` for kinds that have no conversation.
    #[must_use]
    pub const fn of_frame(frame_kind: u16, conv: u64, reader: u64) -> Option<Self> {
        match frame_kind {
            kind::DIRECT => Some(Self::direct(reader, conv)),
            kind::GROUP | kind::CHANNEL => Some(Self::Group(conv)),
            kind::ROOM => Some(Self::Room(conv)),
            _ => None,
        }
    }

    /// `conv` in frames for `reader`: in a direct chat the other side.
    #[must_use]
    pub const fn seen_by(self, reader: u64) -> u64 {
        match self {
            Self::Direct { lo, hi } => {
                if lo == reader {
                    hi
                } else {
                    lo
                }
            }
            Self::Group(id) | Self::Room(id) => id,
        }
    }

    /// Its bytes in stores: one for the sort, then big-endian, so that conversations of one sort stand together.
    #[must_use]
    pub fn to_bytes(self) -> ConvBytes {
        let mut bytes = ConvBytes { bytes: [0; 17], len: 9 };
        let (sort, first) = match self {
            Self::Direct { lo, hi } => {
                bytes.bytes[9..].copy_from_slice(&hi.to_be_bytes());
                bytes.len = 17;
                (1, lo)
            }
            Self::Group(id) => (2, id),
            Self::Room(id) => (4, id),
        };
        bytes.bytes[0] = sort;
        bytes.bytes[1..9].copy_from_slice(&first.to_be_bytes());
        bytes
    }

    /// Reads [`Conv::to_bytes`]; `None` if these are not its bytes, all of them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sort, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let first = u64::from_be_bytes(*first);
        match (sort, rest.len()) {
            (1, 8) => Some(Self::Direct { lo: first, hi: u64::from_be_bytes(rest.try_into().ok()?) }),
            (2, 0) => Some(Self::Group(first)),
            (4, 0) => Some(Self::Room(first)),
            _ => None,
        }
    }
}

/// A conversation as the key of its records in the log: what has one key has one order.
impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { lo, hi } => write!(f, "d{lo}:{hi}"),
            Self::Group(id) => write!(f, "g{id}"),
            Self::Room(hash) => write!(f, "r{hash:016x}"),
        }
    }
}

/// The bytes of a [`Conv`], without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvBytes {
    bytes: [u8; 17],
    len: u8,
}

impl std::ops::Deref for ConvBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_nothing_else_does() {
        let all = [Conv::direct(9, 7), Conv::direct(7, 7), Conv::Group(u64::MAX), Conv::Room(3)];
        for conv in all {
            let bytes = conv.to_bytes();
            assert_eq!(Conv::from_bytes(&bytes), Some(conv));
            for cut in 0..bytes.len() {
                assert_eq!(Conv::from_bytes(&bytes[..cut]), None, "{conv:?} cut at {cut}");
            }
        }
        assert_eq!(Conv::from_bytes(&[3, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }

    #[test]
    fn each_side_sees_the_other() {
        let chat = Conv::direct(9, 7);
        assert_eq!((chat.seen_by(7), chat.seen_by(9)), (9, 7));
        assert_eq!(Conv::direct(5, 5).seen_by(5), 5);
        assert_eq!(Conv::of_frame(kind::DIRECT, 9, 7), Some(chat));
        assert_eq!(Conv::of_frame(kind::CHANNEL, 9, 7), Some(Conv::Group(9)));
        assert_eq!(Conv::of_frame(kind::EVENT, 9, 7), None);
        assert_eq!((chat.to_string(), Conv::Group(4).to_string()), ("d7:9".into(), "g4".into()));
    }
}

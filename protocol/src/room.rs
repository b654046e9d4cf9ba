//! Room ids: `type://id`, as text.

/// A checked room id, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomId<'a>(&'a str);

impl<'a> RoomId<'a> {
    /// Checks `text`: UTF-8 `type://id`, neither part empty, no control characters, at most `bytes_max` bytes.
    pub fn parse(text: &'a [u8], bytes_max: usize) -> Option<Self> {
        if text.len() > bytes_max {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (kind, id) = text.split_once("://")?;
        let whole = !kind.is_empty() && !id.is_empty() && !text.chars().any(char::is_control);
        whole.then_some(Self(text))
    }

    /// The id as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// What stands before `://`.
    pub fn kind(self) -> &'a str {
        self.0.split_once("://").map_or("", |(kind, _)| kind)
    }

    /// What stands after `://`.
    pub fn id(self) -> &'a str {
        self.0.split_once("://").map_or("", |(_, id)| id)
    }
}

/// `conv` of a room's frames: FNV-1a 64 of its id.
pub fn room_hash(room_id: &str) -> u64 {
    fnv1a_64(room_id)
}

pub(crate) fn fnv1a_64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_room_id() {
        for good in ["live://1000", "a://b", "a://b/c?d", "群://一", "a://b://c"] {
            assert_eq!(RoomId::parse(good.as_bytes(), 256).map(RoomId::as_str), Some(good));
        }
        for bad in ["", "1000", "://1", "live://", "live:/1", "live://a\nb"] {
            assert_eq!(RoomId::parse(bad.as_bytes(), 256), None, "{bad:?}");
        }
        assert_eq!(RoomId::parse(b"live://\xff", 256), None);
        assert_eq!(RoomId::parse(b"live://12345", 11), None);
        let room = RoomId::parse(b"live://1000", 256).unwrap();
        assert_eq!((room.kind(), room.id()), ("live", "1000"));
    }

    #[test]
    fn fnv_vectors() {
        assert_eq!(room_hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(room_hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(room_hash("foobar"), 0x8594_4171_f739_67e8);
    }
}

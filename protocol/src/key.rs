//! Session keys: what names a session in the registry and in pushes by key.

use std::fmt;

/// A session's key: made by the server (not guessable), or chosen by the client.
///
/// A made key is kept as its 128 bits, because a node holds one for each session; its text is that of a UUID.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum SessionKey {
    /// 128 random bits.
    Made([u8; 16]),
    /// The client's own text.
    Named(Box<str>),
}

impl SessionKey {
    /// A key from 128 random bits, marked as a version 4 UUID.
    pub const fn made(mut random: [u8; 16]) -> Self {
        random[6] = (random[6] & 0x0f) | 0x40;
        random[8] = (random[8] & 0x3f) | 0x80;
        Self::Made(random)
    }

    /// The key that `text` names. The canonical text of a UUID is the same key as its bits.
    pub fn parse(text: &str) -> Self {
        parse_uuid(text.as_bytes()).map_or_else(|| Self::Named(text.into()), Self::Made)
    }
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bits = [0u8; 16];
    let mut nibbles = 0;
    for (at, &byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        bits[nibbles / 2] |= if nibbles % 2 == 0 { value << 4 } else { value };
        nibbles += 1;
    }
    Some(bits)
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(text) => f.write_str(text),
            Self::Made(bits) => {
                for (index, byte) in bits.iter().enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_are_one_key() {
        let key = SessionKey::made([0xff; 16]);
        let text = key.to_string();
        assert_eq!(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(SessionKey::parse(&text), key);
        for named in [
            "",
            "k",
            "FFFFFFFF-ffff-4fff-bfff-ffffffffffff",
            "ffffffff-ffff-4fff-bfff-fffffffffff",
            "ffffffff0ffff-4fff-bfff-ffffffffffff",
        ] {
            assert_eq!(SessionKey::parse(named), SessionKey::Named(named.into()));
            assert_eq!(SessionKey::parse(named).to_string(), named);
        }
        assert!(size_of::<SessionKey>() <= 24);
    }
}

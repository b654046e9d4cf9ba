//! Frame headers as a server reads them (RFC 6455 section 5.2): the rules that one frame can break
//! on its own. What depends on the frames before it is in the decoder.

use super::Violation;

/// Bytes of payload that a control frame may have.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Bytes of the longest header of a masked frame: 2, 8 of length, 4 of mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message begun before.
    Continuation = 0x0,
    /// Text, or the first fragment of it.
    Text = 0x1,
    /// Binary, or the first fragment of it.
    Binary = 0x2,
    /// The last frame of a side.
    Close = 0x8,
    /// Wants a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xa,
}

impl Opcode {
    /// Whether this is a control frame, which may come between the fragments of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }
}

/// The header of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    /// As claimed by the peer.
    pub(super) payload_bytes: u64,
    /// Of the header itself.
    pub(super) header_bytes: usize,
}

/// Reads the header at the start of `bytes`; `None` if it is not all there yet. A rule is enforced
/// as soon as the byte that breaks it is there. [`HEADER_BYTES_MAX`] bytes are always enough.
pub(super) fn parse_header(bytes: &[u8]) -> Result<Option<FrameHeader>, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    if first & RESERVED != 0 {
        return Err(Violation::protocol("reserved bits set without an extension"));
    }
    let Some(opcode) = Opcode::from_bits(first & OPCODE) else {
        return Err(Violation::protocol("reserved opcode"));
    };
    let fin = first & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(Violation::protocol("fragmented control frame"));
    }

    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second & MASKED == 0 {
        return Err(Violation::protocol("client frame is not masked"));
    }
    let length = second & !MASKED;
    if opcode.is_control() && usize::from(length) > CONTROL_BYTES_MAX {
        return Err(Violation::protocol("control frame longer than 125 bytes"));
    }

    let Some((payload_bytes, length_bytes)) = parse_length(length, &bytes[2..])? else {
        return Ok(None);
    };
    let after_length = 2 + length_bytes;
    let Some(&mask) = bytes[after_length..].first_chunk::<4>() else {
        return Ok(None);
    };
    Ok(Some(FrameHeader { fin, opcode, mask, payload_bytes, header_bytes: after_length + 4 }))
}

/// The payload length and how many of the `extended` bytes it took. The RFC says that the shortest
/// form MUST be used; browsers refuse others, and so do we.
fn parse_length(length: u8, extended: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    const NOT_MINIMAL: Violation = Violation::protocol("payload length not in its shortest form");
    match length {
        LENGTH_16 => match extended.first_chunk::<2>().map(|b| u16::from_be_bytes(*b)) {
            None => Ok(None),
            Some(0..=125) => Err(NOT_MINIMAL),
            Some(length) => Ok(Some((u64::from(length), 2))),
        },
        LENGTH_64 => match extended.first_chunk::<8>().map(|b| u64::from_be_bytes(*b)) {
            None => Ok(None),
            Some(0..=0xffff) => Err(NOT_MINIMAL),
            Some(length) if length >> 63 != 0 => Err(Violation::protocol("payload length with its highest bit set")),
            Some(length) => Ok(Some((length, 8))),
        },
        short => Ok(Some((u64::from(short), 0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn header(first: u8, second: u8, extended: &[u8]) -> Vec<u8> {
        [&[first, second], extended, &MASK].concat()
    }

    #[test]
    fn lengths_in_their_shortest_form() {
        let table: [(u8, &[u8], u64); 7] = [
            (0x80, &[], 0),
            (0x80 | 125, &[], 125),
            (0x80 | 126, &[0, 126], 126),
            (0x80 | 126, &[0xff, 0xff], 65_535),
            (0x80 | 127, &[0, 0, 0, 0, 0, 1, 0, 0], 65_536),
            (0x80 | 127, &[0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
            (0x80 | 127, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], u64::MAX >> 1),
        ];
        for (second, extended, payload_bytes) in table {
            let bytes = header(0x82, second, extended);
            let expected =
                FrameHeader { fin: true, opcode: Opcode::Binary, mask: MASK, payload_bytes, header_bytes: bytes.len() };
            assert_eq!(parse_header(&bytes), Ok(Some(expected)));
            for cut in 0..bytes.len() {
                assert_eq!(parse_header(&bytes[..cut]), Ok(None), "{payload_bytes} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_a_header_can_break() {
        let table: [(&str, u8, u8, &[u8]); 14] = [
            ("reserved bit 1", 0xc2, 0x80, &[]),
            ("reserved bit 2", 0xa2, 0x80, &[]),
            ("reserved bit 3", 0x92, 0x80, &[]),
            ("reserved bit on a ping", 0xc9, 0x80, &[]),
            ("unmasked", 0x82, 0x05, &[]),
            ("unmasked close", 0x88, 0x00, &[]),
            ("fragmented close", 0x08, 0x80, &[]),
            ("fragmented ping", 0x09, 0x80, &[]),
            ("fragmented pong", 0x0a, 0x80, &[]),
            ("ping of 126", 0x89, 0x80 | 126, &[0, 126]),
            ("pong of 65536", 0x8a, 0x80 | 127, &[0, 0, 0, 0, 0, 1, 0, 0]),
            ("125 in 16 bits", 0x82, 0x80 | 126, &[0, 125]),
            ("65535 in 64 bits", 0x82, 0x80 | 127, &[0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            ("highest bit", 0x82, 0x80 | 127, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (name, first, second, extended) in table {
            let bytes = header(first, second, extended);
            assert_eq!(parse_header(&bytes).map_err(|v| v.close_code), Err(1002), "{name}");
        }
    }

    #[test]
    fn opcodes_that_mean_nothing() {
        for opcode in (0x3..=0x7).chain(0xb..=0xf) {
            // The first byte is enough to tell.
            assert_eq!(parse_header(&[0x80 | opcode]).map_err(|v| v.close_code), Err(1002));
            assert_eq!(parse_header(&[opcode]).map_err(|v| v.close_code), Err(1002));
        }
    }

    #[test]
    fn a_full_header_is_never_too_short() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let mut bytes = [0x11; HEADER_BYTES_MAX];
                bytes[0] = first;
                bytes[1] = second;
                assert!(!matches!(parse_header(&bytes), Ok(None)), "{first:#x} {second:#x}");
            }
        }
    }
}

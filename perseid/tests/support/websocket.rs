//! WebSocket framing of RFC 6455, the client's end, as far as the tests need it.

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The request that opens a WebSocket; the key is that of the RFC's example.
pub(crate) fn upgrade(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// The accept key that belongs to [`upgrade`].
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A whole masked message.
pub(crate) fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    fragment(true, opcode, payload)
}

/// A masked frame.
pub(crate) fn fragment(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(if fin { FIN } else { 0 } | opcode, 0x80, payload.len());
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// A frame without a mask, which no client may send.
pub(crate) fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(FIN | opcode, 0, payload.len());
    out.extend(payload);
    out
}

/// A masked frame's head that claims `len` bytes.
pub(crate) fn claim(first_byte: u8, len: usize) -> Vec<u8> {
    let mut out = head(first_byte, 0x80, len);
    out.extend(MASK);
    out
}

fn head(first_byte: u8, mask_bit: u8, len: usize) -> Vec<u8> {
    let mut out = vec![first_byte];
    if len < 126 {
        out.push(mask_bit | len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(mask_bit | 126);
        out.extend(len.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend((len as u64).to_be_bytes());
    }
    out
}

/// Takes the first message off `input`, if it is all there. A server's messages are whole and not masked.
pub(crate) fn take(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (input.first()?, input.get(1)?);
    assert_eq!(first & 0x70, 0, "reserved bits");
    assert_eq!(first & FIN, FIN, "a fragment from a server");
    assert_eq!(second & 0x80, 0, "a masked frame from a server");
    let (header, len) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(input.get(2..4)?.try_into().unwrap()))),
        127 => (10, u64::from_be_bytes(input.get(2..10)?.try_into().unwrap())),
        len => (2, u64::from(len)),
    };
    let end = header + len as usize;
    if input.len() < end {
        return None;
    }
    let payload = input[header..end].to_vec();
    input.drain(..end);
    Some((first & 0x0f, payload))
}

//! The client's half of WebSocket, as little as a generator needs: the
//! handshake, masked messages out, unmasked ones in.

use super::classic::{self, Sink, WireError};

const OPCODE_BINARY: u8 = 2;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;
/// A control frame carries no more.
const CONTROL_BYTES_MAX: usize = 125;
/// What a server's answer to the handshake may take.
const RESPONSE_BYTES_MAX: usize = 8192;

/// The key of RFC 6455's example and the answer it must get: a fixed pair
/// checks the server as well as a random one does.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request that asks for the upgrade.
pub(crate) fn request(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// Reads the answer to [`request`]: its length when it is whole and right,
/// none while it is cut.
pub(crate) fn response(data: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(end) = data.windows(4).position(|four| four == b"\r\n\r\n") else {
        let too_long = data.len() > RESPONSE_BYTES_MAX;
        return if too_long { Err(WireError("an endless HTTP answer")) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&data[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    if status != Some("101") {
        return Err(WireError("WebSocket upgrade refused"));
    }
    let accepted = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT);
    if accepted { Ok(Some(end + 4)) } else { Err(WireError("a wrong Sec-WebSocket-Accept")) }
}

/// Appends a binary message.
pub(crate) fn put_message(out: &mut Vec<u8>, payload: &[u8], mask: u32) {
    put(out, OPCODE_BINARY, payload, mask);
}

/// Appends the answer to a ping.
pub(crate) fn put_pong(out: &mut Vec<u8>, payload: &[u8], mask: u32) {
    put(out, OPCODE_PONG, &payload[..payload.len().min(CONTROL_BYTES_MAX)], mask);
}

/// Appends a normal good-bye (code 1000).
pub(crate) fn put_close(out: &mut Vec<u8>, mask: u32) {
    put(out, OPCODE_CLOSE, &1000u16.to_be_bytes(), mask);
}

fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: u32) {
    out.push(0x80 | opcode);
    match (payload.len(), u16::try_from(payload.len())) {
        #[allow(clippy::cast_possible_truncation)]
        (short @ 0..=125, _) => out.push(0x80 | short as u8),
        (_, Ok(middle)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        (long, Err(_)) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = mask.to_be_bytes();
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Walks what is whole at the start of `data` and returns how many bytes that
/// is. `left` is the session's only state: bytes still to come of the message
/// being read, so that a large batch needs no buffer of its own size.
#[inline]
pub(crate) fn walk(left: &mut u32, data: &[u8], sink: &mut impl Sink) -> Result<usize, WireError> {
    let mut at = 0;
    loop {
        if *left > 0 {
            let rest = &data[at..];
            let here = rest.len().min(*left as usize);
            let consumed = classic::walk(&rest[..here], sink)?;
            at += consumed;
            // consumed <= here <= left.
            *left -= u32::try_from(consumed).unwrap_or(*left);
            if *left > 0 {
                if rest.len() - consumed >= *left as usize {
                    return Err(WireError("a frame that straddles two messages"));
                }
                return Ok(at);
            }
        }
        match head(&data[at..])? {
            None => return Ok(at),
            Some((OPCODE_BINARY, start, len)) => {
                *left = u32::try_from(len).map_err(|_| WireError("a WebSocket message of more than 4 GiB"))?;
                at += start;
            }
            Some((opcode, start, len)) => {
                if len > CONTROL_BYTES_MAX as u64 {
                    return Err(WireError("an unexpected WebSocket frame"));
                }
                // At most 125 bytes, as just checked.
                let end = at + start + usize::try_from(len).unwrap_or(0);
                let Some(payload) = data.get(at + start..end) else { return Ok(at) };
                control(opcode, payload, sink)?;
                at = end;
            }
        }
    }
}

/// Opcode, length of the head and length of the payload; none while cut.
#[inline]
fn head(data: &[u8]) -> Result<Option<(u8, usize, u64)>, WireError> {
    let [first, second, rest @ ..] = data else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err(WireError("a fragmented, masked or extended WebSocket frame"));
    }
    let (head, len) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(len) => (4, u64::from(u16::from_be_bytes(*len))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(len) => (10, u64::from_be_bytes(*len)),
            None => return Ok(None),
        },
        short => (2, u64::from(*short)),
    };
    Ok(Some((first & 0x0f, head, len)))
}

fn control(opcode: u8, payload: &[u8], sink: &mut impl Sink) -> Result<(), WireError> {
    match opcode {
        OPCODE_PING => sink.ping(payload),
        OPCODE_PONG => {}
        OPCODE_CLOSE => {
            sink.bye(payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code)));
        }
        _ => return Err(WireError("a WebSocket frame that is not binary")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::classic::{OP_PUSH, OP_RAW, put_frame, tests::Recorder};
    use super::*;

    fn server_message(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
        out.push(0x80 | opcode);
        if payload.len() < 126 {
            out.push(u8::try_from(payload.len()).unwrap());
        } else if let Ok(len) = u16::try_from(payload.len()) {
            out.push(126);
            out.extend_from_slice(&len.to_be_bytes());
        } else {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
        out.extend_from_slice(payload);
    }

    #[test]
    fn split_at_every_byte() {
        let mut inner = Vec::new();
        put_frame(&mut inner, OP_PUSH, 0, b"one");
        put_frame(&mut inner, OP_PUSH, 0, &[7; 200]);
        let mut wrapped = Vec::new();
        put_frame(&mut wrapped, OP_RAW, 0, &inner);
        let mut data = Vec::new();
        server_message(&mut data, OPCODE_BINARY, &wrapped);
        server_message(&mut data, OPCODE_PING, b"hey");
        server_message(&mut data, OPCODE_BINARY, &inner);
        server_message(&mut data, OPCODE_PONG, b"");
        server_message(&mut data, OPCODE_CLOSE, &[3, 0xe8]);
        let mut left = 0;
        let mut whole = Recorder::default();
        assert_eq!(walk(&mut left, &data, &mut whole), Ok(data.len()));
        assert_eq!((whole.frames.len(), whole.pings.len(), whole.byes.len()), (4, 1, 1));
        for cut in 0..=data.len() {
            let mut left = 0;
            let mut parts = Recorder::default();
            let consumed = walk(&mut left, &data[..cut], &mut parts).unwrap();
            let rest = data.len() - consumed;
            assert_eq!(walk(&mut left, &data[consumed..], &mut parts), Ok(rest), "cut at {cut}");
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }

    #[test]
    fn byte_by_byte_with_a_long_message() {
        let mut inner = Vec::new();
        for _ in 0..2000 {
            put_frame(&mut inner, OP_PUSH, 0, &[1; 24]);
        }
        let mut data = Vec::new();
        server_message(&mut data, OPCODE_BINARY, &inner);
        let (mut left, mut carry, mut seen) = (0, Vec::new(), Recorder::default());
        for byte in data {
            carry.push(byte);
            let consumed = walk(&mut left, &carry, &mut seen).unwrap();
            carry.drain(..consumed);
        }
        assert_eq!((seen.frames.len(), left, carry.len()), (2000, 0, 0));
    }

    #[test]
    fn straddling_masked_text_and_fragments_are_refused() {
        let mut frame = Vec::new();
        put_frame(&mut frame, OP_PUSH, 0, b"abcdef");
        let mut straddle = Vec::new();
        server_message(&mut straddle, OPCODE_BINARY, &frame[..20]);
        assert!(walk(&mut 0, &straddle, &mut Recorder::default()).is_err());
        for bad in [&[0x81, 0][..], &[0x82, 0x80], &[0x02, 0], &[0xc2, 0]] {
            assert!(walk(&mut 0, bad, &mut Recorder::default()).is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn handshake() {
        let good = format!("HTTP/1.1 101 x\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        assert_eq!(response(good.as_bytes()), Ok(Some(good.len())));
        assert_eq!(response(&good.as_bytes()[..good.len() - 1]), Ok(None));
        assert!(response(b"HTTP/1.1 101 x\r\n\r\n").is_err());
        assert!(response(b"HTTP/1.1 404 x\r\n\r\n").is_err());
    }

    #[test]
    fn masked_messages() {
        let mut out = Vec::new();
        put_message(&mut out, b"ab", 0x0102_0304);
        assert_eq!(out, [0x82, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2]);
        let mut long = Vec::new();
        put_message(&mut long, &[0; 300], 0);
        assert_eq!(long[..4], [0x82, 0x80 | 126, 1, 44]);
    }
}

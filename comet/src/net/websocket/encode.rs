//! Frames of a server: whole, unmasked, their length in the shortest form (RFC 6455 section 5.2).

use super::{CONTROL_BYTES_MAX, Opcode};

/// Bytes of the longest header of a server's frame.
pub const HEADER_BYTES_MAX: usize = 10;

/// Bytes of a reason that fit into a close frame beside its code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

const FIN: u8 = 0x80;

/// The header of an unfragmented frame, and how many of the bytes are it.
pub fn frame_header(opcode: Opcode, payload_bytes: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = FIN | opcode as u8;
    let header_bytes = match payload_bytes {
        0..=125 => {
            header[1] = payload_bytes as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    (header, header_bytes)
}

/// Appends a whole frame. The payload of a control frame is cut to 125 bytes, which only a caller
/// that makes up its own pings can exceed: a pong repeats what the decoder let in.
pub fn put_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = match opcode.is_control() {
        true => &payload[..payload.len().min(CONTROL_BYTES_MAX)],
        false => payload,
    };
    let (header, header_bytes) = frame_header(opcode, payload.len());
    out.reserve(header_bytes + payload.len());
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(payload);
}

/// Appends a close frame. `code` is one that may be on the wire (not 1005, 1006, 1015); `reason` is
/// cut to 123 bytes at the boundary of a character.
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    let (header, header_bytes) = frame_header(Opcode::Close, 2 + reason.len());
    out.reserve(header_bytes + 2 + reason.len());
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(opcode: Opcode, payload_bytes: usize) -> Vec<u8> {
        let (bytes, len) = frame_header(opcode, payload_bytes);
        bytes[..len].to_vec()
    }

    #[test]
    fn headers() {
        assert_eq!(header(Opcode::Binary, 0), [0x82, 0]);
        assert_eq!(header(Opcode::Text, 125), [0x81, 125]);
        assert_eq!(header(Opcode::Binary, 126), [0x82, 126, 0, 126]);
        assert_eq!(header(Opcode::Binary, 65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(header(Opcode::Binary, 65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(header(Opcode::Pong, 3), [0x8a, 3]);
    }

    #[test]
    fn frames_are_appended() {
        let mut out = b"before".to_vec();
        put_frame(&mut out, Opcode::Pong, b"hi");
        put_frame(&mut out, Opcode::Binary, b"");
        assert_eq!(out, b"before\x8a\x02hi\x82\x00");
    }

    #[test]
    fn control_frames_are_cut() {
        let mut out = Vec::new();
        put_frame(&mut out, Opcode::Ping, &[7; 200]);
        assert_eq!((out.len(), out[1]), (127, 125));
    }

    #[test]
    fn closes() {
        let mut out = Vec::new();
        put_close(&mut out, 4001, "drain");
        assert_eq!(out, b"\x88\x07\x0f\xa1drain");

        // 122 bytes, then a character of two bytes that straddles the bound: it goes whole.
        let long = format!("{}é and more", "x".repeat(122));
        out.clear();
        put_close(&mut out, 1000, &long);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert_eq!(out[4..], [b'x'; 122]);

        out.clear();
        put_close(&mut out, 1000, &"y".repeat(124));
        assert_eq!((out.len(), out[1]), (127, 125));
    }
}

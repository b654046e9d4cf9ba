//! Bytes of the classic frame: a header of 16, then the body.

/// Length of the classic header.
pub(crate) const HEADER_LEN: usize = 16;
/// No frame from a server is longer; what claims more ends the session.
pub(crate) const FRAME_BYTES_MAX: usize = 2 << 20;

pub(crate) const OP_HEARTBEAT: u32 = 2;
pub(crate) const OP_HEARTBEAT_REPLY: u32 = 3;
pub(crate) const OP_AUTH: u32 = 7;
pub(crate) const OP_AUTH_REPLY: u32 = 8;
/// A batch: its body is frames. On TCP it has no outer header.
pub(crate) const OP_RAW: u32 = 9;
/// The operation of everything the generator pushes.
pub(crate) const OP_PUSH: u32 = 1000;

/// What receives the things that a session reads.
pub(crate) trait Sink {
    /// A whole frame; its header is 16 bytes or more.
    fn frame(&mut self, op: u32, header: &[u8], body: &[u8]);
    /// WebSocket: a ping, to be answered with its payload.
    fn ping(&mut self, payload: &[u8]);
    /// WebSocket: the server says good-bye, with this code.
    fn bye(&mut self, code: u16);
}

/// Bytes that no server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireError(pub(crate) &'static str);

/// Appends a frame.
pub(crate) fn put_frame(out: &mut Vec<u8>, op: u32, seq: u32, body: &[u8]) {
    // Bodies made here are far below 4 GiB.
    let len = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&16u16.to_be_bytes());
    out.extend_from_slice(&1u16.to_be_bytes());
    out.extend_from_slice(&op.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(body);
}

/// Walks the whole frames at the start of `data` and returns how many bytes
/// they take; the rest is the beginning of a frame that was cut.
///
/// A batch (op 9) is walked into: only its header is consumed as such.
#[inline]
pub(crate) fn walk(data: &[u8], sink: &mut impl Sink) -> Result<usize, WireError> {
    let mut at = 0;
    while let Some(head) = data.get(at..).and_then(<[u8]>::first_chunk::<HEADER_LEN>) {
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let header = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let op = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if header < HEADER_LEN || len < header {
            return Err(WireError("a frame with a wrong length"));
        }
        if op == OP_RAW {
            at += HEADER_LEN;
            continue;
        }
        if len > FRAME_BYTES_MAX {
            return Err(WireError("a frame longer than 2 MiB"));
        }
        let Some(frame) = data.get(at..at + len) else { break };
        // header <= len was checked above, so it can be split there.
        let (header, body) = frame.split_at(header);
        sink.frame(op, header, body);
        at += len;
    }
    Ok(at)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes down what came.
    #[derive(Default, Debug, PartialEq, Eq)]
    pub(crate) struct Recorder {
        pub(crate) frames: Vec<(u32, Vec<u8>)>,
        pub(crate) pings: Vec<Vec<u8>>,
        pub(crate) byes: Vec<u16>,
    }

    impl Sink for Recorder {
        fn frame(&mut self, op: u32, _header: &[u8], body: &[u8]) {
            self.frames.push((op, body.to_vec()));
        }
        fn ping(&mut self, payload: &[u8]) {
            self.pings.push(payload.to_vec());
        }
        fn bye(&mut self, code: u16) {
            self.byes.push(code);
        }
    }

    #[test]
    fn golden_bytes() {
        let mut out = Vec::new();
        put_frame(&mut out, 1000, 0, b"hello");
        let golden = [0, 0, 0, 0x15, 0, 16, 0, 1, 0, 0, 3, 0xe8, 0, 0, 0, 0];
        assert_eq!(out[..16], golden);
        assert_eq!(&out[16..], b"hello");
    }

    #[test]
    fn split_at_every_byte() {
        let mut data = Vec::new();
        put_frame(&mut data, OP_AUTH_REPLY, 1, b"");
        put_frame(&mut data, OP_PUSH, 0, b"one");
        put_frame(&mut data, OP_PUSH, 0, &[9; 300]);
        let mut whole = Recorder::default();
        assert_eq!(walk(&data, &mut whole), Ok(data.len()));
        assert_eq!(whole.frames.len(), 3);
        for cut in 0..=data.len() {
            let mut parts = Recorder::default();
            let consumed = walk(&data[..cut], &mut parts).unwrap();
            assert!(consumed <= cut);
            assert_eq!(walk(&data[consumed..], &mut parts), Ok(data.len() - consumed));
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }

    #[test]
    fn longer_headers_are_skipped_and_lies_refused() {
        let mut extended = vec![0, 0, 0, 74, 0, 72, 0, 2, 0, 0, 3, 0xe8, 0, 0, 0, 0];
        extended.extend_from_slice(&[0; 56]);
        extended.extend_from_slice(b"hi");
        let mut seen = Recorder::default();
        assert_eq!(walk(&extended, &mut seen), Ok(74));
        assert_eq!(seen.frames, [(1000, b"hi".to_vec())]);
        let mut short = extended.clone();
        short[3] = 71;
        assert!(walk(&short, &mut Recorder::default()).is_err());
        let mut long = extended;
        long[0] = 1;
        assert!(walk(&long, &mut Recorder::default()).is_err());
    }
}

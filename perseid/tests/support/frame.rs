//! The frame of protocol.md section 1, written and read by hand.

pub(crate) const HEARTBEAT: i32 = 2;
pub(crate) const SEND_MSG: i32 = 4;
pub(crate) const DISCONNECT: i32 = 6;
pub(crate) const AUTH: i32 = 7;
pub(crate) const AUTH_REPLY: i32 = 8;
pub(crate) const RAW: i32 = 9;
pub(crate) const CHANGE_ROOM: i32 = 12;
pub(crate) const SUB: i32 = 14;
pub(crate) const UNSUB: i32 = 16;
pub(crate) const ERROR: i32 = 32;

/// What a header of 72 bytes has beyond 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) id: u64,
    pub(crate) pos: u64,
    pub(crate) conv: u64,
    pub(crate) conv_pos: u64,
    pub(crate) from: u64,
    pub(crate) cid: u64,
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) reserved: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) ver: i16,
    pub(crate) op: i32,
    pub(crate) seq: i32,
    /// There when the header had 72 bytes.
    pub(crate) extended: Option<Extended>,
    pub(crate) body: Vec<u8>,
    /// It came inside an op-9 wrapper.
    pub(crate) wrapped: bool,
}

impl Frame {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// What a reply is known by.
    pub(crate) fn head(&self) -> (i16, i32, i32) {
        (self.ver, self.op, self.seq)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}

/// A frame with a header of 16 bytes.
pub(crate) fn classic(ver: i16, op: i32, seq: i32, body: &[u8]) -> Vec<u8> {
    lying(16 + body.len() as i32, 16, ver, op, seq, body)
}

/// A frame whose lengths are whatever one likes.
pub(crate) fn lying(package_len: i32, header_len: i16, ver: i16, op: i32, seq: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + body.len());
    out.extend(package_len.to_be_bytes());
    out.extend(header_len.to_be_bytes());
    out.extend(ver.to_be_bytes());
    out.extend(op.to_be_bytes());
    out.extend(seq.to_be_bytes());
    out.extend(body);
    out
}

/// A frame with a header of 72 bytes, version 2.
pub(crate) fn extended(op: i32, seq: i32, ext: &Extended, body: &[u8]) -> Vec<u8> {
    let mut out = lying(72 + body.len() as i32, 72, 2, op, seq, &[]);
    for field in [ext.id, ext.pos, ext.conv, ext.conv_pos, ext.from, ext.cid] {
        out.extend(field.to_be_bytes());
    }
    out.extend(ext.kind.to_be_bytes());
    out.extend(ext.flags.to_be_bytes());
    out.extend(ext.reserved.to_be_bytes());
    out.extend(body);
    out
}

/// Takes the first frame off `input`, if it is all there.
pub(crate) fn take(input: &mut Vec<u8>) -> Option<Frame> {
    if input.len() < 16 {
        return None;
    }
    let i32_at = |at: usize| i32::from_be_bytes(input[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_be_bytes(input[at..at + 8].try_into().unwrap());
    let u16_at = |at: usize| u16::from_be_bytes(input[at..at + 2].try_into().unwrap());
    let package_len = usize::try_from(i32_at(0)).expect("a length that is not negative");
    let header_len = usize::from(u16_at(4));
    assert!(header_len == 16 || header_len == 72, "header_len {header_len}");
    assert!(package_len >= header_len, "package_len {package_len} with header_len {header_len}");
    assert!(package_len <= 2 * 1024 * 1024, "a frame of {package_len} bytes");
    if input.len() < package_len {
        return None;
    }
    let ext = (header_len == 72).then(|| Extended {
        id: u64_at(16),
        pos: u64_at(24),
        conv: u64_at(32),
        conv_pos: u64_at(40),
        from: u64_at(48),
        cid: u64_at(56),
        kind: u16_at(64),
        flags: u16_at(66),
        reserved: i32_at(68) as u32,
    });
    let frame = Frame {
        ver: u16_at(6) as i16,
        op: i32_at(8),
        seq: i32_at(12),
        extended: ext,
        body: input[header_len..package_len].to_vec(),
        wrapped: false,
    };
    input.drain(..package_len);
    Some(frame)
}

/// All frames in `bytes`, which must end where a frame ends.
pub(crate) fn all(bytes: &[u8]) -> Vec<Frame> {
    let mut input = bytes.to_vec();
    let mut frames = Vec::new();
    while let Some(frame) = take(&mut input) {
        frames.push(frame);
    }
    assert!(input.is_empty(), "{} bytes behind the last whole frame", input.len());
    frames
}

//! The extended frame: the classic header, then 56 bytes more.

use super::super::classic::HEADER_LEN as CLASSIC_LEN;

/// Length of the extended header.
pub(crate) const HEADER_LEN: usize = 72;
/// The `ver` that makes a session extended.
pub(crate) const VERSION: u16 = 2;

pub(crate) const OP_SEND_MSG: u32 = 4;
pub(crate) const OP_SEND_MSG_REPLY: u32 = 5;
pub(crate) const OP_DISCONNECT: u32 = 6;
pub(crate) const OP_SYNC: u32 = 18;
pub(crate) const OP_SYNC_REPLY: u32 = 19;
pub(crate) const OP_HEAD: u32 = 31;
pub(crate) const OP_ERROR: u32 = 32;

pub(crate) const KIND_DIRECT: u16 = 1;
pub(crate) const KIND_GROUP: u16 = 2;

/// Has a position in the inbox.
pub(crate) const FLAG_STORED: u16 = 1;
/// A page, and more follows.
pub(crate) const FLAG_MORE: u16 = 2;
/// The message was accepted before.
pub(crate) const FLAG_DUPLICATE: u16 = 16;

/// What a header says; 0 is none everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) op: u32,
    pub(crate) seq: u32,
    pub(crate) id: u64,
    pub(crate) pos: u64,
    pub(crate) conv: u64,
    pub(crate) conv_pos: u64,
    pub(crate) from: u64,
    pub(crate) cid: u64,
    pub(crate) kind: u16,
    pub(crate) flags: u16,
}

impl Head {
    /// Reads a header; what a short one leaves out is 0.
    #[inline]
    pub(crate) fn decode(header: &[u8]) -> Option<Self> {
        let classic = header.first_chunk::<CLASSIC_LEN>()?;
        let word = |at: usize| u32::from_be_bytes([classic[at], classic[at + 1], classic[at + 2], classic[at + 3]]);
        let (op, seq) = (word(8), word(12));
        let Some(bytes) = header.first_chunk::<HEADER_LEN>() else { return Some(Self { op, seq, ..Self::default() }) };
        let long = |at: usize| {
            let mut long = [0; 8];
            long.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(long)
        };
        let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            op,
            seq,
            id: long(16),
            pos: long(24),
            conv: long(32),
            conv_pos: long(40),
            from: long(48),
            cid: long(56),
            kind: short(64),
            flags: short(66),
        })
    }

    /// Appends a frame with this header.
    pub(crate) fn put(&self, out: &mut Vec<u8>, body: &[u8]) {
        // Bodies made here are far below 4 GiB.
        let len = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&72u16.to_be_bytes());
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.op.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        for long in [self.id, self.pos, self.conv, self.conv_pos, self.from, self.cid] {
            out.extend_from_slice(&long.to_be_bytes());
        }
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.flags.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(body);
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let head =
            Head { op: 4, seq: 7, id: 1, pos: 2, conv: 3, conv_pos: 4, from: 5, cid: 6, kind: KIND_DIRECT, flags: FLAG_STORED };
        let mut out = Vec::new();
        head.put(&mut out, b"hi");
        assert_eq!(out[..16], [0, 0, 0, 74, 0, 72, 0, 2, 0, 0, 0, 4, 0, 0, 0, 7]);
        for (n, place) in out[16..64].chunks_exact(8).enumerate() {
            assert_eq!(place, (n as u64 + 1).to_be_bytes());
        }
        assert_eq!(out[64..], [0, 1, 0, 1, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(Head::decode(&out[..72]), Some(head));
        assert_eq!(Head::decode(&out[..16]), Some(Head { op: 4, seq: 7, ..Head::default() }));
        assert_eq!(Head::decode(&out[..15]), None);
    }
}

//! Bytes ⇄ frames. The only file that knows offsets.
//!
//! ```text
//! 0   4  package_len   header_len + body length          16  8  id        48  8  from
//! 4   2  header_len    16 classic, 72 extended           24  8  pos       56  8  cid
//! 6   2  ver           1 classic, 2 extended             32  8  conv      64  2  kind
//! 8   4  op                                              40  8  conv_pos  66  2  flags
//! 12  4  seq           echoed in the reply                                68  4  reserved, written 0
//! ```
//!
//! All integers are big-endian. The columns on the right exist only when `header_len` ≥ 72; a reader skips to
//! `header_len`, so that a later version can grow the header.

use thiserror::Error;

/// Header length of a classic frame (goim's), in bytes.
pub const CLASSIC_HEADER_LEN: usize = 16;
/// Header length of an extended frame, in bytes.
pub const EXTENDED_HEADER_LEN: usize = 72;
/// The longest header that a reader accepts, in bytes.
pub const HEADER_LEN_MAX: usize = 256;
/// `ver` of a classic frame.
pub const VER_CLASSIC: u16 = 1;
/// `ver` of an extended frame; an AUTH with this or more makes the session extended.
pub const VER_EXTENDED: u16 = 2;

/// Bits of [`Extension::flags`].
pub mod flag {
    /// Has an inbox position.
    pub const STORED: u16 = 1;
    /// A page, more follows.
    pub const MORE: u16 = 2;
    /// Tombstone: this position holds nothing any more; on CHANGE_ROOM: the ring no longer holds all of it.
    pub const GONE: u16 = 4;
    /// Never stored.
    pub const EPHEMERAL: u16 = 8;
    /// This `cid` was accepted before.
    pub const DUPLICATE: u16 = 16;
    /// Does not count as unread.
    pub const QUIET: u16 = 32;
}

/// Values of [`Extension::kind`].
pub mod kind {
    /// From a business service, no timeline.
    pub const NOTICE: u16 = 0;
    /// Between two users.
    pub const DIRECT: u16 = 1;
    /// Written to every member's inbox.
    pub const GROUP: u16 = 2;
    /// Written once, to its timeline.
    pub const CHANNEL: u16 = 3;
    /// A live room.
    pub const ROOM: u16 = 4;
    /// What the server tells about other messages.
    pub const EVENT: u16 = 5;
}

/// The fields that exist only in a header of 72 bytes or more; all 0 in a shorter one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Message id (snowflake), or 0.
    pub id: u64,
    /// A position in the user's inbox or in a room, or a cursor; 0 = none.
    pub pos: u64,
    /// Conversation: the peer's mid, the group's id, or the room's hash; 0 = none.
    pub conv: u64,
    /// Position in that conversation's timeline; 0 = none.
    pub conv_pos: u64,
    /// Sender's mid, as unsigned; 0 = the system.
    pub from: u64,
    /// The id that the sending client chose; 0 = none.
    pub cid: u64,
    /// See [`kind`].
    pub kind: u16,
    /// See [`flag`].
    pub flags: u16,
}

/// The header of a frame; its body stands beside it as a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Protocol version of the frame: 1 classic, 2 extended.
    pub ver: u16,
    /// Operation; see [`crate::operation`].
    pub op: i32,
    /// Chosen by the requester, echoed in the reply; 0 on what the server sends by itself.
    pub seq: i32,
    /// The extended fields.
    pub ext: Extension,
}

/// A frame whose bytes are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// Its body: opaque bytes.
    pub body: &'a [u8],
    /// How many bytes of the input it took, header included.
    pub len: usize,
}

/// Why bytes are no frame. Always the sender's fault, never worth a retry of the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// `header_len` is below 16, between 17 and 71, or above 256.
    #[error("header_len {0} is not 16 or 72..=256")]
    HeaderLen(u16),
    /// `package_len` is negative or smaller than `header_len`.
    #[error("package_len {package_len} is smaller than header_len {header_len}")]
    PackageLen {
        /// As read, signed.
        package_len: i32,
        /// As read.
        header_len: u16,
    },
    /// The body is longer than the limit that holds now.
    #[error("a body of {body_len} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the frame claims.
        body_len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A frame inside a wrapper (op 9, a page) or a WebSocket message goes on behind its end.
    #[error("a frame is cut off: its wrapper has only {wrapper_bytes} bytes more")]
    Cut {
        /// What was left for it, bytes.
        wrapper_bytes: usize,
    },
}

fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn be32(b: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn be64(b: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&b[at..at + 8]);
    u64::from_be_bytes(eight)
}

/// Reads the frame at the start of `input`; `None` when more bytes are needed.
///
/// A wrong length is refused as soon as the six bytes that hold both lengths are there, so nothing is ever buffered on
/// the word of a liar.
///
/// # Errors
/// See [`FrameError`].
pub fn decode(input: &[u8], body_bytes_max: usize) -> Result<Option<Frame<'_>>, FrameError> {
    if input.len() < 6 {
        return Ok(None);
    }
    let package_len = be32(input, 0);
    let header_len_raw = be16(input, 4);
    let header_len = usize::from(header_len_raw);
    if header_len != CLASSIC_HEADER_LEN && !(EXTENDED_HEADER_LEN..=HEADER_LEN_MAX).contains(&header_len) {
        return Err(FrameError::HeaderLen(header_len_raw));
    }
    let len = usize::try_from(package_len)
        .ok()
        .filter(|len| *len >= header_len)
        .ok_or(FrameError::PackageLen { package_len, header_len: header_len_raw })?;
    let body_len = len - header_len;
    if body_len > body_bytes_max {
        return Err(FrameError::TooLarge { body_len, limit: body_bytes_max });
    }
    if input.len() < len {
        return Ok(None);
    }
    let ext = if header_len >= EXTENDED_HEADER_LEN { decode_extension(input) } else { Extension::default() };
    let header = Header { ver: be16(input, 6), op: be32(input, 8), seq: be32(input, 12), ext };
    Ok(Some(Frame { header, body: &input[header_len..len], len }))
}

/// What the first 16 bytes say beside the lengths, whether or not they begin a frame; `None` when there are fewer.
pub fn peek(input: &[u8]) -> Option<Header> {
    (input.len() >= CLASSIC_HEADER_LEN).then(|| Header {
        ver: be16(input, 6),
        op: be32(input, 8),
        seq: be32(input, 12),
        ext: Extension::default(),
    })
}

fn decode_extension(input: &[u8]) -> Extension {
    Extension {
        id: be64(input, 16),
        pos: be64(input, 24),
        conv: be64(input, 32),
        conv_pos: be64(input, 40),
        from: be64(input, 48),
        cid: be64(input, 56),
        kind: be16(input, 64),
        flags: be16(input, 66),
    }
}

fn put_base(out: &mut Vec<u8>, header_len: usize, header: &Header, body_len: usize) {
    // Bodies are bounded far below 2 GiB before they get here; saturating keeps a lie from wrapping all the same.
    let package_len = i32::try_from(header_len + body_len).unwrap_or(i32::MAX);
    out.extend_from_slice(&package_len.to_be_bytes());
    // header_len is one of the two constants above.
    out.extend_from_slice(&(header_len as u16).to_be_bytes());
    out.extend_from_slice(&header.ver.to_be_bytes());
    out.extend_from_slice(&header.op.to_be_bytes());
    out.extend_from_slice(&header.seq.to_be_bytes());
}

/// Appends a 16-byte header for a body of `body_len` bytes; the extended fields are not written.
pub fn put_classic_header(out: &mut Vec<u8>, header: &Header, body_len: usize) {
    put_base(out, CLASSIC_HEADER_LEN, header, body_len);
}

/// Appends a 72-byte header for a body of `body_len` bytes.
pub fn put_extended_header(out: &mut Vec<u8>, header: &Header, body_len: usize) {
    put_base(out, EXTENDED_HEADER_LEN, header, body_len);
    let ext = &header.ext;
    for value in [ext.id, ext.pos, ext.conv, ext.conv_pos, ext.from, ext.cid] {
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.extend_from_slice(&ext.kind.to_be_bytes());
    out.extend_from_slice(&ext.flags.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// Appends a whole frame with a 16-byte header.
pub fn put_classic(out: &mut Vec<u8>, header: &Header, body: &[u8]) {
    put_classic_header(out, header, body.len());
    out.extend_from_slice(body);
}

/// Appends a whole frame with a 72-byte header.
pub fn put_extended(out: &mut Vec<u8>, header: &Header, body: &[u8]) {
    put_extended_header(out, header, body.len());
    out.extend_from_slice(body);
}

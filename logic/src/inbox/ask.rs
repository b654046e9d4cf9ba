//! What a request about stored messages says: read and checked as far as that needs nobody else. Pure.

use perseid_protocol::SessionKey;
use perseid_protocol::frame::{Extension, Header, flag, kind};
use perseid_protocol::op;
use perseid_protocol::push::SessionAddr;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::PullFrom;

use super::answer::StoredRefusal;

/// Messages in a page, when the request names no limit.
const LIMIT_DEFAULT: usize = 100;
/// Messages in a page at most.
pub(crate) const LIMIT_MAX: usize = 200;
/// No position comes near this: positions are numbers that JSON holds exactly.
pub(crate) const POSITION_MAX: u64 = 1 << 53;

/// A request about stored messages that a comet passes on.
#[derive(Clone, Copy, Debug)]
pub struct StoredRequest<'a> {
    /// The user: above 0.
    pub mid: u64,
    /// Its session.
    pub key: &'a SessionKey,
    /// Where the session lives.
    pub addr: SessionAddr,
    /// The request's header.
    pub header: &'a Header,
    /// The request's body.
    pub body: &'a [u8],
    /// What this session said it has can't be, and it was not told yet: a SYNC is refused with EPOCH_CHANGED.
    pub foreign: bool,
    /// Now, unix ms.
    pub now_ms: u64,
}

/// A conversation as a client named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// DIRECT, GROUP or CHANNEL.
    pub(super) kind: u16,
    /// The peer, or the group.
    pub(super) number: u64,
    /// Which one that is.
    pub(super) conv: Conv,
}

impl Named {
    /// Fields of a reply about it.
    pub(super) fn ext(self) -> Extension {
        Extension { kind: self.kind, conv: self.number, ..Extension::default() }
    }

    /// The group, unless it is a direct chat.
    pub(super) const fn group(self) -> Option<u64> {
        match self.conv {
            Conv::Group(id) => Some(id),
            _ => None,
        }
    }
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Send { to: Named, cid: u64, quiet: bool },
    Sync { after: u64, limit: usize },
    Ack { pos: u64 },
    Pull { of: Named, from: PullFrom, limit: usize },
    Read { of: Named, pos: u64 },
    Heads { after: (u16, u64), limit: usize },
    Recall { of: Named, pos: u64 },
    Ephemeral { to: Named },
}

/// Reads a request of `mid`. Bodies of messages may have `body_bytes_max`.
pub(super) fn read(mid: u64, header: &Header, body: &[u8], body_bytes_max: usize) -> Result<Ask, StoredRefusal> {
    let ext = &header.ext;
    match header.op {
        op::SEND_MSG => {
            let to = writable(mid, ext, &[kind::DIRECT, kind::GROUP, kind::CHANNEL])?;
            fits(body, body_bytes_max)?;
            if ext.cid == 0 {
                return Err(StoredRefusal::bad("cid is 0: choose one for each message, and keep it for retries"));
            }
            Ok(Ask::Send { to, cid: ext.cid, quiet: ext.flags & flag::QUIET != 0 })
        }
        op::SYNC => Ok(Ask::Sync { after: ext.pos.min(POSITION_MAX), limit: limit(body)? }),
        op::ACK => Ok(Ask::Ack { pos: ext.pos.min(POSITION_MAX) }),
        op::PULL => {
            let pos = ext.conv_pos.min(POSITION_MAX);
            let from = if ext.flags & flag::MORE == 0 { PullFrom::After(pos) } else { PullFrom::Before(pos) };
            Ok(Ask::Pull { of: readable(mid, ext)?, from, limit: limit(body)? })
        }
        op::READ => Ok(Ask::Read { of: readable(mid, ext)?, pos: ext.conv_pos.min(POSITION_MAX) }),
        op::HEADS => match ext.kind {
            0..=kind::CHANNEL => Ok(Ask::Heads { after: (ext.kind, ext.conv), limit: limit(body)? }),
            _ => Err(StoredRefusal::bad("kind must be 0 for all conversations, or 1 to 3 to go on after (kind, conv)")),
        },
        op::RECALL => match ext.conv_pos {
            0 => Err(StoredRefusal::bad("conv_pos is 0: name the position of the message that is to be taken back")),
            pos => Ok(Ask::Recall { of: readable(mid, ext)?, pos: pos.min(POSITION_MAX) }),
        },
        op::EPHEMERAL => {
            let to = writable(mid, ext, &[kind::DIRECT, kind::GROUP])?;
            fits(body, body_bytes_max)?;
            Ok(Ask::Ephemeral { to })
        }
        _ => Err(StoredRefusal::bad("this operation has nothing to do with stored messages")),
    }
}

/// Where a client may write to.
fn writable(mid: u64, ext: &Extension, kinds: &[u16]) -> Result<Named, StoredRefusal> {
    if !kinds.contains(&ext.kind) {
        return Err(StoredRefusal::denied("clients send to users (kind 1) and groups (2), and what is stored to channels (3)"));
    }
    named(mid, ext)
}

/// What a client may read.
fn readable(mid: u64, ext: &Extension) -> Result<Named, StoredRefusal> {
    match ext.kind {
        kind::DIRECT | kind::GROUP | kind::CHANNEL => named(mid, ext),
        _ => Err(StoredRefusal::bad("kind must be that of a conversation: 1 direct, 2 group, 3 channel")),
    }
}

fn named(mid: u64, ext: &Extension) -> Result<Named, StoredRefusal> {
    let nobody = ext.kind == kind::DIRECT && i64::try_from(ext.conv).is_err();
    match Conv::of_frame(ext.kind, ext.conv, mid) {
        Some(conv) if ext.conv != 0 && !nobody => Ok(Named { kind: ext.kind, number: ext.conv, conv }),
        _ => Err(StoredRefusal::bad("conv names nothing: it must be the mid of the peer, or the id of the group")),
    }
}

fn fits(body: &[u8], body_bytes_max: usize) -> Result<(), StoredRefusal> {
    if body.len() <= body_bytes_max {
        return Ok(());
    }
    Err(StoredRefusal::bad(format!("the body has {} bytes, more than the {body_bytes_max} allowed", body.len())))
}

/// An optional u32: 0 or none is the default, too much is the maximum.
fn limit(body: &[u8]) -> Result<usize, StoredRefusal> {
    let limit = match <[u8; 4]>::try_from(body) {
        Ok(bytes) => u32::from_be_bytes(bytes),
        Err(_) if body.is_empty() => 0,
        Err(_) => return Err(StoredRefusal::bad("the body must be empty, or a limit of 4 bytes")),
    };
    match limit {
        0 => Ok(LIMIT_DEFAULT),
        limit => Ok(usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseid_protocol::Refusal;
    use proptest::prelude::*;

    const MID: u64 = 7;

    fn ask(op: i32, ext: Extension, body: &[u8]) -> Result<Ask, Refusal> {
        let header = Header { ver: 2, op, seq: 1, ext };
        read(MID, &header, body, 8).map_err(|error| {
            assert!(!error.message.is_empty());
            error.refusal
        })
    }

    fn to(kind: u16, conv: u64) -> Extension {
        Extension { kind, conv, cid: 3, conv_pos: 5, ..Extension::default() }
    }

    #[test]
    fn what_is_read() {
        let peer = Named { kind: 1, number: 9, conv: Conv::direct(7, 9) };
        let group = Named { kind: 3, number: 4, conv: Conv::Group(4) };
        let quiet = Extension { flags: flag::QUIET | flag::STORED | 64, ..to(1, 9) };
        assert_eq!(ask(op::SEND_MSG, quiet, b"12345678"), Ok(Ask::Send { to: peer, cid: 3, quiet: true }));
        assert_eq!(ask(op::SEND_MSG, to(3, 4), b""), Ok(Ask::Send { to: group, cid: 3, quiet: false }));
        assert_eq!(ask(op::PULL, to(1, 9), b""), Ok(Ask::Pull { of: peer, from: PullFrom::After(5), limit: 100 }));
        let more = Extension { flags: flag::MORE, ..to(1, 9) };
        assert_eq!(ask(op::PULL, more, &[0; 4]), Ok(Ask::Pull { of: peer, from: PullFrom::Before(5), limit: 100 }));
        let far = Extension { pos: u64::MAX, ..Extension::default() };
        assert_eq!(ask(op::SYNC, far, &[0, 0, 1, 0]), Ok(Ask::Sync { after: POSITION_MAX, limit: 200 }));
        assert_eq!(ask(op::ACK, far, b"anything"), Ok(Ask::Ack { pos: POSITION_MAX }));
        assert_eq!(ask(op::READ, to(1, 9), b""), Ok(Ask::Read { of: peer, pos: 5 }));
        assert_eq!(ask(op::HEADS, to(3, 4), &[0, 0, 0, 7]), Ok(Ask::Heads { after: (3, 4), limit: 7 }));
        assert_eq!(ask(op::RECALL, to(1, 9), b""), Ok(Ask::Recall { of: peer, pos: 5 }));
        assert_eq!(ask(op::EPHEMERAL, to(1, 9), b""), Ok(Ask::Ephemeral { to: peer }));
        let own = Named { kind: 1, number: 7, conv: Conv::direct(7, 7) };
        assert_eq!(ask(op::READ, to(1, 7), b""), Ok(Ask::Read { of: own, pos: 5 }));
    }

    #[test]
    fn what_is_refused() {
        use Refusal::{BadRequest, PermissionDenied};
        let no_cid = Extension { cid: 0, ..to(1, 9) };
        let no_pos = Extension { conv_pos: 0, ..to(1, 9) };
        for (op, ext, body, refusal) in [
            (op::SEND_MSG, no_cid, &b""[..], BadRequest),
            (op::SEND_MSG, to(1, 9), b"123456789", BadRequest),
            (op::SEND_MSG, to(1, 0), b"", BadRequest),
            (op::SEND_MSG, to(2, 0), b"", BadRequest),
            (op::SEND_MSG, to(1, u64::MAX), b"", BadRequest),
            (op::SEND_MSG, to(0, 9), b"", PermissionDenied),
            (op::SEND_MSG, to(4, 9), b"", PermissionDenied),
            (op::SEND_MSG, to(5, 9), b"", PermissionDenied),
            (op::SEND_MSG, to(u16::MAX, 9), b"", PermissionDenied),
            (op::SYNC, to(0, 0), b"1", BadRequest),
            (op::SYNC, to(0, 0), b"12345", BadRequest),
            (op::PULL, to(1, 9), b"123", BadRequest),
            (op::PULL, to(0, 9), b"", BadRequest),
            (op::PULL, to(4, 9), b"", BadRequest),
            (op::PULL, to(2, 0), b"", BadRequest),
            (op::READ, to(5, 9), b"", BadRequest),
            (op::READ, to(1, 0), b"", BadRequest),
            (op::HEADS, to(4, 9), b"", BadRequest),
            (op::HEADS, to(0, 0), b"12", BadRequest),
            (op::RECALL, no_pos, b"", BadRequest),
            (op::RECALL, to(4, 9), b"", BadRequest),
            (op::EPHEMERAL, to(3, 9), b"", PermissionDenied),
            (op::EPHEMERAL, to(1, 0), b"", BadRequest),
            (op::EPHEMERAL, to(2, 4), b"123456789", BadRequest),
            (op::HEAD, to(1, 9), b"", BadRequest),
            (33, to(1, 9), b"", BadRequest),
        ] {
            assert_eq!(ask(op, ext, body), Err(refusal), "{op} {ext:?} {body:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_come(
            op in 0i32..40, numbers in prop::array::uniform6(any::<u64>()), kind in 0u16..8, flags in any::<u16>(),
            body in prop::collection::vec(any::<u8>(), 0..16),
        ) {
            let [id, pos, conv, conv_pos, from, cid] = numbers;
            let ext = Extension { id, pos, conv, conv_pos, from, cid, kind, flags };
            match ask(op, ext, &body) {
                Ok(Ask::Sync { limit, after }) => prop_assert!((1..=LIMIT_MAX).contains(&limit) && after <= POSITION_MAX),
                Ok(Ask::Pull { limit, .. } | Ask::Heads { limit, .. }) => prop_assert!((1..=LIMIT_MAX).contains(&limit)),
                Ok(Ask::Send { to, .. } | Ask::Ephemeral { to }) => {
                    prop_assert!(body.len() <= 8 && to.conv.seen_by(MID) == to.number);
                }
                Ok(_) => {}
                Err(refusal) => prop_assert!(matches!(refusal, Refusal::BadRequest | Refusal::PermissionDenied)),
            }
        }
    }
}

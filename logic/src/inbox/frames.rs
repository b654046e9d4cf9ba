//! Messages as the frames of a page: 72-byte headers, `seq` 0. Pure.

use bytes::Bytes;
use perseid_protocol::frame::{self, EXTENDED_HEADER_LEN, Extension, Header, VER_EXTENDED, flag, kind};
use perseid_protocol::op;
use perseid_store::stored::read::{ConvHead, Message};

/// Flags of a message that a page tells.
const TOLD: u16 = flag::GONE | flag::QUIET;

/// The page of an inbox, for its owner.
pub(crate) fn inbox(messages: &[Message], reader: u64) -> Bytes {
    page(messages, |message| (message.op, Extension { flags: message.flags & TOLD | flag::STORED, ..ext(message, reader) }))
}

/// The page of a timeline, as `reader` sees it.
pub(crate) fn timeline(messages: &[Message], reader: u64) -> Bytes {
    page(messages, |message| (message.op, Extension { pos: 0, ..ext(message, reader) }))
}

/// The last frames of a room, as they were pushed: the position in its timeline is the one in the room.
pub(crate) fn room(messages: &[Message]) -> Bytes {
    page(messages, |message| {
        let ext = ext(message, 0);
        (message.op, Extension { pos: ext.conv_pos, conv_pos: 0, kind: kind::ROOM, flags: 0, ..ext })
    })
}

/// A user's conversations.
pub(crate) fn heads(heads: &[ConvHead]) -> Bytes {
    let mut out = Vec::with_capacity(heads.len() * EXTENDED_HEADER_LEN);
    for head in heads {
        let ext = Extension {
            id: head.id,
            pos: head.read,
            conv: head.conv,
            conv_pos: head.head,
            kind: head.kind.to_frame(),
            ..Extension::default()
        };
        put(&mut out, op::HEAD, ext, &[]);
    }
    out.into()
}

fn ext(message: &Message, reader: u64) -> Extension {
    Extension {
        id: message.id,
        pos: message.pos,
        conv: message.conv.map_or(0, |conv| conv.seen_by(reader)),
        conv_pos: message.conv_pos,
        from: message.from,
        cid: message.cid,
        kind: message.kind,
        flags: message.flags & TOLD,
    }
}

fn page(messages: &[Message], header: impl Fn(&Message) -> (i32, Extension)) -> Bytes {
    let bytes = messages.iter().map(|message| EXTENDED_HEADER_LEN + message.body.len()).sum();
    let mut out = Vec::with_capacity(bytes);
    for message in messages {
        let (op, ext) = header(message);
        put(&mut out, op, ext, &message.body);
    }
    out.into()
}

fn put(out: &mut Vec<u8>, op: i32, ext: Extension, body: &[u8]) {
    frame::put_extended(out, &Header { ver: VER_EXTENDED, op, seq: 0, ext }, body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseid_store::stored::conv::{Conv, ConvKind};

    fn message() -> Message {
        Message {
            expires_at_ms: 0,
            pos: 5,
            id: 6,
            ts_ms: 1,
            conv: Some(Conv::direct(7, 9)),
            conv_pos: 3,
            from: 9,
            cid: 2,
            kind: kind::DIRECT,
            op: op::SEND_MSG,
            flags: flag::QUIET | flag::MORE,
            body: Bytes::from_static(b"hi"),
        }
    }

    fn only(page: &Bytes) -> (Header, Vec<u8>) {
        let frame = frame::decode(page, 100).unwrap().unwrap();
        assert_eq!(frame.len, page.len());
        (frame.header, frame.body.to_vec())
    }

    #[test]
    fn each_page_says_what_it_should() {
        let stored = Extension { id: 6, pos: 5, conv: 9, conv_pos: 3, from: 9, cid: 2, kind: 1, flags: 33 };
        let (header, body) = only(&inbox(&[message()], 7));
        assert_eq!(header, Header { ver: 2, op: 4, seq: 0, ext: stored });
        assert_eq!(body, b"hi");
        let (header, _) = only(&timeline(&[message()], 9));
        assert_eq!(header.ext, Extension { pos: 0, conv: 7, flags: flag::QUIET, ..stored });
        let frame = Message { conv: Some(Conv::Room(8)), kind: kind::ROOM, conv_pos: 1 << 40, pos: 0, ..message() };
        let (header, _) = only(&room(&[frame]));
        assert_eq!(header.ext, Extension { pos: 1 << 40, conv: 8, conv_pos: 0, kind: 4, flags: 0, ..stored });
        let head = ConvHead { kind: ConvKind::Channel, conv: 4, head: 9, read: 8, id: 7 };
        let (header, body) = only(&heads(&[head]));
        assert_eq!((header.op, body.len()), (op::HEAD, 0));
        assert_eq!(header.ext, Extension { id: 7, pos: 8, conv: 4, conv_pos: 9, kind: 3, ..Extension::default() });
    }

    #[test]
    fn a_page_is_its_frames_one_after_another() {
        let page = inbox(&[message(), message()], 7);
        assert_eq!(page.len(), 2 * 74);
        assert_eq!(page[..74], page[74..]);
        assert!(inbox(&[], 7).is_empty());
    }
}

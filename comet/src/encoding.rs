//! How a frame looks on a session's connection: TCP or WebSocket, classic or extended.

use perseid_protocol::frame::{self, CLASSIC_HEADER_LEN, EXTENDED_HEADER_LEN, Extension, Header, VER_EXTENDED};
use perseid_protocol::op;
use perseid_protocol::push::{Push, put_raw_header};
use perseid_protocol::session::server::ReplyTo;

use crate::net::websocket::{Opcode, encode};

/// One of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) websocket: bool,
    pub(crate) extended: bool,
}

/// How many encodings there are.
pub(crate) const ENCODINGS: usize = 4;

impl Encoding {
    pub(crate) const fn index(self) -> usize {
        self.websocket as usize | (self.extended as usize) << 1
    }

    pub(crate) const fn from_index(index: usize) -> Self {
        Self { websocket: index & 1 != 0, extended: index & 2 != 0 }
    }

    /// Appends a push. On WebSocket a classic session gets it wrapped in op 9, as from goim.
    pub(crate) fn put_push(self, out: &mut Vec<u8>, push: &Push) {
        let frame_len = push.frame_len(self.extended);
        if self.websocket {
            if self.extended {
                put_message_header(out, frame_len);
            } else {
                put_message_header(out, CLASSIC_HEADER_LEN + frame_len);
                put_raw_header(out, frame_len);
            }
        }
        push.put_frame(out, self.extended);
    }

    /// Appends what an extended session's user has at `pos` of the inbox, in the conversation that is `conv` to him.
    pub(crate) fn put_inbox(self, out: &mut Vec<u8>, push: &Push, pos: u64, conv: u64) {
        if self.websocket {
            put_message_header(out, push.frame_len(true));
        }
        push.put_extended(out, pos, conv);
    }

    /// Appends a hint (HEAD) to an extended session.
    pub(crate) fn put_head(self, out: &mut Vec<u8>, ext: Extension) {
        if self.websocket {
            put_message_header(out, EXTENDED_HEADER_LEN);
        }
        frame::put_extended(out, &Header { ver: VER_EXTENDED, op: op::HEAD, seq: 0, ext }, &[]);
    }

    /// Appends a reply.
    pub(crate) fn put_reply(self, out: &mut Vec<u8>, reply: ReplyTo, ext: Extension, body: &[u8]) {
        if self.websocket {
            put_message_header(out, body.len() + if reply.extended { EXTENDED_HEADER_LEN } else { CLASSIC_HEADER_LEN });
        }
        reply.put(out, ext, body);
    }

    /// Appends a frame that stands in `frame` already.
    pub(crate) fn put_frame(self, out: &mut Vec<u8>, frame: &[u8]) {
        if self.websocket {
            put_message_header(out, frame.len());
        }
        out.extend_from_slice(frame);
    }
}

fn put_message_header(out: &mut Vec<u8>, payload_len: usize) {
    let (header, len) = encode::frame_header(Opcode::Binary, payload_len);
    out.extend_from_slice(&header[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes observed on a running goim.
    #[test]
    fn goims_pushes() {
        let push = Push { op: 1000, body: "hello".into(), ..Push::default() };
        let mut out = Vec::new();
        Encoding { websocket: false, extended: false }.put_push(&mut out, &push);
        assert_eq!(hex(&out), "0000001500100001000003e80000000068656c6c6f");
        out.clear();
        Encoding { websocket: true, extended: false }.put_push(&mut out, &push);
        assert_eq!(hex(&out), concat!("8225", "00000025001000010000000900000000", "0000001500100001000003e80000000068656c6c6f"));
    }

    #[test]
    fn an_index_names_each() {
        for index in 0..ENCODINGS {
            assert_eq!(Encoding::from_index(index).index(), index);
        }
    }
}

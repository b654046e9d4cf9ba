//! The client's rule for stored messages, as `perseid listen` follows it: nothing is shown twice, nothing is left out. Pure.

use perseid_protocol::frame::{Frame, FrameError, Header, flag, kind};
use perseid_protocol::operation::op;
use perseid_protocol::session::client::Session;
use serde_json::Value;

/// A device's place in its user's inbox.
pub(super) struct Inbox {
    cursor: u64,
    /// The newest position that was heard of.
    heard: u64,
    /// `seq` of the SYNC that is not answered yet.
    asked: Option<i32>,
}

/// What to do about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is new, or has nothing to do with the inbox: show it.
    Show,
    /// It was shown, or will come with a page.
    Drop,
    /// SYNC from the cursor.
    Ask,
}

/// What an answer to SYNC came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Page<'a> {
    /// In order; `more` follow.
    Messages { messages: Vec<Frame<'a>>, more: bool },
    /// The cursor was not from here: SYNC again.
    Again,
    /// This server keeps no messages.
    None,
}

impl Inbox {
    pub(super) const fn at(cursor: u64) -> Self {
        Self { cursor, heard: cursor, asked: None }
    }

    /// All up to here was shown.
    pub(super) const fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(super) const fn asked(&mut self, seq: i32) {
        self.asked = Some(seq);
    }

    /// Whether this is the answer to the SYNC that is under way.
    pub(super) fn is_answer(&self, header: &Header) -> bool {
        self.asked == Some(header.seq)
    }

    /// It is shown.
    pub(super) const fn shown(&mut self, pos: u64) {
        self.cursor = pos;
    }

    /// A frame that the server sent by itself.
    pub(super) fn pushed(&mut self, header: &Header) -> Rule {
        let ext = &header.ext;
        if header.op == op::HEAD && ext.kind == kind::NOTICE {
            self.heard = ext.pos.max(self.heard);
            return if ext.pos > self.cursor { self.ask() } else { Rule::Drop };
        }
        if ext.flags & flag::STORED == 0 {
            return Rule::Show;
        }
        self.heard = ext.pos.max(self.heard);
        match ext.pos.checked_sub(self.cursor) {
            None | Some(0) => Rule::Drop,
            Some(1) if self.asked.is_none() => Rule::Show,
            Some(_) => self.ask(),
        }
    }

    /// What comes while a page is under way stands in it, or in the next.
    const fn ask(&self) -> Rule {
        if self.asked.is_some() { Rule::Drop } else { Rule::Ask }
    }

    /// The answer to SYNC.
    pub(super) fn answered<'a>(&mut self, header: &Header, body: &'a [u8]) -> Result<Page<'a>, FrameError> {
        self.asked = None;
        if header.op == op::ERROR {
            return Ok(self.refused(body));
        }
        let (mut messages, mut rest) = (Vec::new(), body);
        while !rest.is_empty() {
            let frame = Session::decode(rest)?.ok_or(FrameError::Cut { wrapper_bytes: rest.len() })?;
            rest = rest.get(frame.len..).unwrap_or_default();
            messages.push(frame);
        }
        messages.retain(|frame| frame.header.ext.pos > self.cursor);
        let last = messages.last().map(|frame| frame.header.ext.pos);
        let more = last.is_some_and(|last| header.ext.flags & flag::MORE != 0 || last < self.heard);
        Ok(Page::Messages { messages, more })
    }

    /// A cursor that is too old, or of another epoch, goes to where the inbox begins now.
    fn refused(&mut self, body: &[u8]) -> Page<'static> {
        let detail = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let Some(floor) = detail["detail"]["floor"].as_u64() else { return Page::None };
        self.cursor = floor.saturating_sub(1);
        Page::Again
    }
}

#[cfg(test)]
mod tests {
    use perseid_protocol::frame::{self, Extension, VER_EXTENDED};

    use super::*;

    fn stored(pos: u64) -> Header {
        let ext = Extension { pos, flags: flag::STORED, ..Extension::default() };
        Header { ver: VER_EXTENDED, op: 1000, seq: 0, ext }
    }

    fn reply(op: i32, flags: u16) -> Header {
        Header { ver: VER_EXTENDED, op, seq: 3, ext: Extension { flags, ..Extension::default() } }
    }

    #[test]
    fn each_position_once_and_in_order() {
        let mut inbox = Inbox::at(4);
        assert_eq!([3, 4, 5, 6].map(|pos| inbox.pushed(&stored(pos))), [Rule::Drop, Rule::Drop, Rule::Show, Rule::Ask]);
        inbox.shown(5);
        assert_eq!([5, 6, 8].map(|pos| inbox.pushed(&stored(pos))), [Rule::Drop, Rule::Show, Rule::Ask]);
        let head = |pos, kind| Header { op: op::HEAD, ext: Extension { pos, kind, ..Extension::default() }, ..stored(0) };
        assert_eq!(inbox.pushed(&head(5, kind::NOTICE)), Rule::Drop);
        assert_eq!(inbox.pushed(&head(6, kind::NOTICE)), Rule::Ask);
        assert_eq!(inbox.pushed(&head(6, kind::CHANNEL)), Rule::Show);
        let transient = Header { ext: Extension::default(), ..stored(0) };
        assert_eq!(inbox.pushed(&transient), Rule::Show);
        // While a page is under way it brings them.
        inbox.asked(3);
        assert_eq!([6, 9].map(|pos| inbox.pushed(&stored(pos))), [Rule::Drop; 2]);
        assert_eq!(inbox.pushed(&transient), Rule::Show);
        let mut body = Vec::new();
        frame::put_extended(&mut body, &stored(6), b"x");
        let Ok(Page::Messages { more, .. }) = inbox.answered(&reply(op::SYNC_REPLY, 0), &body) else { panic!() };
        assert!(more, "9 was dropped, and is asked for");
    }

    #[test]
    fn pages() {
        let mut inbox = Inbox::at(4);
        inbox.asked(3);
        assert!(inbox.is_answer(&reply(op::SYNC_REPLY, 0)));
        let mut body = Vec::new();
        for pos in 4..7 {
            frame::put_extended(&mut body, &stored(pos), b"x");
        }
        let Ok(Page::Messages { messages, more }) = inbox.answered(&reply(op::SYNC_REPLY, flag::MORE), &body) else { panic!() };
        let positions: Vec<u64> = messages.iter().map(|frame| frame.header.ext.pos).collect();
        assert_eq!((positions, more), (vec![5, 6], true));
        assert!(!inbox.is_answer(&reply(op::SYNC_REPLY, 0)), "it is answered");
        // A page of what is known already asks for nothing more.
        inbox.shown(6);
        assert_eq!(
            inbox.answered(&reply(op::SYNC_REPLY, flag::MORE), &body),
            Ok(Page::Messages { messages: vec![], more: false })
        );
        assert!(inbox.answered(&reply(op::SYNC_REPLY, 0), &body[..80]).is_err());
        let refused = br#"{"code":410,"reason":"TOO_OLD","detail":{"epoch":1,"floor":9,"head":20}}"#;
        assert_eq!((inbox.answered(&reply(op::ERROR, 0), refused), inbox.cursor()), (Ok(Page::Again), 8));
        assert_eq!(inbox.answered(&reply(op::ERROR, 0), br#"{"reason":"UNSUPPORTED"}"#), Ok(Page::None));
    }
}

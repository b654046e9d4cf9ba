//! Pages of a timeline and of the list of conversations.

use bytes::Bytes;
use perseid_protocol::frame::{self, Header, flag};
use perseid_protocol::limits::SERVER_FRAME_BYTES_MAX;

use crate::error::Error;
use crate::event::{self, Change, ConversationHead, Message};

/// Which part of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// What follows this position; 0: from the oldest.
    After(u64),
    /// The last before this position; 0: the newest.
    Before(u64),
}

/// A piece of a timeline, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What stands there.
    pub items: Vec<Item>,
    /// The timeline's head.
    pub head: u64,
    /// The oldest position that this user may read.
    pub floor: u64,
    /// Whether there is more in the direction that was asked for.
    pub more: bool,
}

/// One position of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A message.
    Message(Message),
    /// An event.
    Change(Change),
}

/// A piece of the list of conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadsPage {
    /// Ordered by kind and number.
    pub heads: Vec<ConversationHead>,
    /// Whether more follow.
    pub more: bool,
}

impl Page {
    pub(crate) fn parse(header: &Header, body: &Bytes) -> Result<Self, Error> {
        let mut items = Vec::new();
        each_frame(body, |header, body| {
            items.push(if event::is_change(&header) {
                Item::Change(Change::new(0, &header, body))
            } else {
                Item::Message(Message::new(0, &header, body))
            });
        })?;
        let ext = &header.ext;
        Ok(Self { items, head: ext.conv_pos, floor: ext.pos, more: ext.flags & flag::MORE != 0 })
    }
}

impl HeadsPage {
    pub(crate) fn parse(header: &Header, body: &Bytes) -> Result<Self, Error> {
        let mut heads = Vec::new();
        each_frame(body, |header, _| heads.push(ConversationHead::new(&header)))?;
        Ok(Self { heads, more: header.ext.flags & flag::MORE != 0 })
    }
}

/// `limit` as the body of a request; 0 leaves it to the server.
pub(crate) fn limit(limit: u32) -> Bytes {
    if limit == 0 { Bytes::new() } else { Bytes::copy_from_slice(&limit.to_be_bytes()) }
}

fn each_frame(page: &Bytes, mut each: impl FnMut(Header, Bytes)) -> Result<(), Error> {
    let mut at = 0;
    while at < page.len() {
        let rest = page.get(at..).unwrap_or_default();
        let Ok(Some(frame)) = frame::decode(rest, SERVER_FRAME_BYTES_MAX) else {
            return Err(Error::Invalid("the server's page is no sequence of frames: this is the server's fault"));
        };
        let end = at + frame.len;
        each(frame.header, page.slice(end - frame.body.len()..end));
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseid_protocol::frame::{Extension, kind, put_extended};

    #[test]
    fn a_page_is_whole_or_an_error() {
        let mut body = Vec::new();
        for (kind, text) in [(kind::DIRECT, "hello"), (kind::EVENT, r#"{"type":"deleted"}"#)] {
            let ext = Extension { kind, conv_pos: 4, ..Extension::default() };
            put_extended(&mut body, &Header { ver: 2, op: 4, seq: 0, ext }, text.as_bytes());
        }
        let ext = Extension { conv_pos: 9, pos: 3, flags: flag::MORE, ..Extension::default() };
        let header = Header { ext, ..Header::default() };
        let whole = Bytes::from(body);
        let page = Page::parse(&header, &whole).unwrap();
        assert_eq!((page.head, page.floor, page.more, page.items.len()), (9, 3, true, 2));
        assert!(matches!(&page.items[1], Item::Change(change) if change.what == event::What::Deleted));
        for cut in 1..whole.len() - 1 {
            let len = whole.len() - cut;
            // Cut between its frames it is a shorter page.
            assert_eq!(Page::parse(&header, &whole.slice(..len)).is_ok(), len == 77, "{len}");
        }
    }
}

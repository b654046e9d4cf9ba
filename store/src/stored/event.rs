//! The JSON bodies of events: what the devices of users learn of their conversations.
//!
//! Numbers below 2^53 are numbers; message ids and `cid`s are strings. `kind` says what sort of conversation the event's
//! `conv` is, because the event's own kind does not.

use std::fmt::Write as _;

use bytes::Bytes;

use super::conv::ConvKind;
use super::step::Rejection;

/// More members than this an event does not name: it says `"many":true` instead, and a device that shows members asks for them.
pub const MEMBERS_NAMED_MAX: usize = 3_000;

fn list(mids: &[u64]) -> String {
    let mut text = String::with_capacity(2 + mids.len() * 8);
    text.push('[');
    for (index, mid) in mids.iter().enumerate() {
        // Writing to a string can't fail.
        let _ = write!(text, "{}{mid}", if index == 0 { "" } else { "," });
    }
    text.push(']');
    text
}

/// Members came and went; `version`: the position of this change.
#[must_use]
pub fn members(kind: ConvKind, add: &[u64], remove: &[u64], version: u64) -> Bytes {
    let kind = kind.to_frame();
    if add.len() + remove.len() > MEMBERS_NAMED_MAX {
        return format!(r#"{{"type":"members","kind":{kind},"add":[],"remove":[],"many":true,"version":{version}}}"#).into();
    }
    let (add, remove) = (list(add), list(remove));
    format!(r#"{{"type":"members","kind":{kind},"add":{add},"remove":{remove},"version":{version}}}"#).into()
}

/// A group became a channel.
#[must_use]
pub fn convert() -> Bytes {
    Bytes::from_static(br#"{"type":"convert","kind":3}"#)
}

/// The group or channel is no more.
#[must_use]
pub fn deleted(kind: ConvKind) -> Bytes {
    format!(r#"{{"type":"deleted","kind":{}}}"#, kind.to_frame()).into()
}

/// The message at `conv_pos` was taken back.
#[must_use]
pub fn recall(kind: ConvKind, conv_pos: u64, id: u64) -> Bytes {
    format!(r#"{{"type":"recall","kind":{},"conv_pos":{conv_pos},"id":"{id}"}}"#, kind.to_frame()).into()
}

/// The event's `from` has read up to `conv_pos`.
#[must_use]
pub fn read(kind: ConvKind, conv_pos: u64) -> Bytes {
    format!(r#"{{"type":"read","kind":{},"conv_pos":{conv_pos}}}"#, kind.to_frame()).into()
}

/// The owner of the inbox blocks the other side of the chat, or no longer.
#[must_use]
pub fn blocked(blocked: bool) -> Bytes {
    format!(r#"{{"type":"blocked","kind":1,"blocked":{blocked}}}"#).into()
}

/// What the owner of the inbox sent under this `cid` came to nothing. `kind`: 1 direct, 2 group, 3 channel.
#[must_use]
pub fn rejected(kind: u16, cid: u64, reason: Rejection) -> Bytes {
    format!(r#"{{"type":"rejected","kind":{kind},"cid":"{cid}","reason":"{}"}}"#, reason.word()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let texts = [
            (members(ConvKind::Group, &[1, 2], &[], 3), r#"{"type":"members","kind":2,"add":[1,2],"remove":[],"version":3}"#),
            (convert(), r#"{"type":"convert","kind":3}"#),
            (deleted(ConvKind::Channel), r#"{"type":"deleted","kind":3}"#),
            (recall(ConvKind::Direct, 7, u64::MAX), r#"{"type":"recall","kind":1,"conv_pos":7,"id":"18446744073709551615"}"#),
            (read(ConvKind::Direct, 7), r#"{"type":"read","kind":1,"conv_pos":7}"#),
            (blocked(true), r#"{"type":"blocked","kind":1,"blocked":true}"#),
            (rejected(2, 9, Rejection::NoGroup), r#"{"type":"rejected","kind":2,"cid":"9","reason":"NO_GROUP"}"#),
        ];
        for (body, wanted) in texts {
            assert_eq!(body, wanted);
        }
    }

    #[test]
    fn an_event_stays_small() {
        let mids: Vec<u64> = (0..=MEMBERS_NAMED_MAX as u64).map(|mid| u64::MAX - mid).collect();
        assert!(members(ConvKind::Channel, &mids, &[], 1).len() < 100);
        assert!(members(ConvKind::Channel, &mids[1..], &[], 1).len() < 64 << 10);
    }
}

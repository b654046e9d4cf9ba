//! JSON bodies of the events that stand in inboxes only.

use bytes::Bytes;
use perseid_store::stored::conv::ConvKind;
use perseid_store::stored::step::Rejection;

/// `read`: somebody has read a conversation of this frame kind up to here.
pub(super) fn read(kind: ConvKind, conv_pos: u64) -> Bytes {
    let kind = kind.to_frame();
    format!(r#"{{"type":"read","kind":{kind},"conv_pos":{conv_pos}}}"#).into()
}

/// `blocked`: a user blocks another, or no longer.
pub(super) fn blocked(blocked: bool) -> Bytes {
    format!(r#"{{"type":"blocked","kind":1,"blocked":{blocked}}}"#).into()
}

/// `rejected`: something accepted came to nothing.
pub(super) fn rejected(kind: u16, cid: u64, reason: Rejection) -> Bytes {
    format!(r#"{{"type":"rejected","kind":{kind},"cid":"{cid}","reason":"{}"}}"#, reason.word()).into()
}

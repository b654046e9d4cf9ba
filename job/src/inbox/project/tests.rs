use perseid_rpc::{
    BlockMark, DirectMessage, GroupChange, GroupChangeKind, GroupMessage, LogRecord, ReadMark, RecallMessage, RoomMessage,
};

use super::*;
use crate::inbox::meaning::{RoomKeep, Senseless, conv_op};

const CHAT: Conv = Conv::Direct { lo: 7, hi: 9 };

fn said(from: u64, body: Body) -> Meant {
    let record = LogRecord { id: 100, ts_ms: 5, from, idem: 3, hash: 4, body: Some(body), ..LogRecord::default() };
    Meant { offset: 11, record }
}

fn direct(from: u64, peer: u64) -> Meant {
    said(from, Body::Direct(DirectMessage { peer, body: "hi".into(), quiet: false }))
}

fn to_group() -> Meant {
    said(7, Body::Group(GroupMessage { group: 4, body: "hi".into(), quiet: true, op: 0 }))
}

fn op_of(meant: &Meant) -> Option<ConvOp> {
    conv_op(meant.offset, &meant.record, &RoomKeep::new([("live".into(), 50)])).unwrap()
}

fn row(kind: ConvKind, event: Option<&'static str>, recipients: Recipients, joined: &[u64], left: &[u64]) -> ConvOutcome {
    let event = event.map(|text| Bytes::from_static(text.as_bytes()));
    ConvOutcome::Row { pos: 6, kind, event, recipients, joined: joined.into(), left: left.into() }
}

/// Who gets an entry or not, and what else; and what comets are told.
fn projected(meant: &Meant, outcome: Option<ConvOutcome>) -> (Vec<(u64, bool, Effect)>, Option<What>) {
    let op = op_of(meant);
    let done = outcome.map(|outcome| ConvDone { offset: meant.offset, fresh: true, outcome });
    let mut items = Vec::new();
    let shown = project(meant, op.as_ref().zip(done.as_ref()), &mut items);
    assert!(items.iter().all(|item| item.offset == meant.offset));
    (items.into_iter().map(|item| (item.mid, item.entry.is_some(), item.effect)).collect(), shown.map(|shown| shown.what))
}

fn entry(what: Option<What>) -> (Arc<Entry>, Bytes) {
    match what {
        Some(What::Inbox { entry, body }) => (entry, body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_direct_message_is_both_sides() {
    let (items, what) = projected(&direct(9, 7), Some(row(ConvKind::Direct, None, Recipients::Pair(7, 9), &[], &[])));
    assert_eq!(items, [(7, true, Effect::Has(CHAT)), (9, true, Effect::Has(CHAT))]);
    let (entry, body) = entry(what);
    assert_eq!((entry.kind, entry.op, entry.flags, entry.conv_pos), (kind::DIRECT, op::SEND_MSG, 0, 6));
    assert_eq!((entry.id, entry.from, entry.cid, entry.conv, &entry.inline), (100, 9, 3, Some(CHAT), &None));
    assert_eq!(body, "hi");
}

#[test]
fn a_note_to_oneself_comes_once_and_the_system_has_no_inbox() {
    let (items, _) = projected(&direct(7, 7), Some(row(ConvKind::Direct, None, Recipients::Pair(7, 7), &[], &[])));
    assert_eq!(items.len(), 1);
    let (items, _) = projected(&direct(0, 7), Some(row(ConvKind::Direct, None, Recipients::Pair(0, 7), &[], &[])));
    assert_eq!(items.iter().map(|item| item.0).collect::<Vec<_>>(), [7]);
}

#[test]
fn a_change_of_members_is_told_before_and_after() {
    let change =
        GroupChange { group: 4, kind: GroupChangeKind::Members as i32, add: vec![3], remove: vec![8], ..GroupChange::default() };
    let meant = said(7, Body::Change(change));
    let conv = Conv::Group(4);
    let members = Recipients::Members([3, 7, 8].into());
    let (items, what) = projected(&meant, Some(row(ConvKind::Group, Some("{}"), members, &[3], &[8])));
    assert_eq!(items, [(3, true, Effect::Has(conv)), (7, true, Effect::None), (8, true, Effect::HasNot(conv))]);
    let (entry, body) = entry(what);
    assert_eq!(
        (entry.kind, entry.op, entry.flags, entry.cid, &body[..]),
        (kind::EVENT, op::SEND_MSG, flag::QUIET, 0, &b"{}"[..])
    );

    let (items, what) = projected(&meant, Some(row(ConvKind::Channel, Some("{}"), Recipients::Nobody, &[3], &[8])));
    assert_eq!(items, [(3, false, Effect::Has(conv)), (8, false, Effect::HasNot(conv))]);
    assert_eq!(what, Some(What::Channel(Hint { group: 4, pos: 6, id: 100 })));
}

#[test]
fn what_a_group_gets() {
    let (items, what) = projected(&to_group(), Some(row(ConvKind::Group, None, Recipients::Members([7, 8].into()), &[], &[])));
    assert_eq!(items, [(7, true, Effect::None), (8, true, Effect::None)]);
    let (entry, _) = entry(what);
    assert_eq!((entry.kind, entry.flags, entry.conv), (kind::GROUP, flag::QUIET, Some(Conv::Group(4))));
}

#[test]
fn a_rejection_is_told_to_its_sender_alone() {
    let (items, what) = projected(&to_group(), Some(ConvOutcome::Rejected(Rejection::NoGroup)));
    assert_eq!(items, [(7, true, Effect::None)]);
    let (entry, body) = entry(what);
    assert_eq!((entry.kind, entry.from, entry.conv, entry.conv_pos), (kind::EVENT, 0, Some(Conv::Group(4)), 0));
    assert_eq!(body, r#"{"type":"rejected","kind":2,"cid":"3","reason":"NO_GROUP"}"#);
    let system = said(0, Body::Group(GroupMessage { group: 4, ..GroupMessage::default() }));
    assert_eq!(projected(&system, Some(ConvOutcome::Rejected(Rejection::NoGroup))), (vec![], None));
}

#[test]
fn what_repeats_or_changes_nothing_is_told_to_nobody() {
    for outcome in [ConvOutcome::Duplicate { id: 1, pos: 2 }, ConvOutcome::Nothing, ConvOutcome::Old] {
        assert_eq!(projected(&to_group(), Some(outcome)), (vec![], None));
    }
}

#[test]
fn read_marks() {
    let mark = |from, kind, conv, silent| said(from, Body::Read(ReadMark { kind, conv, conv_pos: 6, silent }));
    let effect = |conv, by, told| Effect::Read { conv, by, pos: 6, told };
    let (items, what) = projected(&mark(9, 1, 7, false), None);
    assert_eq!(items, [(9, true, effect(CHAT, 9, true)), (7, true, effect(CHAT, 9, true))]);
    let (entry, body) = entry(what);
    assert_eq!((entry.from, entry.conv_pos, &body[..]), (9, 0, &br#"{"type":"read","kind":1,"conv_pos":6}"#[..]));
    assert_eq!(projected(&mark(9, 1, 7, true), None).0, [(9, false, effect(CHAT, 9, false)), (7, false, effect(CHAT, 9, false))]);
    assert_eq!(projected(&mark(9, 1, 9, false), None).0.len(), 1, "with oneself");
    assert_eq!(projected(&mark(9, 3, 4, false), None).0, [(9, true, effect(Conv::Group(4), 9, true))]);
}

#[test]
fn a_block_is_told_to_the_blocker() {
    let meant = said(9, Body::Block(BlockMark { peer: 7, blocked: true }));
    assert_eq!(op_of(&meant).unwrap().idem, 0, "the last one wins");
    let (items, what) = projected(&meant, Some(ConvOutcome::Done));
    assert_eq!(items, [(9, true, Effect::None)]);
    assert_eq!(entry(what).1, r#"{"type":"blocked","kind":1,"blocked":true}"#);
    assert_eq!(projected(&meant, Some(ConvOutcome::Nothing)), (vec![], None));
}

#[test]
fn a_notice_comes_once_to_each() {
    let notice = Notice { mids: vec![9, 7, 9, 0], op: 1_000, body: "n".into() };
    let (items, what) = projected(&said(0, Body::Notice(notice)), None);
    assert_eq!(items, [(7, true, Effect::None), (9, true, Effect::None)]);
    let (entry, body) = entry(what);
    assert_eq!((entry.kind, entry.op, entry.conv, entry.inline.clone()), (kind::NOTICE, 1_000, None, Some(body)));
}

#[test]
fn a_frame_of_a_room_is_shown_once() {
    let message = RoomMessage { room: "live://1".into(), op: 1_000, body: "r".into(), expire_at_ms: 77 };
    let meant = said(0, Body::Room(message));
    let op = op_of(&meant).unwrap();
    assert!(matches!(op.change, Change::RoomFrame { keep: 50, .. }), "{op:?}");
    let outcome = row(ConvKind::Room, None, Recipients::Nobody, &[], &[]);
    let Some(What::Room(frame)) = projected(&meant, Some(outcome.clone())).1 else { panic!() };
    assert_eq!((&*frame.room, frame.push.pos, frame.push.kind, frame.push.expires_at_ms), ("live://1", 6, kind::ROOM, 77));
    assert_eq!(op.conv, Conv::Room(frame.push.conv));
    let done = ConvDone { offset: 11, fresh: false, outcome };
    assert_eq!(project(&meant, Some((&op, &done)), &mut Vec::new()), None);
}

#[test]
fn what_makes_no_sense() {
    let recall = |kind, conv| Body::Recall(RecallMessage { kind, conv, conv_pos: 1, id: 1 });
    let change = |kind| Body::Change(GroupChange { group: 4, kind, ..GroupChange::default() });
    let cases = [
        (recall(4, 1), Senseless::Kind(4)),
        (recall(65_537, 1), Senseless::Kind(65_537)),
        (recall(0, 1), Senseless::Kind(0)),
        (Body::Direct(DirectMessage::default()), Senseless::Nobody),
        (Body::Room(RoomMessage::default()), Senseless::Nobody),
        (change(9), Senseless::Unknown),
        (Body::Read(ReadMark::default()), Senseless::Kind(0)),
    ];
    for (body, wanted) in cases {
        let record = said(7, body).record;
        assert_eq!(conv_op(11, &record, &RoomKeep::default()), Err(wanted), "{record:?}");
    }
    let record = LogRecord::default();
    assert_eq!(conv_op(11, &record, &RoomKeep::default()), Err(Senseless::Unknown));
}

#[test]
fn changes_are_known_by_their_id_again() {
    let change = GroupChange { group: 4, kind: GroupChangeKind::Convert as i32, ..GroupChange::default() };
    let mut meant = said(7, Body::Change(change));
    assert_eq!(op_of(&meant).unwrap().idem, 3);
    meant.record.idem = 0;
    assert_eq!(op_of(&meant).unwrap().idem, 100);
    let mut message = direct(7, 9);
    message.record.idem = 0;
    assert_eq!(op_of(&message).unwrap().idem, 0, "a message without one is never a repetition");
}

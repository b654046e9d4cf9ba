use perseid_protocol::frame::{Extension, put_extended};
use perseid_protocol::op;

use super::*;

fn frame(pos: u64) -> (Header, Bytes) {
    let ext = Extension { pos, id: 1000 + pos, flags: flag::STORED, ..Extension::default() };
    (Header { ver: 2, op: op::SEND_MSG, seq: 0, ext }, Bytes::from(pos.to_string()))
}

fn page(positions: &[u64], head: u64, more: bool) -> (Header, Bytes) {
    let mut body = Vec::new();
    for pos in positions {
        let (header, text) = frame(*pos);
        put_extended(&mut body, &header, &text);
    }
    let ext = Extension { pos: head, flags: if more { flag::MORE } else { 0 }, ..Extension::default() };
    (Header { ver: 2, op: op::SYNC_REPLY, seq: 9, ext }, body.into())
}

const fn at(epoch: u64, pos: u64) -> Position {
    Position { epoch, pos }
}

fn session(epoch: u64, floor: u64, head: u64) -> AuthReply {
    AuthReply { mid: 7, epoch, floor, head, ..AuthReply::default() }
}

/// An inbox at `cursor` whose session is live.
fn live(cursor: u64) -> Inbox {
    let mut inbox = Inbox::new(Position { epoch: 1, pos: cursor }, Start::Oldest, 10_000);
    inbox.begin(&session(1, 1, cursor), at(1, cursor), 0);
    assert!(inbox.is_synced());
    inbox
}

fn push(inbox: &mut Inbox, pos: u64, now_ms: u64) {
    let (header, body) = frame(pos);
    inbox.handle_push(&header, body, now_ms);
}

fn applied(inbox: &mut Inbox) -> Vec<u64> {
    let frames = inbox.take_applied();
    frames
        .into_iter()
        .map(|one| match one {
            Applied::Frame(header, body) => {
                assert_eq!(body, header.ext.pos.to_string());
                header.ext.pos
            }
            Applied::Skipped(skipped) => panic!("{skipped:?}"),
        })
        .collect()
}

fn skipped(inbox: &mut Inbox) -> Skipped {
    match inbox.take_applied().as_slice() {
        [Applied::Skipped(skipped)] => *skipped,
        other => panic!("{other:?}"),
    }
}

#[test]
fn next_is_applied_old_is_dropped_later_is_kept() {
    let mut inbox = live(5);
    for pos in [6, 6, 3, 8, 9, 9] {
        push(&mut inbox, pos, 10);
    }
    assert_eq!(applied(&mut inbox), [6]);
    assert_eq!(inbox.poll_timeout(), 10 + GAP_MS);
    push(&mut inbox, 7, 100);
    assert_eq!(applied(&mut inbox), [7, 8, 9]);
    assert_eq!((inbox.poll_timeout(), inbox.take_sync(100)), (u64::MAX, None));
}

#[test]
fn a_gap_that_stays_is_closed_by_sync() {
    let mut inbox = live(5);
    push(&mut inbox, 8, 10);
    inbox.handle_timeout(10 + GAP_MS - 1);
    assert_eq!(inbox.take_sync(10 + GAP_MS - 1), None);
    inbox.handle_timeout(10 + GAP_MS);
    assert_eq!(inbox.take_sync(10 + GAP_MS), Some(5));
    assert_eq!(inbox.take_sync(10 + GAP_MS), None, "one at a time");
    let (header, body) = page(&[6, 7], 8, false);
    inbox.handle_page(&header, &body, 600).unwrap();
    assert_eq!(applied(&mut inbox), [6, 7, 8]);
    assert_eq!(inbox.take_sync(600), None);
}

#[test]
fn pages_follow_until_the_head_and_pushes_mix_in() {
    let mut inbox = Inbox::new(Position { epoch: 1, pos: 2 }, Start::Oldest, 10_000);
    inbox.begin(&session(1, 1, 6), at(1, 2), 0);
    assert_eq!(inbox.take_sync(0), Some(2));
    push(&mut inbox, 3, 0);
    let (header, body) = page(&[3, 4], 6, true);
    inbox.handle_page(&header, &body, 0).unwrap();
    assert!(!inbox.is_synced());
    assert_eq!(inbox.take_sync(0), Some(4));
    let (header, body) = page(&[5, 6], 6, false);
    inbox.handle_page(&header, &body, 0).unwrap();
    assert!(inbox.is_synced());
    assert_eq!(applied(&mut inbox), [3, 4, 5, 6]);
    assert_eq!(inbox.take_sync(0), None);
}

#[test]
fn a_head_above_the_cursor_means_sync_and_never_a_busy_loop() {
    let mut inbox = live(5);
    inbox.handle_head(5);
    assert_eq!(inbox.take_sync(0), None);
    inbox.handle_head(6);
    assert_eq!(inbox.take_sync(0), Some(5));
    // The server does not show it yet, but says again that it is there.
    inbox.handle_head(6);
    let (header, body) = page(&[], 5, false);
    inbox.handle_page(&header, &body, 0).unwrap();
    assert_eq!((inbox.take_sync(0), inbox.poll_timeout()), (None, FUTILE_MS));
    assert_eq!(inbox.take_sync(FUTILE_MS), Some(5));
    let (header, body) = page(&[6], 6, false);
    inbox.handle_page(&header, &body, FUTILE_MS).unwrap();
    assert_eq!(applied(&mut inbox), [6]);
    assert_eq!(inbox.take_sync(FUTILE_MS), None);
}

#[test]
fn a_page_with_a_hole_or_cut_is_the_servers_fault() {
    for (positions, cut) in [(&[6, 8][..], 0), (&[7][..], 0), (&[6, 7][..], 1), (&[6][..], 60)] {
        let mut inbox = live(5);
        inbox.handle_head(9);
        inbox.take_sync(0);
        let (header, body) = page(positions, 9, false);
        assert!(inbox.handle_page(&header, &body.slice(..body.len() - cut), 0).is_err(), "{positions:?} {cut}");
    }
}

#[test]
fn too_much_beyond_a_gap_is_dropped_and_asked_for() {
    let mut inbox = Inbox::new(Position { epoch: 1, pos: 5 }, Start::Oldest, 400);
    inbox.begin(&session(1, 1, 5), at(1, 5), 0);
    for pos in 7..12 {
        push(&mut inbox, pos, 0);
    }
    assert_eq!(inbox.take_sync(0), Some(5));
    let (header, body) = page(&[6, 7, 8, 9, 10, 11], 11, false);
    inbox.handle_page(&header, &body, 0).unwrap();
    assert_eq!(applied(&mut inbox), [6, 7, 8, 9, 10, 11]);
    assert_eq!(inbox.dropped(), 3, "those for which there was no room; what was kept closed the page's end");
}

#[test]
fn where_a_new_device_begins() {
    for (start, acked, cursor) in [
        (Start::Oldest, 6, 3),
        (Start::Newest, 6, 9),
        (Start::Acknowledged, 6, 6),
        (Start::Acknowledged, 1, 3),
        (Start::Acknowledged, 99, 9),
    ] {
        let mut inbox = Inbox::new(Position::default(), start, 400);
        inbox.begin(&AuthReply { cursor: acked, ..session(77, 4, 9) }, at(0, 0), 0);
        assert_eq!(inbox.take_sync(0), Some(cursor), "{start:?} {acked}");
        assert_eq!(inbox.position(), Position { epoch: 77, pos: cursor });
        assert!(inbox.take_applied().is_empty(), "nothing is missing on a new device");
    }
}

/// Such a session is not live, whatever its numbers: the server does not know the epoch of its cursor.
#[test]
fn a_new_device_at_an_empty_inbox_syncs_all_the_same() {
    let mut inbox = Inbox::new(Position::default(), Start::Oldest, 400);
    inbox.begin(&session(77, 1, 0), at(0, 0), 0);
    assert!(!inbox.is_synced());
    assert_eq!(inbox.take_sync(0), Some(0));
}

#[test]
fn positions_that_are_gone_are_told() {
    let mut inbox = Inbox::new(Position { epoch: 1, pos: 5 }, Start::Oldest, 400);
    inbox.begin(&session(1, 9, 12), at(1, 5), 0);
    let at = Position { epoch: 1, pos: 8 };
    assert_eq!(skipped(&mut inbox), Skipped { at, from: 6, to: 8, epoch_changed: false });
    assert_eq!(inbox.take_sync(0), Some(8));
    let json = br#"{"code":410,"reason":"TOO_OLD","detail":{"epoch":1,"floor":11,"head":12}}"#;
    inbox.handle_refused(&Refused::parse(json), 0);
    let at = Position { epoch: 1, pos: 10 };
    assert_eq!(skipped(&mut inbox), Skipped { at, from: 9, to: 10, epoch_changed: false });
    assert_eq!(inbox.take_sync(0), Some(10));
}

#[test]
fn a_new_epoch_starts_over_once() {
    let mut inbox = Inbox::new(Position { epoch: 1, pos: 50 }, Start::Oldest, 400);
    inbox.begin(&session(2, 3, 6), at(1, 50), 0);
    let at = Position { epoch: 2, pos: 2 };
    assert_eq!(skipped(&mut inbox), Skipped { at, from: 51, to: 2, epoch_changed: true });
    assert_eq!(inbox.take_sync(0), Some(2));
    // The server tells it once, although the client knows it already.
    let json = br#"{"code":412,"reason":"EPOCH_CHANGED","detail":{"epoch":2,"floor":3,"head":6}}"#;
    inbox.handle_refused(&Refused::parse(json), 0);
    assert!(inbox.take_applied().is_empty());
    assert_eq!(inbox.take_sync(FUTILE_MS), Some(2));
}

#[test]
fn a_cursor_above_the_head_starts_over() {
    let mut inbox = Inbox::new(Position { epoch: 1, pos: 50 }, Start::Oldest, 400);
    inbox.begin(&session(1, 3, 6), at(1, 50), 0);
    assert!(skipped(&mut inbox).epoch_changed);
    assert_eq!(inbox.take_sync(0), Some(2));
}

#[test]
fn guests_and_those_who_may_not_have_no_inbox() {
    let mut guest = Inbox::new(Position::default(), Start::Oldest, 400);
    guest.begin(&AuthReply { mid: 0, head: 5, ..AuthReply::default() }, at(0, 0), 0);
    assert!(guest.is_synced());
    assert_eq!(guest.take_sync(0), None);
    let mut refused = Inbox::new(Position { epoch: 1, pos: 5 }, Start::Oldest, 400);
    refused.begin(&session(1, 1, 6), at(1, 5), 0);
    refused.take_sync(0);
    refused.handle_refused(&Refused::parse(br#"{"code":403}"#), 0);
    assert_eq!((refused.is_synced(), refused.take_sync(10_000)), (true, None));
}

#[test]
fn an_unavailable_inbox_is_asked_again_later_and_later() {
    let mut inbox = Inbox::new(Position { epoch: 1, pos: 5 }, Start::Oldest, 400);
    inbox.begin(&session(1, 1, 6), at(1, 5), 0);
    let mut now_ms = 0;
    for wait_ms in [500, 1_000, 2_000, 4_000, 8_000, 8_000] {
        assert_eq!(inbox.take_sync(now_ms), Some(5));
        inbox.handle_refused(&Refused::parse(br#"{"code":503}"#), now_ms);
        assert_eq!(inbox.take_sync(now_ms + wait_ms - 1), None);
        now_ms += wait_ms;
    }
}

#[test]
fn a_suspended_inbox_stands_still_and_reads_on_later() {
    let mut inbox = live(5);
    inbox.suspend(true);
    push(&mut inbox, 6, 0);
    push(&mut inbox, 7, 0);
    assert_eq!((inbox.take_sync(9_999), inbox.poll_timeout(), inbox.dropped()), (None, u64::MAX, 2));
    inbox.suspend(false);
    assert_eq!(inbox.take_sync(9_999), Some(5));
    let (header, body) = page(&[6, 7], 7, false);
    inbox.handle_page(&header, &body, 9_999).unwrap();
    assert_eq!(applied(&mut inbox), [6, 7]);
}

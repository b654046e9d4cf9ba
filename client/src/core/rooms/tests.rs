use perseid_protocol::frame::{Extension, kind};
use perseid_protocol::op;

use super::*;

const ROOM: &str = "live://1";

fn frame(room: &mut Room, pos: u64) {
    let ext = Extension { pos, conv: room_hash(ROOM), kind: kind::ROOM, ..Extension::default() };
    room.handle_frame(&Header { ver: 2, op: 1000, seq: 0, ext }, Bytes::new());
}

fn reply(room: &mut Room, seq: i32, head: u64, flags: u16) {
    let ext = Extension { pos: head, flags, ..Extension::default() };
    assert!(room.handle_reply(&Header { ver: 2, op: op::CHANGE_ROOM_REPLY, seq, ext }));
}

/// Positions of the frames told; gaps as negative heads.
fn told(room: &mut Room) -> Vec<i64> {
    let tells = room.take_tells();
    tells
        .into_iter()
        .filter_map(|one| match one {
            RoomTells::Frame(frame) => Some(i64::try_from(frame.pos).unwrap()),
            RoomTells::Gap(gap) => Some(-i64::try_from(gap.head).unwrap()),
            RoomTells::Answer(..) => None,
        })
        .collect()
}

/// In the room, at `head`.
fn joined(head: u64) -> Room {
    let mut room = Room::default();
    room.change(ROOM, 7);
    assert_eq!(room.next(), Some((ROOM.to_owned(), 0)));
    room.sent(1);
    reply(&mut room, 1, head, 0);
    let answer = RoomTells::Answer(7, Ok(Joined { room: ROOM.to_owned(), head }));
    assert_eq!(room.take_tells(), [answer]);
    room
}

#[test]
fn a_jump_asks_for_what_is_missing() {
    let mut room = joined(10);
    frame(&mut room, 11);
    frame(&mut room, 11);
    frame(&mut room, 14);
    assert_eq!(told(&mut room), [11]);
    assert_eq!(room.next(), Some((ROOM.to_owned(), 11)));
    room.sent(2);
    frame(&mut room, 15);
    for pos in 12..=16 {
        frame(&mut room, pos);
    }
    reply(&mut room, 2, 16, 0);
    frame(&mut room, 17);
    assert_eq!(told(&mut room), [12, 13, 14, 15, 16, 17]);
    assert_eq!(room.dropped(), 3);
    assert_eq!(room.next(), None);
}

#[test]
fn what_the_ring_has_lost_is_told() {
    let mut room = joined(10);
    room.lose();
    assert_eq!(room.next(), Some((ROOM.to_owned(), 10)));
    room.sent(1);
    reply(&mut room, 1, 50, flag::GONE);
    frame(&mut room, 51);
    assert_eq!(told(&mut room), [-50, 51]);
}

#[test]
fn a_partial_recovery_is_not_called_whole() {
    let mut room = joined(10);
    room.lose();
    room.next();
    room.sent(1);
    frame(&mut room, 11);
    reply(&mut room, 1, 13, 0);
    assert_eq!(told(&mut room), [11, -13]);
}

#[test]
fn a_room_without_recovery_says_so_after_each_absence() {
    let mut room = joined(0);
    frame(&mut room, 0);
    frame(&mut room, 0);
    assert_eq!(told(&mut room), [0, 0]);
    room.lose();
    room.next();
    room.sent(1);
    reply(&mut room, 1, 0, 0);
    assert_eq!(room.take_tells(), [RoomTells::Gap(RoomGap { room: ROOM.to_owned(), after: 0, head: 0 })]);
}

#[test]
fn frames_of_the_room_before_are_not_told() {
    let mut room = joined(10);
    room.change("live://2", 8);
    frame(&mut room, 11);
    assert!(told(&mut room).is_empty());
    room.next();
    room.sent(2);
    room.change("", 9);
    assert_eq!(room.take_tells().len(), 1, "the call before is answered");
    assert_eq!(room.next(), None, "one at a time");
    reply(&mut room, 2, 5, 0);
    assert_eq!(room.next(), Some((String::new(), 0)));
    room.sent(3);
    reply(&mut room, 3, 0, 0);
    assert_eq!(room.take_tells(), [RoomTells::Answer(9, Ok(Joined { room: String::new(), head: 0 }))]);
    room.lose();
    assert_eq!(room.next(), None);
}

#[test]
fn a_refusal_goes_to_who_asked() {
    let mut room = Room::default();
    room.change("x", 7);
    room.next();
    room.sent(4);
    assert!(!room.handle_refused(5, &Error::Closed));
    assert!(room.handle_refused(4, &Error::Closed));
    assert_eq!(room.take_tells(), [RoomTells::Answer(7, Err(Error::Closed))]);
}

#[test]
fn what_there_was_no_room_for_is_asked_for_again() {
    let mut room = joined(10);
    let ext = Extension { pos: 11, conv: room_hash(ROOM), kind: kind::ROOM, ..Extension::default() };
    assert!(room.misses(&Header { ver: 2, op: 1000, seq: 0, ext }));
    assert_eq!(room.next(), None);
    room.resume();
    assert_eq!(room.next(), Some((ROOM.to_owned(), 10)));
    let mut without = joined(0);
    assert!(!without.misses(&Header::default()), "it can't be had again");
    without.resume();
    assert_eq!(without.next(), None);
}

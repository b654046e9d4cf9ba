//! Rooms that keep their last frames: who says what it has seen gets the rest, in order, once, before anything new.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use perseid_comet::Config;
use perseid_comet::link::RoomTail;
use perseid_comet::metrics::Recovery;
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::op;
use perseid_protocol::push::{Push, room_push};
use perseid_protocol::room::room_hash;
use support::logic::{auth, auth_in};
use support::*;

const ROOM: &str = "live://kept";

/// The push at `pos` of the room.
fn at(pos: u64) -> Push {
    Push { pos, id: pos, ..push(1000, format!("frame {pos}")) }
}

fn tail(after: u64, head: u64) -> RoomTail {
    let mut frames = Vec::new();
    for pos in after..head {
        room_push(ROOM, at(pos + 1)).put_frame(&mut frames, true);
    }
    RoomTail { head, gone: false, frames: Bytes::from(frames) }
}

fn change_room(client: &mut Client, room: &str, pos: u64) -> i32 {
    let seq = client.next_seq();
    let frame = client.frame_with(op::CHANGE_ROOM, seq, Extension { pos, ..Extension::default() }, room.as_bytes());
    client.send(&frame);
    seq
}

#[track_caller]
fn expect_frame(client: &mut Client, pos: u64) {
    let got = client.next_frame();
    let ext = Extension { id: pos, pos, conv: room_hash(ROOM), kind: kind::ROOM, ..Extension::default() };
    assert_eq!((got.header.op, got.header.seq, got.header.ver, got.header.ext), (1000, 0, 2, ext), "{got:?}");
    assert_eq!(got.body, format!("frame {pos}").as_bytes());
}

#[track_caller]
fn expect_reply(client: &mut Client, seq: i32, head: u64, flags: u16) {
    let got = client.next_frame();
    let ext = Extension { pos: head, flags, ..Extension::default() };
    assert_eq!((got.header.op, got.header.seq, got.header.ext), (op::CHANGE_ROOM_REPLY, seq, ext), "{got:?}");
    assert_eq!(got.body, ROOM.as_bytes());
}

fn recovered(test: &TestComet, what: Recovery) -> u64 {
    test.sum(|metrics| &metrics.recoveries[what as usize])
}

#[test]
fn what_was_missed_then_the_reply_then_what_comes() {
    let test = TestComet::start(config());
    test.logic.store.rooms_at_once(|room, pos| Some(if room == ROOM { tail(pos, 12) } else { RoomTail::default() }));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        for seen in [7, 11, 12] {
            let seq = change_room(&mut client, ROOM, seen);
            for pos in seen + 1..=12 {
                expect_frame(&mut client, pos);
            }
            expect_reply(&mut client, seq, 12, 0);
            test.push_room(ROOM, at(13));
            expect_frame(&mut client, 13);
            change_room(&mut client, "live://other", 5);
            assert_eq!(client.next_frame().header.ext, Extension::default(), "a room that keeps nothing");
        }
        // A guest, too.
        let mut guest = test.login(wire, &Auth { mid: 0, ..auth("guest") });
        let seq = change_room(&mut guest, ROOM, 11);
        expect_frame(&mut guest, 12);
        expect_reply(&mut guest, seq, 12, 0);
    }
    assert_eq!((recovered(&test, Recovery::Whole), recovered(&test, Recovery::Off)), (8, 6));
    assert!(test.logic.store.rooms_asked().contains(&(ROOM.to_owned(), 7)));
}

#[test]
fn who_asks_for_nothing_learns_the_head() {
    let test = TestComet::start(config());
    test.logic.store.rooms_at_once(|_, pos| Some(RoomTail { head: u64::MAX, frames: Bytes::new(), gone: pos != 0 }));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let seq = change_room(&mut client, ROOM, 0);
        expect_reply(&mut client, seq, u64::MAX, 0);
        let seq = change_room(&mut client, ROOM, u64::MAX);
        expect_reply(&mut client, seq, u64::MAX, flag::GONE);
        // Leaving asks nobody.
        let asked = test.logic.store.rooms_asked().len();
        change_room(&mut client, "", 9);
        assert_eq!(client.next_frame().header.ext, Extension::default());
        assert_eq!(test.logic.store.rooms_asked().len(), asked);
    }
}

#[test]
fn classic_sessions_and_auth_ask_for_nothing() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", ROOM, &[]));
        if !wire.extended {
            client.change_room("live://other");
            client.change_room(ROOM);
        }
        test.push_room(ROOM, at(1));
        assert_eq!(client.next_frame().body, b"frame 1");
    }
    assert_eq!(test.logic.store.rooms_asked(), []);
}

#[test]
fn what_comes_while_the_end_of_the_room_is_asked_for_comes_after_it_once() {
    let test = TestComet::start(Config { workers: 2, ..config() });
    test.logic.store.rooms_at_once(|_, _| None);
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth_in("k", "", &[1001]));
        let mut member = test.login(wire, &auth_in("member", ROOM, &[1000]));
        // The end that is fetched is as new as what came by then, newer, or older.
        for head in 10..=15 {
            let nth = test.logic.store.rooms_asked().len();
            let seq = change_room(&mut client, ROOM, 8);
            eventually("asked", || test.logic.store.rooms_asked().len() == nth + 1);
            for pos in 11..=14 {
                test.push_room(ROOM, at(pos));
                expect_frame(&mut member, pos);
            }
            assert_eq!(client.heartbeat(), 2, "only what is live waits");
            test.push_key("k", push(1001, "direct"));
            assert_eq!(client.next_frame().body, b"direct", "and takes nothing of the room along");
            test.logic.store.answer_room(nth, tail(8, head));
            for pos in 9..=head {
                expect_frame(&mut client, pos);
            }
            expect_reply(&mut client, seq, head, 0);
            for pos in head + 1..=14 {
                expect_frame(&mut client, pos);
            }
            test.push_room(ROOM, at(16));
            expect_frame(&mut member, 16);
            expect_frame(&mut client, 16);
            change_room(&mut client, "", 0);
            client.next_frame();
        }
        drop((client, member));
        test.assert_empty();
    }
}

#[test]
fn requests_behind_it_wait() {
    let test = TestComet::start(config());
    test.logic.store.rooms_at_once(|_, _| None);
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let nth = test.logic.store.rooms_asked().len();
        let seq = change_room(&mut client, ROOM, 1);
        let (sub, frame) = client.frame(op::SUB, b"1000");
        client.send(&frame);
        eventually("asked", || test.logic.store.rooms_asked().len() == nth + 1);
        client.heartbeat();
        test.logic.store.answer_room(nth, tail(1, 2));
        expect_frame(&mut client, 2);
        expect_reply(&mut client, seq, 2, 0);
        assert_eq!(client.next_frame().header.seq, sub);
    }
}

#[test]
fn a_member_that_saw_a_jump_gets_what_lies_between() {
    let test = TestComet::start(config());
    test.logic.store.rooms_at_once(|_, pos| Some(tail(pos, 9)));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth_in("k", ROOM, &[]));
        test.push_room(ROOM, at(5));
        expect_frame(&mut client, 5);
        test.push_room(ROOM, at(9));
        expect_frame(&mut client, 9);
        let seq = change_room(&mut client, ROOM, 5);
        for pos in 6..=9 {
            expect_frame(&mut client, pos);
        }
        expect_reply(&mut client, seq, 9, 0);
        assert_eq!(test.comet.room_online(ROOM), 1);
        test.push_room(ROOM, at(10));
        expect_frame(&mut client, 10);
    }
}

#[test]
fn an_end_older_than_what_came_is_asked_for_again() {
    let test = TestComet::start(config());
    test.logic.store.rooms_at_once(|_, _| None);
    for wire in EXTENDED {
        for stubborn in [false, true] {
            let mut client = test.login(wire, &auth("k"));
            let first = test.logic.store.rooms_asked().len();
            let seq = change_room(&mut client, ROOM, 8);
            eventually("asked", || test.logic.store.rooms_asked().len() == first + 1);
            test.push_room(ROOM, at(12));
            test.push_room(ROOM, at(13));
            test.settle(test.addr("k"));
            test.logic.store.answer_room(first, tail(8, 10));
            eventually("asked again", || test.logic.store.rooms_asked().len() == first + 2);
            assert_eq!(test.logic.store.rooms_asked()[first + 1], (ROOM.to_owned(), 8));
            assert_eq!(client.heartbeat(), 1);
            test.logic.store.answer_room(first + 1, tail(8, if stubborn { 10 } else { 11 }));
            if stubborn {
                eventually("asked a last time", || test.logic.store.rooms_asked().len() == first + 3);
                test.logic.store.answer_room(first + 2, tail(8, 10));
                // Nothing is replayed; what comes goes on where the reply says.
                expect_reply(&mut client, seq, 11, flag::GONE);
            } else {
                for pos in 9..=11 {
                    expect_frame(&mut client, pos);
                }
                expect_reply(&mut client, seq, 11, 0);
            }
            expect_frame(&mut client, 12);
            expect_frame(&mut client, 13);
            drop(client);
            eventually("it has left", || test.comet.connections() == 0);
        }
    }
    test.assert_empty();
}

#[test]
fn where_not_all_is_kept_nothing_is_replayed() {
    let test = TestComet::start(config());
    test.logic.store.rooms_at_once(|_, _| Some(RoomTail { head: 90, gone: true, frames: Bytes::new() }));
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let seq = change_room(&mut client, ROOM, 8);
        expect_reply(&mut client, seq, 90, flag::GONE);
        test.push_room(ROOM, at(91));
        expect_frame(&mut client, 91);
    }
    assert_eq!(recovered(&test, Recovery::Gone), 2);
}

#[test]
fn one_that_leaves_while_it_is_asked_for_leaves_nothing() {
    let test = TestComet::start(config());
    test.logic.store.rooms_at_once(|_, _| None);
    for wire in EXTENDED {
        let mut client = test.login(wire, &auth("k"));
        let nth = test.logic.store.rooms_asked().len();
        change_room(&mut client, ROOM, 8);
        eventually("asked", || test.logic.store.rooms_asked().len() == nth + 1);
        let slot = test.addr("k").slot;
        drop(client);
        eventually("it has left", || test.comet.connections() == 0);
        let mut next = test.login(wire, &auth_in("k", ROOM, &[]));
        assert_eq!(test.addr("k").slot, slot);
        test.logic.store.answer_room(nth, tail(8, 10));
        test.push_room(ROOM, at(11));
        expect_frame(&mut next, 11);
        drop(next);
        test.assert_empty();
    }
}

/// A member that is slow, and one whose socket is full, get the end whole, and nothing twice.
#[test]
fn a_long_end_through_narrow_sockets_beside_a_busy_room() {
    let test = TestComet::start_narrow(Config { write_stall_ms: 600_000, ..config() });
    let big = |pos: u64| Push { pos, id: pos, ..push(1000, vec![pos as u8; 20_000]) };
    test.logic.store.rooms_at_once(move |_, pos| {
        let mut frames = Vec::new();
        for pos in pos..100 {
            room_push(ROOM, big(pos + 1)).put_frame(&mut frames, true);
        }
        Some(RoomTail { head: 100, gone: false, frames: frames.into() })
    });
    for wire in EXTENDED {
        let mut client = test.login_narrow(wire, &auth_in("k", ROOM, &[1001]));
        // Some of these are in the socket, one is torn, some wait before the direct push, the rest is in the ring.
        for pos in 1..=100 {
            test.push_room(ROOM, big(pos));
            if pos == 90 {
                test.settle(test.addr("k"));
                test.push_key("k", push(1001, "direct"));
            }
        }
        test.settle(test.addr("k"));
        let seq = change_room(&mut client, ROOM, 60);
        for pos in 101..=120 {
            test.push_room(ROOM, big(pos));
        }
        let mut seen = Vec::new();
        loop {
            let got = client.next_frame();
            if (got.header.op, got.header.seq) == (op::CHANGE_ROOM_REPLY, seq) {
                break;
            }
            if got.header.op == 1001 {
                continue;
            }
            assert!(got.body.len() == 20_000 && got.body.iter().all(|byte| *byte == got.header.ext.pos as u8));
            seen.push(got.header.ext.pos);
        }
        // What was on its way when it asked, then the end.
        let on_its_way = seen.len() - 40;
        assert!(on_its_way < 30, "what waited here is not sent twice: {seen:?}");
        assert!(seen[..on_its_way].iter().copied().eq(1..=on_its_way as u64), "{seen:?}");
        assert!(seen[on_its_way..].iter().copied().eq(61..=100), "{seen:?}");
        for pos in 101..=120 {
            assert_eq!(client.next_frame().header.ext.pos, pos);
        }
        drop(client);
        test.assert_empty();
    }
}

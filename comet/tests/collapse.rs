//! A later push replaces an earlier one with its collapse key, where that still waits; nothing else moves.

#![allow(clippy::unwrap_used)]

mod support;

use perseid_comet::{Config, RoomConfig};
use perseid_protocol::push::{Drop, Push};
use support::logic::auth_in;
use support::*;

const ROOM: &str = "live://a";

fn keyed(collapse: u64, body: &str) -> Push {
    Push { collapse, ..push(1000, body.to_owned()) }
}

/// What comes up to `last`, but for what filled the socket.
fn read_up_to(client: &mut Client, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        let body = client.next_frame().body;
        if body.first() != Some(&0) {
            texts.push(String::from_utf8(body.to_vec()).unwrap());
        }
    }
    texts
}

/// A session with a full socket, in a room.
fn stuck(test: &TestComet, wire: Wire) -> Client {
    let client = test.login_narrow(wire, &auth_in("k", ROOM, &[1000]));
    fill(test, "k", || push(1000, vec![0; 100_000]));
    client
}

fn roomy() -> Config {
    Config { write_stall_ms: 600_000, ..config() }
}

#[test]
fn of_what_waits_for_a_full_socket_the_newest_is_left() {
    let test = TestComet::start(roomy());
    for wire in WIRES {
        let mut client = stuck(&test, wire);
        let before = test.dropped(Drop::Collapsed);
        let addr = test.addr("k");
        // Each is where it waits before the next one comes.
        let put = |delivery| {
            test.deliver(vec![delivery]);
            test.settle(addr);
        };
        let key = |push| put(to_session(addr, push));
        let room = |push| put(to_room(ROOM, push));
        let all = |push| put(to_all(0, push));
        key(keyed(1, "key 1 old"));
        room(keyed(1, "room 1 old"));
        all(keyed(1, "all 1 old"));
        key(keyed(2, "key 2"));
        key(keyed(0, "none"));
        room(keyed(2, "room 2"));
        room(keyed(1, "room 1 older"));
        key(keyed(1, "key 1 new"));
        all(keyed(1, "all 1 new"));
        room(keyed(1, "room 1 new"));
        key(keyed(0, "none"));
        key(keyed(0, "the last"));
        let texts = read_up_to(&mut client, "the last");
        let wanted = ["key 2", "none", "room 2", "key 1 new", "all 1 new", "room 1 new", "none", "the last"].map(str::to_owned);
        assert_eq!(texts, wanted, "{wire:?}");
        assert_eq!(test.dropped(Drop::Collapsed) - before, 4, "{wire:?}");
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn what_came_in_one_batch_is_one() {
    let test = TestComet::start(roomy());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", ROOM, &[1000]));
        let addr = test.addr("k");
        let before = test.dropped(Drop::Collapsed);
        test.deliver(vec![
            to_session(addr, keyed(1, "old")),
            to_room(ROOM, keyed(1, "room old")),
            to_session(addr, keyed(3, "other")),
            to_all(0, keyed(1, "all old")),
            to_room(ROOM, keyed(1, "room new")),
            to_session(addr, keyed(1, "new")),
            to_all(0, keyed(1, "all new")),
            to_session(addr, keyed(0, "the last")),
        ]);
        let wanted = ["other", "room new", "new", "all new", "the last"].map(str::to_owned);
        assert_eq!(read_up_to(&mut client, "the last"), wanted, "{wire:?}");
        assert_eq!(test.dropped(Drop::Collapsed) - before, 3);
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn who_keeps_up_gets_all_of_them() {
    let test = TestComet::start(roomy());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", ROOM, &[1000]));
        for round in 0..20 {
            test.push_key("k", keyed(1, &format!("key {round}")));
            assert_eq!(client.next_frame().body, format!("key {round}").as_bytes());
            test.push_room(ROOM, keyed(1, &format!("room {round}")));
            assert_eq!(client.next_frame().body, format!("room {round}").as_bytes());
        }
        drop(client);
        test.assert_empty();
    }
    assert_eq!(test.dropped(Drop::Collapsed), 0);
}

#[test]
fn in_a_resting_room_each_member_goes_without_what_it_has_not_begun() {
    // One pass, and then none for as long as the test takes: but for the direct pushes, which take the room's along.
    let room = RoomConfig { pace_ms: 3_600_000, ..RoomConfig::default() };
    let test = TestComet::start(Config { room, ..roomy() });
    let mut ahead: Vec<Client> =
        WIRES.iter().map(|wire| test.login(*wire, &auth_in(&format!("a {wire:?}"), ROOM, &[1000]))).collect();
    let mut behind: Vec<Client> =
        WIRES.iter().map(|wire| test.login(*wire, &auth_in(&format!("b {wire:?}"), ROOM, &[1000]))).collect();
    let all = |clients: &mut [Client], wanted: &[&str]| {
        for client in clients {
            for text in wanted {
                assert_eq!(client.next_frame().body, text.as_bytes(), "{:?}", client.wire);
            }
        }
    };
    let push_direct = |who: &str, text: &str| {
        for wire in WIRES {
            test.push_key(&format!("{who} {wire:?}"), push(1000, text.to_owned()));
        }
    };
    test.push_room(ROOM, keyed(0, "first"));
    all(&mut ahead, &["first"]);
    all(&mut behind, &["first"]);
    for text in ["one", "score 1", "two"] {
        test.push_room(ROOM, keyed(if text.starts_with("score") { 7 } else { 0 }, text));
    }
    push_direct("a", "direct");
    all(&mut ahead, &["one", "score 1", "two", "direct"]);
    test.push_room(ROOM, keyed(7, "score 2"));
    test.push_room(ROOM, keyed(0, "three"));
    push_direct("a", "direct");
    push_direct("b", "direct");
    all(&mut ahead, &["score 2", "three", "direct"]);
    all(&mut behind, &["one", "two", "score 2", "three", "direct"]);
    eventually("each that was behind is counted", || test.dropped(Drop::Collapsed) == 4);
    drop((ahead, behind));
    test.assert_empty();
}

#[test]
fn what_has_positions_is_never_replaced() {
    let test = TestComet::start(roomy());
    for wire in WIRES {
        let mut client = stuck(&test, wire);
        for pos in 1..=3 {
            test.push_room(ROOM, Push { pos, ..keyed(1, &format!("frame {pos}")) });
        }
        test.push_key("k", push(1000, "the last"));
        test.settle(test.addr("k"));
        let wanted = ["frame 1", "frame 2", "frame 3", "the last"].map(str::to_owned);
        assert_eq!(read_up_to(&mut client, "the last"), wanted, "{wire:?}");
        drop(client);
        test.assert_empty();
    }
    assert_eq!(test.dropped(Drop::Collapsed), 0);
}

#[test]
fn one_that_its_session_does_not_accept_replaces_nothing() {
    let test = TestComet::start(roomy());
    for wire in WIRES {
        let mut client = stuck(&test, wire);
        test.push_key("k", keyed(1, "kept"));
        test.push_key("k", Push { op: 1001, ..keyed(1, "filtered") });
        test.push_key("k", Push { expires_at_ms: 1, ..keyed(1, "too late") });
        test.push_key("k", push(1000, "the last"));
        test.settle(test.addr("k"));
        assert_eq!(read_up_to(&mut client, "the last"), ["kept", "the last"].map(str::to_owned), "{wire:?}");
        drop(client);
        test.assert_empty();
    }
}

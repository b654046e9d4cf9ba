//! Clients that do not read: they delay and harm nobody, what they lose is counted, and they are told to go.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use perseid_comet::{Config, RoomConfig};
use perseid_protocol::push::Drop;
use perseid_protocol::{CloseReason, op};
use support::client::ws_frame;
use support::logic::{auth, auth_in};
use support::*;

const ROOM: &str = "live://hot";

fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(len, number as u8);
    body
}

#[track_caller]
fn number_of(got: &Got) -> u32 {
    let number = u32::from_be_bytes(*got.body.first_chunk().unwrap());
    assert!(got.body[4..].iter().all(|byte| *byte == number as u8), "damaged: {number}");
    number
}

/// A narrow session for each wire, its key the wire's name, its socket full.
fn stuck_sessions(test: &TestComet) -> Vec<Client> {
    let stuck = |wire: &Wire| {
        let key = format!("{wire:?}");
        let client = test.login_narrow(*wire, &auth_in(&key, ROOM, &[1000]));
        fill(test, &key, || push(1000, vec![0; 100_000]));
        client
    };
    WIRES.iter().map(stuck).collect()
}

#[test]
fn one_that_never_reads_delays_nobody_in_a_hot_room() {
    let session_bytes_max = 256 << 10;
    let test = TestComet::start(Config { write_stall_ms: 600_000, session_bytes_max, ..config() });
    let mut readers: Vec<Client> =
        (0..8).map(|nth| test.login(WIRES[nth % 4], &auth_in(&format!("r{nth}"), ROOM, &[1000]))).collect();
    let mut stuck: Vec<Client> =
        WIRES.iter().map(|wire| test.login_narrow(*wire, &auth_in(&format!("{wire:?}"), ROOM, &[1000]))).collect();
    for first in (0..2000).step_by(20) {
        for number in first..first + 20 {
            test.push_room(ROOM, push(1, numbered(number, 4000)));
        }
        for reader in &mut readers {
            for number in first..first + 20 {
                assert_eq!(number_of(&reader.next_frame()), number);
            }
        }
        let queued = test.comet.queued_bytes();
        assert!(queued <= 4 * 4 * session_bytes_max as u64, "{queued} bytes kept for four that do not read");
    }
    assert_eq!(test.sum(|metrics| &metrics.blocked), 4);
    assert!(test.dropped(Drop::Slow) > 0);
    // The last is a direct one: then they read again, and find what is left, in order and whole.
    for wire in WIRES {
        test.push_key(&format!("{wire:?}"), push(1000, numbered(2000, 4000)));
    }
    for client in &mut stuck {
        let mut last = None;
        while last != Some(2000) {
            let number = number_of(&client.next_frame());
            assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
            last = Some(number);
        }
    }
    eventually("every push is accounted for", || test.accounted() == 12 * 2000 + 4);
    eventually("an idle room holds nothing", || test.comet.queued_bytes() == 0);
    drop((readers, stuck));
    test.assert_empty();
}

#[test]
fn a_room_holds_nothing_for_those_who_have_left() {
    let test = TestComet::start(Config { write_stall_ms: 600_000, ..config() });
    for wire in WIRES {
        let mut reader = test.login(wire, &auth_in("reader", ROOM, &[]));
        let mut stuck = test.login_narrow(wire, &auth_in("stuck", ROOM, &[1000]));
        fill(&test, "stuck", || push(1000, vec![0; 100_000]));
        for number in 0..20 {
            test.push_room(ROOM, push(1, numbered(number, 10_000)));
            assert_eq!(number_of(&reader.next_frame()), number);
        }
        assert!(test.comet.queued_bytes() >= 200_000);
        if wire.extended {
            drop(stuck);
        } else {
            let (seq, frame) = stuck.frame(op::CHANGE_ROOM, b"");
            stuck.send(&frame);
            eventually("it has left the room", || test.comet.room_online(ROOM) == 1);
            // What was pushed to the old room and not begun is not sent any more.
            loop {
                let got = stuck.next_frame();
                if got.header.seq == seq {
                    break;
                }
                assert_eq!(got.header.op, 1000);
            }
        }
        eventually("nothing is kept", || test.comet.queued_bytes() == 0);
        drop(reader);
    }
    test.assert_empty();
}

#[test]
fn frames_of_the_old_room_that_wait_in_the_queue_are_not_sent() {
    let test = TestComet::start(Config { write_stall_ms: 600_000, ..config() });
    for wire in WIRES {
        let mut client = test.login_narrow(wire, &auth_in("k", ROOM, &[1000]));
        fill(&test, "k", || push(1000, vec![0; 100_000]));
        let before = test.comet.queued_bytes();
        // A direct push takes what the room has for it into its queue.
        for number in 0..5 {
            test.push_room(ROOM, push(1, numbered(number, 1000)));
        }
        test.push_key("k", push(1000, "behind"));
        eventually("they wait", || test.comet.queued_bytes() > before + 5000 + 6);
        let closing = test.dropped(Drop::Closing);
        let (_, frame) = client.frame(op::CHANGE_ROOM, b"live://other");
        client.send(&frame);
        eventually("it has changed the room", || test.comet.room_online("live://other") == 1);
        assert_eq!(test.dropped(Drop::Closing) - closing, 5);
        let mut ops = Vec::new();
        while ops.last() != Some(&op::CHANGE_ROOM_REPLY) {
            ops.push(client.next_frame().header.op);
        }
        assert!(ops[..ops.len() - 1].iter().all(|op| *op == 1000), "{wire:?} {ops:?}");
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn a_stalled_client_is_told_so_and_closed() {
    let test = TestComet::start(Config { write_stall_ms: 1500, ..config() });
    let mut stuck = stuck_sessions(&test);
    test.push_room(ROOM, push(1, "the last"));
    std::thread::scope(|scope| {
        for client in &mut stuck {
            scope.spawn(|| {
                eventually("it is ended", || test.logic.addr(&format!("{:?}", client.wire)).is_none());
                // What waited for it here was dropped, so the reason comes behind what the kernel had already.
                let ending = client.expect_end(4003);
                assert_ne!(ending.frames.last().map(|got| &got.body[..]), Some(&b"the last"[..]));
            });
        }
    });
    assert_eq!(test.ended(CloseReason::SlowConsumer), 4);
    drop(stuck);
    test.assert_empty();
}

#[test]
fn one_that_reads_nothing_even_at_the_end_is_dropped() {
    let test = TestComet::start(Config { write_stall_ms: 500, ..config() });
    let stuck = stuck_sessions(&test);
    test.assert_empty();
    assert_eq!(test.ended(CloseReason::SlowConsumer), 4);
    drop(stuck);
}

#[test]
fn one_that_drips_and_loses_pushes_is_closed_in_the_end() {
    let test = TestComet::start(Config { write_stall_ms: 1000, session_bytes_max: 300_000, ..config() });
    let mut stuck = stuck_sessions(&test);
    eventually("they are ended", || {
        for client in &mut stuck {
            if let Some(addr) = test.logic.addr(&format!("{:?}", client.wire)) {
                test.deliver(vec![to_session(addr, push(1000, vec![0; 50_000]))]);
            }
            client.read_now(20_000);
        }
        std::thread::sleep(Duration::from_millis(20));
        test.ended(CloseReason::SlowConsumer) == 4
    });
    assert!(test.dropped(Drop::Slow) > 0);
    drop(stuck);
    test.assert_empty();
}

#[test]
fn a_node_full_of_stuck_clients_still_serves_its_rooms() {
    let test = TestComet::start(Config {
        write_stall_ms: 600_000,
        session_bytes_max: 1 << 30,
        node_bytes_max: 1 << 20,
        // Frames rest in the ring before they are written.
        room: RoomConfig { pace_ms: 30, ..RoomConfig::default() },
        ..config()
    });
    let mut readers: Vec<Client> =
        (0..4).map(|nth| test.login(WIRES[nth], &auth_in(&format!("r{nth}"), ROOM, &[1000]))).collect();
    let stuck = stuck_sessions(&test);
    let full = || test.comet.queued_bytes() > 900_000;
    eventually("the node is full", || {
        test.push_key(&format!("{TCP:?}"), push(1000, vec![0; 50_000]));
        full()
    });
    for first in (0..400).step_by(10) {
        for number in first..first + 10 {
            test.push_room(ROOM, push(1, numbered(number, 3000)));
        }
        for reader in &mut readers {
            for number in first..first + 10 {
                assert_eq!(number_of(&reader.next_frame()), number);
            }
        }
        assert!(test.comet.queued_bytes() < 2 << 20);
    }
    assert!(test.dropped(Drop::Slow) > 0);
    drop((readers, stuck));
    test.assert_empty();
}

#[test]
fn half_sent_frames_do_not_fill_the_node() {
    let test = TestComet::start(Config { node_bytes_max: 1 << 20, ..config() });
    for wire in WIRES {
        let mut halves = Vec::new();
        for nth in 0..40 {
            let mut client = test.login(wire, &auth(&format!("h{nth}")));
            let (_, frame) = client.frame(1000, &[0; 65_000]);
            let bytes = client.wired(&frame);
            let _ = client.try_send_raw(&bytes[..60_000]);
            halves.push(client);
        }
        let before = test.ended(CloseReason::Overloaded);
        eventually("some are turned away", || test.comet.connections() < 40);
        assert!(test.ended(CloseReason::Overloaded) >= before.min(1));
        assert!(test.comet.queued_bytes() < 2 << 20, "{}", test.comet.queued_bytes());
        drop(halves);
        test.assert_empty();
    }
    assert!(test.ended(CloseReason::Overloaded) > 0);
}

#[test]
fn requests_of_one_that_reads_no_replies_wait() {
    let test = TestComet::start(Config { write_stall_ms: 600_000, ..config() });
    for wire in WIRES {
        let mut client = test.login_narrow(wire, &auth("asks"));
        let mut sender = client.sender();
        const REQUESTS: i32 = 6000;
        // Each reply repeats this: more than the sockets hold.
        let body = many_operations(1000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for seq in 0..REQUESTS {
                    let frame = sender.frame_with(op::SUB, seq, Default::default(), &body);
                    let bytes = if seq % 50 == 0 { ws_or_not(wire, &frame) } else { sender.wired(&frame) };
                    sender.send_raw(&bytes);
                }
            });
            std::thread::sleep(Duration::from_millis(100));
            assert!(test.comet.queued_bytes() < 2 << 20, "{}", test.comet.queued_bytes());
            for seq in 0..REQUESTS {
                assert_eq!(client.next_frame().header.seq, seq);
            }
        });
        drop(sender);
        drop(client);
        test.assert_empty();
    }
}

/// A list of operations, so many bytes long.
fn many_operations(len: usize) -> Vec<u8> {
    let mut list = String::from("1");
    while list.len() + 5 <= len {
        list.push_str(",2345");
    }
    while list.len() < len {
        list.push('6');
    }
    list.into_bytes()
}

/// On WebSocket in two fragments.
fn ws_or_not(wire: Wire, frame: &[u8]) -> Vec<u8> {
    if !wire.websocket {
        return frame.to_vec();
    }
    [ws_frame(0x02, &frame[..100]), ws_frame(0x80, &frame[100..])].concat()
}

#[test]
fn requests_that_came_during_a_pause_are_read_after_it() {
    let test = TestComet::start_narrow(Config { write_stall_ms: 600_000, ..config() });
    for wire in WIRES {
        let mut client = test.login_narrow(wire, &auth("asks"));
        // Frames of 1,024 bytes fill a read exactly: nothing is half read when replies have piled up.
        let body = many_operations(1024 - if wire.extended { 72 } else { 16 });
        let count = 400;
        let send = |client: &mut Client, count: u64| {
            let frames: Vec<u8> = (0..count).flat_map(|_| client.frame(op::SUB, &body).1).collect();
            client.send(&frames);
        };
        send(&mut client, count);
        let received = || test.sum(|metrics| &metrics.frames_received);
        let before = received();
        let (mut seen, mut looks) = (0, 0);
        eventually("it is paused", || {
            let now = received();
            looks = if now == seen { looks + 1 } else { 0 };
            seen = now;
            // Records that are encrypted wait besides.
            looks > 20 && test.comet.queued_bytes() > 256 << 10
        });
        send(&mut client, 1);
        send(&mut client, 1);
        std::thread::sleep(Duration::from_millis(50));
        assert!(received() <= before + count);
        for seq in 2..count as i32 + 4 {
            assert_eq!(client.next_frame().header.seq, seq, "{wire:?}");
        }
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn a_torn_frame_is_finished_though_a_push_to_all_in_between_is_not_for_it() {
    let test = TestComet::start_narrow(Config { write_stall_ms: 600_000, ..config() });
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", ROOM, &[1000]));
        test.push_room(ROOM, push(1, numbered(7, 1 << 20)));
        eventually("the frame is torn", || test.sum(|metrics| &metrics.blocked) == 1);
        let before = test.comet.queued_bytes();
        // Its walk is slow: the socket empties before it comes by.
        test.push_all(1, push(1001, vec![0; 1000]));
        eventually("the push to all has been taken", || test.comet.queued_bytes() >= before + 1000);
        assert_eq!(number_of(&client.next_frame()), 7, "{wire:?}");
        drop(client);
        test.assert_empty();
    }
}

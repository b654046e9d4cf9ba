//! Coming and going in numbers, draining, stopping: nothing is left behind.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::sync::mpsc;

use perseid_comet::Config;
use perseid_protocol::{CloseReason, op};
use support::client::ws_frame;
use support::logic::{LATER, auth, auth_in};
use support::*;

#[test]
fn two_thousand_come_and_go_and_leave_nothing() {
    let mut config = Config { workers: 2, ..config() };
    // Those that say nothing have to be there when the last has come, however long that takes.
    config.limits.handshake_ms = 600_000;
    let test = TestComet::start(config);
    let mut random = Random(7);
    for round in 0..3 {
        let mut clients = Vec::new();
        for nth in 0..2000 {
            let wire = WIRES[nth % 4];
            let mut client = test.connect(wire);
            // In every state that a session can be left in.
            let key = format!("s{round}-{nth}");
            match random.below(10) {
                0 => {}
                1 => client.send_raw(b"\x00"),
                2 => client.send_auth(&Auth { platform: LATER.into(), ..auth_in(&key, "live://0", &[1000]) }),
                3 => {
                    client.login(&auth_in(&key, "live://1", &[1000]));
                    let (_, frame) = client.frame(1000, &[0; 3000]);
                    let bytes = client.wired(&frame);
                    client.send_raw(&bytes[..2000]);
                }
                4 if wire.websocket => {
                    client.login(&auth(&key));
                    client.send_raw(&ws_frame(0x02, &[0; 500]));
                }
                _ => {
                    client.login(&auth_in(&key, &format!("live://{}", random.below(50)), &[1000, nth as i32]));
                }
            }
            clients.push(client);
        }
        eventually("all are there", || test.comet.connections() == 2000);
        test.push_all(0, push(1000, "to all"));
        test.push_all(100, push(1000, "to all, slowly"));
        for room in 0..50 {
            test.push_room(&format!("live://{room}"), push(1, vec![1; 500]));
        }
        assert!(test.comet.sessions() > 1000);
        if round == 1 {
            // Half of them abruptly: what they have not read makes it a reset.
            clients.truncate(1000);
        }
        drop(clients);
        test.logic.answer_all();
        test.assert_empty();
    }
    assert_eq!((0..4).map(|transport| test.sum(|metrics| &metrics.accepted[transport])).sum::<u64>(), 6000);
}

#[test]
fn a_draining_node_tells_its_sessions_and_takes_no_new_ones() {
    for workers in [1, 2] {
        let test = TestComet::start(Config { workers, ..config() });
        let mut clients: Vec<Client> =
            (0..40).map(|nth| test.login(WIRES[nth % 4], &auth_in(&format!("{nth}"), "live://1", &[1000]))).collect();
        let mut stranger = test.connect(WS);
        let (tcp, ws) = (test.tcp(), test.ws());
        test.comet.drain(200, 1234);
        for client in &mut clients {
            let ending = client.expect_end(4001);
            if let Some(disconnect) = ending.disconnect {
                assert_eq!((&disconnect["reason"], &disconnect["retry_after_ms"]), (&"DRAINING".into(), &1234.into()));
            }
        }
        stranger.until_end();
        for addr in [tcp, ws] {
            assert!(TcpStream::connect(addr).is_err(), "a new connection was taken");
        }
        assert_eq!(test.ended(CloseReason::Draining), 41);
        drop((clients, stranger));
        test.assert_empty();
    }
}

#[test]
fn what_was_pushed_before_the_end_comes_before_the_end() {
    let test = TestComet::start(config());
    for wire in WIRES {
        let mut client = test.login(wire, &auth_in("k", "live://1", &[1000]));
        let addr = test.addr("k");
        test.deliver(vec![
            to_room("live://1", push(1, "1")),
            to_session(addr, push(1000, "2")),
            to_all(1, push(1000, "3")),
            to_room("live://1", push(1, "4")),
            to_room("live://1", push(1, "5")),
        ]);
        test.comet.end_session(addr, CloseReason::Kicked, None);
        test.deliver(vec![to_session(addr, push(1000, "too late"))]);
        let ending = client.expect_end(4503);
        let bodies: Vec<&[u8]> = ending.frames.iter().map(|got| &got.body[..]).collect();
        assert_eq!(bodies, [b"1", b"2", b"3", b"4", b"5"], "{wire:?}");
        drop(client);
        test.assert_empty();
    }
}

/// Stops it; a hang fails instead of hanging.
fn stop(test: TestComet) {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        test.comet.stop();
        assert!(!test.comet.is_healthy());
        assert_eq!(test.comet.connections(), 0);
        test.logic.assert_all_disconnected_once();
        done.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).expect("it does not stop");
}

#[test]
fn it_stops_with_sessions_and_without() {
    for workers in [1, 3] {
        stop(TestComet::start(Config { workers, ..config() }));

        let test = TestComet::start(Config { workers, ..config() });
        let mut clients = WIRES.map(|wire| test.login(wire, &auth_in("", "live://1", &[])));
        stop(test);
        for client in &mut clients {
            assert!(matches!(client.next(), Event::End(_)));
        }

        // Nobody is there any more, and no deadline is left to wake a worker.
        let mut hasty = Config { workers, ..config() };
        hasty.limits.handshake_ms = 100;
        hasty.limits.silence_ms = 100;
        let test = TestComet::start(hasty);
        test.login(TCP, &auth("k"));
        test.assert_empty();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        stop(test);
    }
}

#[test]
fn an_address_in_use_is_refused_and_nothing_runs_on() {
    let test = TestComet::start(config());
    let logic = std::sync::Arc::new(FakeLogic::default());
    let error = perseid_comet::Comet::start(Config { tcp: vec![test.tcp()], workers: 2, ..config() }, logic.clone());
    assert!(error.is_err_and(|error| error.to_string().contains("can't listen on")));
    assert_eq!(std::sync::Arc::strong_count(&logic), 1);
}

#[test]
fn a_slow_walk_to_all_counts_sessions_and_delays_nothing_else() {
    let test = TestComet::start(config());
    let mut clients: Vec<Client> =
        (0..8).map(|nth| test.login(WIRES[nth % 4], &auth_in(&format!("{nth}"), "live://1", &[1000]))).collect();
    // Eight sessions at 8 a second, whatever number of places there is for sessions.
    test.push_all(8, push(1000, "slowly"));
    for nth in 0..8 {
        test.push_key(&format!("{nth}"), push(1000, "direct"));
    }
    test.push_room("live://1", push(1, "room"));
    for client in &mut clients {
        for body in ["slowly", "direct", "room"] {
            assert_eq!(client.next_frame().body, body.as_bytes());
        }
    }
    eventually("the walk has ended", || test.comet.queued_bytes() == 0);
    for client in &mut clients {
        assert_eq!(client.request(op::SUB, b"1000").header.op, op::SUB_REPLY, "each got it once");
    }
    drop(clients);
    test.assert_empty();
}

#[test]
fn those_who_stay_get_everything_while_others_leave() {
    let test = TestComet::start(config());
    let mut random = Random(11);
    // More than one slice of a pass: who leaves in the middle of it moves the others about.
    let mut members = Vec::new();
    for round in 0..20_u8 {
        while members.len() < 300 {
            let wire = WIRES[random.below(4)];
            members.push(test.login(wire, &auth_in("", "live://1", &[])));
        }
        test.push_room("live://1", push(1, vec![round]));
        for _ in 0..150 {
            let nth = random.below(members.len());
            members.swap_remove(nth);
        }
        for member in &mut members {
            assert_eq!(member.next_frame().body, [round]);
        }
    }
    drop(members);
    test.assert_empty();
}

#[test]
fn who_leaves_before_a_walk_to_all_comes_by_is_counted() {
    let test = TestComet::start(config());
    let mut clients: Vec<Client> =
        (0..8).map(|nth| test.login(WIRES[nth % 4], &auth_in(&format!("{nth}"), "", &[1000]))).collect();
    let addr = test.addr("0");
    test.deliver(vec![to_all(4, push(1000, "slowly")), to_session(addr, push(1000, "direct"))]);
    for body in ["slowly", "direct"] {
        assert_eq!(clients[0].next_frame().body, body.as_bytes());
    }
    clients.truncate(4);
    eventually("every push is accounted for", || test.accounted() == 9);
    for client in &mut clients[1..] {
        assert_eq!(client.next_frame().body, b"slowly");
    }
    assert_eq!(test.dropped(perseid_protocol::push::Drop::Closing), 4);
    drop(clients);
    test.assert_empty();
}

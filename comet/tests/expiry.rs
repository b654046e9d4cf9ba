//! Sessions end when their tokens do, unless they show a fresh one.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Instant;

use perseid_protocol::{CloseReason, op};
use support::logic::{Auth, EXPIRES, LATER, auth};
use support::*;

fn expiring(key: &str, in_ms: u64) -> Auth {
    Auth { platform: format!("{EXPIRES}{in_ms}"), ..auth(key) }
}

fn renewal(auth: &Auth) -> Vec<u8> {
    serde_json::to_vec(auth).unwrap()
}

#[test]
fn a_session_ends_when_its_token_does() {
    let test = TestComet::start(config());
    let started = Instant::now();
    let mut clients: Vec<Client> =
        WIRES.iter().enumerate().map(|(index, wire)| test.login(*wire, &expiring(&format!("k{index}"), 1000))).collect();
    let mut stays = test.login(TCP, &auth("stays"));
    for client in &mut clients {
        let ending = client.expect_end(4002);
        if let Some(disconnect) = ending.disconnect {
            assert_eq!(disconnect["reason"], "TOKEN_EXPIRED");
        }
        assert!(started.elapsed().as_millis() >= 1000, "ended early");
    }
    assert_eq!(test.ended(CloseReason::TokenExpired), 4);
    assert_eq!(stays.heartbeat(), 0);
}

#[test]
fn a_token_that_has_expired_already_ends_it_soon() {
    let test = TestComet::start(config());
    for wire in WIRES {
        test.login(wire, &expiring("gone", 0)).expect_end(4002);
    }
}

#[test]
fn a_fresh_token_moves_the_end() {
    let test = TestComet::start(config());
    let mut for_ever: Vec<Client> = Vec::new();
    for (index, wire) in EXTENDED.into_iter().enumerate() {
        // Further away, then nearer; and away altogether.
        let mut nearer = test.login(wire, &expiring(&format!("n{index}"), 100_000));
        assert_eq!(nearer.request(op::AUTH, &renewal(&expiring("", 500))).header.op, op::AUTH_REPLY);
        let mut further = test.login(wire, &expiring(&format!("f{index}"), 1000));
        assert_eq!(further.request(op::AUTH, &renewal(&auth(""))).header.op, op::AUTH_REPLY);
        for_ever.push(further);
        nearer.expect_end(4002);
    }
    // Two wheel ticks after those that were not renewed have gone.
    let mut clock = test.login(TCP, &expiring("clock", 2500));
    clock.expect_end(4002);
    for client in &mut for_ever {
        assert_eq!(client.heartbeat(), 0);
    }
    assert_eq!(test.ended(CloseReason::TokenExpired), 3);
}

#[test]
fn a_foreign_token_does_not_renew() {
    let test = TestComet::start(config());
    let mut client = test.login(TCP_EXTENDED, &expiring("k", 1000));
    let (_, frame) = client.frame(op::AUTH, &renewal(&Auth { mid: 43, ..auth("") }));
    client.send(&frame);
    client.expect_end(4500);
    test.assert_empty();
}

#[test]
fn who_waits_for_an_answer_is_still_a_stranger() {
    let mut config = config();
    config.limits.handshake_ms = 300;
    let test = TestComet::start(config);
    for wire in WIRES {
        let mut client = test.connect(wire);
        client.send_auth(&Auth { platform: LATER.into(), ..auth("late") });
        eventually("logic was asked", || test.logic.open_questions() == 1);
        client.expect_end(4007);
        // The answer that comes too late makes no session.
        test.logic.answer_all();
    }
    drop(test);
}

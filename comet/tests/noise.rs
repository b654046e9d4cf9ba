//! Bytes that no client should send: whatever they are, nobody else notices.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::io::Read;
use std::time::Duration;

use perseid_comet::Config;
use perseid_protocol::op;
use support::client::{UPGRADE, ws_frame};
use support::logic::auth_in;
use support::*;

/// A whole conversation, as bytes.
fn conversation(random: &mut Random, client: &mut Client, key: u64) -> Vec<u8> {
    let auth = auth_in(&format!("noisy-{key}"), "live://noisy", &[1000]);
    let frame = client.auth_frame(&auth);
    let mut bytes = client.wired(&frame);
    for _ in 0..random.below(12) {
        let ops = [op::HEARTBEAT, op::CHANGE_ROOM, op::SUB, op::UNSUB, op::SEND_MSG, op::SYNC, 1000, 32, op::AUTH];
        let bodies: [&[u8]; 6] = [b"", b"live://noisy", b"1000,1001", b"x", b"{}", &[0; 300]];
        let (op, body) = (ops[random.below(ops.len())], bodies[random.below(bodies.len())]);
        let (_, frame) = client.frame(op, body);
        if client.wire.websocket && random.one_in(3) {
            let (head, tail) = frame.split_at(random.below(frame.len()));
            bytes.extend(ws_frame(0x02, head));
            bytes.extend(ws_frame(0x89, b"ping"));
            bytes.extend(ws_frame(0x80, tail));
        } else {
            bytes.extend(client.wired(&frame));
        }
    }
    bytes
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let odd = [0, 1, 0x7f, 0x80, 0xff, 16, 72, random.next() as u8][random.below(8)];
        match random.below(6) {
            0 => bytes[at] = odd,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, odd),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => {
                let copy = bytes[at..bytes.len().min(at + 40)].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}

#[test]
fn mutated_streams_harm_nobody() {
    for seed in seeds(2) {
        println!("COMET_SEED={seed}");
        let mut random = Random(seed);
        let mut config = Config { workers: 2, ..config() };
        config.limits.handshake_ms = 1000;
        let test = TestComet::start(config);
        let mut neighbours = WIRES.map(|wire| test.login(wire, &auth_in(&format!("{wire:?}"), "live://quiet", &[1000])));
        let mut noisy: Vec<Client> = Vec::new();
        for case in 0..600 {
            let wire = WIRES[random.below(4)];
            if wire.websocket && random.one_in(4) {
                // The upgrade is mutated.
                let mut client = Client::connect(test.ws(), TCP, None);
                let mut bytes = [UPGRADE, &ws_frame(0x82, b"what follows")].concat();
                mutate(&mut random, &mut bytes);
                let _ = client.try_send_raw(&bytes);
                client.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                let _ = client.stream.read(&mut [0; 4096]);
                continue;
            }
            let mut client = test.connect(wire);
            let mut bytes = conversation(&mut random, &mut client, case);
            if random.one_in(5) {
                bytes = (0..random.below(2000)).map(|_| random.next() as u8).collect();
            } else {
                mutate(&mut random, &mut bytes);
            }
            let piece = [1, 5, 100, 100_000][random.below(4)];
            for bytes in bytes.chunks(piece) {
                if client.try_send_raw(bytes).is_err() {
                    break;
                }
            }
            // What the server sends is well-formed: its client would say if not.
            client.read_now(100_000);
            noisy.push(client);
            if noisy.len() > 30 {
                let nth = random.below(noisy.len());
                noisy.swap_remove(nth).read_now(100_000);
            }
            if case % 50 == 0 {
                test.push_room("live://noisy", push(1000, "noise"));
                for (client, wire) in neighbours.iter_mut().zip(WIRES) {
                    test.push_key(&format!("{wire:?}"), push(1000, "still there"));
                    assert_eq!(client.next_frame().body, b"still there");
                    assert_eq!(client.heartbeat(), 4);
                }
            }
        }
        assert!(test.comet.is_healthy());
        drop((noisy, neighbours));
        test.assert_empty();
    }
}

//! Rooms that keep their last frames.

use std::net::SocketAddr;

use serde_json::json;

use crate::person::{GONE, Person, killed};
use crate::support::frame::{self, Extended};
use crate::support::{BOTH, Client, Http, Server, Transport};

const SET: [&str; 2] = ["--set", "rooms.recovery={live = 10}"];

fn push(http: SocketAddr, body: &str) {
    Http::connect(http).push(&json!({ "to": { "room": "live://1" }, "op": 1000, "body": body }));
}

fn enter(person: &mut Person, pos: u64) -> (Extended, Vec<frame::Frame>) {
    let seq = person.begin(frame::CHANGE_ROOM, Extended { pos, ..Extended::default() }, b"live://1");
    let mut before = Vec::new();
    loop {
        let frame = person.client.next();
        if frame.seq == seq {
            assert_eq!((frame.op, frame.text()), (frame::CHANGE_ROOM + 1, "live://1"));
            return (frame.extended.unwrap(), before);
        }
        before.push(frame);
    }
}

#[test]
fn who_comes_back_gets_what_he_missed() {
    for transport in BOTH {
        let server = Server::start(&SET);
        let mut ann = Person::enter(&server, transport, 7);
        assert_eq!(enter(&mut ann, 0).1, []);
        push(server.http, "first");
        let first = ann.pushed();
        let ext = first.extended.unwrap();
        assert_eq!((first.op, first.text(), ext.kind), (1000, "first", 4));
        assert!(ext.pos > 1 << 20 && ext.conv != 0, "{ext:?}");
        // Away, while three come.
        drop(ann);
        for body in ["a", "b", "c"] {
            push(server.http, body);
        }
        let mut ann = Person::enter(&server, transport, 7);
        let (reply, missed) = enter(&mut ann, ext.pos);
        assert_eq!(missed.iter().map(frame::Frame::text).collect::<Vec<_>>(), ["a", "b", "c"]);
        let places: Vec<_> = missed.iter().map(|frame| frame.extended.unwrap().pos).collect();
        assert_eq!(places, [ext.pos + 1, ext.pos + 2, ext.pos + 3]);
        assert_eq!((reply.pos, reply.flags & GONE), (ext.pos + 3, 0));
        push(server.http, "live again");
        assert_eq!(ann.pushed().extended.unwrap().pos, ext.pos + 4);
        // More than the ring holds: nothing is replayed, and the reply says so.
        for number in 0..12 {
            push(server.http, &number.to_string());
        }
        let mut late = Person::enter(&server, transport, 8);
        let (reply, missed) = enter(&mut late, ext.pos);
        assert_eq!((missed.len(), reply.flags & GONE, reply.pos), (0, GONE, ext.pos + 16));
    }
}

#[test]
fn places_go_on_after_a_kill_and_rooms_of_other_types_keep_nothing() {
    let server = Server::start(&SET);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    enter(&mut ann, 0);
    push(server.http, "before");
    let pos = ann.pushed().extended.unwrap().pos;
    let server = killed(server).restart();
    push(server.http, "after");
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    let (reply, missed) = enter(&mut ann, pos);
    assert_eq!((missed.len(), missed[0].text(), reply.pos), (1, "after", pos + 1));
    // A classic session sees plain frames.
    let mut old = Client::classic(&server, Transport::Tcp, &json!({ "mid": 9, "room_id": "live://1" }));
    push(server.http, "to all");
    assert_eq!(old.push(), "to all");
    ann.ask(frame::CHANGE_ROOM, Extended::default(), b"plain://1");
    server.http().push(&json!({ "to": { "room": "plain://1" }, "op": 1000, "body": "x" }));
    assert_eq!(ann.pushed_where("x", |frame| frame.body == b"x").extended.unwrap().pos, 0);
}

#[test]
fn what_a_room_has_lost_is_told_to_be_gone() {
    let server = Server::start(&SET);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    let (reply, missed) = enter(&mut ann, 5);
    assert_eq!((reply.pos, reply.flags, missed.len()), (0, GONE, 0), "it has nothing of what was seen");
    let (reply, missed) = enter(&mut ann, 0);
    assert_eq!((reply.pos, reply.flags, missed.len()), (0, 0, 0));
}

#[test]
fn who_stays_and_asks_for_nothing_loses_nothing() {
    let server = Server::start(&["--set", "rooms.recovery=live=1000"]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    enter(&mut ann, 0);
    push(server.http, "0");
    let mut last = ann.pushed().extended.unwrap().pos;
    let end = last + 300;
    let http = server.http;
    std::thread::scope(|scope| {
        let pusher = scope.spawn(move || {
            for number in 1..=300 {
                push(http, &number.to_string());
            }
        });
        while last < end {
            let (reply, came) = enter(&mut ann, 0);
            for frame in came {
                let pos = frame.extended.unwrap().pos;
                assert_eq!(pos, last + 1);
                last = pos;
            }
            assert!(reply.pos <= last && reply.flags == 0, "{reply:?} when {last} had come");
        }
        pusher.join().unwrap();
    });
}

#[test]
fn nothing_is_missed_or_doubled_while_frames_come() {
    let server = Server::start(&["--set", "rooms.recovery=live=1000"]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    enter(&mut ann, 0);
    push(server.http, "0");
    let mut last = ann.pushed().extended.unwrap().pos;
    let end = last + 300;
    let http = server.http;
    std::thread::scope(|scope| {
        let pusher = scope.spawn(move || {
            for number in 1..=300 {
                push(http, &number.to_string());
            }
        });
        while last < end {
            let mut ann = Person::enter(&server, Transport::Tcp, 7);
            let (reply, missed) = enter(&mut ann, last);
            assert_eq!(reply.flags & GONE, 0);
            for frame in missed {
                let pos = frame.extended.unwrap().pos;
                assert_eq!(pos, last + 1, "replayed");
                last = pos;
            }
            assert_eq!(reply.pos, last);
            for _ in 0..5 {
                let Some(frame) = (last < end).then(|| ann.client.next()) else { break };
                let pos = frame.extended.unwrap().pos;
                assert_eq!(pos, last + 1, "live");
                last = pos;
            }
        }
        pusher.join().unwrap();
    });
}

//! The machine as a whole, where the simulation does not reach: ends of sessions, renewals, requests, bounds.

use bytes::Bytes;
use perseid_protocol::CloseReason;
use perseid_protocol::auth::{AuthReply, AuthRequest};
use perseid_protocol::frame::{Extension, flag, kind, put_extended};
use perseid_protocol::op;
use perseid_protocol::room::room_hash;

use super::*;
use crate::event::Position;

const NOW_MS: u64 = 1_000_000;

struct Fixture {
    core: Core,
    now_ms: u64,
}

fn config() -> CoreConfig {
    CoreConfig {
        auth: AuthRequest { mid: 7, ..AuthRequest::default() },
        start: Start::Oldest,
        heartbeat_ms: 30_000,
        handshake_ms: 10_000,
        request_ms: 20_000,
        outbox_bytes_max: 10_000,
        held_bytes_max: 10_000,
        requests_bytes_max: 10_000,
    }
}

fn reply_to_auth(head: u64) -> Vec<u8> {
    let reply = AuthReply { mid: 7, epoch: 3, floor: 1, head, heartbeat_ms: 60_000, reconnect_ms: 100, ..AuthReply::default() };
    frame(op::AUTH_REPLY, 1, 0, &serde_json::to_vec(&reply).unwrap())
}

fn frame(op: i32, seq: i32, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_extended(&mut out, &Header { ver: 2, op, seq, ext: Extension { flags, ..Extension::default() } }, body);
    out
}

impl Fixture {
    /// With a stored cursor at 5, connected, AUTH written.
    fn connected() -> Self {
        let stored = Stored { cursor: Position { epoch: 3, pos: 5 }, outbox: Vec::new() };
        let mut one = Self { core: Core::new(config(), stored, 1, NOW_MS), now_ms: NOW_MS };
        one.core.handle_timeout(NOW_MS);
        assert_eq!(one.actions(), [Action::Connect]);
        one.core.handle_connected(NOW_MS);
        one
    }

    /// The same, and live.
    fn live() -> Self {
        let mut one = Self::connected();
        one.actions();
        one.hear(&reply_to_auth(5));
        assert!(matches!(one.actions().as_slice(), [Action::Tell(Event::Connected(_)), Action::Tell(Event::Synced { head: 5 })]));
        one
    }

    fn hear(&mut self, bytes: &[u8]) {
        let frame = Session::decode(bytes).unwrap().unwrap();
        self.core.handle_frame(&frame, self.now_ms);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.core.poll_action()).collect()
    }

    /// Operation, `seq` and fields of all frames written.
    fn written(&mut self) -> Vec<Header> {
        let mut headers = Vec::new();
        for action in self.actions() {
            if let Action::Write(bytes) = action {
                let mut rest = bytes.as_slice();
                while let Some(frame) = Session::decode(rest).unwrap() {
                    headers.push(frame.header);
                    rest = &rest[frame.len..];
                }
            }
        }
        headers
    }

    fn send(&mut self, token: Token) {
        let draft = Draft { kind: kind::DIRECT, conv: 8, quiet: true, body: Bytes::from_static(b"text") };
        self.core.send(draft, token, self.now_ms).unwrap();
    }
}

#[test]
fn auth_names_what_is_stored_and_a_session_at_the_head_is_live_at_once() {
    let mut one = Fixture::connected();
    let Some(Action::Write(bytes)) = one.actions().pop() else { panic!() };
    let auth = Session::decode(&bytes).unwrap().unwrap();
    assert_eq!((auth.header.op, auth.header.ver), (op::AUTH, 2));
    let request = AuthRequest::parse(auth.body).unwrap();
    assert_eq!((request.mid, request.pos, request.epoch), (7, 5, 3));
    one.hear(&reply_to_auth(5));
    one.send(1);
    assert_eq!(one.written().iter().map(|header| header.op).collect::<Vec<_>>(), [op::SEND_MSG]);
}

#[test]
fn a_message_is_stored_twice_before_it_goes_out() {
    let mut one = Fixture::live();
    one.send(1);
    let actions = one.actions();
    let [Action::Store(Record::Queued(entry)), Action::Store(Record::Sent { cid, at_ms }), Action::Write(bytes)] =
        actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert_eq!((entry.cid, entry.sent_ms, *at_ms), (*cid, 0, NOW_MS));
    let ext = Session::decode(bytes).unwrap().unwrap().header.ext;
    assert_eq!((ext.kind, ext.conv, ext.cid, ext.flags), (kind::DIRECT, 8, *cid, flag::QUIET));
}

#[test]
fn what_the_server_said_last_decides_about_coming_back() {
    for (reason, comes_back) in [(CloseReason::Draining, true), (CloseReason::Replaced, false), (CloseReason::Kicked, false)] {
        let mut one = Fixture::live();
        one.hear(&frame(op::DISCONNECT, 0, 0, reason.json(None, Some(40)).as_bytes()));
        one.core.handle_lost(Disconnect::Lost("closed".into()), NOW_MS);
        let told = one.actions().pop();
        match told {
            Some(Action::Tell(Event::Disconnected { reason: Disconnect::Told(farewell), retry_in_ms })) => {
                assert!(comes_back && retry_in_ms <= 40 && farewell.known() == Some(reason), "{reason:?}");
            }
            Some(Action::Tell(Event::Closed { reason: Disconnect::Told(farewell) })) => {
                assert!(!comes_back && farewell.known() == Some(reason), "{reason:?}");
                assert_eq!(one.core.poll_timeout(), u64::MAX);
                one.core.connect_again(NOW_MS);
                one.core.handle_timeout(NOW_MS);
                assert_eq!(one.actions(), [Action::Connect]);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn silence_and_unanswered_requests_end_a_connection() {
    let mut one = Fixture::connected();
    one.actions();
    one.core.handle_timeout(NOW_MS + 10_000);
    assert!(matches!(one.actions().last(), Some(Action::Tell(Event::Disconnected { reason: Disconnect::Silent, .. }))));
    // Heartbeats are answered, the message is not.
    let mut one = Fixture::live();
    one.send(1);
    one.actions();
    one.now_ms += 19_000;
    one.hear(&frame(op::HEARTBEAT_REPLY, 9, 0, &[0; 4]));
    one.core.handle_timeout(NOW_MS + 19_999);
    assert!(!one.actions().contains(&Action::Close));
    one.core.handle_timeout(NOW_MS + 20_000);
    assert!(one.actions().contains(&Action::Close));
}

#[test]
fn a_request_outlives_its_session_but_not_its_time() {
    let mut one = Fixture::live();
    let ask = Ask { op: op::PULL, ext: Extension::default(), body: Bytes::new(), again: true };
    one.core.ask(ask.clone(), 1, NOW_MS);
    one.core.ask(Ask { op: 40, again: false, ..ask }, 2, NOW_MS);
    assert_eq!(one.written().iter().map(|header| header.op).collect::<Vec<_>>(), [op::PULL, 40]);
    one.core.handle_lost(Disconnect::Lost(String::new()), NOW_MS);
    assert!(one.actions().contains(&Action::Answer(2, Err(Error::Disconnected))));
    one.core.handle_timeout(NOW_MS + 5_000);
    one.core.handle_connected(NOW_MS + 5_000);
    one.hear(&reply_to_auth(5));
    assert!(one.written().iter().any(|header| header.op == op::PULL));
    one.core.handle_timeout(NOW_MS + 20_000);
    assert!(one.actions().contains(&Action::Answer(1, Err(Error::TimedOut { after_ms: 20_000 }))));
}

#[test]
fn a_token_is_renewed_on_the_session_that_lives() {
    let mut one = Fixture::live();
    one.core.set_token("fresh".into(), 1, NOW_MS);
    let Some(Action::Write(bytes)) = one.actions().pop() else { panic!() };
    let request = AuthRequest::parse(Session::decode(&bytes).unwrap().unwrap().body).unwrap();
    assert_eq!((request.token.as_str(), request.epoch), ("fresh", 0), "no word about cursors");
    one.hear(&reply_to_auth(5));
    assert!(matches!(one.actions().as_slice(), [Action::Answer(1, Ok(_))]), "the session goes on");
}

#[test]
fn a_frame_within_a_frame_that_is_cut_is_a_breach() {
    let mut one = Fixture::live();
    let mut inner = frame(op::SEND_MSG, 0, 0, b"text");
    inner.pop();
    one.hear(&frame(op::RAW, 0, 0, &inner));
    assert!(matches!(one.actions().last(), Some(Action::Tell(Event::Disconnected { reason: Disconnect::Breach(_), .. }))));
}

#[test]
fn a_classic_server_is_no_server_for_this() {
    let mut one = Fixture::connected();
    one.actions();
    one.hear(&frame(op::AUTH_REPLY, 1, 0, b""));
    assert!(matches!(one.actions().last(), Some(Action::Tell(Event::Closed { reason: Disconnect::Unsupported }))));
}

#[test]
fn what_nobody_keeps_is_counted_when_there_is_no_room_and_said_later() {
    let mut one = Fixture::live();
    one.core.change_room("live://1", 1, NOW_MS);
    one.core.set_full(true, NOW_MS);
    let room = Extension { conv: room_hash("live://1"), kind: kind::ROOM, ..Extension::default() };
    for ext in [Extension::default(), room, Extension { kind: kind::CHANNEL, conv: 4, conv_pos: 5, ..Extension::default() }] {
        let mut bytes = Vec::new();
        let op = if ext.conv == 4 { op::HEAD } else { 1000 };
        put_extended(&mut bytes, &Header { ver: 2, op, seq: 0, ext }, b"x");
        one.hear(&bytes);
    }
    one.actions();
    one.core.set_full(false, NOW_MS);
    assert_eq!(one.actions(), [Action::Tell(Event::Dropped { count: 3 })]);
}

#[test]
fn a_closed_client_does_nothing_more() {
    let mut one = Fixture::live();
    one.core.close(Disconnect::Asked);
    assert_eq!(one.actions(), [Action::Close, Action::Tell(Event::Closed { reason: Disconnect::Asked })]);
    let draft = Draft { kind: kind::DIRECT, conv: 8, quiet: false, body: Bytes::new() };
    assert_eq!(one.core.send(draft, 3, NOW_MS), None);
    one.core.change_room("live://1", 4, NOW_MS);
    one.core.connect_again(NOW_MS);
    one.core.handle_timeout(NOW_MS + 1_000_000_000);
    let closed = |token| Action::Answer(token, Err(Error::Closed));
    assert_eq!(one.actions(), [closed(3), closed(4)]);
}

#[test]
fn what_does_not_fit_is_refused_at_once() {
    let mut one = Fixture::live();
    let mut send = |kind, conv, len: usize| {
        let draft = Draft { kind, conv, quiet: false, body: Bytes::from(vec![0; len]) };
        one.core.send(draft, 1, NOW_MS);
        match one.actions().pop() {
            Some(Action::Answer(1, Err(error))) => error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(send(kind::DIRECT, 8, 70_000), Error::TooLarge { bytes: 70_000, bytes_max: 65_536 }));
    assert!(matches!(send(kind::DIRECT, 8, 20_000), Error::Full { .. }));
    assert!(matches!(send(kind::ROOM, 8, 1), Error::Invalid(_)));
    assert!(matches!(send(kind::DIRECT, 0, 1), Error::Invalid(_)));
}

//! Both ends of a session over a pipe that cuts bytes anywhere, in virtual time.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

mod support;

use perseid_protocol::auth::{AuthReply, AuthRequest};
use perseid_protocol::limits::Limits;
use perseid_protocol::operations::OperationSet;
use perseid_protocol::push::{Push, put_raw_header};
use perseid_protocol::session::{client, server};
use perseid_protocol::{CloseReason, Extension, Header, frame, op};
use server::{Phase, Request};

/// What the client saw, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Ready { extended: bool },
    Online(i32),
    Reply { op: i32, ver: u16, seq: i32, body: Vec<u8> },
    Push { op: i32, body: Vec<u8> },
    Disconnect(i64),
    Broken,
}

fn reply(op: i32, ver: u16, seq: i32, body: &str) -> Seen {
    Seen::Reply { op, ver, seq, body: body.into() }
}

/// Two machines, two pipes, one clock. The server's side is a comet of a few lines.
struct Pair {
    now_ms: u64,
    seed: u64,
    limits: Limits,
    client: client::Session,
    server: server::Session,
    to_server: Vec<u8>,
    server_input: Vec<u8>,
    to_client: Vec<u8>,
    client_input: Vec<u8>,
    auth: Option<(server::ReplyTo, Vec<u8>)>,
    /// How long the server looks at an AUTH.
    auth_ms: u64,
    auth_due_ms: u64,
    /// Whether the pipe to the client loses everything: a dead network.
    mute: bool,
    websocket: bool,
    accepts: OperationSet,
    room: Option<String>,
    ended: Option<CloseReason>,
    seen: Vec<Seen>,
    upstream: Vec<Vec<u8>>,
}

/// The mid that the server does not let in.
const BANNED: i64 = 13;

impl Pair {
    fn new(extended: bool, seed: u64) -> Self {
        let limits = Limits { handshake_ms: 8_000, silence_ms: 60_000, ..Limits::default() };
        Self {
            now_ms: 1_000,
            seed: seed.wrapping_mul(2).wrapping_add(1),
            client: client::Session::new(extended).with_heartbeat_ms(30_000),
            server: server::Session::new(1_000, &limits),
            limits,
            to_server: Vec::new(),
            server_input: Vec::new(),
            to_client: Vec::new(),
            client_input: Vec::new(),
            auth: None,
            auth_ms: 0,
            auth_due_ms: u64::MAX,
            mute: false,
            websocket: false,
            accepts: OperationSet::default(),
            room: None,
            ended: None,
            seen: Vec::new(),
            upstream: Vec::new(),
        }
    }

    /// A pair whose AUTH was accepted.
    fn live(extended: bool, seed: u64) -> Self {
        let mut pair = Self::new(extended, seed);
        pair.send_auth(&AuthRequest { mid: 1, accepts: vec![1000], ..AuthRequest::default() });
        pair.settle();
        assert_eq!(pair.take_seen(), [Seen::Ready { extended }]);
        assert_eq!(pair.server.phase(), Phase::Live);
        pair
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        usize::try_from(self.seed >> 33).unwrap() % below
    }

    fn send_auth(&mut self, request: &AuthRequest) {
        self.client.put_auth(&mut self.to_server, request);
    }

    fn send(&mut self, op: i32, body: &[u8]) -> i32 {
        self.client.put_request(&mut self.to_server, op, Extension::default(), body)
    }

    fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// Moves chunks of random length until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let up = if self.to_server.is_empty() { 0 } else { 1 + self.random(self.to_server.len().min(40)) };
            self.server_input.extend(self.to_server.drain(..up));
            let held = self.server_input.len();
            self.server_reads();
            let down = if self.to_client.is_empty() { 0 } else { 1 + self.random(self.to_client.len().min(40)) };
            let chunk: Vec<u8> = self.to_client.drain(..down).collect();
            if !self.mute {
                self.client_input.extend(chunk);
            }
            self.client_reads();
            if up + down == 0 && held == self.server_input.len() {
                return;
            }
        }
    }

    /// Lets time pass, waking each end exactly when it asked for it.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.ended.is_none() {
            let due_ms = self.client.poll_timeout().min(self.server.poll_timeout()).min(self.auth_due_ms);
            if due_ms > end_ms {
                break;
            }
            self.now_ms = self.now_ms.max(due_ms);
            if let Some(reason) = self.server.handle_timeout(self.now_ms) {
                self.end(reason);
            }
            if !self.client.handle_timeout(self.now_ms, &mut self.to_server) {
                self.seen.push(Seen::Broken);
                return;
            }
            self.settle();
        }
        self.now_ms = end_ms;
    }

    fn end(&mut self, reason: CloseReason) {
        self.ended = Some(reason);
        if self.server.is_extended() {
            server::put_disconnect(&mut self.to_client, reason, None, Some(500));
        }
        self.server.end();
    }

    fn server_reads(&mut self) {
        if self.auth.is_some() && self.now_ms >= self.auth_due_ms {
            self.finish_auth();
        }
        let input = std::mem::take(&mut self.server_input);
        let mut rest = input.as_slice();
        while matches!(self.server.phase(), Phase::AwaitingAuth | Phase::Live) {
            match frame::decode(rest, self.server.body_bytes_max(&self.limits)) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    rest = &rest[frame.len..];
                    match self.server.handle_frame(&frame, self.now_ms, &self.limits) {
                        Ok((to, request)) => self.serve(to, request, &frame),
                        Err(reason) => self.end(reason),
                    }
                }
                Err(error) => self.end(error.into()),
            }
        }
        if self.server.phase() != Phase::Ended {
            self.server_input = rest.to_vec();
        }
    }

    fn serve(&mut self, to: server::ReplyTo, request: Request<'_>, frame: &frame::Frame<'_>) {
        let out = &mut self.to_client;
        let none = Extension::default();
        match request {
            Request::Auth { body } => {
                self.auth = Some((to, body.to_vec()));
                self.auth_due_ms = self.now_ms + self.auth_ms;
                if self.auth_ms == 0 {
                    self.finish_auth();
                }
            }
            Request::Renew { .. } => to.put(out, none, b"{}"),
            Request::Heartbeat => to.put(out, none, &[0, 0, 0, u8::from(self.room.is_some())]),
            Request::ChangeRoom { room, pos } => {
                self.room = room.map(|room| room.as_str().to_owned());
                to.put(out, server::room_reply(pos, false), frame.body);
            }
            Request::Subscribe(list) => {
                if let Some(set) = self.accepts.with(&list, self.limits.subscriptions_max) {
                    self.accepts = set;
                }
                to.put(out, none, frame.body);
            }
            Request::Unsubscribe(list) => {
                self.accepts = self.accepts.without(&list);
                to.put(out, none, frame.body);
            }
            Request::EchoOnly => to.put(out, none, frame.body),
            Request::Upstream => {
                self.upstream.push(frame.body.to_vec());
                to.put(out, none, &[]);
            }
            Request::Stored => to.put(out, none, &[]),
            Request::Refuse(refusal, message) => server::put_refusal(out, &frame.header, refusal, message, None),
        }
    }

    fn finish_auth(&mut self) {
        self.auth_due_ms = u64::MAX;
        let Some((to, body)) = self.auth.take() else { return };
        let request = AuthRequest::parse(&body).ok().filter(|request| request.mid != BANNED);
        self.server.handle_auth(request.is_some(), self.now_ms, &self.limits);
        let Some(request) = request else { return self.end(CloseReason::Unauthenticated) };
        self.accepts = OperationSet::from_list(&request.accepts, self.limits.subscriptions_max).unwrap();
        let reply = AuthReply { mid: request.mid, heartbeat_ms: 25_000, ..AuthReply::default() };
        let body = if to.extended { serde_json::to_vec(&reply).unwrap() } else { Vec::new() };
        to.put(&mut self.to_client, Extension::default(), &body);
    }

    /// Pushes as the comet frames them for this session's transport.
    fn push(&mut self, pushes: &[(i32, &str)]) {
        let mut inner = Vec::new();
        for (op, body) in pushes.iter().filter(|(op, _)| self.accepts.contains(*op)) {
            let push = Push { op: *op, body: body.as_bytes().to_vec().into(), ..Push::default() };
            push.put_frame(&mut inner, self.server.is_extended());
        }
        if self.websocket && !self.server.is_extended() {
            put_raw_header(&mut self.to_client, inner.len());
        }
        self.to_client.extend_from_slice(&inner);
    }

    fn client_reads(&mut self) {
        let input = std::mem::take(&mut self.client_input);
        let mut rest = input.as_slice();
        let seen = &mut self.seen;
        while let Ok(Some(frame)) = client::Session::decode(rest) {
            rest = &rest[frame.len..];
            let result = self.client.handle_frame(&frame, self.now_ms, &mut |event| {
                seen.push(match event {
                    client::Event::Ready(reply) => Seen::Ready { extended: reply.is_some() },
                    client::Event::Online(count) => Seen::Online(count),
                    client::Event::Reply { header, body } => {
                        Seen::Reply { op: header.op, ver: header.ver, seq: header.seq, body: body.to_vec() }
                    }
                    client::Event::Push { header, body } => Seen::Push { op: header.op, body: body.to_vec() },
                    client::Event::Disconnect(body) => {
                        // An echo of a DISCONNECT that we sent ourselves on a classic session has no body.
                        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
                        Seen::Disconnect(json["code"].as_i64().unwrap_or(0))
                    }
                });
            });
            assert_eq!(result, Ok(()));
        }
        self.client_input = rest.to_vec();
    }
}

/// Runs for both kinds of session and several ways to cut the bytes; a failure names the seed.
fn each(test: impl Fn(bool, u64)) {
    for extended in [false, true] {
        for seed in 0..16 {
            println!("extended {extended}, seed {seed}");
            test(extended, seed);
        }
    }
}

#[test]
fn auth_first_and_then_in_service() {
    each(|extended, seed| {
        let pair = Pair::live(extended, seed);
        assert_eq!(pair.server.is_extended(), extended);
        assert!(pair.client.is_ready());
        assert_eq!(pair.ended, None);
    });
}

#[test]
fn refused_auth_is_told_to_extended_sessions() {
    each(|extended, seed| {
        for request in [
            AuthRequest { mid: BANNED, ..AuthRequest::default() },
            AuthRequest { key: "k".repeat(129), ..AuthRequest::default() },
        ] {
            let mut pair = Pair::new(extended, seed);
            pair.send_auth(&request);
            pair.send(op::HEARTBEAT, b"");
            pair.settle();
            assert_eq!(pair.ended, Some(CloseReason::Unauthenticated));
            assert_eq!(pair.seen, if extended { vec![Seen::Disconnect(4500)] } else { vec![] });
            assert!(!pair.client.is_ready());
        }
    });
}

#[test]
fn any_other_frame_first_ends_it_silently() {
    each(|extended, seed| {
        for op in [op::HEARTBEAT, op::HANDSHAKE, op::SEND_MSG, op::AUTH_REPLY, op::PROTO_READY, 1000, -1] {
            let mut pair = Pair::new(extended, seed);
            pair.send(op, b"x");
            pair.send_auth(&AuthRequest::default());
            pair.settle();
            assert_eq!(pair.ended, Some(CloseReason::BadFrame), "op {op}");
            assert_eq!(pair.seen, [], "who is no extended session yet is told nothing");
        }
    });
}

#[test]
fn the_ver_of_auth_decides_the_level() {
    for (ver, extended) in [(0, false), (1, false), (2, true), (3, true), (u16::MAX, true)] {
        let limits = Limits::default();
        let mut session = server::Session::new(0, &limits);
        let bytes = support::encode(&Header { ver, op: op::AUTH, seq: 5, ext: Extension::default() }, b"{}", false);
        let frame = frame::decode(&bytes, 9).unwrap().unwrap();
        let (to, request) = session.handle_frame(&frame, 0, &limits).unwrap();
        assert_eq!(request, Request::Auth { body: b"{}" });
        assert_eq!(to, server::ReplyTo { ver, op: op::AUTH_REPLY, seq: 5, extended }, "ver {ver}");
    }
}

#[test]
fn a_large_frame_is_refused_by_the_limit_of_its_phase() {
    each(|extended, seed| {
        let mut pair = Pair::new(extended, seed);
        pair.send_auth(&AuthRequest { token: "t".repeat(8 * 1024), ..AuthRequest::default() });
        pair.settle();
        assert_eq!(pair.ended, Some(CloseReason::FrameTooLarge));

        let mut pair = Pair::live(extended, seed);
        pair.send(1000, &vec![1; 64 * 1024]);
        pair.settle();
        assert_eq!(pair.upstream.len(), 1, "64 KiB are allowed");
        pair.take_seen();
        pair.send(1000, &vec![1; 64 * 1024 + 1]);
        pair.settle();
        assert_eq!(pair.ended, Some(CloseReason::FrameTooLarge));
        assert_eq!(pair.seen, if extended { vec![Seen::Disconnect(4502)] } else { vec![] });

        // A second AUTH is one only on an extended session; else it is upstream, with upstream's limit.
        let mut pair = Pair::live(extended, seed);
        pair.send(op::AUTH, &vec![b' '; 8 * 1024 + 1]);
        pair.settle();
        assert_eq!(pair.ended, extended.then_some(CloseReason::FrameTooLarge));
        assert_eq!(pair.upstream.len(), usize::from(!extended));
    });
}

#[test]
fn frames_behind_auth_wait_for_its_outcome() {
    each(|extended, seed| {
        let mut pair = Pair::new(extended, seed);
        pair.auth_ms = 3_000;
        pair.send_auth(&AuthRequest { mid: 1, ..AuthRequest::default() });
        // Larger than an AUTH may be: it is judged as what it is, after the outcome.
        pair.send(1000, &vec![7; 10_000]);
        pair.settle();
        pair.pass(2_999);
        assert_eq!((pair.seen.len(), pair.upstream.len()), (0, 0));
        assert_eq!(pair.server.phase(), Phase::Authenticating);
        pair.pass(1);
        assert_eq!(pair.upstream, [vec![7; 10_000]]);
        assert_eq!(pair.seen.len(), 2);
    });
}

#[test]
fn the_handshake_has_one_deadline() {
    each(|extended, seed| {
        let mut silent = Pair::new(extended, seed);
        silent.pass(7_999);
        assert_eq!(silent.ended, None);
        silent.pass(1);
        assert_eq!(silent.ended, Some(CloseReason::HandshakeTimeout));

        let mut slow = Pair::new(extended, seed);
        slow.auth_ms = 60_000;
        slow.pass(5_000);
        slow.send_auth(&AuthRequest::default());
        slow.settle();
        slow.pass(3_000);
        assert_eq!(slow.ended, Some(CloseReason::HandshakeTimeout), "AUTH does not prolong it");
        slow.settle();
        assert_eq!(slow.seen, if extended { vec![Seen::Disconnect(4007)] } else { vec![] });
        // The outcome comes too late: it must not bring the session back.
        slow.server.handle_auth(true, slow.now_ms, &slow.limits);
        assert_eq!(slow.server.phase(), Phase::Ended);
    });
}

#[test]
fn heartbeats_keep_both_ends_alive() {
    each(|extended, seed| {
        let mut pair = Pair::live(extended, seed);
        pair.pass(10 * 60_000);
        assert_eq!(pair.ended, None);
        // 30 s by the client's own wish; 25 s because the extended server said so.
        let beats = 600 / if extended { 25 } else { 30 };
        assert_eq!(pair.take_seen(), vec![Seen::Online(0); beats]);
    });
}

#[test]
fn a_silent_client_is_ended_any_frame_keeps_it() {
    each(|extended, seed| {
        let mut pair = Pair::live(extended, seed);
        pair.client = client::Session::new(extended); // never ready, never beats
        pair.pass(59_999);
        assert_eq!(pair.ended, None);
        pair.send(1000, b"");
        pair.settle();
        pair.pass(59_999);
        assert_eq!(pair.ended, None, "any frame counts");
        pair.pass(1);
        assert_eq!(pair.ended, Some(CloseReason::HeartbeatTimeout));
        pair.settle();
        assert_eq!(pair.take_seen().last() == Some(&Seen::Disconnect(4005)), extended);
    });
}

#[test]
fn a_silent_server_is_noticed_after_two_heartbeats() {
    each(|extended, seed| {
        let mut pair = Pair::live(extended, seed);
        pair.mute = true;
        let heartbeat_ms = if extended { 25_000 } else { 30_000 };
        pair.pass(2 * heartbeat_ms - 1);
        assert_eq!(pair.seen, []);
        pair.pass(1);
        assert_eq!(pair.seen, [Seen::Broken]);

        // Two heartbeats after the last frame, whatever that was.
        let mut later = Pair::live(extended, seed);
        later.pass(5_000);
        later.push(&[(1000, "a push")]);
        later.settle();
        later.take_seen();
        later.mute = true;
        later.pass(2 * heartbeat_ms - 1);
        assert_eq!(later.seen, []);
        later.pass(1);
        assert_eq!(later.seen, [Seen::Broken]);

        let mut waiting = Pair::new(extended, seed);
        waiting.client = client::Session::new(extended).with_deadline_ms(9_000);
        waiting.mute = true;
        waiting.send_auth(&AuthRequest::default());
        waiting.settle();
        waiting.pass(7_999);
        assert_eq!(waiting.seen, []);
        waiting.pass(1);
        assert_eq!(waiting.seen, [Seen::Broken], "AUTH is not waited for without end");
    });
}

/// What a live session sends, and what it gets on a classic and on an extended session.
/// `None`: the session ends with BAD_FRAME.
struct Row {
    op: i32,
    body: &'static str,
    classic: Option<(i32, &'static str)>,
    extended: Option<(i32, &'static str)>,
}

const fn row(op: i32, body: &'static str, classic: Option<(i32, &'static str)>, extended: Option<(i32, &'static str)>) -> Row {
    Row { op, body, classic, extended }
}

/// Stands for a body of ERROR with BAD_REQUEST.
const BAD: Option<(i32, &str)> = Some((op::ERROR, "BAD_REQUEST"));

#[test]
fn what_each_request_is_answered_with() {
    let rows = [
        row(op::CHANGE_ROOM, "live://1", Some((13, "live://1")), Some((13, "live://1"))),
        row(op::CHANGE_ROOM, "", Some((13, "")), Some((13, ""))),
        row(op::CHANGE_ROOM, "live", Some((13, "live")), BAD),
        row(op::CHANGE_ROOM, "://1", Some((13, "://1")), BAD),
        row(op::SUB, "1,2", Some((15, "1,2")), Some((15, "1,2"))),
        row(op::SUB, "1, 2", Some((15, "1, 2")), BAD),
        row(op::SUB, "", Some((15, "")), BAD),
        row(op::UNSUB, "1", Some((17, "1")), Some((17, "1"))),
        row(op::UNSUB, "x", Some((17, "x")), BAD),
        row(op::SEND_MSG, "m", Some((4, "")), Some((5, ""))),
        row(op::SYNC, "", Some((18, "")), Some((19, ""))),
        row(op::ACK, "", Some((20, "")), Some((21, ""))),
        row(op::PULL, "", Some((22, "")), Some((23, ""))),
        row(op::READ, "", Some((24, "")), Some((25, ""))),
        row(op::HEADS, "", Some((26, "")), Some((27, ""))),
        row(op::RECALL, "", Some((28, "")), Some((29, ""))),
        row(op::AUTH, "{}", Some((7, "")), Some((8, "{}"))),
        row(op::HANDSHAKE, "", Some((0, "")), BAD),
        row(op::HANDSHAKE_REPLY, "", Some((1, "")), BAD),
        row(op::SEND_MSG_REPLY, "", Some((5, "")), BAD),
        row(op::CHANGE_ROOM_REPLY, "", Some((13, "")), BAD),
        row(op::SYNC_REPLY, "", Some((19, "")), BAD),
        row(op::HEAD, "", Some((31, "")), BAD),
        row(op::ERROR, "", Some((32, "")), BAD),
        row(op::UPSTREAM_MIN, "u", Some((33, "")), Some((33, ""))),
        row(999, "u", Some((999, "")), Some((999, ""))),
        row(1000, "u", Some((1000, "")), Some((1000, ""))),
        row(i32::MAX, "u", Some((i32::MAX, "")), Some((i32::MAX, ""))),
        row(-5, "u", Some((-5, "")), BAD),
        row(op::PROTO_READY, "", None, None),
        row(op::PROTO_FINISH, "", None, None),
    ];
    each(|extended, seed| {
        for row in &rows {
            let mut pair = Pair::live(extended, seed);
            // Its own ver and seq, one of them 0: whatever they are, they come back.
            let (ver, seq) = (7, row.op ^ 77);
            let header = Header { ver, op: row.op, seq, ext: Extension::default() };
            pair.to_server.extend(support::encode(&header, row.body.as_bytes(), extended));
            pair.settle();
            let wanted = if extended { row.extended } else { row.classic };
            let Some((op, body)) = wanted else {
                assert_eq!(pair.ended, Some(CloseReason::BadFrame), "op {}", row.op);
                continue;
            };
            assert_eq!(pair.ended, None, "op {}: the session goes on", row.op);
            match (pair.take_seen().as_slice(), op) {
                ([Seen::Reply { op: op::ERROR, ver: v, seq: s, body: json }], op::ERROR) if extended => {
                    assert_eq!((*v, *s), (ver, seq), "op {}", row.op);
                    assert!(std::str::from_utf8(json).unwrap().contains(body));
                }
                // What the client takes for an AUTH_REPLY.
                ([Seen::Ready { .. }], op::AUTH_REPLY) => {}
                (seen, _) => assert_eq!(seen, [reply(op, ver, seq, body)], "op {} {:?}", row.op, row.body),
            }
            // And still serves.
            pair.send(op::HEARTBEAT, b"");
            pair.settle();
            assert!(matches!(pair.take_seen()[..], [Seen::Online(_)]));
        }
    });
}

#[test]
fn a_server_s_operations_from_a_client() {
    for code in [1, 3, 5, 6, 8, 9, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 32] {
        for extended in [false, true] {
            let mut pair = Pair::live(extended, 3);
            pair.send(code, b"x");
            pair.settle();
            assert_eq!(pair.ended, None, "op {code}");
            assert_eq!(pair.upstream.len(), usize::from(!extended), "op {code}: upstream on classic, refused on extended");
        }
    }
}

#[test]
fn an_error_echoes_what_the_client_knows_its_request_by() {
    let ext = Extension { id: 1, pos: 2, conv: 3, conv_pos: 4, from: 5, cid: 6, kind: 1, flags: 32 };
    let mut pair = Pair::live(true, 1);
    pair.client.put_request(&mut pair.to_server, op::SUB, ext, b"?");
    let sent = pair.to_server.clone();
    pair.server_input = std::mem::take(&mut pair.to_server);
    pair.server_reads();
    let request = frame::decode(&sent, 9).unwrap().unwrap();
    let error = frame::decode(&pair.to_client, 999).unwrap().unwrap();
    assert_eq!(error.header.seq, request.header.seq);
    assert_eq!(error.header.ext, Extension { id: 0, pos: 0, from: 0, flags: 0, ..ext });
}

#[test]
fn rooms_change_and_are_left() {
    each(|extended, seed| {
        let mut pair = Pair::live(extended, seed);
        for (body, room) in [
            ("live://1", Some("live://1")),
            ("群://一", Some("群://一")),
            ("no room", Some("群://一")),
            ("", None),
            ("a://b", Some("a://b")),
        ] {
            pair.send(op::CHANGE_ROOM, body.as_bytes());
            pair.settle();
            assert_eq!(pair.room.as_deref(), room, "after {body:?}");
        }
        pair.take_seen();
        pair.send(op::HEARTBEAT, b"");
        pair.settle();
        assert_eq!(pair.take_seen(), [Seen::Online(1)]);
    });
}

#[test]
fn a_position_counts_only_on_an_extended_session() {
    each(|extended, seed| {
        let mut pair = Pair::live(extended, seed);
        // A classic session may send a longer header; what is beyond 16 is skipped.
        let ext = Extension { pos: 99, ..Extension::default() };
        let bytes = support::encode(&Header { ver: 2, op: op::CHANGE_ROOM, seq: 4, ext }, b"live://1", true);
        let frame = frame::decode(&bytes, 99).unwrap().unwrap();
        let (to, request) = pair.server.handle_frame(&frame, 1_000, &pair.limits).unwrap();
        let Request::ChangeRoom { room: Some(room), pos } = request else { panic!("{request:?}") };
        assert_eq!((room.as_str(), pos), ("live://1", if extended { 99 } else { 0 }));
        assert_eq!(to.extended, extended);
        // And an extended one a shorter header; its reply has 72 bytes all the same.
        pair.to_server = support::encode(&Header { ver: 1, op: 33, seq: 4, ext: Extension::default() }, b"", false);
        pair.server_input = std::mem::take(&mut pair.to_server);
        pair.server_reads();
        assert_eq!(pair.to_client.len(), if extended { 72 } else { 16 });
    });
}

#[test]
fn subscriptions_filter_pushes() {
    each(|extended, seed| {
        for websocket in [false, true] {
            let mut pair = Pair::live(extended, seed);
            pair.websocket = websocket;
            pair.send(op::SUB, b"1001,1002");
            pair.send(op::UNSUB, b"1000,7");
            pair.send(op::SUB, b"1000,oops");
            pair.settle();
            pair.take_seen();
            pair.push(&[(1000, "a"), (1001, "b"), (1002, ""), (1003, "d")]);
            pair.settle();
            let push = |op, body: &str| Seen::Push { op, body: body.into() };
            assert_eq!(pair.take_seen(), [push(1001, "b"), push(1002, "")]);
        }
    });
}

#[test]
fn too_many_subscriptions_change_nothing() {
    each(|extended, seed| {
        let mut pair = Pair::live(extended, seed);
        let list = (0..1001).map(|op: i32| op.to_string()).collect::<Vec<_>>().join(",");
        let seq = pair.send(op::SUB, list.as_bytes());
        pair.settle();
        assert_eq!(pair.accepts.as_slice(), [1000]);
        if !extended {
            assert_eq!(pair.take_seen(), [reply(op::SUB_REPLY, 1, seq, &list)], "echoed as in goim");
        }
    });
}

#[test]
fn upstream_is_handed_over_in_order_and_echoed_empty() {
    each(|extended, seed| {
        let mut pair = Pair::live(extended, seed);
        let bodies: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; usize::from(n)]).collect();
        let wanted: Vec<Seen> = bodies
            .iter()
            .map(|body| {
                let seq = pair.send(2000, body);
                reply(2000, if extended { 2 } else { 1 }, seq, "")
            })
            .collect();
        pair.settle();
        assert_eq!(pair.upstream, bodies);
        assert_eq!(pair.take_seen(), wanted);
    });
}

#[test]
fn wrapped_frames_are_unpacked_and_a_broken_wrapper_is_not_believed() {
    let mut pair = Pair::live(false, 5);
    pair.websocket = true;
    pair.push(&[(1000, "m0"), (1000, "m1"), (1000, "m2")]);
    pair.settle();
    assert_eq!(pair.take_seen().len(), 3);

    let mut inner = Vec::new();
    Push { op: 1000, body: "hello".into(), ..Push::default() }.put_frame(&mut inner, false);
    for cut in 1..inner.len() {
        let wrapper = support::encode(&Header { ver: 1, op: op::RAW, ..Header::default() }, &inner[..cut], false);
        let frame = frame::decode(&wrapper, 99).unwrap().unwrap();
        let error = pair.client.handle_frame(&frame, 0, &mut |event| panic!("{event:?}")).unwrap_err();
        assert_eq!(CloseReason::from(error), CloseReason::BadFrame, "cut at {cut}");
    }
}

#[test]
fn disconnect_comes_last_and_nothing_is_served_after_it() {
    for reason in CloseReason::ALL {
        let mut pair = Pair::live(true, u64::from(reason.code()));
        pair.push(&[(1000, "last words")]);
        pair.end(reason);
        pair.send(op::SUB, b"5");
        pair.settle();
        let wanted = [Seen::Push { op: 1000, body: b"last words".into() }, Seen::Disconnect(i64::from(reason.code()))];
        assert_eq!(pair.take_seen(), wanted);
        assert!(!pair.accepts.contains(5));
        assert_eq!(pair.server.handle_timeout(u64::MAX), None, "what is over does not time out");
        assert_eq!(pair.server.body_bytes_max(&pair.limits), pair.limits.auth_bytes_max);
    }
}

#[test]
fn bytes_that_are_no_frame_end_a_session_at_any_point() {
    each(|extended, seed| {
        for row in support::rows("invalid.json") {
            if support::int(&row, "limit") != 65_536 {
                continue;
            }
            let mut pair = Pair::live(extended, seed);
            pair.send(1000, b"before");
            pair.to_server.extend(support::bytes(&row, "hex"));
            pair.to_server.extend([0; 100]);
            pair.settle();
            assert_eq!(pair.upstream.len(), 1, "what came before was served");
            assert_eq!(pair.ended.map(|reason| i64::from(reason.code())), Some(support::int(&row, "code")));
            assert_eq!(pair.take_seen().len(), if extended { 2 } else { 1 });
        }
    });
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<server::Session>() <= 16);
}

#[test]
fn sequences_start_at_1_because_0_is_the_servers() {
    let mut session = client::Session::new(true);
    let mut out = Vec::new();
    for wanted in 1..100 {
        assert_eq!(session.put_request(&mut out, 33, Extension::default(), b""), wanted);
    }
}

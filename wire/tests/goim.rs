//! goim's services, as goim's own parts call them: each call, and its errors.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::collections::HashMap;

use perseid_logic::Nodes;
use perseid_protocol::SessionKey;
use perseid_protocol::push::Push;
use perseid_rpc::goim::comet::comet_client::CometClient;
use perseid_rpc::goim::comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq, RoomsReq};
use perseid_rpc::goim::logic::logic_client::LogicClient;
use perseid_rpc::goim::logic::{ConnectReq, DisconnectReq, HeartbeatReq, NodesReq, OnlineReq, ReceiveReq};
use perseid_rpc::goim::protocol::Proto;
use perseid_wire::Dial;
use support::{Client, Options, TestComet, TestLogic, listen, runtime, until};
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

fn channel(runtime: &Runtime, addr: std::net::SocketAddr) -> Channel {
    runtime.block_on(Dial::default().connect(&addr.to_string())).unwrap()
}

fn comet_client(runtime: &Runtime, comet: &TestComet) -> CometClient<Channel> {
    CometClient::new(channel(runtime, comet.grpc))
}

fn logic_client(runtime: &Runtime, logic: &TestLogic) -> LogicClient<Channel> {
    // As goim's comet does for RenewOnline.
    LogicClient::new(channel(runtime, logic.addr))
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip)
}

fn proto(op: i32, body: impl Into<bytes::Bytes>) -> Option<Proto> {
    Some(Proto { ver: 1, op, seq: 0, body: body.into() })
}

/// Frames as goim's job puts them into the body of op 9.
fn raw(frames: &[(i32, &str)]) -> Option<Proto> {
    let mut body = Vec::new();
    for (op, text) in frames {
        Push { op: *op, body: (*text).to_owned().into(), ..Push::default() }.put_frame(&mut body, false);
    }
    proto(9, body)
}

#[test]
fn goims_job_pushes_to_a_comet() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let comet = TestComet::connected(&runtime, "comet", &logic);
    let mut rpc = comet_client(&runtime, &comet);
    let (mut a, mut b) = (comet.login(1, "a", "live://1"), comet.login(2, "b", "live://2"));

    let keys = || vec!["a".to_owned(), "nobody".to_owned()];
    for request in [
        PushMsgReq { keys: keys(), proto: raw(&[(1000, "keys raw")]), proto_op: 1000 },
        PushMsgReq { keys: keys(), proto: proto(1000, "keys plain"), proto_op: 1000 },
        PushMsgReq { keys: keys(), proto: proto(5, "filtered by protoOp"), proto_op: 1001 },
        PushMsgReq { keys: keys(), proto: raw(&[(1000, "not accepted")]), proto_op: 7777 },
    ] {
        runtime.block_on(rpc.push_msg(request)).unwrap();
    }
    assert_eq!((a.push(), a.push()), ("keys raw".into(), "keys plain".into()));
    assert_eq!(a.next(), Some((5, b"filtered by protoOp".to_vec())));

    let proto_op = 1000;
    runtime.block_on(rpc.broadcast(BroadcastReq { proto_op, proto: raw(&[(1000, "all")]), speed: 0 })).unwrap();
    assert_eq!((a.push(), b.push()), ("all".into(), "all".into()));
    // Rooms get what they are sent, whatever they accept; a job gathers several frames.
    let proto = raw(&[(1000, "one"), (77, "two")]);
    runtime.block_on(rpc.broadcast_room(BroadcastRoomReq { room_id: "live://2".into(), proto })).unwrap();
    assert_eq!((b.push(), b.next()), ("one".into(), Some((77, b"two".to_vec()))));
    assert!(a.is_quiet() && b.is_quiet());

    let rooms = runtime.block_on(rpc.rooms(RoomsReq {})).unwrap().into_inner().rooms;
    assert_eq!(rooms, HashMap::from([("live://1".to_owned(), true), ("live://2".to_owned(), true)]));
}

#[test]
fn goims_errors_of_arguments_are_unknown_and_bad_bodies_hurt_nobody() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let comet = TestComet::connected(&runtime, "comet", &logic);
    let mut rpc = comet_client(&runtime, &comet);
    let mut client = comet.login(1, "a", "live://1");
    let keys = || vec!["a".to_owned()];
    let code = |keys: Vec<String>, proto: Option<Proto>| {
        let mut rpc = comet_client(&runtime, &comet);
        let request = PushMsgReq { keys, proto, proto_op: 1000 };
        runtime.block_on(rpc.push_msg(request)).unwrap_err().code()
    };
    assert_eq!(code(keys(), None), Code::Unknown);
    assert_eq!(code(vec![], proto(1000, "x")), Code::Unknown);
    assert_eq!(code(keys(), proto(9, "no frames at all")), Code::InvalidArgument);
    let cut = raw(&[(1000, "cut")]).map(|proto| Proto { body: proto.body.slice(..17), ..proto });
    assert_eq!(code(keys(), cut), Code::InvalidArgument);
    assert_eq!(code(keys(), proto(1000, vec![0; (1 << 20) + 1])), Code::ResourceExhausted);
    let too_long = BroadcastReq { proto: proto(1000, vec![0; 17 << 20]), ..BroadcastReq::default() };
    let refused = runtime.block_on(comet_client(&runtime, &comet).max_encoding_message_size(32 << 20).broadcast(too_long));
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange, "over 16 MiB");
    let missing = runtime.block_on(rpc.broadcast(BroadcastReq::default())).unwrap_err();
    assert_eq!(missing.code(), Code::Unknown);
    for request in [
        BroadcastRoomReq { room_id: String::new(), proto: proto(1000, "x") },
        BroadcastRoomReq { room_id: "live://1".into(), proto: None },
    ] {
        assert_eq!(runtime.block_on(rpc.broadcast_room(request)).unwrap_err().code(), Code::Unknown);
    }
    let good = PushMsgReq { keys: keys(), proto: proto(1000, "good"), proto_op: 1000 };
    runtime.block_on(rpc.push_msg(good)).unwrap();
    assert_eq!(client.push(), "good");
}

fn connect(server: &str, token: &str) -> ConnectReq {
    ConnectReq { server: server.to_owned(), cookie: String::new(), token: token.to_owned().into() }
}

#[test]
fn goims_comet_asks_logic() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let mut rpc = logic_client(&runtime, &logic);
    let token = r#"{"mid":7,"key":"k","room_id":"live://1","platform":"web","accepts":[1000,1001]}"#;
    let reply = runtime.block_on(rpc.connect(connect("goim-1", token))).unwrap().into_inner();
    assert_eq!((reply.mid, &*reply.key, &*reply.room_id, &reply.accepts[..]), (7, "k", "live://1", &[1000, 1001][..]));
    assert_eq!(reply.heartbeat, 480_000_000_000, "480 s in nanoseconds");
    assert_eq!(logic.registry.by_mid(7).len(), 1);

    let refused = runtime.block_on(rpc.connect(connect("goim-1", "no json"))).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let key = || "k".to_owned();
    let disconnect = |rpc: &mut LogicClient<Channel>, mid| {
        let request = DisconnectReq { mid, key: key(), server: "goim-1".into() };
        runtime.block_on(rpc.disconnect(request)).unwrap().into_inner().has
    };
    // The same client comes back; goim's goodbye for its old connection comes after the new one's hello.
    runtime.block_on(rpc.connect(connect("goim-1", token))).unwrap();
    assert!(!disconnect(&mut rpc, 7), "of the older connection");
    assert_eq!(logic.registry.by_mid(7).len(), 1);
    assert!(!disconnect(&mut rpc, 8), "of another user");
    assert!(disconnect(&mut rpc, 7));
    assert_eq!(logic.registry.by_mid(7), []);
    assert!(!disconnect(&mut rpc, 7));

    // A heartbeat repairs what was forgotten.
    let heartbeat = HeartbeatReq { mid: 7, key: key(), server: "goim-1".into() };
    runtime.block_on(rpc.heartbeat(heartbeat)).unwrap();
    assert!(logic.registry.by_key(&SessionKey::parse("k")).is_some());

    let receive = |proto| ReceiveReq { mid: 7, proto };
    runtime.block_on(rpc.receive(receive(proto(4, "hello business")))).unwrap();
    assert_eq!(runtime.block_on(rpc.receive(receive(None))).unwrap_err().code(), Code::Unknown);
    let sent = logic.logic_metrics.snapshot().upstream.into_iter().find(|(class, _)| *class == "send_msg");
    assert_eq!(sent, Some(("send_msg", 1)));
}

#[test]
fn rooms_are_summed_over_goims_comets_and_ours_gzip_both_ways() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let comet = TestComet::connected(&runtime, "comet", &logic);
    let _client = comet.login(1, "a", "live://1");
    until("the comet's report", || (logic.nodes.room_online("live://1") == 1).then_some(()));
    let mut rpc = logic_client(&runtime, &logic);
    let mut renew = |server: &str, rooms: &[(&str, i32)]| {
        let room_count = rooms.iter().map(|(room, count)| ((*room).to_owned(), *count)).collect();
        let request = OnlineReq { server: server.to_owned(), room_count };
        runtime.block_on(rpc.renew_online(request)).unwrap().into_inner().all_room_count
    };
    assert_eq!(renew("goim-1", &[("live://1", 2), ("live://2", 5)])["live://1"], 3);
    let all = renew("goim-2", &[("live://1", 10), ("live://none", 0), ("live://bad", -5)]);
    let expected = [("live://1", 13), ("live://2", 5), ("live://none", 0), ("live://bad", 0)];
    assert_eq!(all, expected.into_iter().map(|(room, count)| (room.to_owned(), count)).collect());
    assert_eq!(renew("goim-1", &[]).get("live://2"), None, "the last report counts");
}

#[test]
fn who_finds_no_place_is_refused_and_counted() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let mut rpc = logic_client(&runtime, &logic);
    let long = "n".repeat(257);
    let token = r#"{"mid":1,"key":"a"}"#;
    let refused = runtime.block_on(rpc.connect(connect(&long, token))).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let heartbeat = HeartbeatReq { mid: 1, key: "a".into(), server: long };
    assert_eq!(runtime.block_on(rpc.heartbeat(heartbeat)).unwrap_err().code(), Code::ResourceExhausted);
    let rooms = |of: std::ops::Range<u32>, online: i32| of.map(move |id| (format!("live://{id}"), online));
    let room_count = rooms(0..100_007, 1).chain(rooms(200_000..200_100, 0)).collect();
    runtime.block_on(rpc.renew_online(OnlineReq { server: "goim-1".into(), room_count })).unwrap();
    assert_eq!(logic.goim.refused(), [("comets", 2), ("sessions", 0), ("rooms", 7)]);
}

#[test]
fn nodes_are_told_as_over_http() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let _comet = TestComet::connected(&runtime, "comet", &logic);
    let mut rpc = logic_client(&runtime, &logic);
    let mut nodes = |platform: &str| {
        let request = NodesReq { platform: platform.to_owned(), client_ip: "1.2.3.4".into() };
        runtime.block_on(rpc.nodes(request)).unwrap().into_inner()
    };
    let told = nodes("ios");
    assert_eq!((told.heartbeat, told.heartbeat_max, &told.nodes[..]), (240, 2, &["127.0.0.1".to_owned()][..]));
    assert_eq!((told.tcp_port, told.ws_port, told.wss_port, &*told.domain), (3101, 3102, 3103, "conn.goim.io"));
    let backoff = told.backoff.unwrap();
    assert_eq!((backoff.max_delay, backoff.base_delay, backoff.factor, backoff.jitter), (300, 3, 1.8, 0.3));
    assert_eq!(nodes("web").nodes, ["comet.goim.io"]);
}

/// One of our comets plays goim's: what our job sends it is what goim's job would.
#[test]
fn our_job_pushes_to_goims_comets() {
    let runtime = runtime();
    // Its clients are let in by a logic of its own; the other logic knows them as goim's.
    let own = TestLogic::start(&runtime, &Options::default());
    let comet = TestComet::connected(&runtime, "comet", &own);
    let options = Options { goim: vec![("goim-1".into(), comet.grpc.to_string())], ..Options::default() };
    let mut logic = TestLogic::start(&runtime, &options);
    let mut rpc = logic_client(&runtime, &logic);
    let mut clients: Vec<Client> = Vec::new();
    for (mid, key) in [(1, "a"), (2, "b")] {
        clients.push(comet.login(mid, key, "live://1"));
        let token = format!(r#"{{"mid":{mid},"key":"{key}"}}"#);
        runtime.block_on(rpc.connect(connect("goim-1", &token))).unwrap();
    }
    logic.push_to_mid(2, "to a user");
    logic.push_to_room("live://1", "to a room");
    logic.push_to_all("to all");
    assert_eq!(clients[1].push(), "to a user");
    for client in &mut clients {
        assert_eq!((client.push(), client.push()), ("to a room".into(), "to all".into()));
        assert!(client.is_quiet());
    }
}

#[test]
fn who_speaks_no_grpc_gets_nothing_and_hurts_nobody() {
    use std::io::{Read, Write};
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    for nonsense in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense"] {
        let mut stream = std::net::TcpStream::connect(logic.addr).unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        stream.write_all(nonsense).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut rest);
    }
    drop(listen());
    let mut rpc = logic_client(&runtime, &logic);
    assert_eq!(runtime.block_on(rpc.connect(connect("goim-1", "{}"))).unwrap().into_inner().mid, 0);
}

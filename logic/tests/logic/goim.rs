//! goim's routes: every form of answer, as goim gives it.

use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use perseid_log::AppendError;
use perseid_logic::{Config, NodeInfo, Totals};

use crate::fakes::{Answer, FakeNodes, Mode, World, room};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const OK: &str = r#"{"code":0,"message":""}"#;

fn check(answer: &Answer, status: u16, content_type: &str, body: &str) {
    assert_eq!((answer.status, answer.content_type.as_str(), answer.body.as_str()), (status, content_type, body));
}

fn bind_error(answer: &Answer, message: &str) {
    check(answer, 400, TEXT, &format!(r#"{{"code":-400,"message":"{message}"}}"#));
}

fn missing(field: &str) -> String {
    format!("Key: '{field}' Error:Field validation for '{field}' failed on the 'required' tag")
}

#[tokio::test]
async fn pushes() {
    let world = World::new();
    check(&world.post("/goim/push/keys?operation=1000&keys=a&keys=b,c&keys=%E7%BE%A4", "hello").await, 200, JSON, OK);
    let push = world.log.last();
    assert_eq!((push.operation, &push.msg[..], push.keys.len(), push.keys[1].as_str()), (1000, &b"hello"[..], 3, "b,c"));

    check(&world.post("/goim/push/mids?mids=1&mids=-2", vec![0, 255]).await, 200, JSON, OK);
    let push = world.log.last();
    assert_eq!((push.operation, &push.msg[..], &push.mids[..]), (0, &[0u8, 255][..], &[1, -2][..]));

    check(&world.post("/goim/push/room?operation=-7&type=live&room=a%2Fb", "hi").await, 200, JSON, OK);
    assert_eq!((world.log.last().operation, world.log.last().room), (-7, "live://a/b".to_owned()));

    check(&world.post("/goim/push/all?operation=1000&speed=64", "").await, 200, JSON, OK);
    assert_eq!((world.log.last().speed, world.log.last().msg), (64, Bytes::new()));

    // Forms are not parsed: the body is the body, whatever its type.
    let form = Request::post("/goim/push/mids?mids=3").header("content-type", "application/x-www-form-urlencoded");
    check(&world.send(form.body(Body::from("mids=9")).unwrap()).await, 200, JSON, OK);
    assert_eq!((&world.log.last().mids[..], &world.log.last().msg[..]), (&[3][..], &b"mids=9"[..]));
}

#[tokio::test]
async fn nobody_to_push_to() {
    let world = World::new();
    check(&world.post("/goim/push/mids?operation=1", "x").await, 200, JSON, OK);
    check(&world.post("/goim/push/keys?operation=1", "x").await, 200, JSON, r#"{"code":-400,"message":""}"#);
    assert_eq!(world.log.pushes(), []);
    check(&world.post("/goim/push/mids?mids=", "x").await, 200, JSON, OK);
    assert_eq!(world.log.last().mids, [0]);
}

#[tokio::test]
async fn bind_errors() {
    let world = World::new();
    let syntax = |text: &str| format!(r#"strconv.ParseInt: parsing \"{text}\": invalid syntax"#);
    let range = |text: &str| format!(r#"strconv.ParseInt: parsing \"{text}\": value out of range"#);
    for (uri, message) in [
        ("/goim/push/keys?operation=abc&keys=a", syntax("abc")),
        ("/goim/push/keys?operation=2147483648&keys=a", range("2147483648")),
        ("/goim/push/mids?mids=1,2", syntax("1,2")),
        ("/goim/push/mids?mids=1&mids=9223372036854775808", range("9223372036854775808")),
        ("/goim/push/mids?operation=%3Ca%22%3E&mids=1", syntax(r#"\u003ca\\\"\u003e"#)),
        ("/goim/push/room?operation=0&type=a&room=b", missing("Op")),
        ("/goim/push/room?type=a", format!("{}\\n{}", missing("Op"), missing("Room"))),
        ("/goim/push/room", format!("{}\\n{}\\n{}", missing("Op"), missing("Type"), missing("Room"))),
        ("/goim/push/room?operation=x", syntax("x")),
        ("/goim/push/all", missing("Op")),
        ("/goim/push/all?operation=1&speed=1.5", syntax("1.5")),
        ("/goim/push/all?operation=1&speed=-1", "speed must not be negative; 0 is as fast as it goes".to_owned()),
    ] {
        bind_error(&world.post(uri, "x").await, &message);
    }
    for (uri, message) in [
        ("/goim/online/top?type=a&limit=0", missing("Limit")),
        ("/goim/online/top", format!("{}\\n{}", missing("Type"), missing("Limit"))),
        ("/goim/online/top?type=a&limit=ten", syntax("ten")),
        ("/goim/online/top?type=a&limit=9223372036854775808", range("9223372036854775808")),
        ("/goim/online/top?type=a&limit=-1", "limit must not be negative".to_owned()),
        ("/goim/online/room?type=a", missing("Rooms")),
        ("/goim/online/room?rooms=1", missing("Type")),
    ] {
        bind_error(&world.get(uri).await, &message);
    }
    assert_eq!(world.log.pushes(), []);
}

#[tokio::test]
async fn handler_errors() {
    let world = World::new();
    world.log.set(Mode::Refuse(AppendError::Unavailable("no \"space\"".into())));
    let error = r#"{"code":-500,"message":"the log is unavailable: no \"space\""}"#;
    check(&world.post("/goim/push/all?operation=1", "x").await, 200, JSON, error);
    check(&world.post("/goim/push/keys?keys=a", "x").await, 200, JSON, error);
    world.log.set(Mode::Take);
    let answer = world.post("/goim/push/room?operation=1&type=a%0a&room=b", "x").await;
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (200, Some(-400)));
}

#[tokio::test]
async fn bodies_have_a_bound_also_in_chunks() {
    let config = Config { request_bytes_max: 1000, ..Config::default() };
    let world = World::with(FakeNodes::default(), config);
    check(&world.post("/goim/push/all?operation=1", vec![b'x'; 1000]).await, 200, JSON, OK);
    let too_large = r#"{"code":-400,"message":"the body of the request is larger than 1000 bytes"}"#;
    check(&world.post("/goim/push/all?operation=1", vec![b'x'; 1001]).await, 413, JSON, too_large);
    let claims = Request::post("/goim/push/all?operation=1").header("content-length", "99999999999999999999");
    check(&world.send(claims.body(Body::from(vec![b'x'; 2000])).unwrap()).await, 413, JSON, too_large);
    let claims = Request::post("/goim/push/all?operation=1").header("content-length", "5000");
    check(&world.send(claims.body(Body::empty()).unwrap()).await, 413, JSON, too_large);
    let small = World::with(FakeNodes::default(), Config { push_bytes_max: 4, ..Config::default() });
    let answer = small.post("/goim/push/all?operation=1", "12345").await;
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (413, Some(-400)));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer() {
    let world = World::new();
    world.log.set(Mode::Hold);
    let answer = world.post("/goim/push/all?operation=1", "x").await;
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (200, Some(-500)));
}

#[tokio::test]
async fn paths_and_methods() {
    let world = World::new();
    for (method, uri) in [
        (Method::GET, "/"),
        (Method::GET, "/nodes/instances"),
        (Method::GET, "/goim/push/all?operation=1"),
        (Method::PUT, "/goim/online/total"),
        (Method::POST, "/goim/online/total"),
        (Method::GET, "/goim/push/all/"),
        (Method::POST, "/goim/push/all//"),
        (Method::POST, "/goim/push/ALL"),
    ] {
        check(&world.ask(method, uri, Body::empty()).await, 404, "text/plain", "404 page not found");
    }
    let answer = world.post("/goim/push/all/?operation=1&speed=2", "x").await;
    assert_eq!((answer.status, &answer.headers["location"]), (307, &"/goim/push/all?operation=1&speed=2".parse().unwrap()));
    let answer = world.get("/goim/online/top/?type=a&limit=1").await;
    assert_eq!((answer.status, &answer.headers["location"]), (301, &"/goim/online/top?type=a&limit=1".parse().unwrap()));
    assert_eq!(answer.body, "<a href=\"/goim/online/top?type=a&amp;limit=1\">Moved Permanently</a>.\n\n");
    assert_eq!(world.get("/goim/online/total/").await.headers["location"], "/goim/online/total");
}

#[tokio::test]
async fn online() {
    let rooms = vec![room("live://a/b", 300), room("live2://9", 200), room("live://1", 100), room("live://群", 1)];
    let world =
        World::with(FakeNodes { rooms, totals: Totals { sessions: 601, ips: 7 }, ..FakeNodes::default() }, Config::default());
    let top = r#"{"code":0,"message":"","data":[{"room_id":"a/b","count":300},{"room_id":"1","count":100}]}"#;
    check(&world.get("/goim/online/top?type=live&limit=2").await, 200, JSON, top);
    check(&world.get("/goim/online/top?type=liv&limit=2").await, 200, JSON, r#"{"code":0,"message":"","data":[]}"#);
    let all = world.get("/goim/online/top?type=live&limit=9223372036854775807").await;
    assert_eq!(all.json()["data"].as_array().map(Vec::len), Some(3));

    let rooms = r#"{"code":0,"message":"","data":{"1":100,"a/b":300,"x":0}}"#;
    check(&world.get("/goim/online/room?type=live&rooms=x&rooms=1&rooms=a%2Fb&rooms=1").await, 200, JSON, rooms);
    let total = r#"{"code":0,"message":"","data":{"conn_count":601,"ip_count":7}}"#;
    check(&world.get("/goim/online/total").await, 200, JSON, total);
}

fn node(id: &str, host: &str, sessions: u64) -> NodeInfo {
    NodeInfo {
        id: id.to_owned(),
        tcp: vec![format!("{host}:3101")],
        ws: vec![format!("{host}:3102")],
        sessions,
        ips: 3,
        draining: false,
        version: "0.1.0".to_owned(),
        started_ms: 1_700_000_000_000,
        ..NodeInfo::default()
    }
}

#[tokio::test]
async fn weighted_as_observed_on_goim() {
    let world = World::with(FakeNodes { nodes: vec![node("vm", "127.0.0.1", 1)], ..FakeNodes::default() }, Config::default());
    let told = |nodes: &str| {
        format!(
            r#"{{"code":0,"message":"","data":{{"domain":"conn.goim.io","tcp_port":3101,"ws_port":3102,"wss_port":3103,"heartbeat":240,"nodes":["{nodes}"],"backoff":{{"max_delay":300,"base_delay":3,"factor":1.8,"jitter":0.3}},"heartbeat_max":2}}}}"#
        )
    };
    for platform in ["", "?platform=", "?platform=ios"] {
        check(&world.get(&format!("/goim/nodes/weighted{platform}")).await, 200, JSON, &told("127.0.0.1"));
    }
    check(&world.get("/goim/nodes/weighted?platform=web").await, 200, JSON, &told("vm.goim.io"));
    check(&World::new().get("/goim/nodes/weighted").await, 200, JSON, &told("conn.goim.io"));
}

#[tokio::test]
async fn weighted_by_load_without_zero_values() {
    let mut nodes: Vec<_> = (0..7).map(|n| node(&format!("n{n}"), &format!("10.0.0.{n}"), 100 - n)).collect();
    nodes[6].draining = true;
    nodes[5].tcp = vec!["0.0.0.0:3101".to_owned(), "[::1]:3101".to_owned()];
    let mut config = Config::default();
    (config.goim.wss_port, config.goim.backoff_jitter, config.goim.backoff_factor) = (0, 0.0, 3.0);
    let world = World::with(FakeNodes { nodes, ..FakeNodes::default() }, config);
    let data = r#"{"domain":"conn.goim.io","tcp_port":3101,"ws_port":3102,"heartbeat":240,"nodes":["[::1]","10.0.0.4","10.0.0.3","10.0.0.2","10.0.0.1"],"backoff":{"max_delay":300,"base_delay":3,"factor":3},"heartbeat_max":2}"#;
    let body = format!(r#"{{"code":0,"message":"","data":{data}}}"#);
    check(&world.get("/goim/nodes/weighted").await, 200, JSON, &body);
    assert_eq!(world.get("/goim/nodes/weighted?platform=web").await.json()["data"]["nodes"][0], "n5.goim.io");
}

#[tokio::test]
async fn instances() {
    let mut leaving = node("vm", "127.0.0.1", 12);
    leaving.draining = true;
    let world = World::with(FakeNodes { nodes: vec![leaving], ..FakeNodes::default() }, Config::default());
    let data = r#"[{"region":"","zone":"","env":"","appid":"goim.comet","hostname":"vm","addrs":["tcp://127.0.0.1:3101","ws://127.0.0.1:3102"],"version":"0.1.0","latest_timestamp":1700000000000000000,"metadata":{"addrs":"127.0.0.1","conn_count":"12","ip_count":"3","offline":"true","weight":"10"}}]"#;
    let body = format!(r#"{{"code":0,"message":"","data":{data}}}"#);
    check(&world.get("/goim/nodes/instances").await, 200, JSON, &body);
    check(&World::new().get("/goim/nodes/instances").await, 200, JSON, r#"{"code":0,"message":"","data":[]}"#);
}

//! Kick and drain.

use axum::http::Method;
use perseid_logic::{Config, NodeInfo};
use perseid_protocol::CloseReason;
use serde_json::json;

use crate::fakes::{FakeNodes, World};
use crate::v1::problem;

#[tokio::test]
async fn kicks_those_that_are_meant() {
    let world = World::new();
    for (mid, key, platform, slot) in [(7, "a", "web", 1), (7, "b", "ios", 2), (7, "c", "web", 3), (8, "d", "web", 4)] {
        world.connect(mid, key, platform, slot);
    }
    for (query, slots, message) in [
        ("", &[1, 2, 3][..], None),
        ("?", &[1, 2, 3], None),
        ("?key=b", &[2], None),
        ("?platform=web", &[1, 3], None),
        ("?platform=web&key=c&reason=logged%20out", &[3], Some("logged out")),
        ("?reason=", &[1, 2, 3], None),
        ("?platform=web&key=b", &[], None),
        ("?key=d", &[], None),
        ("?key=A", &[], None),
    ] {
        let answer = world.ask(Method::DELETE, &format!("/v1/users/7/sessions{query}"), "").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "mid": 7, "ended": slots.len() })), "{query}");
        let ended = std::mem::take(&mut *world.nodes.ended.lock().unwrap());
        let mut told: Vec<u32> = ended.iter().map(|(addr, ..)| addr.slot).collect();
        told.sort_unstable();
        assert_eq!(told, slots, "{query}");
        assert!(ended.iter().all(|(_, reason, text)| *reason == CloseReason::Kicked && text.as_deref() == message));
    }
    assert_eq!(world.counters().sessions_kicked, 13);
}

#[tokio::test]
async fn a_mistake_kicks_nobody() {
    let world = World::new();
    world.connect(7, "a", "web", 1);
    let long = format!("7/sessions?reason={}", "x".repeat(257));
    for path in [
        "7/sessions?key=",
        "7/sessions?platform=",
        "7/sessions?plattform=web",
        "7/sessions?key=a&key=b",
        "0/sessions",
        "-7/sessions",
        "x/sessions",
        "7.0/sessions",
        "9223372036854775808/sessions",
        "7/sessions?reason=%00",
        "7/sessions?key=%ff",
        &long,
    ] {
        problem(&world.ask(Method::DELETE, &format!("/v1/users/{path}"), "").await, 400, "BAD_REQUEST");
    }
    problem(&world.get("/v1/users/7/sessions").await, 405, "METHOD_NOT_ALLOWED");
    assert!(world.nodes.ended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nodes_and_their_drain() {
    let node = |id: &str| NodeInfo { id: id.to_owned(), sessions: 10, version: "1".to_owned(), ..NodeInfo::default() };
    let nodes = FakeNodes { nodes: vec![node("vm"), node("10.0.0.1:3109")], ..FakeNodes::default() };
    let world = World::with(nodes, Config::default());
    assert_eq!(world.get("/v1/nodes/vm").await.json()["sessions"], 10);
    assert_eq!(world.get("/v1/nodes/10.0.0.1:3109").await.json()["id"], "10.0.0.1:3109");
    assert_eq!(world.get("/v1/nodes/vm:drain").await.json(), json!({ "node": "vm", "draining": false, "sessions": 10 }));
    for (method, path) in [(Method::GET, "x"), (Method::GET, "x:drain"), (Method::POST, "x:drain"), (Method::GET, ":drain")] {
        problem(&world.ask(method, &format!("/v1/nodes/{path}"), "").await, 404, "NOT_FOUND");
    }
    for body in ["{", r#"{"per_second":0}"#, r#"{"per_second":1000001}"#, r#"{"rate":5}"#, r#"{"per_second":-1}"#, "[]"] {
        problem(&world.post("/v1/nodes/vm:drain", body).await, 400, "BAD_REQUEST");
    }
    problem(&world.post("/v1/nodes/vm", "").await, 405, "METHOD_NOT_ALLOWED");
    assert_eq!(*world.nodes.drain.lock().unwrap(), None);
    let expected = json!({
        "node": "10.0.0.1:3109", "draining": true, "sessions": 5, "sessions_at_start": 10, "per_second": 7,
        "since_ms": 1_700_000_000_000_u64,
    });
    let answer = world.post("/v1/nodes/10.0.0.1:3109:drain", r#"{"per_second":7}"#).await;
    assert_eq!((answer.status, answer.json()), (202, expected.clone()));
    assert_eq!(world.post("/v1/nodes/10.0.0.1:3109:drain", "").await.json(), expected, "once more changes nothing");
    assert_eq!(world.get("/v1/nodes/10.0.0.1:3109:drain").await.json(), expected);
}

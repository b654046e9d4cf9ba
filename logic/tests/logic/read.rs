//! v1: who and what is there.

use perseid_logic::{Config, NodeInfo};
use serde_json::json;

use crate::fakes::{FakeNodes, World, room};

#[tokio::test]
async fn users() {
    let world = World::new();
    world.connect(7, "phone", "ios", 1);
    world.connect(7, "laptop", "web", 2);
    world.connect(7, "other", "web", 3);
    world.connect(8, "silent", "", 4);
    let user = world.get("/v1/users/7").await.json();
    assert_eq!((&user["mid"], user["sessions"].as_array().unwrap().len()), (&json!(7), 3));
    let phone = json!({"key":"phone","node":0,"platform":"ios","device_id":"ios","address":"127.0.0.1:1234",
                       "since_ms":1_700_000_000_001u64,"extended":true});
    assert_eq!(user["sessions"][0], phone);
    assert_eq!(world.get("/v1/users/9").await.body, r#"{"mid":9,"sessions":[]}"#);
    for bad in ["0", "-1", "x", "9223372036854775808", "%ff", "1.5"] {
        assert_eq!(world.get(&format!("/v1/users/{bad}")).await.status, 400, "{bad}");
    }

    let online = world.post("/v1/users:online", r#"{"mids":[7,"8",9,-1]}"#).await;
    let expected = r#"{"users":[{"mid":7,"online":true,"platforms":["ios","web"]},{"mid":8,"online":true,"platforms":[]},{"mid":9,"online":false,"platforms":[]},{"mid":-1,"online":false,"platforms":[]}]}"#;
    assert_eq!(online.body, expected);
    for bad in ["", r#"{"mids":7}"#, r#"{"mids":[null]}"#, r#"{"mids":[],"x":1}"#] {
        assert_eq!(world.post("/v1/users:online", bad).await.status, 400, "{bad}");
    }
    let many = json!({ "mids": vec![1; 10_001] }).to_string();
    assert_eq!(world.post("/v1/users:online", many).await.status, 413);
}

#[tokio::test]
async fn rooms() {
    let rooms = vec![room("live://a/b", 300), room("chat://9", 200), room("live://1", 100)];
    let world = World::with(FakeNodes { rooms, ..FakeNodes::default() }, Config::default());
    let all = world.get("/v1/rooms").await.json();
    assert_eq!(all["rooms"].as_array().unwrap().len(), 3);
    assert_eq!(all["rooms"][0], json!({"room":"live://a/b","type":"live","id":"a/b","online":300}));
    let live = world.get("/v1/rooms?type=live&limit=1").await.json();
    assert_eq!(live["rooms"].as_array().unwrap().len(), 1);
    for bad in ["0", "-1", "x", "99999999999999999999999"] {
        assert_eq!(world.get(&format!("/v1/rooms?limit={bad}")).await.status, 400, "{bad}");
    }
    for more in ["10001", "18446744073709551615"] {
        assert_eq!(world.get(&format!("/v1/rooms?limit={more}")).await.json(), all, "{more}: as many as are told of at most");
    }
    for path in ["/v1/rooms/live/a/b", "/v1/rooms/live/a%2Fb"] {
        assert_eq!(world.get(path).await.json()["online"], 300, "{path}");
    }
    assert_eq!(world.get("/v1/rooms/live/%E7%BE%A4").await.body, r#"{"room":"live://群","type":"live","id":"群","online":0}"#);
    for bad in ["/v1/rooms/live/%ff", "/v1/rooms/live/a%0a", "/v1/rooms/%00/a"] {
        assert_eq!(world.get(bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn nodes() {
    let node = NodeInfo { id: "n".into(), tcp: vec!["127.0.0.1:3101".into()], sessions: 4, ..NodeInfo::default() };
    let world = World::with(FakeNodes { nodes: vec![node], ..FakeNodes::default() }, Config::default());
    let expected = r#"{"nodes":[{"id":"n","role":"comet","tcp":["127.0.0.1:3101"],"ws":[],"http":[],"grpc":[],"sessions":4,"ips":0,"draining":false,"version":"","started_ms":0}]}"#;
    assert_eq!(world.get("/v1/nodes").await.body, expected);
}

//! Comets in processes of their own beside a standalone that is logic and job, all of them real processes.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{BOTH, Client, Http, Server, Transport, until, until_eq};

/// A standalone, and comets beside it.
fn cluster(comets: usize, args: &[&str]) -> (Server, Vec<Server>) {
    let logic = Server::start(args);
    let addr = logic.ready["logic_grpc"].as_str().unwrap().to_owned();
    let comets: Vec<Server> = (0..comets).map(|_| Server::start_comet(&addr, &[])).collect();
    (logic, comets)
}

fn auth(mid: i64, key: &str, room: &str) -> Value {
    json!({ "mid": mid, "key": key, "room_id": room, "platform": "test", "accepts": [1000] })
}

fn push(logic: &Server, to: &Value, body: &str) {
    let answer = logic.http().push(&json!({ "to": to, "body": body }));
    assert_eq!(answer["accepted"], true, "{answer}");
}

#[test]
fn pushes_reach_sessions_on_every_comet_by_key_user_room_and_all() {
    let (logic, comets) = cluster(2, &[]);
    for transport in BOTH {
        let mut clients: Vec<Client> = [&logic, &comets[0], &comets[1]]
            .iter()
            .enumerate()
            .map(|(at, server)| Client::classic(server, transport, &auth(7, &format!("k{at}"), "live://1")))
            .collect();
        for (to, expected) in [
            (json!({ "keys": ["k1"] }), vec![1]),
            (json!({ "mids": [7] }), vec![0, 1, 2]),
            (json!({ "room": "live://1" }), vec![0, 1, 2]),
            (json!({ "room": "live://none" }), vec![]),
            (json!({ "all": true }), vec![0, 1, 2]),
        ] {
            let body = to.to_string();
            push(&logic, &to, &body);
            for at in expected {
                assert_eq!(clients[at].push(), body, "{transport:?} {at}");
            }
        }
        for client in &mut clients {
            assert_eq!(client.flush(), [], "{transport:?}: nothing twice, and nothing else");
        }
    }
}

#[test]
fn a_session_that_moves_to_another_comet_is_replaced_there() {
    let (logic, comets) = cluster(2, &[]);
    let places = [&comets[0], &comets[1], &logic, &comets[0]];
    let mut before = Client::classic(places[0], Transport::WebSocket, &auth(7, "k", ""));
    for place in &places[1..] {
        let mut client = Client::classic(place, Transport::WebSocket, &auth(7, "k", ""));
        assert_eq!(before.end().close, Some((4507, "REPLACED".to_owned())));
        push(&logic, &json!({ "mids": [7] }), "hello");
        assert_eq!(client.push(), "hello");
        before = client;
    }
}

#[test]
fn what_logic_knows_of_its_comets() {
    let (logic, comets) = cluster(2, &[]);
    let mut clients: Vec<Client> = comets
        .iter()
        .chain([&logic])
        .enumerate()
        .map(|(at, server)| Client::classic(server, Transport::Tcp, &auth(at as i64 + 1, "", "live://1")))
        .collect();
    let mut http = logic.http();
    until_eq("room online", &json!(3), || http.get("/v1/rooms/live/1").json()["online"].clone());
    assert_eq!(listed(&mut http), 3);
    let online = http.post_json("/v1/users:online", &json!({ "mids": [1, 2, 3, 4] })).json();
    assert!(online.to_string().contains("test"), "{online}");
    until_eq("heartbeat counts all comets", &vec![3, 3, 3], || clients.iter_mut().map(Client::heartbeat).collect());
    drop(clients.remove(0));
    until_eq("room online", &json!(2), || http.get("/v1/rooms/live/1").json()["online"].clone());
}

#[test]
fn a_comet_that_is_told_to_leave_drains_and_is_forgotten() {
    let (logic, mut comets) = cluster(2, &[]);
    let (mut client, _) = Client::extended(&comets[0], Transport::Tcp, &auth(7, "k", ""));
    let comet = comets.remove(0);
    let (status, stdout, _) = comet.terminate();
    assert_eq!((status, stdout.lines().count()), (0, 1), "{stdout}");
    assert_eq!(client.end().disconnect.unwrap()["reason"], "DRAINING");
    let mut http = logic.http();
    until("logic has forgotten it", || (listed(&mut http) == 2).then_some(()));
    let user = http.get("/v1/users/7").json();
    assert_eq!(user["sessions"], json!([]), "{user}");
}

/// How many comets logic knows of.
fn listed(http: &mut Http) -> usize {
    let nodes = http.get("/v1/nodes").json();
    nodes["nodes"].as_array().unwrap().iter().filter(|node| node["role"] == "comet").count()
}

/// The least that `cluster.lease_ms` may be.
const SHORT_LEASE: [&str; 2] = ["--set", "cluster.lease_ms=1000"];

#[test]
fn a_killed_comet_takes_its_sessions_with_it_and_nobody_elses() {
    let (logic, mut comets) = cluster(2, &SHORT_LEASE);
    let mut gone = Client::classic(&comets[0], Transport::Tcp, &auth(7, "gone", "live://1"));
    let mut stays = Client::classic(&comets[1], Transport::WebSocket, &auth(8, "stays", "live://1"));
    let mut http = logic.http();
    until_eq("room online", &json!(2), || http.get("/v1/rooms/live/1").json()["online"].clone());
    comets.remove(0).kill9();
    gone.end();
    push(&logic, &json!({ "room": "live://1" }), "while it is missed");
    assert_eq!(stays.push(), "while it is missed");
    until_eq("its sessions have ended", &json!([]), || http.get("/v1/users/7").json()["sessions"].clone());
    until("it is forgotten", || (listed(&mut http) == 2).then_some(()));
    until_eq("room online", &json!(1), || http.get("/v1/rooms/live/1").json()["online"].clone());
    push(&logic, &json!({ "mids": [7, 8] }), "to both");
    assert_eq!(stays.push(), "to both");
    // A user who was there comes back elsewhere, with his key.
    let mut back = Client::classic(&comets[0], Transport::Tcp, &auth(7, "gone", "live://1"));
    push(&logic, &json!({ "room": "live://1" }), "to the room");
    assert_eq!((stays.push(), back.push()), ("to the room".into(), "to the room".into()));
    assert_eq!((stays.flush(), back.flush()), (vec![], vec![]));
}

#[test]
fn sessions_on_comets_outlive_a_killed_logic() {
    let (logic, comets) = cluster(2, &[]);
    let addr = logic.ready["logic_grpc"].as_str().unwrap().to_owned();
    let mut clients: Vec<Client> = comets
        .iter()
        .zip(BOTH)
        .enumerate()
        .map(|(at, (comet, transport))| Client::classic(comet, transport, &auth(at as i64 + 1, &format!("k{at}"), "live://1")))
        .collect();
    push(&logic, &json!({ "all": true }), "before");
    for client in &mut clients {
        assert_eq!(client.push(), "before");
    }
    let stopped = logic.kill9();
    for comet in &comets {
        until("it is missed", || (comet.http().get("/readyz").status == 503).then_some(()));
    }
    for client in &mut clients {
        assert_eq!(client.flush(), [], "heartbeats are answered all the same");
    }
    // Where the comets look for it.
    let logic = stopped.restart_with(&["--logic-grpc", &addr]);
    let mut http = logic.http();
    for (at, client) in clients.iter_mut().enumerate() {
        let path = format!("/v1/users/{}", at + 1);
        until_eq("registered again", &1, || http.get(&path).json()["sessions"].as_array().map_or(0, Vec::len));
        assert_eq!(client.flush(), [], "what was pushed before does not come again");
    }
    until_eq("room online", &json!(2), || http.get("/v1/rooms/live/1").json()["online"].clone());
    for to in [json!({ "keys": ["k0", "k1"] }), json!({ "mids": [1, 2] }), json!({ "room": "live://1" }), json!({ "all": true })]
    {
        let body = to.to_string();
        push(&logic, &to, &body);
        for client in &mut clients {
            assert_eq!(client.push(), body);
        }
    }
    // Somebody new is let in, too.
    let mut client = Client::classic(&comets[0], Transport::Tcp, &auth(3, "k2", "live://1"));
    push(&logic, &json!({ "mids": [3] }), "hello");
    assert_eq!(client.push(), "hello");
}

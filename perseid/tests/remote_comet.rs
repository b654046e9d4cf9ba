//! Comets in processes of their own beside a standalone that is logic and job, all of them real processes.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{BOTH, Client, Server, Transport, until, until_eq};

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
    let nodes = http.get("/v1/nodes").json();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 3, "{nodes}");
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
    until("logic has forgotten it", || (http.get("/v1/nodes").json()["nodes"].as_array().unwrap().len() == 2).then_some(()));
    let user = http.get("/v1/users/7").json();
    assert_eq!(user["sessions"], json!([]), "{user}");
}

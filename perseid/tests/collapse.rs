//! What waits for a slow reader: of pushes with one collapse key the newest is left, and what matters less goes first. Real
//! processes, also a comet of its own.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::measure::Metrics;
use support::{BOTH, Client, Http, Server, Transport, until, until_eq};

const AUTH: &str = r#"{"mid":7,"key":"k","room_id":"live://a","accepts":[1000]}"#;

/// A reader may be as slow as it likes.
const PATIENT: [&str; 4] = ["--set", "comet.write_stall_ms=600000", "--set", "telemetry.level=warn"];

fn push(logic: &mut Http, to: &Value, body: &str, terms: &Value) {
    let mut message = json!({ "to": to, "body": body });
    message.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
    assert_eq!(logic.push(&message)["accepted"], true, "{message}");
}

/// Sessions of a comet whose sockets are full.
fn blocked(comet: &mut Http) -> u64 {
    Metrics::of(comet).get("perseid_client_blocked")
}

/// A session that reads nothing, its socket full.
fn stuck(logic: &mut Http, comet: &Server, transport: Transport) -> Client {
    let client = Client::classic(comet, transport, &serde_json::from_str(AUTH).unwrap());
    let (body, mut http) = ("x".repeat(200_000), comet.http());
    let mut looks = 0;
    until("a full socket", || {
        looks += 1;
        if blocked(&mut http) == 0 {
            looks = 0;
            logic.goim_push("keys?operation=1000&keys=k", body.as_bytes());
        }
        // The kernel moves things about for a while.
        (looks > 20).then_some(())
    });
    client
}

/// All that comes up to `last`, but for what filled the socket.
fn read_up_to(client: &mut Client, last: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        texts.push(client.push());
        texts.pop_if(|text| text.starts_with("xx"));
    }
    texts
}

fn replaced(logic: &Server, comet: &Server) {
    let (mut http, mut metrics) = (logic.http(), comet.http());
    for (nth, transport) in BOTH.into_iter().enumerate() {
        let mut client = stuck(&mut http, comet, transport);
        let (user, key) = (json!({ "mids": [7] }), json!({ "keys": ["k"] }));
        let (room, all) = (json!({ "room": "live://a" }), json!({ "all": true }));
        let score = json!({ "collapse": "score" });
        for (to, body, terms) in [
            (&user, "one", &json!({})),
            (&user, "user: score 1", &score),
            (&room, "room: score 1", &score),
            (&all, "all: score 1", &score),
            (&user, "another key", &json!({ "collapse": "weather" })),
            (&key, "user: score 2", &score),
            (&room, "two", &json!({})),
            (&room, "room: score 2", &score),
            (&all, "all: score 2", &score),
            (&key, "three", &json!({})),
        ] {
            push(&mut http, to, body, terms);
        }
        let collapsed = 3 * (nth as u64 + 1);
        until_eq("what was replaced", &collapsed, || Metrics::of(&mut metrics).dropped("collapsed"));
        let wanted = ["one", "another key", "user: score 2", "two", "room: score 2", "all: score 2", "three"];
        assert_eq!(read_up_to(&mut client, "three"), wanted, "{transport:?}");
        // Who keeps up gets each.
        for number in 3..6 {
            push(&mut http, &user, &number.to_string(), &score);
            assert_eq!(client.push(), number.to_string());
        }
        drop(client);
        until_eq("nobody waits", &0, || blocked(&mut metrics));
        assert_eq!(Metrics::of(&mut metrics).dropped("slow"), 0);
    }
}

#[test]
fn a_later_push_replaces_one_that_waits() {
    let server = Server::start(&PATIENT);
    replaced(&server, &server);
}

#[test]
fn a_later_push_replaces_one_that_waits_at_a_comet_elsewhere() {
    let logic = Server::start(&PATIENT);
    let addr = logic.ready["logic_grpc"].as_str().unwrap().to_owned();
    let comet = Server::start_comet(&addr, &PATIENT);
    replaced(&logic, &comet);
}

#[test]
fn what_is_low_makes_way_and_what_is_high_stays() {
    const PUSHES: usize = 400;
    let padding = "y".repeat(1000);
    let bounds = ["--set", "logic.push_bytes_max=16KiB", "--set", "comet.body_bytes_max=4KiB"];
    let more = ["--set", "comet.auth_bytes_max=4KiB", "--set", "comet.session_bytes_max=256KiB"];
    for transport in BOTH {
        let server = Server::start(&[&PATIENT[..], &bounds, &more].concat());
        let mut http = server.http();
        let mut client = Client::classic(&server, transport, &serde_json::from_str(AUTH).unwrap());
        let mut looks = 0;
        until("a full socket", || {
            looks += 1;
            if blocked(&mut http) == 0 {
                looks = 0;
                push(&mut http, &json!({ "mids": [7] }), &"x".repeat(16_000), &json!({ "priority": "low" }));
            }
            (looks > 20).then_some(())
        });
        // Twice of what may wait: half of it low, a tenth high.
        let messages: Vec<Value> = (0..PUSHES)
            .map(|number| {
                let priority = ["high", "normal", "normal", "normal", "normal", "low", "low", "low", "low", "low"][number % 10];
                json!({ "to": { "mids": [7] }, "body": format!("{number} {padding}"), "priority": priority })
            })
            .collect();
        let answer = http.post_json("/v1/messages:batch", &json!({ "messages": messages })).json();
        assert!(answer["results"].as_array().unwrap().iter().all(|result| result["status"] == 200), "{answer}");
        until("something was too much", || (Metrics::of(&mut http).dropped("slow") > 0).then_some(()));
        push(&mut http, &json!({ "mids": [7] }), "0 last", &json!({ "priority": "high" }));
        let mut texts = read_up_to(&mut client, "0 last");
        texts.pop();
        let numbers: Vec<usize> = texts.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{transport:?} {numbers:?}");
        let count = |digits: std::ops::Range<usize>| numbers.iter().filter(|number| digits.contains(&(*number % 10))).count();
        let (high, normal, low) = (count(0..1), count(1..5), count(5..10));
        assert_eq!(high, PUSHES / 10, "{transport:?}: {high} high, {normal} normal, {low} low");
        assert!(normal > PUSHES / 5 && low < PUSHES / 4, "{transport:?}: {high} high, {normal} normal, {low} low");
    }
}

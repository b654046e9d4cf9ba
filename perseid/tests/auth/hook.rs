//! A server of the operator's that is asked who a client is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::support::frame::{self, AUTH, AUTH_REPLY, Extended};
use super::support::measure::Metrics;
use super::support::receiver::Asked;
use super::support::server::run;
use super::support::{BOTH, Client, Receiver, Says, Server, Transport, until};
use super::{OVERLOADED, Place, SECRET, TOKEN_EXPIRED, UNAUTHENTICATED, auth, now, refusals, refused};

const PERMISSION_DENIED: (u16, &str) = (4505, "PERMISSION_DENIED");

/// Believes tokens of the form `user-7`, and has a word for some others.
fn answer(asked: &Asked) -> (u16, String) {
    let question: Value = serde_json::from_slice(&asked.body).unwrap();
    let token = question["token"].as_str().unwrap();
    let answer = match token.split_once('-') {
        Some(("user", mid)) => json!({ "mid": mid.parse::<i64>().unwrap(), "expires_at_ms": (now() + 600) * 1000 }),
        Some(("guest", _)) => json!({ "mid": 0 }),
        Some(("late", _)) => json!({ "refused": "TOKEN_EXPIRED" }),
        Some(("banned", _)) => json!({ "refused": "PERMISSION_DENIED", "message": "banned until Monday" }),
        Some(("status", status)) => return (status.parse().unwrap(), String::new()),
        Some(("large", _)) => return (200, format!("{{\"mid\":7}}{}", " ".repeat(10 << 20))),
        _ => json!({ "refused": "UNAUTHENTICATED" }),
    };
    (200, answer.to_string())
}

fn start(hook: &Receiver, args: &[&str]) -> Server {
    let url = format!("--set=auth_hook.url={}", hook.url("/who"));
    Server::start_with_token(&[&["--set=logic.auth=hook", &url], args].concat())
}

fn believing() -> Receiver {
    Receiver::start(Says::By(Arc::new(answer)))
}

fn enters(server: &Server, transport: Transport, token: &str) -> (Client, i64) {
    let (client, reply) = Client::extended(server, transport, &auth(token));
    (client, reply["mid"].as_i64().unwrap())
}

#[test]
fn its_word_counts() {
    let (hook, place) = (believing(), Place::new());
    let server = start(&hook, &[&format!("--set=auth_hook.secret_file={}", place.put("secret", SECRET).display())]);
    for transport in BOTH {
        let (mut client, mid) = enters(&server, transport, "user-7");
        assert_eq!(mid, 7);
        server.http().goim_push("mids?operation=1000&mids=7", b"hello");
        assert_eq!(client.push(), "hello");
        assert_eq!(enters(&server, transport, "guest-1").1, 0);
        for (token, expected) in [
            ("nobody", UNAUTHENTICATED),
            ("", UNAUTHENTICATED),
            ("status-401", UNAUTHENTICATED),
            ("status-403", PERMISSION_DENIED),
            ("banned-1", PERMISSION_DENIED),
            ("late-1", TOKEN_EXPIRED),
        ] {
            let json = refused(&server, transport, token, expected);
            assert_eq!(token == "banned-1", json["message"] == "banned until Monday", "{json}");
        }
    }
    assert!(refusals(&server, "hook_refused") >= 12);
    let asked = hook.asked();
    // Over the second transport most was remembered, for it is not a part of the question.
    assert!(asked.len() < 16, "{}", asked.len());
    let now_ms = now() * 1000;
    for Asked { line, headers, body } in &asked {
        let question: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((line.as_str(), &question["peer"], &question["renewal"]), ("POST /who", &json!("127.0.0.1"), &json!(false)));
        assert!(perseid_outbound::verify(SECRET.as_bytes(), &headers["perseid-signature"], body, now_ms, 60_000));
    }
    assert!(!server.stderr().contains("user-7") && !server.stderr().contains("nobody"), "a token is in the log");
}

#[test]
fn renewal_goes_through_it_too() {
    let hook = believing();
    let server = start(&hook, &[]);
    for (transport, again) in
        BOTH.into_iter().flat_map(|transport| [(transport, "user-7"), (transport, "user-8"), (transport, "late-1")])
    {
        let (mut client, _) = enters(&server, transport, "user-7");
        client.send(&frame::extended(AUTH, 5, &Extended::default(), auth(again).to_string().as_bytes()));
        match again {
            "user-7" => assert_eq!(client.next().op, AUTH_REPLY),
            "user-8" => assert_eq!(client.end().disconnect.unwrap()["reason"], "UNAUTHENTICATED"),
            _ => assert_eq!(client.end().disconnect.unwrap()["reason"], "TOKEN_EXPIRED"),
        }
    }
    let renewals = hook.asked().iter().filter(|asked| asked.body.ends_with(br#""renewal":true}"#)).count();
    assert!(renewals >= 3, "{renewals}");
}

#[test]
fn when_it_fails_clients_come_back_or_are_guests() {
    let hook = believing();
    let strict = start(&hook, &["--set=auth_hook.deadline_ms=100", "--set=auth_hook.cache_ms=0"]);
    let kind = start(&hook, &["--set=auth_hook.deadline_ms=100", "--set=auth_hook.on_failure=guest"]);
    let (mut known, _) = enters(&kind, Transport::Tcp, "user-7");
    for token in ["status-500", "status-302", "status-404", "large-1"] {
        let json = refused(&strict, Transport::WebSocket, token, OVERLOADED);
        assert!(json["retry_after_ms"].as_u64().is_some_and(|ms| ms >= 1_000), "{json}");
        assert_eq!(enters(&kind, Transport::WebSocket, token).1, 0);
    }
    hook.now(Says::Nothing);
    refused(&strict, Transport::Tcp, "user-7", OVERLOADED);
    // What was remembered still counts; who is not known is a guest; who renews is not made one.
    assert_eq!(enters(&kind, Transport::Tcp, "user-7").1, 7);
    assert_eq!(enters(&kind, Transport::Tcp, "user-9").1, 0);
    known.send(&frame::extended(AUTH, 5, &Extended::default(), auth("user-7").to_string().as_bytes()));
    assert_eq!(known.end().disconnect.unwrap()["reason"], "OVERLOADED");

    let count = |word: &str| Metrics::of(&mut strict.http()).get(&format!("perseid_auth_hook_total{{outcome=\"{word}\"}}"));
    assert_eq!((count("status"), count("too_large"), count("deadline")), (3, 1, 1));
    assert!(refusals(&strict, "hook_failed") >= 5);
    hook.now(Says::By(Arc::new(answer)));
    until("it is asked again", || {
        let mut client = Client::connect(&strict, Transport::Tcp);
        client.send(&frame::extended(AUTH, 1, &Extended::default(), auth("user-7").to_string().as_bytes()));
        (client.next().op == AUTH_REPLY).then_some(())
    });
}

#[test]
fn a_hook_that_hangs_holds_up_nobody_who_needs_no_answer() {
    let hook = believing();
    let server = start(&hook, &["--set=auth_hook.concurrency_max=1"]);
    let (mut living, _) = enters(&server, Transport::Tcp, "user-7");
    hook.now(Says::Nothing);
    let mut waiting = Client::connect(&server, Transport::Tcp);
    waiting.send(&frame::extended(AUTH, 1, &Extended::default(), auth("user-8").to_string().as_bytes()));
    until("the question", || (hook.asked().len() == 2).then_some(()));
    // The only place is taken.
    refused(&server, Transport::Tcp, "user-9", OVERLOADED);
    assert_eq!(refusals(&server, "hook_busy"), 1);
    server.http().goim_push("mids?operation=1000&mids=7", b"hello");
    assert_eq!(living.push(), "hello");
    assert_eq!(enters(&server, Transport::WebSocket, "user-7").1, 7);
    // A client that goes while it is asked about is not let in by the answer.
    drop(waiting);
    assert_eq!(server.http().get("/v1/users/8").json()["sessions"], json!([]));
}

#[test]
fn it_needs_somebody_to_ask() {
    let place = Place::new();
    let args = ["--set=logic.auth=hook".to_owned()];
    let output = run(Server::command(&place.0.path().join("data"), &args));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && stderr.contains("auth_hook.url"), "{stderr}");
}

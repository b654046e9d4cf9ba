//! Tokens, scopes and quotas, as callers meet them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request};
use perseid_logic::{Scope, Tokens};
use serde_json::json;

use crate::fakes::{World, token};
use crate::v1::problem;

const PUSH: &str = r#"{"to":{"mids":[1]},"body":"x"}"#;

/// Every route, with the scope that it needs and the status that a call with it gets.
pub(crate) const ROUTES: [(&str, &str, Option<Scope>, u16); 33] = [
    ("POST", "/v1/messages", Some(Scope::Push), 400),
    ("POST", "/v1/messages:batch", Some(Scope::Push), 400),
    ("POST", "/goim/push/keys?operation=1&keys=k", Some(Scope::Push), 200),
    ("POST", "/goim/push/mids?operation=1&mids=1", Some(Scope::Push), 200),
    ("POST", "/goim/push/room?operation=1&type=a&room=b", Some(Scope::Push), 200),
    ("POST", "/goim/push/all?operation=1", Some(Scope::Push), 200),
    ("GET", "/goim/online/top?type=a&limit=1", Some(Scope::Read), 200),
    ("GET", "/goim/online/room?type=a&rooms=1", Some(Scope::Read), 200),
    ("GET", "/goim/online/total", Some(Scope::Read), 200),
    ("GET", "/v1/nodes", Some(Scope::Read), 200),
    ("GET", "/v1/nodes/vm:1", Some(Scope::Read), 200),
    ("GET", "/v1/nodes/vm:1:drain", Some(Scope::Read), 200),
    ("GET", "/v1/users/7", Some(Scope::Read), 200),
    ("POST", "/v1/users:online", Some(Scope::Read), 400),
    ("GET", "/v1/rooms", Some(Scope::Read), 200),
    ("GET", "/v1/rooms/a/b", Some(Scope::Read), 200),
    ("DELETE", "/v1/users/7/sessions", Some(Scope::Admin), 200),
    ("POST", "/v1/nodes/vm:1:drain", Some(Scope::Admin), 202),
    ("GET", "/v1/messages/1", Some(Scope::Read), 404),
    // Not where no messages are kept.
    ("PUT", "/v1/groups/1", Some(Scope::Push), 501),
    ("GET", "/v1/groups/1", Some(Scope::Read), 501),
    ("DELETE", "/v1/groups/1", Some(Scope::Push), 501),
    ("POST", "/v1/groups/1:convert", Some(Scope::Push), 501),
    ("POST", "/v1/groups/1/members", Some(Scope::Push), 501),
    ("GET", "/v1/groups/1/messages", Some(Scope::Read), 501),
    ("POST", "/v1/users/7:block", Some(Scope::Push), 501),
    ("POST", "/v1/users/7:unblock", Some(Scope::Push), 501),
    ("GET", "/v1/users/7/inbox", Some(Scope::Read), 501),
    // Not where no events are written.
    ("GET", "/v1/events", Some(Scope::Read), 501),
    ("GET", "/healthz", None, 200),
    ("GET", "/readyz", None, 200),
    ("GET", "/goim/nodes/weighted", None, 200),
    ("GET", "/goim/nodes/instances", None, 200),
];

fn world() -> World {
    World::with_tokens(&[
        ("push", &[Scope::Push], None),
        ("read", &[Scope::Read], None),
        ("admin", &[Scope::Admin], None),
        ("slow", &[Scope::Push], Some(3)),
    ])
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_no_other() {
    let world = world();
    for (method, uri, needed, status) in ROUTES {
        let method: Method = method.parse().unwrap();
        let goim = uri.starts_with("/goim/");
        let Some(needed) = needed else {
            assert_eq!(world.ask(method, uri, Body::empty()).await.status, status, "{uri}");
            continue;
        };
        let answer = world.ask(method.clone(), uri, Body::empty()).await;
        assert_eq!(
            (answer.status, &answer.headers["www-authenticate"]),
            (401, &"Bearer realm=\"perseid\"".parse().unwrap()),
            "{uri}"
        );
        if goim {
            assert_eq!(
                (answer.json()["code"].as_i64(), answer.content_type.as_str()),
                (Some(-401), "application/json; charset=utf-8")
            );
        } else {
            problem(&answer, 401, "UNAUTHENTICATED");
        }
        for scope in Scope::ALL {
            let answer = world.ask_as(scope.word(), method.clone(), uri, Body::empty()).await;
            if scope == needed {
                assert_eq!(answer.status, status, "{method} {uri} {}", answer.body);
                continue;
            }
            let challenge = format!("Bearer realm=\"perseid\", error=\"insufficient_scope\", scope=\"{}\"", needed.word());
            assert_eq!(answer.headers["www-authenticate"].to_str().unwrap(), challenge, "{uri}");
            if goim {
                assert_eq!((answer.status, answer.json()["code"].as_i64()), (403, Some(-403)));
            } else {
                problem(&answer, 403, "PERMISSION_DENIED");
            }
        }
    }
    assert!(world.nodes.ended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_call_that_is_not_let_in_does_nothing() {
    let world = world();
    problem(&world.post("/v1/messages", PUSH).await, 401, "UNAUTHENTICATED");
    problem(&world.ask_as("read", Method::POST, "/v1/messages", PUSH).await, 403, "PERMISSION_DENIED");
    problem(&world.ask_as("push", Method::POST, "/v1/nodes/vm:1:drain", "").await, 403, "PERMISSION_DENIED");
    let twice = Request::post("/v1/messages").header("authorization", format!("Bearer {}", token("push")));
    let twice = twice.header("authorization", format!("Bearer {}", token("push"))).body(Body::from(PUSH)).unwrap();
    problem(&world.send(twice).await, 401, "UNAUTHENTICATED");
    assert_eq!((world.log.pushes(), &*world.nodes.drain.lock().unwrap()), (Vec::new(), &None));
    let access = world.counters().access;
    let count = |word: &str| access.iter().find(|(known, _)| *known == word).unwrap().1;
    assert_eq!((count("no_token"), count("missing_scope"), count("malformed"), count("accepted")), (1, 2, 1, 0));
}

#[tokio::test]
async fn the_account_of_an_id_is_the_token() {
    let world = world();
    let body = r#"{"to":{"mids":[1]},"body":"x","id":"a"}"#;
    for (name, duplicate) in [("push", false), ("slow", false), ("push", true)] {
        assert_eq!(world.ask_as(name, Method::POST, "/v1/messages", body).await.json()["duplicate"], duplicate, "{name}");
    }
    let accounts: Vec<String> = world.log.pushes().into_iter().map(|push| push.account).collect();
    assert_eq!(accounts, ["push", "slow"]);
}

#[tokio::test]
async fn quotas() {
    let world = world();
    for _ in 0..3 {
        assert_eq!(world.ask_as("slow", Method::POST, "/v1/messages", PUSH).await.status, 200);
    }
    let answer = world.ask_as("slow", Method::POST, "/v1/messages", PUSH).await;
    problem(&answer, 429, "RATE_LIMITED");
    assert_eq!(answer.headers["retry-after"].to_str().unwrap(), "1");
    assert!(answer.json()["retry_after_ms"].as_u64().is_some_and(|ms| (1..=334).contains(&ms)), "{}", answer.body);
    let answer = world.ask_as("slow", Method::POST, "/goim/push/all?operation=1", "x").await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_i64(), answer.headers.contains_key("retry-after")),
        (429, Some(-429), true)
    );
    assert_eq!(world.ask_as("push", Method::POST, "/v1/messages", PUSH).await.status, 200, "others have theirs");
    assert_eq!(world.log.pushes().len(), 4);
}

#[tokio::test]
async fn each_message_of_a_batch_counts() {
    let world = world();
    let batch = |count: usize| json!({ "messages": vec![json!({ "to": { "mids": [1] }, "body": "x" }); count] }).to_string();
    assert_eq!(world.ask_as("slow", Method::POST, "/v1/messages:batch", batch(2)).await.status, 200);
    problem(&world.ask_as("slow", Method::POST, "/v1/messages:batch", batch(2)).await, 429, "RATE_LIMITED");
    assert_eq!(world.log.pushes().len(), 2, "a batch is let in as a whole or not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_callers_get_no_more_than_the_quota() {
    let world = Arc::new(World::with_tokens(&[("many", &[Scope::Push], Some(1))]));
    // One call a second, one at once: of all those that come together one is let in, and at most one for each second that
    // this takes.
    let started = std::time::Instant::now();
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.ask_as("many", Method::POST, "/v1/messages", PUSH).await.status })
        })
        .collect();
    let mut accepted = 0;
    for caller in callers {
        accepted += u64::from(caller.await.unwrap() == 200);
    }
    assert!(accepted >= 1 && accepted <= 1 + started.elapsed().as_secs(), "{accepted}");
    assert_eq!(world.log.pushes().len() as u64, accepted);
}

#[tokio::test]
async fn tokens_that_are_taken_away_count_no_more() {
    let world = world();
    assert_eq!(world.ask_as("push", Method::POST, "/v1/messages", PUSH).await.status, 200);
    world.access.reload(Tokens::default());
    problem(&world.ask_as("push", Method::POST, "/v1/messages", PUSH).await, 401, "UNAUTHENTICATED");
    assert_eq!(world.log.pushes().len(), 1);
}

//! v1: pushes.

use axum::body::Body;
use axum::http::{Method, Request};
use perseid_log::AppendError;
use perseid_logic::Config;
use serde_json::{Value, json};

use crate::fakes::{Answer, FakeNodes, Mode, World, room};

const PROBLEM: &str = "application/problem+json";

pub(crate) fn problem(answer: &Answer, status: u16, reason: &str) {
    let body = answer.json();
    assert_eq!((answer.status, answer.content_type.as_str()), (status, PROBLEM), "{}", answer.body);
    assert_eq!((&body["status"], &body["reason"]), (&json!(status), &json!(reason)), "{}", answer.body);
    assert_eq!(body["type"], format!("urn:perseid:problem:{reason}"));
    assert!(body["title"].is_string() && body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", answer.body);
}

#[tokio::test]
async fn the_answer() {
    let nodes = FakeNodes { rooms: vec![room("live://1", 42)], ..FakeNodes::default() };
    let world = World::with(nodes, Config::default());
    let answer = world.post("/v1/messages", r#"{"to":{"mids":[1,"2"]},"body":"hi"}"#).await;
    let push = world.log.last();
    let expected = format!(r#"{{"id":"{}","accepted":true,"recipients":2,"duplicate":false}}"#, push.id);
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json; charset=utf-8"));
    assert_eq!(answer.body, expected);
    assert_eq!((push.operation, &push.mids[..], &push.msg[..]), (1000, &[1, 2][..], &b"hi"[..]));

    let answer = world.post("/v1/messages", r#"{"to":{"room":"live://1"},"op":1007,"body_base64":"AP8="}"#).await;
    assert_eq!(answer.json()["recipients"], 42);
    assert_eq!((world.log.last().operation, &world.log.last().msg[..]), (1007, &[0u8, 255][..]));
    // As curl sends it.
    let form = Request::post("/v1/messages").header("content-type", "application/x-www-form-urlencoded");
    let answer = world.send(form.body(Body::from(r#"{"to":{"keys":["k"]},"body":""}"#)).unwrap()).await;
    assert_eq!((answer.status, world.log.last().keys), (200, vec!["k".to_owned()]));
}

#[tokio::test]
async fn refusals() {
    let world = World::with(FakeNodes::default(), Config { push_bytes_max: 8, targets_max: 2, ..Config::default() });
    for (body, status, reason) in [
        ("", 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":"x","colour":"red"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[]},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"room":"live"},"body":"x"}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1]},"body":"x","id":""}"#, 400, "BAD_REQUEST"),
        (r#"{"to":{"mids":[1,2,3]},"body":"x"}"#, 413, "TOO_LARGE"),
        (r#"{"to":{"mids":[1]},"body":"123456789"}"#, 413, "TOO_LARGE"),
        (r#"{"to":{"group":"1"},"body":"x"}"#, 501, "UNSUPPORTED"),
        (r#"{"to":{"mids":[1]},"body":"x","store":true}"#, 501, "UNSUPPORTED"),
    ] {
        problem(&world.post("/v1/messages", body).await, status, reason);
    }
    let answer = world.post("/v1/messages", r#"{"to":{"mids":[1]},"body":"x","colour":"red"}"#).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("colour"));
    assert_eq!(world.log.pushes(), []);
    let counted: u64 = world.counters().refusals.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, 10, "each refusal is counted once");
}

#[tokio::test]
async fn the_logs_refusals() {
    let world = World::new();
    let body = r#"{"to":{"mids":[1]},"body":"x"}"#;
    world.log.set(Mode::Refuse(AppendError::Overloaded));
    let answer = world.post("/v1/messages", body).await;
    problem(&answer, 503, "UNAVAILABLE");
    assert_eq!((answer.headers["retry-after"].to_str().unwrap(), &answer.json()["retry_after_ms"]), ("1", &json!(1000)));
    world.log.set(Mode::Refuse(AppendError::Unknown("sync".into())));
    let answer = world.post("/v1/messages", body).await;
    problem(&answer, 504, "UNKNOWN");
    assert!(!answer.headers.contains_key("retry-after") && answer.json().get("retry_after_ms").is_none());
}

#[tokio::test(start_paused = true)]
async fn deadlines() {
    let world = World::new();
    world.log.set(Mode::Hold);
    problem(&world.post("/v1/messages", r#"{"to":{"mids":[1]},"body":"x","id":"a"}"#).await, 504, "UNKNOWN");
    // The retry meets the first, which is still on its way; both learn how it ends.
    let retry = async {
        let answer = world.post("/v1/messages", r#"{"to":{"mids":[1]},"body":"x","id":"a"}"#).await;
        assert_eq!(answer.json()["duplicate"], true);
    };
    let log = async {
        tokio::task::yield_now().await;
        world.log.release(&Ok(1));
    };
    tokio::join!(retry, log);

    // A body that never ends.
    let silent = Body::from_stream(Silence);
    problem(&world.post("/v1/messages", silent).await, 400, "BAD_REQUEST");
}

struct Silence;

impl futures_core::Stream for Silence {
    type Item = Result<axum::body::Bytes, std::convert::Infallible>;

    fn poll_next(self: std::pin::Pin<&mut Self>, _context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn idempotency() {
    let world = World::new();
    let first = world.post("/v1/messages", r#"{"to":{"mids":[1]},"body":"x","id":"a"}"#).await;
    let again = world.post("/v1/messages", r#"{"id":"a","body_base64":"eA==","to":{"mids":["1"]}}"#).await;
    assert_eq!(again.body, first.body.replace("\"duplicate\":false", "\"duplicate\":true"));
    problem(&world.post("/v1/messages", r#"{"to":{"mids":[1]},"body":"y","id":"a"}"#).await, 409, "CONFLICT");
    assert_eq!(world.log.pushes().len(), 1);
}

#[tokio::test]
async fn batches() {
    let world = World::with(FakeNodes::default(), Config { batch_max: 5, ..Config::default() });
    let batch = r#"{"messages":[
        {"to":{"mids":[1]},"body":"a","id":"x"},
        {"to":{"mids":[1]},"body":"b","bogus":1},
        {"to":{"mids":[1]},"body":"a","id":"x"},
        "not an object",
        {"to":{"keys":["k"]},"body":"c"}]}"#;
    let answer = world.post("/v1/messages:batch", batch).await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].as_array().unwrap().clone();
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [200, 400, 200, 400, 200]);
    let pushes = world.log.pushes();
    assert_eq!(pushes.iter().map(|push| &push.msg[..]).collect::<Vec<_>>(), [b"a", b"c"]);
    assert_eq!(results[0], json!({"status":200,"id":pushes[0].id.to_string(),"accepted":true,"recipients":1,"duplicate":false}));
    assert_eq!((&results[2]["duplicate"], &results[2]["id"]), (&json!(true), &results[0]["id"]));
    assert_eq!(results[1]["reason"], "BAD_REQUEST");
    assert!(results[1]["detail"].as_str().unwrap().contains("bogus"));

    for bad in [r#"{"messages":[]}"#, r#"{"messages":[1,2,3,4,5,6]}"#, r#"{"message":[]}"#, "[]", r#"{"messages":{}}"#] {
        problem(&world.post("/v1/messages:batch", bad).await, 400, "BAD_REQUEST");
    }
}

#[tokio::test]
async fn a_batch_reaches_the_log_in_order() {
    let world = World::new();
    let messages: Vec<Value> = (0..1000).map(|n| json!({"to":{"room":"a://b"},"body":n.to_string()})).collect();
    let answer = world.post("/v1/messages:batch", json!({ "messages": messages }).to_string()).await;
    assert_eq!(answer.status, 200);
    let pushes = world.log.pushes();
    assert!(pushes.iter().enumerate().all(|(n, push)| push.msg == n.to_string()) && pushes.len() == 1000);
    assert!(pushes.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[tokio::test]
async fn paths_and_methods() {
    let world = World::new();
    problem(&world.get("/v1/nothing").await, 404, "NOT_FOUND");
    problem(&world.post("/v1/messages/", "{}").await, 404, "NOT_FOUND");
    let answer = world.get("/v1/messages").await;
    problem(&answer, 405, "METHOD_NOT_ALLOWED");
    assert_eq!(answer.headers["allow"], "POST");
    problem(&world.ask(Method::DELETE, "/v1/users/7", Body::empty()).await, 405, "METHOD_NOT_ALLOWED");
    problem(&world.get("/v1").await, 404, "NOT_FOUND");
    // One pattern of the router, and other methods with an action behind the id.
    for (method, path, allow) in [
        (Method::POST, "/v1/groups/4", "GET,HEAD,PUT,DELETE"),
        (Method::GET, "/v1/groups/4:convert", "POST"),
        (Method::DELETE, "/v1/groups/4:convert", "POST"),
        (Method::POST, "/v1/users/7", "GET,HEAD"),
        (Method::GET, "/v1/users/7:block", "POST"),
        (Method::PATCH, "/v1/users/7:unblock", "POST"),
        (Method::POST, "/v1/nodes/a", "GET,HEAD"),
        (Method::PUT, "/v1/nodes/a:drain", "GET,HEAD,POST"),
    ] {
        let answer = world.ask(method.clone(), path, Body::empty()).await;
        problem(&answer, 405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.headers["allow"], allow, "{method} {path}");
    }
    problem(&world.post("/v1/groups/4:other", "").await, 404, "NOT_FOUND");
}

#[tokio::test]
async fn large_bodies() {
    let world = World::with(FakeNodes::default(), Config { request_bytes_max: 100, ..Config::default() });
    for path in ["/v1/messages", "/v1/messages:batch", "/v1/users:online"] {
        problem(&world.post(path, vec![b' '; 101]).await, 413, "TOO_LARGE");
    }
}

#[tokio::test]
async fn other_limits_count_from_the_next_request_on() {
    let world = World::new();
    let push = r#"{"to":{"mids":[1,2]},"body":"123456789"}"#;
    assert_eq!(world.post("/v1/messages", push).await.status, 200);
    world.api.reload(Config { targets_max: 1, ..Config::default() });
    problem(&world.post("/v1/messages", push).await, 413, "TOO_LARGE");
    world.api.reload(Config { request_bytes_max: 16, ..Config::default() });
    problem(&world.post("/v1/messages", push).await, 413, "TOO_LARGE");
    world.api.reload(Config::default());
    assert_eq!(world.post("/v1/messages", push).await.status, 200);
}

//! The level of the log, changed while the server runs.

use serde_json::{Value, json};

use crate::support::{Http, Server, until};

fn put(http: &mut Http, body: &str) -> (u16, Value) {
    let answer = http.request("PUT", "/v1/log-level", &[("Content-Type", "application/json")], body.as_bytes()).unwrap();
    (answer.status, answer.json())
}

#[test]
fn the_log_is_louder_for_a_while() {
    let server = Server::start(&["--log-level", "info"]);
    let mut http = server.http();
    let quiet = json!({ "level": "info", "configured": "info", "reverts_at_ms": null });
    assert_eq!(http.get("/v1/log-level").json(), quiet);

    let (status, answer) = put(&mut http, r#"{ "level": "debug", "for_s": 1 }"#);
    assert_eq!((status, &answer["level"], &answer["configured"]), (200, &json!("debug"), &json!("info")), "{answer}");
    assert!(answer["reverts_at_ms"].as_u64().is_some(), "{answer}");
    http.get("/healthz");
    until("a line of a request", || server.stderr().contains("\"route\":\"healthz\"").then_some(()));
    until("the configured level", || (http.get("/v1/log-level").json() == quiet).then_some(()));

    // Without a time it stays, until the configuration is read again.
    assert_eq!(put(&mut http, r#"{ "level": "warn" }"#).0, 200);
    assert_eq!(http.get("/v1/log-level").json()["level"], "warn");
    server.signal("HUP");
    until("the configured level", || (http.get("/v1/log-level").json() == quiet).then_some(()));
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let server = Server::start(&["--log-level", "info"]);
    let mut http = server.http();
    for body in
        ["", "{}", r#"{"level":"debgu"}"#, r#"{"level":"debug","for_s":0}"#, &format!(r#"{{"level":"{}"}}"#, "a".repeat(2000))]
    {
        let (status, problem) = put(&mut http, body);
        assert_eq!((status, &problem["reason"], &problem["status"]), (400, &json!("BAD_REQUEST"), &json!(400)), "{body}");
    }
    let (status, problem) = put(&mut server.http(), &"x".repeat(20_000));
    assert_eq!((status, &problem["reason"]), (413, &json!("TOO_LARGE")));
    let answer = http.post("/v1/log-level", b"{}");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, PUT")));
    assert_eq!(http.get("/v1/log-level").json()["level"], "info");
}

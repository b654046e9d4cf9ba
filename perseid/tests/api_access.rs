//! Who may call the push API of a running server, and what operators do with it: tokens, foreign pages, kick, drain.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::measure::Metrics;
use support::server::{perseid, run};
use support::{BOTH, Client, Http, Response, Server, until, until_eq};
use tempfile::TempDir;

const KICKED: (u16, &str) = (4503, "KICKED");

/// Makes a token with the command; gives it and its entry.
fn make(name: &str, scopes: &str, more: &[&str]) -> (String, String) {
    let mut command = perseid();
    command.args(["token", "--api", "--name", name, "--scopes", scopes]).args(more);
    let output = run(command);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let token = text.split_whitespace().find(|word| word.starts_with("psd_")).unwrap().to_owned();
    (token, text)
}

fn ask(http: &mut Http, token: &str, method: &str, path: &str, body: &str) -> Response {
    let bearer = format!("Bearer {token}");
    http.request(method, path, &[("Authorization", &bearer)], body.as_bytes()).expect("an answer")
}

const PUSH: &str = r#"{"to":{"mids":[7]},"body":"hello"}"#;

#[test]
fn tokens_from_a_file_that_is_read_again() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tokens.toml");
    let (first, first_entry) = make("first", "push,read,admin", &[]);
    let (second, second_entry) = make("second", "push", &["--per-second", "1", "--burst", "2", "--ttl", "90d"]);
    std::fs::write(&file, &first_entry).unwrap();
    let server = Server::start(&["--set", &format!("logic.api_tokens={}", file.display())]);
    let mut http = server.http();

    assert_eq!(http.post("/v1/messages", PUSH.as_bytes()).status, 401);
    assert_eq!(http.post("/goim/push/all?operation=1000", b"x").status, 401);
    for path in ["/metrics", "/console/stats.json", "/v1/nodes"] {
        assert_eq!(http.get(path).status, 401, "{path}");
        assert_eq!(ask(&mut http, &first, "GET", path, "").status, 200, "{path}");
    }
    for path in ["/healthz", "/readyz", "/", "/goim/nodes/weighted"] {
        assert_eq!(http.get(path).status, 200, "{path}");
    }
    assert_eq!(ask(&mut http, &first, "POST", "/v1/messages", PUSH).status, 200);
    assert_eq!(ask(&mut http, &second, "POST", "/v1/messages", PUSH).status, 401, "not in the file yet");

    std::fs::write(&file, first_entry.clone() + &second_entry).unwrap();
    server.signal("HUP");
    until_eq("200", &200, || ask(&mut http, &second, "POST", "/v1/messages", PUSH).status);
    assert_eq!(ask(&mut http, &second, "GET", "/v1/nodes", "").status, 403);
    assert_eq!(ask(&mut http, &second, "POST", "/v1/messages", PUSH).status, 200);
    let answer =
        until("429", || Some(ask(&mut http, &second, "POST", "/v1/messages", PUSH)).filter(|answer| answer.status == 429));
    assert_eq!((answer.header("retry-after"), &answer.json()["reason"]), (Some("1"), &json!("RATE_LIMITED")));

    // A bad file changes nothing, and its place is said.
    std::fs::write(&file, first_entry + "\n[[token]]\nname = \"third\"\n").unwrap();
    server.signal("HUP");
    until("the complaint", || {
        let log = server.stderr();
        (log.contains("stay as they were") && log.contains("tokens.toml") && log.contains("hash")).then_some(())
    });
    assert_eq!(ask(&mut http, &first, "GET", "/v1/nodes", "").status, 200);
    // A token that is taken out counts no more.
    std::fs::write(&file, second_entry).unwrap();
    server.signal("HUP");
    until_eq("401", &401, || ask(&mut http, &first, "GET", "/v1/nodes", "").status);
    let log = server.stderr();
    assert!(!log.contains(&first) && !log.contains(&second), "no token is ever logged");
}

#[test]
fn the_command_shows_its_token() {
    let dir = TempDir::new().unwrap();
    let (file, secret) = (dir.path().join("tokens.toml"), dir.path().join("token"));
    let (token, entry) = make("command", "push", &[]);
    std::fs::write(&file, entry).unwrap();
    std::fs::write(&secret, format!("{token}\n")).unwrap();
    let server = Server::start(&["--set", &format!("logic.api_tokens={}", file.display())]);
    let push = |more: &[&str]| {
        let mut command = perseid();
        command.args(["push", "--mid", "7", "hello", "--api", &format!("http://{}", server.http)]).args(more);
        let output = run(command);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let from_file = format!("@{}", secret.display());
    for given in [token.as_str(), &from_file] {
        let (code, stdout, stderr) = push(&["--token", given]);
        assert!(code == Some(0) && stdout.starts_with("accepted "), "{stdout}{stderr}");
    }
    let (code, _, stderr) = push(&[]);
    assert!(code == Some(1) && stderr.contains("401") && stderr.contains("--token"), "{stderr}");
    for (given, words) in [("@/no/such/file", "/no/such/file"), ("", "--token is no token"), ("a\nb", "--token is no token")] {
        let (code, _, stderr) = push(&["--token", given]);
        assert!(code != Some(0) && stderr.contains(words), "{stderr}");
    }
}

#[test]
fn a_bad_file_of_tokens_stops_the_start() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tokens.toml");
    for (text, words) in [
        (None, "No such file"),
        (Some("[[token]]\nname = \"a\"\nhash = \"psd_secret\"\nscopes = [\"push\"]"), "line 1: hash must be"),
    ] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let args = ["--set".to_owned(), format!("logic.api_tokens={}", file.display())];
        let output = run(Server::command(&dir.path().join("data"), &args));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(words) && stderr.contains("tokens.toml") && !stderr.contains("psd_secret"), "{stderr}");
    }
}

#[test]
fn what_the_process_adds_is_described_too() {
    let server = Server::start_with_token(&[]);
    let document = server.http().get("/openapi.json").json();
    let described = &document["paths"]["/v1/log-level"];
    for method in ["get", "put"] {
        assert_eq!(described[method]["security"][0]["bearer"][0], "admin", "{described}");
        assert!(described[method]["responses"]["default"].is_object());
    }
    let schema = &document["components"]["schemas"]["LogLevelState"];
    let answer = server.http().get("/v1/log-level").json();
    let known: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), known);
    let example = &described["put"]["requestBody"]["content"]["application/json"]["example"];
    let put = server.http().request("PUT", "/v1/log-level", &[], example.to_string().as_bytes()).unwrap();
    assert_eq!((put.status, &put.json()["level"]), (200, &example["level"]));
    // The page to try it, without a token.
    let mut http = Http::connect(server.http);
    assert_eq!((http.get("/docs/").status, http.get("/docs/swagger-ui-bundle.js").status), (200, 200));
}

#[test]
fn a_page_elsewhere_reaches_nothing() {
    let server = Server::start(&[]);
    let mut http = server.http();
    let form = [("Origin", "https://evil.example"), ("Content-Type", "text/plain")];
    assert_eq!(http.request("POST", "/v1/messages", &form, PUSH.as_bytes()).unwrap().status, 403);
    assert_eq!(http.request("POST", "/goim/push/all?operation=1000", &form, b"x").unwrap().status, 403);
    for path in ["/metrics", "/console/stats.json", "/"] {
        http.write(format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(http.response().unwrap().status, 421, "{path}");
    }
    let ours = format!("http://{}", server.http);
    http.write(
        format!(
            "POST /v1/messages HTTP/1.1\r\nHost: {}\r\nOrigin: {ours}\r\nContent-Length: {}\r\n\r\n{PUSH}",
            server.http,
            PUSH.len()
        )
        .as_bytes(),
    )
    .unwrap();
    assert_eq!(http.response().unwrap().status, 200);
    assert_eq!(Metrics::of(&mut http).get("perseid_api_access_total{outcome=\"foreign_origin\"}"), 2);
}

#[test]
fn kicked_sessions_are_told_and_stay_away() {
    for transport in BOTH {
        let server = Server::start(&[]);
        let mut http = server.http();
        let (mut web, _) = Client::extended(&server, transport, &json!({ "mid": 7, "key": "a", "platform": "web" }));
        let (mut ios, _) =
            Client::extended(&server, transport, &json!({ "mid": 7, "key": "b", "platform": "ios", "accepts": [1000] }));
        let answer = http.request("DELETE", "/v1/users/7/sessions?platform=web&reason=logged%20out", &[], b"").unwrap();
        assert_eq!((answer.status, answer.json()), (200, json!({ "mid": 7, "ended": 1 })));
        let end = web.end();
        let told = end.disconnect.expect("DISCONNECT");
        assert_eq!(
            (&told["code"], &told["reason"], &told["message"]),
            (&json!(KICKED.0), &json!(KICKED.1), &json!("logged out"))
        );
        until_eq("one session", &1, || http.get("/v1/users/7").json()["sessions"].as_array().unwrap().len());
        http.push(&json!({ "to": { "mids": [7] }, "body": "still here" }));
        assert_eq!(ios.push(), "still here");
        assert_eq!(http.request("DELETE", "/v1/users/7/sessions", &[], b"").unwrap().json()["ended"], 1);
        assert_eq!(ios.end().disconnect.expect("DISCONNECT")["reason"], KICKED.1);
        assert_eq!(Metrics::of(&mut http).get("perseid_sessions_kicked_total"), 2);
    }
}

#[test]
fn a_drained_node_tells_everybody_at_a_pace_shows_how_far_it_is_and_ends() {
    let server = Server::start(&["--set", "comet.workers=1", "--set", "node.id=first"]);
    let mut http = server.http();
    let mut clients: Vec<_> =
        (0..6).map(|at| Client::extended(&server, BOTH[at % 2], &json!({ "mid": 7, "accepts": [1000] })).0).collect();
    assert_eq!(http.get("/v1/nodes/first:drain").json(), json!({ "node": "first", "draining": false, "sessions": 6 }));
    assert_eq!(http.post("/v1/nodes/second:drain", b"").status, 404);
    let answer = http.post("/v1/nodes/first:drain", br#"{"per_second":2}"#);
    assert_eq!((answer.status, &answer.json()["sessions_at_start"], &answer.json()["per_second"]), (202, &json!(6), &json!(2)));
    assert_eq!(http.post("/v1/nodes/first:drain", br#"{"per_second":9}"#).json()["per_second"], 2, "once more changes nothing");
    until_eq("503", &503, || http.get("/readyz").status);
    // Seen while it goes on: fewer than at the start, and not nobody yet.
    let seen = until("progress", || {
        let progress: Value = http.get("/v1/nodes/first:drain").json();
        let left = progress["sessions"].as_u64().unwrap();
        (left < 6).then_some(left)
    });
    assert!(seen >= 1, "all at once");
    for client in &mut clients {
        assert_eq!(client.end().disconnect.expect("DISCONNECT")["reason"], "DRAINING");
    }
    drop((clients, http));
    let (status, stdout, _) = server.wait();
    assert_eq!((status, stdout.lines().count()), (0, 1));
}

//! Profiles of a running server.

use serde_json::json;

use crate::support::measure::Metrics;
use crate::support::{Server, until};

#[test]
fn threads_are_there_by_name() {
    let server = Server::start(&[]);
    let answer = server.http().get("/v1/profile/threads?seconds=1");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert!(answer["seconds"].as_f64().is_some_and(|seconds| seconds >= 1.0), "{answer}");
    let threads = answer["threads"].as_array().unwrap();
    for name in ["comet-0", "log-writer", "perseid"] {
        assert!(threads.iter().any(|thread| thread["name"] == name), "{name} in {answer}");
    }
    assert!(threads.iter().any(|thread| thread["tid"] == server.pid), "{answer}");
    let cost = |thread: &serde_json::Value| thread["user_ms"].as_u64().unwrap() + thread["system_ms"].as_u64().unwrap();
    assert!(threads.is_sorted_by(|one, next| cost(one) >= cost(next)), "{answer}");
    assert!(threads.iter().all(|thread| thread["share"].as_f64().is_some_and(|share| share >= 0.0)), "{answer}");
}

#[test]
fn one_profile_at_a_time() {
    let server = Server::start(&[]);
    let (mut first, mut second) = (server.http(), server.http());
    first.write(b"GET /v1/profile/threads?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let busy = until("a refusal", || {
        // Until the first has begun, this one is a profile itself: not a long one.
        Some(second.get("/v1/profile/threads?seconds=1")).filter(|answer| answer.status != 200)
    });
    assert_eq!((busy.status, &busy.json()["reason"]), (429, &json!("RATE_LIMITED")));
    let wait_s: u64 = busy.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait_s), "{wait_s}");
    // What makes no sense is told also then, and nobody waits for what can't be had.
    assert_eq!(second.get("/v1/profile/threads?seconds=61").status, 400);
    assert_eq!(second.get("/v1/profile/heap").status, 501);
    assert_eq!(second.post("/v1/log-level", b"").status, 405);
    let metrics = Metrics::of(&mut second);
    for reason in ["RATE_LIMITED", "BAD_REQUEST", "UNSUPPORTED", "METHOD_NOT_ALLOWED"] {
        assert_eq!(metrics.get(&format!("perseid_api_command_errors_total{{reason=\"{reason}\"}}")), 1, "{reason}");
    }
    // Who goes away ends the profile.
    drop(first);
    until("the turn", || Some(second.get("/v1/profile/threads?seconds=1").status).filter(|status| *status == 200));
}

#[test]
fn a_server_that_leaves_waits_for_no_profile() {
    // Longer than a test waits for an end.
    let server = Server::start(&["--set", "node.shutdown_ms=600000"]);
    let (mut first, mut second) = (server.http(), server.http());
    first.write(b"GET /v1/profile/threads?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    until("it is being taken", || (second.get("/v1/profile/threads?seconds=1").status == 429).then_some(()));
    let (status, ..) = server.terminate();
    let answer = first.response().unwrap();
    assert_eq!((status, answer.status, &answer.json()["reason"]), (0, 503, &json!("UNAVAILABLE")));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = Server::start(&[]);
    let mut http = server.http();
    for query in ["seconds=0", "seconds=61", "seconds=x", "seconds=", "seconds=1&seconds=1", "hz=99", "second=1"] {
        let answer = http.get(&format!("/v1/profile/threads?{query}"));
        assert_eq!((answer.status, &answer.json()["reason"]), (400, &json!("BAD_REQUEST")), "{query}");
    }
    for path in ["threads", "cpu", "heap"] {
        let answer = http.post(&format!("/v1/profile/{path}"), b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
    let heap = http.get("/v1/profile/heap");
    assert_eq!((heap.status, &heap.json()["reason"]), (501, &json!("UNSUPPORTED")));
    assert!(heap.text().contains(&format!("heaptrack --pid {}", server.pid)), "{}", heap.text());
}

#[test]
fn only_admins_and_described() {
    let server = Server::start_with_token(&[]);
    let (mut http, mut nobody) = (server.http(), server.http());
    nobody.token = None;
    let document = http.get("/openapi.json").json();
    for path in ["/v1/profile/threads", "/v1/profile/cpu", "/v1/profile/heap"] {
        assert_eq!(nobody.get(path).status, 401, "{path}");
        assert_eq!(document["paths"][path]["get"]["security"][0]["bearer"][0], "admin", "{path}");
    }
    let seconds = &document["paths"]["/v1/profile/threads"]["get"]["parameters"][0];
    assert_eq!((&seconds["name"], &seconds["in"], &seconds["required"]), (&json!("seconds"), &json!("query"), &json!(false)));
    let fields = |schema: &str| {
        let properties = document["components"]["schemas"][schema]["properties"].as_object();
        properties.unwrap_or_else(|| panic!("{schema} is not described")).keys().cloned().collect::<Vec<_>>()
    };
    let answer = http.get("/v1/profile/threads?seconds=1").json();
    let there = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((there(&answer), there(&answer["threads"][0])), (fields("Threads"), fields("Thread")));
}

#[cfg(not(feature = "profile"))]
#[test]
fn without_the_feature_it_is_said_how_to_get_it() {
    let server = Server::start(&[]);
    let answer = server.http().get("/v1/profile/cpu");
    assert_eq!((answer.status, &answer.json()["reason"]), (501, &json!("UNSUPPORTED")));
    assert!(answer.text().contains("cargo build --release --features profile"), "{}", answer.text());
}

#[cfg(feature = "profile")]
#[test]
fn stacks_of_a_busy_server() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::Instant;

    use crate::support::PATIENCE;

    let server = Server::start(&[]);
    let mut http = server.http();
    for query in ["seconds=0", "hz=0", "hz=1000", "hz=x", "seconds=1&hz=9&hz=9"] {
        assert_eq!(http.get(&format!("/v1/profile/cpu?{query}")).status, 400, "{query}");
    }
    let enough = AtomicBool::new(false);
    let folded = std::thread::scope(|scope| {
        let mut busy = server.http();
        let enough = &enough;
        scope.spawn(move || {
            let started = Instant::now();
            while !enough.load(Relaxed) && started.elapsed() < 2 * PATIENCE {
                busy.push(&json!({ "to": { "mids": [7] }, "body": "hello" }));
            }
        });
        // One after another: the profiler can be started again.
        let mut taken = 0;
        let folded = until("stacks with names", || {
            let answer = http.get("/v1/profile/cpu?seconds=1&hz=499");
            assert_eq!(answer.status, 200, "{}", answer.text());
            taken += 1;
            Some(answer.text().to_owned()).filter(|folded| taken > 1 && folded.contains("perseid_logic::"))
        });
        enough.store(true, Relaxed);
        folded
    });
    for line in folded.lines() {
        let (stack, count) = line.rsplit_once(' ').unwrap();
        assert!(count.parse::<u64>().is_ok_and(|count| count > 0) && stack.contains(';'), "{line}");
        assert!(!stack.contains("perf_signal_handler"), "{line}");
    }
    assert_eq!(http.get("/healthz").status, 200, "it goes on");
}

//! What still works while a disk does not, and what says that it does not.

use serde_json::{Value, json};

use crate::acknowledged::ANN;
use crate::person::{HEADS, Person, SYNC};
use crate::support::frame::{self, Extended};
use crate::support::measure::Metrics;
use crate::support::{Http, Response, Serves, Transport, until_eq};

/// Waits until all that was acknowledged is in the inbox: it may come a moment after the answer.
pub(crate) fn arrived(person: &mut Person, count: usize) {
    until_eq("messages in the inbox", &count, || person.sync_all().len());
}

/// Reading goes on: pages of inboxes and timelines, heads, heartbeats, and somebody who comes in.
pub(crate) fn reading_goes_on(server: &impl Serves, person: &mut Person, peer: u64, count: usize) {
    let (ext, rows) = person.sync(0, 200);
    assert_eq!((ext.pos, rows.len()), (count as u64, count));
    let (ext, rows) = person.pull(1, peer, 0, 0, 200);
    assert_eq!((ext.conv_pos, rows.len()), (count as u64, count));
    assert_eq!(frame::all(&person.granted(HEADS, Extended::default(), b"").1).len(), 1);
    assert_eq!(person.quiet().0, count as u64);
    let mut other = Person::enter_with(server, Transport::WebSocket, ANN, json!({ "device_id": "another" }));
    let page = other.granted(SYNC, Extended::default(), &200_u32.to_be_bytes()).1;
    assert_eq!(frame::all(&page).len(), count);
}

/// A push that is refused as the push API refuses: a problem with a reason.
pub(crate) fn refused(http: &mut Http, message: &Value) -> (u16, String) {
    let answer = http.post_json("/v1/messages", message);
    problem(&answer)
}

fn problem(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{problem}");
    (answer.status, problem["reason"].as_str().unwrap().to_owned())
}

pub(crate) fn stored_push() -> Value {
    json!({ "to": { "mids": [8] }, "store": true, "op": 1000, "body": "kept" })
}

pub(crate) fn transient_push() -> Value {
    json!({ "to": { "mids": [8] }, "op": 1000, "body": "passing" })
}

/// What `/readyz` misses; nothing: it is ready.
pub(crate) fn missing(http: &mut Http) -> Vec<String> {
    let answer = http.get("/readyz");
    let said = answer.json();
    let reasons: Vec<String> =
        said["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap().to_owned()).collect();
    assert_eq!((answer.status == 200, said["ready"] == true), (reasons.is_empty(), reasons.is_empty()), "{said}");
    reasons
}

pub(crate) fn metric(http: &mut Http, name: &str) -> u64 {
    Metrics::of(http).get(&format!("perseid_{name}"))
}

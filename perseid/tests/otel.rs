//! Traces, with a collector of OpenTelemetry's own types at their end: cargo test -p perseid --features otel --test otel

#![allow(clippy::unwrap_used)]

mod support;

#[path = "stored/person.rs"]
mod person;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use person::{Person, SEND, direct};
use serde_json::json;
use support::{Client, Http, Server, Transport, until};
use tokio::runtime::Runtime;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CALLER_UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00";

#[derive(Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    resources: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        for resource_spans in request.into_inner().resource_spans {
            let attributes = resource_spans.resource.unwrap_or_default().attributes.into_iter();
            let text = |value: Option<Any>| if let Some(Any::StringValue(text)) = value { text } else { String::new() };
            let attributes = attributes.map(|pair| (pair.key, text(pair.value.and_then(|value| value.value))));
            self.resources.lock().unwrap().push(attributes.collect());
            self.spans.lock().unwrap().extend(resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

struct Collector {
    addr: SocketAddr,
    received: Received,
    _runtime: Runtime,
}

impl Collector {
    fn start() -> Self {
        let received = Received::default();
        let runtime = Runtime::new().unwrap();
        let service = TraceServiceServer::new(received.clone());
        let incoming = {
            let _inside = runtime.enter();
            tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap()
        };
        let addr = incoming.local_addr().unwrap();
        runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { addr, received, _runtime: runtime }
    }

    fn server(&self, ratio: &str) -> Server {
        let endpoint = format!("trace.endpoint=http://{}", self.addr);
        let ratio = format!("trace.sample_ratio={ratio}");
        Server::start(&["--set", &endpoint, "--set", &ratio, "--set", "trace.service_name=gateway", "--set", "node.id=n1"])
    }

    /// The spans of a trace, by name, as soon as there are so many.
    fn trace(&self, id: Option<&str>, count: usize) -> BTreeMap<String, Span> {
        until("the spans of a trace", || {
            let spans = self.received.spans.lock().unwrap();
            let of_trace = spans.iter().filter(|span| id.is_none_or(|id| hex(&span.trace_id) == id));
            let by_name: BTreeMap<_, _> = of_trace.map(|span| (span.name.clone(), span.clone())).collect();
            (by_name.len() >= count).then_some(by_name)
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(span: &Span, key: &str) -> i64 {
    let pair = span.attributes.iter().find(|pair| pair.key == key).unwrap_or_else(|| panic!("no {key} in {span:?}"));
    match pair.value.as_ref().unwrap().value {
        Some(Any::IntValue(number)) => number,
        ref other => panic!("{key}: {other:?}"),
    }
}

fn push(http: &mut Http, traceparent: Option<&str>, message: &serde_json::Value) -> i64 {
    let headers: Vec<_> = traceparent.map(|value| ("traceparent", value)).into_iter().collect();
    let answer = http.request("POST", "/v1/messages", &headers, message.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().parse().unwrap()
}

/// The spans of a push that is not stored: each is the child of the one before.
fn assert_chain(spans: &BTreeMap<String, Span>, root_parent: &str) {
    assert_spans(
        spans,
        root_parent,
        &[
            ("api.push", SpanKind::Server, ""),
            ("log.append", SpanKind::Producer, "api.push"),
            ("job.dispatch", SpanKind::Consumer, "log.append"),
            ("comet.write", SpanKind::Internal, "job.dispatch"),
        ],
    );
}

/// The spans of something that is stored, from `root` on.
fn assert_stored(spans: &BTreeMap<String, Span>, root: &str, root_parent: &str) {
    let all = [
        (root, SpanKind::Server, ""),
        ("log.append", SpanKind::Producer, root),
        ("job.project", SpanKind::Consumer, "log.append"),
        ("job.conv", SpanKind::Internal, "job.project"),
        ("job.user", SpanKind::Internal, "job.project"),
        ("job.dispatch", SpanKind::Consumer, "job.project"),
        ("comet.write", SpanKind::Internal, "job.dispatch"),
    ];
    // What concerns users alone has no conversation.
    let there: Vec<_> = all.into_iter().filter(|(name, ..)| *name != "job.conv" || root == "client.send").collect();
    assert_spans(spans, root_parent, &there);
}

/// Each span is the child of the one named; they share the trace, begin in this order, and none ends before it begins.
fn assert_spans(spans: &BTreeMap<String, Span>, root_parent: &str, wanted: &[(&str, SpanKind, &str)]) {
    assert_eq!(spans.len(), wanted.len(), "{:?}", spans.keys());
    for (name, kind, parent) in wanted {
        let span = &spans[*name];
        let parent = if parent.is_empty() { root_parent.to_owned() } else { hex(&spans[*parent].span_id) };
        assert_eq!((hex(&span.parent_span_id), span.kind()), (parent, *kind), "{name}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano && span.start_time_unix_nano > 0, "{name}");
        assert_eq!(span.status.as_ref().map_or(0, |status| status.code), 0, "{name}");
    }
    let starts: Vec<u64> = wanted.iter().map(|(name, ..)| spans[*name].start_time_unix_nano).collect();
    assert!(starts.is_sorted(), "{starts:?}");
}

#[test]
fn a_push_of_a_caller_who_traces_is_one_trace() {
    let collector = Collector::start();
    let server = collector.server("0");
    let mut http = server.http();
    let mut clients = [Client::user(&server, Transport::Tcp, 7), Client::user(&server, Transport::WebSocket, 7)];
    // Unsampled ones first: they are through when the sampled one is.
    push(&mut http, None, &json!({ "to": { "mids": [7] }, "body": "unsampled" }));
    push(&mut http, Some(CALLER_UNSAMPLED), &json!({ "to": { "mids": [7] }, "body": "unsampled" }));
    push(&mut http, Some(&CALLER[..54]), &json!({ "to": { "mids": [7] }, "body": "nonsense" }));
    let id = push(&mut http, Some(CALLER), &json!({ "to": { "mids": [7, 8] }, "body": "sampled" }));
    for client in &mut clients {
        assert_eq!(client.push(), "unsampled");
    }

    let spans = collector.trace(Some(&CALLER[3..35]), 4);
    assert_chain(&spans, &CALLER[36..52]);
    for name in ["log.append", "job.dispatch", "comet.write"] {
        assert_eq!(number(&spans[name], "perseid.push.id"), id, "{name}");
    }
    assert_eq!(number(&spans["job.dispatch"], "perseid.deliveries"), 2);
    assert_eq!(number(&spans["job.dispatch"], "perseid.dropped"), 1);
    assert_eq!(number(&spans["comet.write"], "perseid.sessions"), 2, "one span for both sessions");
    assert_eq!(collector.received.spans.lock().unwrap().len(), 4, "of the others there is nothing");
    let resource = collector.received.resources.lock().unwrap()[0].clone();
    assert_eq!((resource["service.name"].as_str(), resource["service.instance.id"].as_str()), ("gateway", "n1"));
    until("the count", || http.get("/metrics").text().contains("perseid_trace_spans_exported_total 4\n").then_some(()));
}

#[test]
fn rooms_and_all_and_a_trace_that_begins_here() {
    let collector = Collector::start();
    let server = collector.server("1.0");
    let mut http = server.http();
    let mut clients: Vec<Client> = (0..3)
        .map(|mid| Client::classic(&server, Transport::Tcp, &json!({ "mid": mid, "room_id": "live://1", "accepts": [1000] })))
        .collect();
    for (to, sessions) in [(json!({ "room": "live://1" }), 3), (json!({ "all": true }), 3)] {
        collector.received.spans.lock().unwrap().clear();
        push(&mut http, None, &json!({ "op": 1000, "to": to, "body": "x" }));
        for client in &mut clients {
            client.push();
        }
        let spans = collector.trace(None, 4);
        assert_chain(&spans, "");
        assert_eq!(number(&spans["comet.write"], "perseid.sessions"), sessions, "{to}");
    }
    // goim's routes and batches, too; a refusal says why.
    for (path, body) in [
        ("/goim/push/room?operation=1000&type=live&room=1", "x"),
        ("/v1/messages:batch", r#"{"messages":[{"op":1000,"to":{"room":"live://1"},"body":"x"}]}"#),
    ] {
        collector.received.spans.lock().unwrap().clear();
        assert_eq!(http.post(path, body.as_bytes()).status, 200, "{path}");
        assert_chain(&collector.trace(None, 4), "");
    }
    collector.received.spans.lock().unwrap().clear();
    assert_eq!(http.post("/v1/messages", b"{").status, 400);
    let spans = collector.trace(None, 1);
    assert_eq!(spans["api.push"].status.as_ref().unwrap().message, "BAD_REQUEST");
}

#[test]
fn a_stored_message_of_a_client_is_one_trace() {
    let collector = Collector::start();
    let server = collector.server("1.0");
    let [mut ann, mut bob] = [7, 9].map(|mid| Person::enter(&server, Transport::Tcp, mid));
    let id = ann.send(1, 9, 5, "hello").id;
    assert_eq!(bob.pushed().text(), "hello");
    let spans = collector.trace(None, 7);
    assert_stored(&spans, "client.send", "");
    for span in spans.values().filter(|span| !["job.conv", "job.user"].contains(&span.name.as_str())) {
        assert_eq!(number(span, "perseid.push.id"), id as i64, "{}", span.name);
    }
    assert_eq!(number(&spans["job.dispatch"], "perseid.inboxes"), 2);
    assert_eq!(number(&spans["comet.write"], "perseid.sessions"), 2);
    assert_eq!(number(&spans["log.append"], "perseid.log.offset"), number(&spans["job.project"], "perseid.log.offset"));

    // What is refused, or was there, ends where that is known.
    for (cid, body, status) in [(5, "hello", ""), (5, "another", "CONFLICT")] {
        collector.received.spans.lock().unwrap().clear();
        ann.ask(SEND, direct(9, cid), body.as_bytes());
        let spans = collector.trace(None, 1);
        let said = spans["client.send"].status.clone().unwrap_or_default();
        assert_eq!((spans.len(), said.message.as_str()), (1, status));
    }
    // No other request of a client is traced.
    collector.received.spans.lock().unwrap().clear();
    ann.sync_all();
    push(&mut server.http(), Some(CALLER), &json!({ "to": { "mids": [9] }, "store": true, "op": 1000, "body": "stored" }));
    assert_eq!(bob.pushed().text(), "stored");
    let spans = collector.trace(None, 6);
    assert_stored(&spans, "api.push", &CALLER[36..52]);
    assert_eq!(number(&spans["job.dispatch"], "perseid.inboxes"), 1);
}

/// Unsampled, they leave nothing anywhere.
#[test]
fn a_stored_message_that_is_not_sampled_has_no_spans() {
    let collector = Collector::start();
    let server = collector.server("0");
    let [mut ann, mut bob] = [7, 9].map(|mid| Person::enter(&server, Transport::Tcp, mid));
    ann.send(1, 9, 5, "hello");
    assert_eq!(bob.pushed().text(), "hello");
    let stored = json!({ "to": { "mids": [9] }, "store": true, "op": 1000, "body": "stored" });
    push(&mut server.http(), Some(CALLER_UNSAMPLED), &stored);
    push(&mut server.http(), Some(CALLER), &stored);
    let spans = collector.trace(None, 6);
    assert!(spans.values().all(|span| hex(&span.trace_id) == CALLER[3..35]), "{:?}", spans.keys());
}

/// What was not sent yet is sent at the end.
#[test]
fn the_end_sends_what_waits() {
    let collector = Collector::start();
    let server = collector.server("1.0");
    push(&mut server.http(), None, &json!({ "to": { "mids": [7] }, "body": "x" }));
    let (status, _, _stopped) = server.terminate();
    assert_eq!(status, 0);
    let names: Vec<_> = collector.received.spans.lock().unwrap().iter().map(|span| span.name.clone()).collect();
    assert!(names.contains(&"api.push".to_owned()) && names.contains(&"job.dispatch".to_owned()), "{names:?}");
}

/// A collector that is not there costs spans, which are counted, and nothing else.
#[test]
fn without_a_collector_everything_goes_on() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("trace.endpoint=http://{gone}");
    let server = Server::start(&["--set", &endpoint, "--set", "trace.sample_ratio=1.0"]);
    let mut http = server.http();
    let mut client = Client::user(&server, Transport::Tcp, 7);
    let message = json!({ "op": 1000, "to": { "mids": [7] }, "body": "x" });
    for _ in 0..200 {
        push(&mut http, None, &message);
        client.push();
    }
    let dropped =
        |http: &mut Http| support::measure::Metrics::of(http).get("perseid_trace_spans_dropped_total{reason=\"collector\"}");
    until("spans that are lost", || (dropped(&mut http) > 0).then_some(()));
    assert_eq!(support::measure::Metrics::of(&mut http).get("perseid_trace_spans_exported_total"), 0);
    let (status, _, _stopped) = server.terminate();
    assert_eq!(status, 0);
}

#[test]
fn an_endpoint_that_makes_no_sense_is_refused() {
    for endpoint in ["127.0.0.1:4317", "https://127.0.0.1:4317", "http://", "x y"] {
        let output = support::server::run({
            let mut command = support::server::perseid();
            command.args(["config", "check", "--set", &format!("trace.endpoint={endpoint}")]);
            command
        });
        assert!(!output.status.success(), "{endpoint}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("no http:// address"), "{endpoint}: {said}");
    }
}

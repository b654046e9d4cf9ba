//! Spans of sampled pushes: one for each push, whatever it goes to, with how many sessions it was put to.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use perseid_comet::Config;
use perseid_protocol::push::{Delivery, Push, Target};
use perseid_protocol::trace::{Span, SpanId, Spans, Trace, TraceId, Value};
use support::logic::auth_in;
use support::{TCP, TestComet, WIRES, config, eventually, push};

/// Keeps spans; its clock and its ids count up.
#[derive(Debug, Default)]
struct Kept {
    count: AtomicU64,
    spans: Mutex<Vec<Span>>,
}

impl Spans for Kept {
    fn now_ns(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn span_id(&self) -> SpanId {
        SpanId::new((self.now_ns() + 1).to_be_bytes()).unwrap()
    }

    fn trace_id(&self) -> TraceId {
        TraceId::new([7; 16]).unwrap()
    }

    fn record(&self, span: Span) {
        self.spans.lock().unwrap().push(span);
    }
}

impl Kept {
    /// The one span that there is, and how many sessions it says.
    fn only(&self) -> (Span, u64) {
        eventually("a span", || !self.spans.lock().unwrap().is_empty());
        let spans = std::mem::take(&mut *self.spans.lock().unwrap());
        let [span] = &spans[..] else { panic!("{spans:?}") };
        let sessions = span.attributes.iter().find(|(name, _)| *name == "perseid.sessions").map(|(_, value)| value.clone());
        let Some(Value::Number(sessions)) = sessions else { panic!("{span:?}") };
        (span.clone(), sessions)
    }
}

const CALLER: [u8; 8] = [9; 8];

fn trace(sampled: bool) -> Option<Trace> {
    Some(Trace { id: TraceId::new([7; 16]).unwrap(), parent: SpanId::new(CALLER), sampled })
}

fn sampled(id: u64) -> Push {
    Push { id, trace: trace(true), ..push(1000, "x") }
}

#[test]
fn one_span_for_a_push_with_all_its_sessions() {
    let test = TestComet::start(Config { workers: 2, ..config() });
    let kept = Arc::new(Kept::default());
    test.comet.trace(kept.clone());
    let mut clients = Vec::new();
    for (index, wire) in WIRES.into_iter().chain(WIRES).enumerate() {
        clients.push(test.login(wire, &auth_in(&format!("k{index}"), "live://1", &[1000])));
    }
    let keys: Vec<_> = (0..8).map(|index| test.addr(&format!("k{index}"))).collect();

    let direct = Arc::new(sampled(5));
    test.deliver(keys.iter().map(|addr| Delivery { target: Target::Session(*addr), push: direct.clone() }).collect());
    let (span, sessions) = kept.only();
    assert_eq!((span.name, span.parent, sessions), ("comet.write", SpanId::new(CALLER), 8));
    assert_eq!(span.attributes[0], ("perseid.push.id", Value::Number(5)));
    assert!(span.start_ns < span.end_ns);

    test.push_room("live://1", sampled(6));
    assert_eq!(kept.only().1, 8);
    test.push_all(0, sampled(7));
    assert_eq!(kept.only().1, 8);
    for client in &mut clients {
        for _ in 0..3 {
            client.next_frame();
        }
    }

    // To nobody: there is a span, and it says so.
    test.push_room("live://empty", sampled(8));
    assert_eq!(kept.only().1, 0);
    // Not sampled: none. Afterwards one that is, so that the others are through.
    test.push_room("live://1", Push { trace: trace(false), ..push(1000, "x") });
    test.push_all(0, push(1000, "x"));
    test.push_key("k0", push(1000, "x"));
    test.push_key("k0", sampled(9));
    assert_eq!(kept.only().0.attributes[0], ("perseid.push.id", Value::Number(9)));
}

/// A room that is busy all the time: each push's span ends with the pass that followed it, none is kept for ever.
#[test]
fn spans_of_a_busy_room_end() {
    let test = TestComet::start(config());
    let kept = Arc::new(Kept::default());
    test.comet.trace(kept.clone());
    let mut client = test.login(TCP, &auth_in("k0", "live://1", &[1000]));
    for id in 1..=500 {
        test.push_room("live://1", sampled(id));
    }
    for _ in 0..500 {
        client.next_frame();
    }
    eventually("all spans", || kept.spans.lock().unwrap().len() == 500);
}

/// What is still on its way when a comet stops has a span too.
#[test]
fn the_end_of_a_comet_ends_its_spans() {
    let test = TestComet::start(config());
    let kept = Arc::new(Kept::default());
    test.comet.trace(kept.clone());
    let _clients: Vec<_> = (0..3).map(|index| test.login(TCP, &auth_in(&format!("k{index}"), "", &[1000]))).collect();
    test.push_all(1, sampled(1));
    test.comet.stop();
    drop(test);
    assert!(kept.only().1 <= 3);
}

//! Who gets what, as a table; and that a record that makes no sense harms no other.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::sync::Arc;

use perseid_job::{Batches, Counts, Dead, Dispatcher, DropReason, Unheard};
use perseid_protocol::frame::kind;
use perseid_protocol::push::{Delivery, Priority, Target, collapse_hash};
use perseid_protocol::room::room_hash;
use perseid_protocol::trace::{Span, SpanId, Spans, Trace, TraceId, Value};
use perseid_rpc::{PushMsg, PushPriority};
use prost::Message;
use support::{Online, addr, to_keys};

const NOW_MS: u64 = 5_000;

struct Outcome {
    batches: Vec<(u32, Vec<Delivery>)>,
    counts: Counts,
    error: Option<Dead>,
}

/// Ann (mid 1) is on two comets, Bob (mid 2) on one, Eve on a comet that nobody knows.
fn dispatch(nodes: &[u32], msg: &PushMsg) -> Outcome {
    dispatch_bytes(nodes, msg.encode_to_vec())
}

fn dispatch_bytes(nodes: &[u32], value: Vec<u8>) -> Outcome {
    let online = Online::of(&[("a1", 1, addr(0, 1)), ("a2", 1, addr(7, 2)), ("b", 2, addr(7, 3)), ("e", 3, addr(99, 4))]);
    let mut batches = Batches::new(nodes.iter().copied());
    let mut counts = Counts::default();
    let error = Dispatcher::new(online).dispatch(&value.into(), NOW_MS, &mut batches, &mut counts).err();
    Outcome { batches: batches.drain().collect(), counts, error }
}

fn sessions(outcome: &Outcome) -> Vec<(u32, Vec<u32>)> {
    outcome.batches.iter().map(|(node, batch)| (*node, support::slots(batch))).collect()
}

#[test]
fn sessions_by_key_and_by_user_each_once() {
    type Row = (&'static [&'static str], &'static [i64], &'static [(u32, &'static [u32])], [u64; 5]);
    let rows: [Row; 12] = [
        (&["a1"], &[], &[(0, &[1])], [0; 5]),
        (&["b", "a1"], &[], &[(0, &[1]), (7, &[3])], [0; 5]),
        (&["b", "a2"], &[], &[(7, &[3, 2])], [0; 5]),
        (&["a1", "a1"], &[], &[(0, &[1])], [0; 5]),
        (&[], &[1], &[(0, &[1]), (7, &[2])], [0; 5]),
        (&[], &[1, 2, 1], &[(0, &[1]), (7, &[2, 3])], [0; 5]),
        (&["a2"], &[1], &[(0, &[1]), (7, &[2])], [0; 5]),
        (&["nobody", "nobody", "b"], &[4, 4, 5], &[(7, &[3])], [3, 0, 0, 0, 0]),
        (&["e"], &[], &[], [0, 0, 1, 0, 0]),
        (&[], &[3, 2], &[(7, &[3])], [0, 0, 1, 0, 0]),
        (&[""], &[0], &[], [2, 0, 0, 0, 0]),
        (&[], &[], &[], [0; 5]),
    ];
    for (keys, mids, wanted, drops) in rows {
        let outcome = dispatch(&[7, 0], &PushMsg { mids: mids.to_vec(), ..to_keys(keys) });
        let wanted: Vec<_> = wanted.iter().map(|(node, slots)| (*node, slots.to_vec())).collect();
        assert_eq!(sessions(&outcome), wanted, "{keys:?} {mids:?}");
        assert_eq!(outcome.counts.drops, drops, "{keys:?} {mids:?}");
        let deliveries: usize = wanted.iter().map(|(_, slots)| slots.len()).sum();
        assert_eq!(outcome.counts.deliveries, deliveries as u64, "{keys:?} {mids:?}");
    }
}

#[test]
fn many_keys_collapse_as_few_do() {
    let keys: Vec<String> = (0..1000).map(|n| if n % 10 == 0 { "b".into() } else { format!("off{}", n % 300) }).collect();
    let outcome = dispatch(&[7], &PushMsg { keys, mids: vec![2; 500], ..PushMsg::default() });
    assert_eq!(sessions(&outcome), [(7, vec![3])]);
    assert_eq!(outcome.counts.dropped(DropReason::Offline), 270, "each key once");
}

#[test]
fn a_push_carries_what_the_record_says() {
    let msg = PushMsg { id: 9, from: 8, expire_at_ms: NOW_MS + 1, msg: "hi".into(), ..to_keys(&["b", "a1"]) };
    let outcome = dispatch(&[0, 7], &msg);
    let push = &outcome.batches[0].1[0].push;
    assert_eq!((push.id, push.op, push.from, push.expires_at_ms), (9, 1000, 8, NOW_MS + 1));
    assert_eq!((push.kind, push.conv, &push.body[..]), (kind::NOTICE, 0, &b"hi"[..]));
    assert!(std::sync::Arc::ptr_eq(push, &outcome.batches[1].1[0].push), "shared, not copied");
}

#[test]
fn a_room_goes_to_every_comet() {
    let outcome = dispatch(&[7, 0], &PushMsg { r#type: 1, operation: 1000, room: "live://1".into(), ..PushMsg::default() });
    assert_eq!(outcome.counts.deliveries, 2);
    for (_, batch) in &outcome.batches {
        assert_eq!(batch[0].target, Target::Room("live://1".into()));
        assert_eq!((batch[0].push.kind, batch[0].push.conv), (kind::ROOM, room_hash("live://1")));
    }
}

#[test]
fn everybody_at_a_share_of_the_speed() {
    for (nodes, speed, wanted) in [(&[0, 7, 9][..], 64, 21), (&[0], 64, 64), (&[0, 7, 9], 2, 1), (&[0], 0, 0), (&[0], -1, 0)] {
        let outcome = dispatch(nodes, &PushMsg { r#type: 2, operation: 1000, speed, ..PushMsg::default() });
        assert_eq!(outcome.batches.len(), nodes.len());
        for (_, batch) in &outcome.batches {
            assert_eq!(batch[0].target, Target::All { speed: wanted });
        }
    }
}

#[test]
fn nothing_is_dropped_silently() {
    let room = PushMsg { r#type: 1, room: "live://1".into(), ..PushMsg::default() };
    let all = PushMsg { r#type: 2, speed: 5, ..PushMsg::default() };
    for msg in [&room, &all] {
        let none = dispatch(&[], msg);
        assert_eq!(none.counts.dropped(DropReason::NoLane), 1);
        let late = dispatch(&[0, 7], &PushMsg { expire_at_ms: NOW_MS, ..msg.clone() });
        assert_eq!((late.counts.dropped(DropReason::Expired), late.batches.len()), (2, 0));
    }
    let late = dispatch(&[0, 7], &PushMsg { expire_at_ms: NOW_MS, mids: vec![1, 1, 4], ..to_keys(&["b", "b", "x"]) });
    assert_eq!(late.counts.drops, [0, 4, 0, 0, 0], "one for each key and each user that it was for");
    assert!(late.batches.is_empty());
}

#[test]
fn what_makes_no_sense_is_said_to() {
    let unknown = dispatch(&[0], &PushMsg { r#type: 3, ..to_keys(&["a1"]) });
    assert!(matches!(unknown.error, Some(Dead::Type(3))));
    let nameless = dispatch(&[0], &PushMsg { r#type: 1, ..PushMsg::default() });
    assert!(matches!(nameless.error, Some(Dead::NoRoom)));
    for outcome in [unknown, nameless] {
        assert_eq!((outcome.counts, outcome.batches.len()), (Counts::default(), 0));
    }
    // Cut anywhere it is undecodable or another record; never a panic.
    let whole = PushMsg { id: 5, mids: vec![1, 2], ..to_keys(&["a1", "b"]) }.encode_to_vec();
    let mut dead = 0;
    for cut in 0..whole.len() {
        dead += usize::from(matches!(dispatch_bytes(&[0], whole[..cut].to_vec()).error, Some(Dead::Undecodable(_))));
    }
    assert!(dead > 10, "{dead}");
    for bit in 0..whole.len() * 8 {
        let mut mutant = whole.clone();
        mutant[bit / 8] ^= 1 << (bit % 8);
        let _ = dispatch_bytes(&[0], mutant);
    }
}

#[test]
fn what_matters_and_what_replaces_what_goes_along() {
    let ways = [to_keys(&["a1"]), PushMsg { r#type: 1, room: "live://1".into(), ..PushMsg::default() }];
    for way in ways.into_iter().chain([PushMsg { r#type: 2, ..PushMsg::default() }]) {
        for (number, priority) in [
            (PushPriority::Normal as i32, Priority::Normal),
            (PushPriority::High as i32, Priority::High),
            (PushPriority::Low as i32, Priority::Low),
            (77, Priority::Normal),
            (-1, Priority::Normal),
        ] {
            for collapse in ["", "score"] {
                let outcome = dispatch(&[0], &PushMsg { priority: number, collapse: collapse.into(), ..way.clone() });
                let push = &outcome.batches[0].1[0].push;
                assert_eq!((push.priority, push.collapse), (priority, collapse_hash(collapse)), "{number} {collapse}");
            }
        }
    }
    assert_ne!(collapse_hash("score"), 0);
}

#[test]
fn goims_records_are_read() {
    let unhex = |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let room = dispatch_bytes(&[0], unhex("080110e8072a08746573743a2f2f373a026869"));
    assert_eq!(room.batches[0].1[0].target, Target::Room("test://7".into()));
    let all = dispatch_bytes(&[0], unhex("080210e80718403a026869"));
    assert_eq!(all.batches[0].1[0].target, Target::All { speed: 64 });
    let keys = dispatch_bytes(&[0], unhex("10e8072202766d32036b6b313a026869"));
    assert_eq!(keys.counts.dropped(DropReason::Offline), 1, "kk1 is nobody here");
}

/// Keeps spans; its clock and its ids count up.
#[derive(Debug, Default)]
struct Kept {
    count: std::sync::atomic::AtomicU64,
    spans: std::sync::Mutex<Vec<Span>>,
}

impl Spans for Kept {
    fn now_ns(&self) -> u64 {
        self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn span_id(&self) -> SpanId {
        SpanId::new((self.now_ns() + 1000).to_be_bytes()).unwrap()
    }

    fn trace_id(&self) -> TraceId {
        TraceId::new([7; 16]).unwrap()
    }

    fn record(&self, span: Span) {
        self.spans.lock().unwrap().push(span);
    }
}

/// What nobody got.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<(u64, DropReason)>>);

impl Unheard for Told {
    fn undelivered(&self, id: u64, why: DropReason) {
        self.0.lock().unwrap().push((id, why));
    }
}

#[test]
fn what_nobody_got_is_told_once_with_the_reason() {
    let online = Online::of(&[("a1", 1, addr(0, 1))]);
    let told = Arc::new(Told::default());
    let mut dispatcher = Dispatcher::new(online).telling(Some(told.clone()));
    let (mut batches, mut counts) = (Batches::new([0]), Counts::default());
    let expired = NOW_MS;
    for (id, mids, expire_at_ms) in [
        (5, vec![1], 0),
        (6, vec![2, 3], 0),
        (7, vec![1, 2], 0),
        (8, vec![1], expired),
        (9, vec![2], expired + 1),
        (0, vec![2], 0),
    ] {
        let msg = PushMsg { mids, id, expire_at_ms, ..PushMsg::default() };
        dispatcher.dispatch(&msg.encode_to_vec().into(), NOW_MS, &mut batches, &mut counts).unwrap();
    }
    let wanted = [(6, DropReason::Offline), (8, DropReason::Expired), (9, DropReason::Offline)];
    assert_eq!(*told.0.lock().unwrap(), wanted, "7 got somewhere, and what has no id nobody asks for");
}

#[test]
fn a_sampled_push_makes_a_span_and_is_its_child_from_there_on() {
    let online = Online::of(&[("a1", 1, addr(0, 1)), ("a2", 1, addr(7, 2))]);
    let kept = Arc::new(Kept::default());
    let mut dispatcher = Dispatcher::new(online).with_spans(Some(kept.clone()));
    let (mut batches, mut counts) = (Batches::new([0, 7]), Counts::default());
    let caller = Trace { id: TraceId::new([7; 16]).unwrap(), parent: SpanId::new([1; 8]), sampled: true };
    let unsampled = Trace { sampled: false, ..caller };
    let old = b"0af7651916cd43dd8448eb211c80319c";
    for trace in [&caller.to_record()[..], &unsampled.to_record(), old, b"nonsense", b""] {
        let msg = PushMsg { mids: vec![1], keys: vec!["x".into()], id: 5, trace: trace.to_vec().into(), ..PushMsg::default() };
        dispatcher.dispatch(&msg.encode_to_vec().into(), NOW_MS, &mut batches, &mut counts).unwrap();
    }
    assert_eq!(kept.spans.lock().unwrap().len(), 0, "it goes on until it is handed over");
    dispatcher.handed_over();
    let spans = kept.spans.lock().unwrap();
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((span.name, span.trace, span.parent), ("job.dispatch", caller.id, caller.parent));
    let said =
        [("perseid.push.id", 5), ("perseid.deliveries", 2), ("perseid.dropped", 1)].map(|(name, n)| (name, Value::Number(n)));
    assert_eq!(span.attributes, said);
    assert!(span.start_ns < span.end_ns);
    for (_, batch) in batches.drain() {
        let traces: Vec<_> = batch.iter().map(|delivery| delivery.push.trace).collect();
        let of_old = traces[2].map(|trace| (trace.id.to_string().into_bytes(), trace.parent, trace.sampled));
        assert_eq!(traces[0], Some(Trace { parent: Some(span.id), ..caller }));
        assert_eq!((traces[1], of_old), (Some(unsampled), Some((old.to_vec(), None, false))));
        assert_eq!(traces[3..], [None, None]);
    }
}

//! Any history of sessions that come and go and of pushes between: order, once, and nothing uncounted.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use perseid_job::{DropReason, JobConsumer, Lane, LaneError, Metrics};
use perseid_log::Consumer;
use perseid_protocol::push::{SessionAddr, Target};
use perseid_rpc::PushMsg;
use proptest::prelude::*;
use support::{Hands, Kept, Online, addr, record};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Open {
        key: u8,
        mid: i64,
        node: u32,
    },
    Close {
        key: u8,
    },
    /// The records that one call brings.
    Pushes(Vec<PushMsg>),
    /// From now on the lane refuses the last so many of each batch.
    Refuse {
        node: usize,
        dropped: usize,
    },
}

const NOW_MS: u64 = 1_000;

fn any_push() -> impl Strategy<Value = PushMsg> {
    let keys = prop::collection::vec(0u8..8, 0..30).prop_map(|keys| keys.iter().map(|key| format!("k{key}")).collect());
    let expiry = prop::sample::select(vec![0, 0, 0, NOW_MS, NOW_MS + 1]);
    (0i32..5, keys, prop::collection::vec(0i64..5, 0..30), expiry, -2i32..9).prop_map(
        |(kind, keys, mids, expire_at_ms, speed)| PushMsg {
            r#type: (kind - 2).max(0),
            keys,
            mids,
            expire_at_ms,
            speed,
            room: "a://b".into(),
            ..PushMsg::default()
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0u8..8, 1i64..5, 0u32..4).prop_map(|(key, mid, node)| Event::Open { key, mid, node }),
        2 => (0u8..8).prop_map(|key| Event::Close { key }),
        6 => prop::collection::vec(any_push(), 1..5).prop_map(Event::Pushes),
        1 => (0usize..3, 0usize..4).prop_map(|(node, dropped)| Event::Refuse { node, dropped }),
    ]
}

/// What a push comes to by its own words: (sessions, drops before any lane, deliveries to comets).
fn model(online: &BTreeMap<String, (i64, SessionAddr)>, push: &PushMsg) -> (BTreeSet<SessionAddr>, u64, u64) {
    let expired = push.expire_at_ms != 0 && push.expire_at_ms <= NOW_MS;
    if push.r#type != 0 {
        return (BTreeSet::new(), if expired { 3 } else { 0 }, if expired { 0 } else { 3 });
    }
    let keys: BTreeSet<&String> = push.keys.iter().collect();
    let mids: BTreeSet<i64> = push.mids.iter().copied().collect();
    if expired {
        return (BTreeSet::new(), (keys.len() + mids.len()) as u64, 0);
    }
    let mut sessions = BTreeSet::new();
    let mut drops = 0;
    for key in keys {
        match online.get(key) {
            Some((_, addr)) => _ = sessions.insert(*addr),
            None => drops += 1,
        }
    }
    for mid in mids {
        let of: Vec<_> = online.values().filter(|(of, _)| *of == mid).map(|(_, addr)| *addr).collect();
        drops += u64::from(of.is_empty());
        sessions.extend(of);
    }
    // Comet 3 has no lane.
    let before = sessions.len();
    sessions.retain(|addr| addr.node < 3);
    (sessions.clone(), drops + (before - sessions.len()) as u64, 0)
}

proptest! {
    #[test]
    fn in_order_once_and_all_counted(history in prop::collection::vec(any_event(), 1..40)) {
        let online = Arc::new(Online::default());
        let lanes = [0, 1, 2].map(Kept::new);
        let metrics = Arc::new(Metrics::default());
        let dynamic: Vec<Arc<dyn Lane>> = lanes.iter().map(|lane| Arc::clone(lane) as Arc<dyn Lane>).collect();
        let mut consumer = JobConsumer::new(online.clone(), dynamic, Arc::clone(&metrics), Hands::at(NOW_MS).clock());
        let (mut offset, mut uses) = (0, 0);
        let (mut addressed, mut drops) = (0, 0);
        let mut wanted: BTreeMap<SessionAddr, Vec<u64>> = BTreeMap::new();
        let mut refusing = false;
        for event in history {
            match event {
                Event::Open { key, mid, node } => {
                    uses += 1;
                    online.0.lock().unwrap().insert(format!("k{key}"), (mid, addr(node, uses)));
                }
                Event::Close { key } => _ = online.0.lock().unwrap().remove(&format!("k{key}")),
                Event::Refuse { node, dropped } => {
                    refusing |= dropped > 0;
                    *lanes[node].refuse.lock().unwrap() = (dropped > 0).then_some(LaneError::Full { dropped });
                }
                Event::Pushes(mut pushes) => {
                    let mut records = Vec::new();
                    for push in &mut pushes {
                        offset += 1;
                        push.id = offset;
                        records.push(record(offset, push));
                        let (sessions, dropped, to_nodes) = model(&online.0.lock().unwrap(), push);
                        addressed += sessions.len() as u64 + dropped + to_nodes;
                        drops += dropped;
                        for addr in sessions {
                            wanted.entry(addr).or_default().push(offset);
                        }
                    }
                    consumer.on_records(&records);
                }
            }
        }

        let mut got: BTreeMap<SessionAddr, Vec<u64>> = BTreeMap::new();
        let mut taken = 0;
        for (node, lane) in lanes.iter().enumerate() {
            let mut last = 0;
            for delivery in lane.all() {
                taken += 1;
                prop_assert!(delivery.push.id >= last, "the order of the log, also between targets");
                last = delivery.push.id;
                if let Target::Session(addr) = delivery.target {
                    prop_assert_eq!(addr.node as usize, node);
                    got.entry(addr).or_default().push(delivery.push.id);
                }
            }
        }
        for (addr, ids) in &got {
            prop_assert!(ids.is_sorted_by(|a, b| a < b), "each once: {:?}", ids);
            prop_assert!(ids.iter().all(|id| wanted[addr].contains(id)), "nothing that was not for it");
        }
        if !refusing {
            prop_assert_eq!(got, wanted);
        }
        let metrics = metrics.snapshot();
        prop_assert_eq!(metrics.records, offset);
        prop_assert_eq!(metrics.deliveries, taken);
        prop_assert_eq!(metrics.dropped_total() - metrics.dropped(DropReason::LaneFull), drops);
        prop_assert_eq!(metrics.deliveries + metrics.dropped_total(), addressed);
    }
}

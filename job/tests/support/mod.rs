//! A registry, a clock and lanes for tests.
#![allow(dead_code, clippy::unwrap_used)] // each test uses its part

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use perseid_job::{Lane, LaneError, Routes};
use perseid_log::{Record, Topic};
use perseid_protocol::push::{Delivery, Push, SessionAddr, Target};
use perseid_rpc::PushMsg;
use prost::Message;

pub(crate) fn addr(node: u32, slot: u32) -> SessionAddr {
    SessionAddr { node, slot, ..SessionAddr::default() }
}

/// Who is online: key → (mid, address).
#[derive(Default)]
pub(crate) struct Online(pub(crate) Mutex<BTreeMap<String, (i64, SessionAddr)>>);

impl Online {
    pub(crate) fn of(sessions: &[(&str, i64, SessionAddr)]) -> Arc<Self> {
        let online = Self::default();
        for (key, mid, addr) in sessions {
            online.0.lock().unwrap().insert((*key).to_owned(), (*mid, *addr));
        }
        Arc::new(online)
    }
}

impl Routes for Online {
    fn by_key(&self, key: &str, out: &mut Vec<SessionAddr>) {
        out.extend(self.0.lock().unwrap().get(key).map(|(_, addr)| *addr));
    }

    fn by_mid(&self, mid: i64, out: &mut Vec<SessionAddr>) {
        out.extend(self.0.lock().unwrap().values().filter(|(of, _)| *of == mid).map(|(_, addr)| *addr));
    }
}

/// A lane that keeps what it gets, and refuses when it is told to.
pub(crate) struct Kept {
    node: u32,
    pub(crate) batches: Mutex<Vec<Vec<Delivery>>>,
    pub(crate) refuse: Mutex<Option<LaneError>>,
}

impl Kept {
    pub(crate) fn new(node: u32) -> Arc<Self> {
        Arc::new(Self { node, batches: Mutex::default(), refuse: Mutex::default() })
    }

    pub(crate) fn all(&self) -> Vec<Delivery> {
        self.batches.lock().unwrap().concat()
    }
}

impl Lane for Kept {
    fn node(&self) -> u32 {
        self.node
    }

    fn deliver(&self, mut batch: Vec<Delivery>) -> Result<(), LaneError> {
        let refuse = *self.refuse.lock().unwrap();
        let dropped = match refuse {
            Some(LaneError::Full { dropped } | LaneError::Broken { dropped }) => dropped.min(batch.len()),
            None => 0,
        };
        batch.truncate(batch.len() - dropped);
        self.batches.lock().unwrap().push(batch);
        match refuse {
            Some(LaneError::Full { .. }) => Err(LaneError::Full { dropped }),
            Some(LaneError::Broken { .. }) => Err(LaneError::Broken { dropped }),
            None => Ok(()),
        }
    }
}

/// A clock that stands where it is put.
#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn at(now_ms: u64) -> Self {
        let hands = Self::default();
        hands.0.store(now_ms, Ordering::Relaxed);
        hands
    }

    pub(crate) fn put(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> perseid_log::Clock {
        let hands = Arc::clone(&self.0);
        Arc::new(move || hands.load(Ordering::Relaxed))
    }
}

pub(crate) fn record(offset: u64, msg: &PushMsg) -> Record {
    raw_record(offset, msg.encode_to_vec().into())
}

pub(crate) fn raw_record(offset: u64, value: Bytes) -> Record {
    Record { offset, topic: Topic::Push, ts_ms: 1_000, value }
}

pub(crate) fn to_keys(keys: &[&str]) -> PushMsg {
    PushMsg { operation: 1000, keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..PushMsg::default() }
}

/// A delivery of `body_bytes` to the slot `slot`.
pub(crate) fn delivery(slot: u32, body_bytes: usize) -> Delivery {
    let push = Push { id: u64::from(slot), op: 1000, body: vec![0; body_bytes].into(), ..Push::default() };
    Delivery { target: Target::Session(addr(0, slot)), push: Arc::new(push) }
}

/// The slots of deliveries to sessions.
pub(crate) fn slots(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries
        .iter()
        .map(|delivery| match &delivery.target {
            Target::Session(addr) => addr.slot,
            other => panic!("{other:?}"),
        })
        .collect()
}

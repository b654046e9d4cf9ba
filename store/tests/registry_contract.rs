//! What every registry promises, against a model that is obviously right, and with threads that race.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};

use perseid_protocol::SessionKey;
use perseid_protocol::push::SessionAddr;
use perseid_store::{Counts, KeyTaken, MemoryRegistry, NewSession, Restored, SessionRegistry, SessionRow, Takeover};
use proptest::prelude::*;

const KEYS: u8 = 6;
const MIDS: std::ops::RangeInclusive<i64> = -1..=3;

fn key(n: u8) -> SessionKey {
    if n.is_multiple_of(2) { SessionKey::made([n; 16]) } else { SessionKey::parse(&format!("key-{n}")) }
}

fn addr(node: u32, slot: u32) -> SessionAddr {
    SessionAddr { node, incarnation: node % 2, worker: 1, slot, generation: 7 }
}

fn session(key: SessionKey, mid: i64, addr: SessionAddr) -> NewSession<'static> {
    NewSession { key, mid, addr, platform: "web", device_id: "", peer: None, since_ms: u64::from(addr.slot), extended: false }
}

#[derive(Clone, Debug)]
enum Step {
    Open {
        key: u8,
        mid: i64,
        node: u32,
        takeover: Takeover,
        platform: &'static str,
        device_id: &'static str,
    },
    /// Closes the session that holds the key, or one that did before it.
    Close {
        key: u8,
        mid_off: i64,
        stale: bool,
    },
    /// A session that was opened before, or a new one, is registered again.
    Restore {
        key: u8,
        mid: i64,
        /// So many steps ago.
        age: u32,
    },
    CloseNode {
        node: u32,
        incarnation: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let takeover = prop_oneof![Just(Takeover::Anybody), Just(Takeover::SameUser)];
    let platform = prop_oneof![Just("web"), Just("ios"), Just("")];
    let device_id = prop_oneof![Just(""), Just("web"), Just("phone-7")];
    prop_oneof![
        6 => (0..KEYS, MIDS, 0..3u32, takeover, platform, device_id).prop_map(|(key, mid, node, takeover, platform, device_id)| {
            Step::Open { key, mid, node, takeover, platform, device_id }
        }),
        4 => (0..KEYS, prop_oneof![4 => Just(0), 1 => Just(1)], any::<bool>())
            .prop_map(|(key, mid_off, stale)| Step::Close { key, mid_off, stale }),
        2 => (0..KEYS, MIDS, 0..6u32).prop_map(|(key, mid, age)| Step::Restore { key, mid, age }),
        1 => (0..3u32, 0..2u32).prop_map(|(node, incarnation)| Step::CloseNode { node, incarnation }),
    ]
}

#[derive(Default)]
struct Model {
    rows: HashMap<u8, SessionRow>,
    before: HashMap<u8, SessionAddr>,
}

impl Model {
    fn of_mid(&self, mid: i64) -> Vec<SessionRow> {
        let mut rows: Vec<_> = self.rows.values().filter(|row| mid > 0 && row.mid == mid).cloned().collect();
        rows.sort_by_key(|row| (row.since_ms, row.addr));
        rows
    }

    fn addresses(&self) -> u64 {
        self.rows.values().filter_map(|row| Some(row.peer?.ip())).collect::<HashSet<_>>().len() as u64
    }

    fn counts(&self) -> Counts {
        let users: HashSet<i64> = self.rows.values().map(|row| row.mid).filter(|&mid| mid > 0).collect();
        Counts { sessions: self.rows.len() as u64, users: users.len() as u64 }
    }
}

fn check_history<R: SessionRegistry>(registry: &R, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for (at, step) in steps.into_iter().enumerate() {
        apply(registry, &mut model, u32::try_from(at).unwrap(), step)?;
        for n in 0..KEYS {
            prop_assert_eq!(registry.by_key(&key(n)), model.rows.get(&n).map(|row| row.addr));
            prop_assert_eq!(registry.row(&key(n)), model.rows.get(&n).cloned());
        }
        for mid in MIDS {
            let rows = model.of_mid(mid);
            prop_assert_eq!(&registry.describe(mid), &rows);
            let mut addrs = registry.by_mid(mid);
            addrs.sort_by_key(|addr| (addr.slot, *addr));
            prop_assert_eq!(addrs, rows.iter().map(|row| row.addr).collect::<Vec<_>>());
        }
        let keys: HashSet<_> = registry.keys().into_iter().collect();
        prop_assert_eq!(keys, model.rows.keys().map(|n| key(*n)).collect::<HashSet<_>>());
        prop_assert_eq!(registry.counts(), model.counts());
        prop_assert_eq!(registry.addresses(), model.addresses());
    }
    Ok(())
}

fn apply<R: SessionRegistry>(registry: &R, model: &mut Model, at: u32, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Open { key: n, mid, node, takeover, platform, device_id } => {
            let peer = Some(format!("127.0.0.{}:{}", node + 1, 9 + at).parse().unwrap());
            let new = NewSession { platform, device_id, peer, extended: mid == 1, ..session(key(n), mid, addr(node, at)) };
            let device_id = if device_id.is_empty() { platform } else { device_id };
            let row = SessionRow {
                key: key(n),
                mid,
                addr: new.addr,
                platform: platform.into(),
                device_id: device_id.into(),
                peer,
                since_ms: new.since_ms,
                extended: new.extended,
            };
            let former = model.rows.get(&n).map(|row| (row.mid, row.addr));
            let opened = registry.open(new, takeover);
            match former {
                Some((owner, _)) if owner != mid && takeover == Takeover::SameUser => prop_assert_eq!(opened, Err(KeyTaken)),
                _ => {
                    prop_assert_eq!(opened, Ok(former.map(|(_, addr)| addr)));
                    former.and_then(|(_, addr)| model.before.insert(n, addr));
                    model.rows.insert(n, row);
                }
            }
        }
        Step::Close { key: n, mid_off, stale } => {
            let held = model.rows.get(&n).map(|row| (row.mid, row.addr));
            let (mid, current) = held.unwrap_or((1, addr(9, 9)));
            let target = if stale { model.before.get(&n).copied().unwrap_or(addr(8, 8)) } else { current };
            let closes = held.is_some() && !stale && mid_off == 0;
            prop_assert_eq!(registry.close(&key(n), mid + mid_off, target), closes);
            if closes {
                model.rows.remove(&n);
            }
        }
        Step::Restore { key: n, mid, age } => {
            // An address is never used twice: not by two keys either.
            let addr = SessionAddr { generation: 100 + u32::from(n), ..addr(2, at.saturating_sub(age)) };
            let held = model.rows.get(&n).map(|row| (row.since_ms, row.addr));
            let new = session(key(n), mid, addr);
            let since_ms = new.since_ms;
            let row = SessionRow {
                key: key(n),
                mid,
                addr,
                platform: "web".into(),
                device_id: "web".into(),
                peer: None,
                since_ms,
                extended: false,
            };
            let expected = match held {
                None => Restored::Added,
                Some((_, held)) if held == addr => Restored::Known,
                Some(held) if held > (since_ms, addr) => Restored::Outlived,
                Some((_, held)) => Restored::Replaced(held),
            };
            prop_assert_eq!(registry.restore(new), expected);
            match expected {
                Restored::Replaced(held) => {
                    model.before.insert(n, held);
                    model.rows.insert(n, row);
                }
                Restored::Added => drop(model.rows.insert(n, row)),
                Restored::Known | Restored::Outlived => {}
            }
        }
        Step::CloseNode { node, incarnation } => {
            let mut told = Vec::new();
            registry.each_of_node(node, incarnation, &mut |row| told.push(row));
            let of_node = |row: &&SessionRow| (row.addr.node, row.addr.incarnation) == (node, incarnation);
            let mut rows: Vec<_> = model.rows.values().filter(of_node).cloned().collect();
            let by_key = |row: &SessionRow| row.key.to_string();
            told.sort_by_key(by_key);
            rows.sort_by_key(by_key);
            prop_assert_eq!(told, rows);
            let before = model.rows.len();
            model.rows.retain(|_, row| row.addr.node != node || row.addr.incarnation != incarnation);
            prop_assert_eq!(registry.close_node(node, incarnation), before - model.rows.len());
        }
    }
    Ok(())
}

/// goim's L3: the old session's late goodbye deletes the new one.
fn late_close_of_a_replaced_session<R: SessionRegistry>(registry: &R) {
    registry.open(session(key(0), 1, addr(0, 1)), Takeover::Anybody).unwrap();
    let replaced = registry.open(session(key(0), 1, addr(0, 2)), Takeover::Anybody).unwrap();
    assert_eq!(replaced, Some(addr(0, 1)));
    assert!(!registry.close(&key(0), 1, addr(0, 1)));
    assert_eq!(registry.by_key(&key(0)), Some(addr(0, 2)));
    assert_eq!(registry.by_mid(1), [addr(0, 2)]);
}

/// Threads open and close on few keys and users. Every address that was opened must end exactly once: replaced, closed, or
/// still there.
fn racing_opens_and_closes<R: SessionRegistry>(registry: &R) {
    const THREADS: u32 = 4;
    const ROUNDS: u32 = 4_000;
    let (opened, ended) = (Mutex::new(HashSet::new()), Mutex::new(Vec::new()));
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, opened, ended) = (&start, &opened, &ended);
            scope.spawn(move || {
                start.wait();
                let (mut mine, mut over) = (Vec::new(), Vec::new());
                for round in 0..ROUNDS {
                    let n = u8::try_from((round * 7 + thread) % 3).unwrap();
                    let mid = i64::from((round / 3 + thread) % 2) + 1;
                    let at = addr(thread, round);
                    over.extend(registry.open(session(key(n), mid, at), Takeover::Anybody).unwrap());
                    mine.push(at);
                    if round % 2 == 0 && registry.close(&key(n), mid, at) {
                        over.push(at);
                    }
                }
                opened.lock().unwrap().extend(mine);
                ended.lock().unwrap().extend(over);
            });
        }
    });
    let mut ended = ended.into_inner().unwrap();
    let left: Vec<SessionAddr> = (0..3).filter_map(|n| registry.by_key(&key(n))).collect();
    ended.extend(&left);
    let once: HashSet<SessionAddr> = ended.iter().copied().collect();
    assert_eq!(once.len(), ended.len(), "an address ended twice");
    assert_eq!(once, opened.into_inner().unwrap());
    let by_mid: HashSet<SessionAddr> = registry.by_mid(1).into_iter().chain(registry.by_mid(2)).collect();
    assert_eq!(by_mid, left.iter().copied().collect());
    assert_eq!(registry.counts().sessions, left.len() as u64);
}

/// A user who always has a session is never seen without one, and never with two of one key.
fn a_user_is_read_in_one_look<R: SessionRegistry>(registry: &R) {
    let (done, slot) = (AtomicBool::new(false), AtomicU32::new(1));
    registry.open(session(key(0), 1, addr(0, 0)), Takeover::Anybody).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut held = (0u8, addr(0, 0));
            for _ in 0..40_000 {
                let at = addr(0, slot.fetch_add(1, Ordering::Relaxed));
                // Sometimes the same key again, sometimes the other one and then the first goes.
                let next = if at.slot.is_multiple_of(3) { held.0 } else { 1 - held.0 };
                let replaced = registry.open(session(key(next), 1, at), Takeover::Anybody).unwrap();
                assert_eq!(replaced.is_some(), next == held.0);
                if next != held.0 {
                    assert!(registry.close(&key(held.0), 1, held.1));
                }
                held = (next, at);
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            // Many quick looks for each thorough one: what must never be seen would be there for a moment only.
            for _ in 0..50 {
                assert!(!registry.by_mid(1).is_empty(), "a moment without a session");
            }
            let rows = registry.describe(1);
            let keys: HashSet<&SessionKey> = rows.iter().map(|row| &row.key).collect();
            assert!(!rows.is_empty() && rows.len() <= 2);
            assert_eq!(keys.len(), rows.len(), "two sessions of one key");
        }
    });
}

/// A session that is gone by key is gone from its user, too.
fn keys_and_users_agree<R: SessionRegistry>(registry: &R) {
    let (done, opened) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..40_000 {
                registry.open(session(key(0), 1, addr(0, n)), Takeover::Anybody).unwrap();
                opened.store(n, Ordering::Release);
                assert!(registry.close(&key(0), 1, addr(0, n)));
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let before = opened.load(Ordering::Acquire);
            if registry.by_key(&key(0)).is_none() {
                let ghost = registry.by_mid(1).into_iter().find(|addr| addr.slot <= before);
                assert_eq!(ghost, None, "closed by key, still there by mid");
            }
        }
    });
}

proptest! {
    #[test]
    fn memory_histories(steps in prop::collection::vec(step(), 0..60)) {
        check_history(&MemoryRegistry::new(), steps)?;
    }
}

#[test]
fn memory_late_close() {
    late_close_of_a_replaced_session(&MemoryRegistry::new());
}

#[test]
fn memory_races() {
    racing_opens_and_closes(&MemoryRegistry::new());
    a_user_is_read_in_one_look(&MemoryRegistry::new());
    keys_and_users_agree(&MemoryRegistry::new());
}

//! Tests: a step is applied whole or not at all, whatever its rows do in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::config::StoredConfig;
use super::conv::Conv;
use super::conv_bucket::ConvBucket;
use super::kv::{Base, BaseRows, Broken, Key, Rows};
use super::step::{Change, ConvOp, ConvOutcome, Effect, Entry, Step, StepError, UserItem};
use super::user_bucket::UserBucket;

/// An empty base of which one read fails.
struct FailsOnce(AtomicUsize);

impl FailsOnce {
    fn read<T>(&self, empty: T) -> Result<T, Broken> {
        match self.0.fetch_sub(1, Ordering::SeqCst) {
            1 => Err(Broken("this read fails".to_owned())),
            _ => Ok(empty),
        }
    }
}

impl Base for FailsOnce {
    fn get(&self, _: &Key) -> Result<Option<Bytes>, Broken> {
        self.read(None)
    }

    fn range(&self, _: Key, _: Key, _: bool) -> BaseRows<'_> {
        match self.read(()) {
            Ok(()) => Box::new(std::iter::empty()),
            Err(broken) => Box::new(std::iter::once(Err(broken))),
        }
    }
}

/// Far more reads than a test makes.
const NEVER: usize = usize::MAX / 2;

fn op(offset: u64, conv: Conv, change: Change) -> ConvOp {
    ConvOp { offset, conv, id: offset, ts_ms: 1_000, from: 1, idem: offset, hash: 1, expires_at_ms: 0, change }
}

fn ops() -> Vec<ConvOp> {
    let say = || Change::Message { op: 4, quiet: false, body: Bytes::from_static(b"x") };
    let put = Change::Put { channel: false, owner: 1, name: "g".into(), members: vec![1, 2] };
    let leave = Change::Members { add: vec![3], remove: vec![2] };
    vec![
        op(1, Conv::direct(1, 2), say()),
        op(2, Conv::Group(4), put),
        op(3, Conv::Group(4), leave),
        op(4, Conv::Group(4), say()),
        op(5, Conv::direct(1, 3), say()),
    ]
}

fn step<T>(items: Vec<T>) -> Step<T> {
    Step { partition: 0, bucket: 0, boot: 1, prev: 0, last: 5, items }
}

#[test]
fn conversations_take_a_step_whole_or_not_at_all() {
    let config = Arc::new(StoredConfig::default());
    let wanted = {
        let mut bucket = ConvBucket::load(Rows::new(None), 0, 1, [1, 2], &config).unwrap();
        bucket.guards.renew(&mut bucket.rows, 7);
        bucket.step(&step(ops())).unwrap()
    };
    for fails_at in 1.. {
        let base = Arc::new(FailsOnce(AtomicUsize::new(NEVER)));
        let mut bucket = ConvBucket::load(Rows::new(Some(base.clone())), 0, 1, [1, 2], &config).unwrap();
        bucket.guards.renew(&mut bucket.rows, 7);
        base.0.store(fails_at, Ordering::SeqCst);
        let first = bucket.step(&step(ops()));
        let Err(error) = first else {
            assert!(fails_at > 10, "the step reads more");
            break;
        };
        assert!(matches!(error, StepError::Down(_)));
        base.0.store(NEVER, Ordering::SeqCst);
        assert_eq!(bucket.guards.offset(0), 0);
        assert_eq!(bucket.state(Conv::direct(1, 2)).unwrap().head, 0, "read {fails_at} failed");
        assert!(bucket.members_now(4).unwrap().is_empty());
        let again = bucket.step(&step(ops())).unwrap();
        assert_eq!(again, wanted, "read {fails_at} failed");
        assert!(again.iter().all(|done| done.fresh && matches!(done.outcome, ConvOutcome::Row { .. })));
    }
}

#[test]
fn users_take_a_step_whole_or_not_at_all() {
    let config = Arc::new(StoredConfig::default());
    let (chat, kind) = (Conv::direct(1, 2), 1);
    let entry = |id| {
        let (ts_ms, from, cid, op, flags, conv, conv_pos) = (1_000, 1, id, 4, 0, Some(chat), id);
        Some(Arc::new(Entry { id, ts_ms, from, cid, kind, op, flags, conv, conv_pos, inline: None, expires_at_ms: 0 }))
    };
    let item = |offset, mid, effect| UserItem { offset, mid, entry: entry(offset), effect };
    let read = Effect::Read { conv: chat, by: 1, pos: 1, told: true };
    let items = || vec![item(1, 1, Effect::Has(chat)), item(1, 2, Effect::Has(chat)), item(2, 1, read), item(3, 3, Effect::None)];
    for fails_at in 1.. {
        let base = Arc::new(FailsOnce(AtomicUsize::new(NEVER)));
        let mut bucket = UserBucket::load(Rows::new(Some(base.clone())), 0, 1, &config).unwrap();
        bucket.guards.renew(&mut bucket.rows, 7);
        base.0.store(fails_at, Ordering::SeqCst);
        if bucket.step(&step(items()), false, 0).is_ok() {
            assert!(fails_at > 4, "the step reads more");
            break;
        }
        base.0.store(NEVER, Ordering::SeqCst);
        assert_eq!((bucket.state(1).unwrap().head, bucket.guards.offset(0)), (0, 0), "read {fails_at} failed");
        let again = bucket.step(&step(items()), false, 0).unwrap();
        assert_eq!(again.iter().map(|done| (done.mid, done.pos)).collect::<Vec<_>>(), [(1, 1), (2, 1), (1, 2), (3, 1)]);
        assert!(bucket.rows.get(&super::keys::conv_of(1, chat)).unwrap().is_some(), "it is in the list");
    }
}

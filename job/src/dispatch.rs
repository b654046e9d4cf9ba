//! Who gets what: a record becomes deliveries, for each comet in the order of the log. No clock, no socket.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use perseid_protocol::frame::kind;
use perseid_protocol::push::{Delivery, Priority, Push, SessionAddr, Target, collapse_hash, room_push};
use perseid_protocol::trace::{Open, SpanKind, Spans, Trace};
use perseid_rpc::{PushMsg, PushPriority, PushType};
use prost::Message;
use thiserror::Error;

use crate::lane::{Lane, RoomInterest};
use crate::metrics::DropReason;

/// Where sessions live. Asked at the moment of dispatch, so that a push finds who has just connected.
pub trait Routes: Send + Sync {
    /// Appends where the session of `key` lives, if there is one.
    fn by_key(&self, key: &str, out: &mut Vec<SessionAddr>);
    /// Appends where all sessions of the user `mid` live.
    fn by_mid(&self, mid: i64, out: &mut Vec<SessionAddr>);
}

/// Who is told of pushes that nobody got.
pub trait Unheard: Send + Sync {
    /// Nobody was there for the push of this id, or it was too late for it. Called on the log's thread: must not block.
    fn undelivered(&self, id: u64, why: DropReason);
}

/// Why a record can't be a push: it is skipped, and no later one suffers.
#[derive(Debug, Error)]
pub enum Dead {
    /// Its bytes are no record.
    #[error("the record is no PushMsg: {0}")]
    Undecodable(#[from] prost::DecodeError),
    /// A type that this version does not know.
    #[error("push type {0} is unknown")]
    Type(i32),
    /// To a room without a name.
    #[error("a push to a room names no room")]
    NoRoom,
}

/// What became of the records that were dispatched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries that stand in the batches.
    pub deliveries: u64,
    /// Drops, by the discriminant of [`DropReason`].
    pub drops: [u64; DropReason::ALL.len()],
}

impl Counts {
    /// Counts `count` drops.
    pub fn drop(&mut self, reason: DropReason, count: usize) {
        self.drops[reason as usize] += count as u64;
    }

    /// Drops for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}

/// What waits to be handed over: a batch for each comet.
#[derive(Default)]
pub struct Batches {
    /// Ascending by node.
    batches: Vec<Batch>,
}

struct Batch {
    node: u32,
    deliveries: Vec<Delivery>,
    rooms: Option<Arc<dyn RoomInterest>>,
}

impl Batches {
    /// Empty batches for these comets.
    pub fn new(nodes: impl IntoIterator<Item = u32>) -> Self {
        let mut batches: Vec<_> = nodes.into_iter().map(|node| Batch { node, deliveries: Vec::new(), rooms: None }).collect();
        batches.sort_unstable_by_key(|batch| batch.node);
        batches.dedup_by_key(|batch| batch.node);
        Self { batches }
    }

    /// Empty batches for the comets that these lanes lead to, ascending by node.
    pub fn of_lanes(lanes: &[Arc<dyn Lane>]) -> Self {
        let batch = |lane: &Arc<dyn Lane>| Batch { node: lane.node(), deliveries: Vec::new(), rooms: lane.room_interest() };
        Self { batches: lanes.iter().map(batch).collect() }
    }

    /// Comets.
    pub fn node_count(&self) -> usize {
        self.batches.len()
    }

    /// Takes the batch of each comet that has something, ascending by node.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, Vec<Delivery>)> + '_ {
        let full = self.batches.iter_mut().filter(|batch| !batch.deliveries.is_empty());
        full.map(|batch| (batch.node, std::mem::take(&mut batch.deliveries)))
    }

    /// Deliveries in the longest batch.
    pub fn longest(&self) -> usize {
        self.batches.iter().map(|batch| batch.deliveries.len()).max().unwrap_or(0)
    }

    pub(crate) fn of_mut(&mut self, node: u32) -> Option<&mut Vec<Delivery>> {
        let index = self.batches.binary_search_by_key(&node, |batch| batch.node).ok()?;
        self.batches.get_mut(index).map(|batch| &mut batch.deliveries)
    }

    /// To every comet, but a push to a room only to those that may hold it. Gives how many those are.
    pub(crate) fn put_everywhere(&mut self, target: &Target, push: &Arc<Push>) -> u64 {
        let mut count = 0;
        for batch in &mut self.batches {
            if let (Target::Room(room), Some(rooms)) = (target, &batch.rooms)
                && !rooms.holds(room)
            {
                continue;
            }
            batch.deliveries.push(Delivery { target: target.clone(), push: Arc::clone(push) });
            count += 1;
        }
        count
    }
}

/// Turns records into deliveries.
pub struct Dispatcher {
    routes: Arc<dyn Routes>,
    /// Lent from record to record.
    addrs: Vec<SessionAddr>,
    spans: Option<Arc<dyn Spans>>,
    unheard: Option<Arc<dyn Unheard>>,
    /// Of records that were dispatched and not handed over yet.
    open_spans: Vec<Open>,
}

/// Addresses for which room is kept from record to record.
const ADDRS_KEPT: usize = 4096;

impl Dispatcher {
    /// A dispatcher that asks `routes`.
    pub fn new(routes: Arc<dyn Routes>) -> Self {
        Self { routes, addrs: Vec::new(), spans: None, unheard: None, open_spans: Vec::new() }
    }

    /// Tells `spans` what is done for pushes that are sampled.
    #[must_use]
    pub fn with_spans(self, spans: Option<Arc<dyn Spans>>) -> Self {
        Self { spans, ..self }
    }

    /// Tells `unheard` of pushes that nobody got.
    #[must_use]
    pub fn telling(self, unheard: Option<Arc<dyn Unheard>>) -> Self {
        Self { unheard, ..self }
    }

    /// All that was dispatched has been handed over: its spans end.
    pub fn handed_over(&mut self) {
        self.open_spans.clear();
    }

    /// Adds what the record `value` asks for to `batches`; nothing of it at or after its expiry.
    ///
    /// # Errors
    /// The record is no push; nothing was added.
    pub fn dispatch(&mut self, value: &Bytes, now_ms: u64, batches: &mut Batches, counts: &mut Counts) -> Result<(), Dead> {
        // The body stays a slice of the record.
        let msg = PushMsg::decode(value.clone())?;
        let kind = PushType::try_from(msg.r#type).map_err(|_| Dead::Type(msg.r#type))?;
        // How many, and the first: a push may name ten thousand.
        let (keys, mids) = (msg.keys.len(), msg.mids.len());
        let (key, mid) = (msg.keys.first(), msg.mids.first());
        let trace = Trace::from_record(&msg.trace);
        let trace_id = trace.map(|trace| tracing::field::display(trace.id));
        tracing::debug!(id = msg.id, trace = trace_id, op = msg.operation, keys, key, mids, mid, room = %msg.room, "push");
        let (priority, collapse) = (priority_of(&msg), collapse_hash(&msg.collapse));
        let (keys, mids, room, speed) = (msg.keys, msg.mids, msg.room, msg.speed);
        let (id, before) = (msg.id, *counts);
        let span = self.begin(trace);
        let push = Push {
            id,
            op: msg.operation,
            filter_op: 0,
            kind: kind::NOTICE,
            from: msg.from,
            conv: 0,
            expires_at_ms: msg.expire_at_ms,
            priority,
            collapse,
            body: msg.msg,
            trace: span.as_ref().map(Open::context).or(trace),
            ..Push::default()
        };
        match kind {
            PushType::Push => self.put_to_sessions(&keys, &mids, push, now_ms, batches, counts),
            PushType::Room if room.is_empty() => return Err(Dead::NoRoom),
            PushType::Room => {
                let push = room_push(&room, push);
                put_to_nodes(|| Target::Room(room.into()), push, now_ms, batches, counts);
            }
            PushType::Broadcast => {
                let speed = speed_of_node(speed, batches.node_count());
                put_to_nodes(|| Target::All { speed }, push, now_ms, batches, counts);
            }
        }
        if let Some(span) = span {
            self.dispatched(span, id, &before, counts);
        }
        self.tell_unheard(id, &before, counts);
        Ok(())
    }

    /// The span of a record that is sampled.
    fn begin(&self, trace: Option<Trace>) -> Option<Open> {
        let trace = trace.filter(|trace| trace.sampled)?;
        Some(Open::begin(self.spans.as_ref()?, "job.dispatch", SpanKind::Consumer, trace))
    }

    fn dispatched(&mut self, mut span: Open, id: u64, before: &Counts, after: &Counts) {
        span.set("perseid.push.id", id);
        span.set("perseid.deliveries", after.deliveries - before.deliveries);
        span.set("perseid.dropped", after.drops.iter().sum::<u64>() - before.drops.iter().sum::<u64>());
        self.open_spans.push(span);
    }

    fn tell_unheard(&self, id: u64, before: &Counts, after: &Counts) {
        let Some(unheard) = self.unheard.as_ref().filter(|_| id != 0 && after.deliveries == before.deliveries) else { return };
        let grew = |reason: &DropReason| after.dropped(*reason) > before.dropped(*reason);
        if let Some(why) = [DropReason::Expired, DropReason::Offline].into_iter().find(grew) {
            unheard.undelivered(id, why);
        }
    }

    /// To the sessions of `keys`, then of `mids`: each session once, however it is named.
    fn put_to_sessions(
        &mut self,
        keys: &[String],
        mids: &[i64],
        push: Push,
        now_ms: u64,
        batches: &mut Batches,
        counts: &mut Counts,
    ) {
        if push.is_expired(now_ms) {
            let mut addressed = 0;
            each_distinct(keys, |_| addressed += 1);
            each_distinct(mids, |_| addressed += 1);
            return counts.drop(DropReason::Expired, addressed);
        }
        let Self { routes, addrs, .. } = self;
        addrs.clear();
        each_distinct(keys, |key| {
            let before = addrs.len();
            routes.by_key(key, addrs);
            counts.drop(DropReason::Offline, usize::from(addrs.len() == before));
        });
        each_distinct(mids, |mid| {
            let before = addrs.len();
            routes.by_mid(*mid, addrs);
            counts.drop(DropReason::Offline, usize::from(addrs.len() == before));
        });
        let push = Arc::new(push);
        each_distinct(addrs, |addr| match batches.of_mut(addr.node) {
            Some(batch) => {
                batch.push(Delivery { target: Target::Session(*addr), push: Arc::clone(&push) });
                counts.deliveries += 1;
            }
            None => counts.drop(DropReason::NoLane, 1),
        });
        addrs.clear();
        addrs.shrink_to(ADDRS_KEPT);
    }
}

/// To every comet that it concerns, one delivery each.
fn put_to_nodes(target: impl FnOnce() -> Target, push: Push, now_ms: u64, batches: &mut Batches, counts: &mut Counts) {
    let nodes = batches.node_count();
    if push.is_expired(now_ms) {
        // Also without a comet it was a push that somebody sent.
        return counts.drop(DropReason::Expired, nodes.max(1));
    }
    if nodes == 0 {
        return counts.drop(DropReason::NoLane, 1);
    }
    match batches.put_everywhere(&target(), &Arc::new(push)) {
        // A room that nobody is in.
        0 => counts.drop(DropReason::Offline, 1),
        count => counts.deliveries += count,
    }
}

/// How much a record matters. A number that this version does not know is as most are: the push is one all the same.
fn priority_of(msg: &PushMsg) -> Priority {
    match PushPriority::try_from(msg.priority) {
        Ok(PushPriority::High) => Priority::High,
        Ok(PushPriority::Low) => Priority::Low,
        Ok(PushPriority::Normal) | Err(_) => Priority::Normal,
    }
}

/// A comet's share of `speed` sessions per second; at least 1, because 0 stands for no limit. A negative speed is none.
fn speed_of_node(speed: i32, nodes: usize) -> u32 {
    let Ok(speed @ 1..) = u32::try_from(speed) else { return 0 };
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
    (speed / nodes).max(1)
}

/// Up to here comparing all with all is cheaper than hashing.
const LINEAR_MAX: usize = 16;

/// Calls `each` for every item that did not come before.
fn each_distinct<'a, T: Eq + Hash>(items: &'a [T], mut each: impl FnMut(&'a T)) {
    if items.len() <= LINEAR_MAX {
        for (index, item) in items.iter().enumerate() {
            if !items[..index].contains(item) {
                each(item);
            }
        }
    } else {
        let mut seen = HashSet::with_capacity(items.len());
        items.iter().filter(|item| seen.insert(*item)).for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comets_share_of_the_speed() {
        for (speed, nodes, wanted) in [
            (0, 3, 0),
            (-5, 3, 0),
            (i32::MIN, 0, 0),
            (64, 1, 64),
            (64, 3, 21),
            (2, 3, 1),
            (64, 0, 64),
            (i32::MAX, 1, 2_147_483_647),
        ] {
            assert_eq!(speed_of_node(speed, nodes), wanted, "{speed} over {nodes}");
        }
    }

    #[test]
    fn distinct_items_in_their_order() {
        for repeat in [1, 20] {
            let items: Vec<u32> = [3, 1, 3, 2, 1].repeat(repeat);
            let mut seen = Vec::new();
            each_distinct(&items, |item| seen.push(*item));
            assert_eq!(seen, [3, 1, 2]);
        }
    }

    #[test]
    fn batches_are_found_by_node() {
        let mut batches = Batches::new([5, 0, 5, 2]);
        assert_eq!(batches.node_count(), 3);
        for node in [0, 2, 5] {
            assert!(batches.of_mut(node).is_some(), "{node}");
        }
        assert!(batches.of_mut(1).is_none());
        assert_eq!(batches.drain().count(), 0, "what is empty is not handed over");
    }
}

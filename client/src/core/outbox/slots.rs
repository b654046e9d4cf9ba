//! The messages of the outbox: oldest first, found by `cid`, and lined up by conversation, of which each has at most one
//! message in flight. So the order within a conversation hangs on nothing that a server or a network could do.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use perseid_protocol::frame::kind;

use super::Token;
use crate::storage::OutboxEntry;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) entry: OutboxEntry,
    pub(super) token: Option<Token>,
    /// Whether inbox positions were skipped since it was sent.
    pub(super) unsure: bool,
}

/// Whether it is a direct chat, and its number: a group and the channel that it became are one conversation.
pub(super) type Line = (bool, u64);

impl Slot {
    pub(super) const fn line(&self) -> Line {
        (self.entry.kind == kind::DIRECT, self.entry.conv)
    }
}

#[derive(Debug, Default)]
struct Waiting {
    orders: BTreeSet<u64>,
    busy: bool,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    by_order: BTreeMap<u64, Slot>,
    by_cid: HashMap<u64, u64>,
    lines: HashMap<Line, Waiting>,
    /// The first of each line that has nothing in flight.
    ready: BTreeSet<u64>,
    next_order: u64,
    bytes: usize,
}

impl Slots {
    pub(super) fn push(&mut self, slot: Slot) {
        let order = self.next_order;
        self.next_order += 1;
        self.bytes = self.bytes.saturating_add(slot.entry.bytes());
        self.by_cid.insert(slot.entry.cid, order);
        let line = slot.line();
        self.by_order.insert(order, slot);
        self.lines.entry(line).or_default().orders.insert(order);
        self.line_up(line);
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.by_order.len()
    }

    /// The oldest message that may be sent now.
    pub(super) fn first_ready(&self) -> Option<(u64, &Slot)> {
        let order = *self.ready.first()?;
        self.by_order.get(&order).map(|slot| (order, slot))
    }

    /// A message goes out: its line waits for the answer.
    pub(super) fn depart(&mut self, order: u64) -> Option<Line> {
        let line = self.by_order.get(&order)?.line();
        self.ready.remove(&order);
        self.lines.entry(line).or_default().busy = true;
        Some(line)
    }

    /// The answer has come.
    pub(super) fn land(&mut self, line: Line) {
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.busy = false;
        }
        self.line_up(line);
    }

    /// No answer will come any more, to any.
    pub(super) fn land_all(&mut self) {
        let lines: Vec<Line> = self.lines.keys().copied().collect();
        lines.into_iter().for_each(|line| self.land(line));
    }

    pub(super) fn get_mut(&mut self, order: u64) -> Option<&mut Slot> {
        self.by_order.get_mut(&order)
    }

    pub(super) fn find(&self, cid: u64) -> Option<(u64, &Slot)> {
        let order = *self.by_cid.get(&cid)?;
        self.by_order.get(&order).map(|slot| (order, slot))
    }

    pub(super) fn remove(&mut self, order: u64) -> Option<Slot> {
        let slot = self.by_order.remove(&order)?;
        self.by_cid.remove(&slot.entry.cid);
        self.bytes = self.bytes.saturating_sub(slot.entry.bytes());
        self.ready.remove(&order);
        let line = slot.line();
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.orders.remove(&order);
        }
        self.line_up(line);
        Some(slot)
    }

    pub(super) fn each(&mut self, mut f: impl FnMut(&mut Slot)) {
        self.by_order.values_mut().for_each(&mut f);
    }

    fn line_up(&mut self, line: Line) {
        let Some(waiting) = self.lines.get(&line) else { return };
        match waiting.orders.first() {
            _ if waiting.busy => {}
            Some(first) => {
                self.ready.insert(*first);
            }
            None => {
                self.lines.remove(&line);
            }
        }
    }
}

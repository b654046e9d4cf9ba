//! The messages of the outbox, oldest first, found by order and by `cid`.

use std::collections::{BTreeMap, HashMap};

use super::Token;
use crate::storage::OutboxEntry;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) entry: OutboxEntry,
    pub(super) token: Option<Token>,
    /// Whether inbox positions were skipped since it was sent.
    pub(super) unsure: bool,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    by_order: BTreeMap<u64, Slot>,
    by_cid: HashMap<u64, u64>,
    next_order: u64,
    bytes: usize,
}

impl Slots {
    pub(super) fn push(&mut self, slot: Slot) {
        self.bytes = self.bytes.saturating_add(slot.entry.bytes());
        self.by_cid.insert(slot.entry.cid, self.next_order);
        self.by_order.insert(self.next_order, slot);
        self.next_order += 1;
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.by_order.len()
    }

    pub(super) fn first_from(&self, order: u64) -> Option<(u64, &Slot)> {
        self.by_order.range(order..).next().map(|(order, slot)| (*order, slot))
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
        Some(slot)
    }

    pub(super) fn each(&mut self, mut f: impl FnMut(&mut Slot)) {
        self.by_order.values_mut().for_each(&mut f);
    }
}

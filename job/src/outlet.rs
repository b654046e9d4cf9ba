//! Where deliveries go: a batch for each comet, handed over to its lane.

use std::sync::Arc;

use perseid_protocol::push::{Delivery, Target};

use crate::dispatch::{Batches, Counts};
use crate::lane::{Lane, LaneError, Lanes};
use crate::metrics::{DropReason, Metrics};

/// A batch for one comet is handed over at the latest when it has this many deliveries.
const BATCH_DELIVERIES_MAX: usize = 4096;

/// See the module.
pub(crate) struct Outlet {
    lanes: Lanes,
    /// What `batches` was made of, and at which version.
    known: (u64, Arc<[Arc<dyn Lane>]>),
    pub(crate) batches: Batches,
}

impl Outlet {
    pub(crate) fn new(lanes: Lanes) -> Self {
        let known = (lanes.version(), lanes.all());
        let batches = Batches::of_lanes(&known.1);
        Self { lanes, known, batches }
    }

    /// Comets that came or went. Only while nothing stands in the batches.
    pub(crate) fn look_at_lanes(&mut self) {
        let version = self.lanes.version();
        if version != self.known.0 {
            self.known = (version, self.lanes.all());
            self.batches = Batches::of_lanes(&self.known.1);
        }
    }

    /// So much waits that it should be handed over.
    pub(crate) fn is_full(&self) -> bool {
        self.batches.longest() >= BATCH_DELIVERIES_MAX
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.longest() == 0
    }

    /// Hands over what waits; what lanes did not take leaves `counts` as dropped.
    pub(crate) fn hand_over(&mut self, metrics: &Metrics, counts: &mut Counts) {
        for (node, batch) in self.batches.drain() {
            let deliveries = batch.len();
            metrics.add_batch(deliveries);
            // Both were made of the same nodes in the same order.
            let lanes = &self.known.1;
            let Ok(index) = lanes.binary_search_by_key(&node, |lane| lane.node()) else { continue };
            if let Err(error) = lanes[index].deliver(batch) {
                let (reason, dropped) = match error {
                    LaneError::Full { dropped } => (DropReason::LaneFull, dropped),
                    LaneError::Broken { dropped } => (DropReason::LaneBroken, dropped),
                };
                let dropped = dropped.min(deliveries);
                counts.deliveries = counts.deliveries.saturating_sub(dropped as u64);
                counts.drop(reason, dropped);
            }
        }
    }

    /// Has all comets look what their sessions missed.
    pub(crate) fn resync(&self) {
        for lane in self.lanes.all().iter() {
            lane.resync();
        }
    }
}

/// Hands over deliveries to single sessions that stand in no log: in their order, and without a second try.
pub fn relay(lanes: &Lanes, metrics: &Metrics, deliveries: Vec<Delivery>) {
    let mut outlet = Outlet::new(lanes.clone());
    let mut counts = Counts::default();
    for delivery in deliveries {
        let session = match delivery.target {
            Target::Session(session) | Target::Inbox { session, .. } | Target::End(session, _) => session,
            Target::Room(_) | Target::All { .. } => continue,
        };
        match outlet.batches.of_mut(session.node) {
            Some(batch) => {
                batch.push(delivery);
                counts.deliveries += 1;
            }
            None => counts.drop(DropReason::NoLane, 1),
        }
    }
    outlet.hand_over(metrics, &mut counts);
    metrics.add_counts(&counts);
}

//! What was applied, on its way to the lanes.

use std::sync::Arc;

use perseid_protocol::push::{Delivery, SessionAddr, Target};
use perseid_protocol::trace::Open;

use super::Ports;
use crate::dispatch::Counts;
use crate::inbox::show::{Hint, RoomFrame, Showing};
use crate::metrics::{DropReason, Metrics};
use crate::outlet::Outlet;

/// Deliveries that were not handed over yet, and their counts.
pub(super) struct Sink {
    pub(super) outlet: Outlet,
    counts: Counts,
    /// Channels that have something new.
    hints: Vec<Hint>,
    /// Of records that are traced, until what is told of them was handed over.
    spans: Vec<Open>,
}

impl Sink {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self { outlet, counts: Counts::default(), hints: Vec::new(), spans: Vec::new() }
    }

    /// Comets that came or went since the last time, if nothing waits for those that were there.
    pub(super) fn look(&mut self) {
        if self.outlet.is_empty() {
            self.outlet.look_at_lanes();
        }
    }

    /// Takes the hints that came since the last time.
    pub(super) fn take_hints(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.hints)
    }

    /// These end when what waits was handed over.
    pub(super) fn open(&mut self, spans: Vec<Open>) {
        self.spans.extend(spans);
    }

    /// Hands over what waits; gives whether anything did.
    pub(super) fn flush(&mut self, metrics: &Metrics) -> bool {
        let waited = !self.outlet.is_empty();
        if waited {
            self.outlet.hand_over(metrics, &mut self.counts);
        }
        metrics.add_counts(&std::mem::take(&mut self.counts));
        self.spans.clear();
        waited
    }

    /// Something for one session.
    pub(super) fn deliver(&mut self, session: SessionAddr, delivery: Delivery, metrics: &Metrics) {
        match self.outlet.batches.of_mut(session.node) {
            Some(batch) => {
                batch.push(delivery);
                self.counts.deliveries += 1;
            }
            None => self.counts.drop(DropReason::NoLane, 1),
        }
        if self.outlet.is_full() {
            self.outlet.hand_over(metrics, &mut self.counts);
        }
    }
}

/// Deliveries of one batch.
pub(super) struct Telling<'a> {
    pub(super) ports: &'a Ports,
    pub(super) sink: &'a mut Sink,
}

impl Showing for Telling<'_> {
    fn sessions(&mut self, mid: u64, out: &mut Vec<SessionAddr>) {
        self.ports.sessions(mid, out);
    }

    fn deliver(&mut self, session: SessionAddr, delivery: Delivery) {
        self.sink.deliver(session, delivery, &self.ports.metrics);
    }

    fn room(&mut self, frame: &RoomFrame) {
        let Sink { outlet, counts, .. } = &mut *self.sink;
        let nodes = outlet.batches.node_count();
        if frame.push.is_expired((self.ports.clock)()) {
            return counts.drop(DropReason::Expired, nodes.max(1));
        }
        if nodes == 0 {
            return counts.drop(DropReason::NoLane, 1);
        }
        match outlet.batches.put_everywhere(&Target::Room(Arc::clone(&frame.room)), &frame.push) {
            0 => counts.drop(DropReason::Offline, 1),
            count => counts.deliveries += count,
        }
    }

    fn channel(&mut self, hint: Hint) {
        self.sink.hints.push(hint);
    }
}

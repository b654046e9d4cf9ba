//! What all processes saw together: now it is known what never came.

use super::ledger::{Faults, Seen};
use crate::engine::check::Tally;
use crate::stats::Latency;
use std::collections::BTreeMap;

/// The sum over the processes of one or two fleets.
#[derive(Debug, Default)]
pub(crate) struct Account {
    sums: Seen,
    pub(crate) ack: Latency,
    pub(crate) arrival: Latency,
    pub(crate) echo: Latency,
    pub(crate) sync: Latency,
    pub(crate) beat: Latency,
}

/// Which deliveries a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Each acknowledged message at its recipient and back at its sender.
    Both,
    /// Back at its sender: recipients are away.
    Echoes,
    /// At its recipient, later.
    Arrivals,
}

impl Account {
    pub(crate) fn of(parts: &[Seen]) -> Self {
        let mut all = Self::default();
        parts.iter().for_each(|part| all.add(part));
        all
    }

    fn add(&mut self, part: &Seen) {
        let sums = &mut self.sums;
        sums.sent += part.sent;
        sums.given_up += part.given_up;
        sums.late_max_ns = sums.late_max_ns.max(part.late_max_ns);
        sums.acked.merge(&part.acked);
        sums.refused.merge(&part.refused);
        sums.echoed.merge(&part.echoed);
        sums.arrived.merge(&part.arrived);
        (sums.width, sums.recipients) = (sums.width.max(part.width), sums.recipients.max(part.recipients));
        sums.frames += part.frames;
        sums.foreign += part.foreign;
        sums.faults.add(&part.faults);
        sums.acked_in_window += part.acked_in_window;
        sums.last_ns = sums.last_ns.max(part.last_ns);
        sums.reads += part.reads;
        for (from, to) in [(&part.refusals, &mut sums.refusals), (&part.drops, &mut sums.drops)] {
            from.iter().for_each(|(reason, count)| *to.entry(reason.clone()).or_default() += count);
        }
        self.ack.merge(&part.ack);
        self.arrival.merge(&part.arrival);
        self.echo.merge(&part.echo);
        self.sync.merge(&part.sync);
        self.beat.merge(&part.beat);
    }

    /// Takes over what was acknowledged in another account: this one saw the
    /// same plan from the other side.
    pub(crate) fn after(mut self, writers: &Self) -> Self {
        self.sums.acked.merge(&writers.sums.acked);
        self
    }

    /// The counts, but for what only the sums can tell.
    pub(crate) fn seen(&self) -> &Seen {
        &self.sums
    }

    pub(crate) fn acked(&self) -> u64 {
        self.sums.acked.len()
    }

    /// Sent, and neither acknowledged nor refused: nobody knows.
    pub(crate) fn unanswered(&self) -> u64 {
        self.sums.sent.saturating_sub(self.sums.acked.len() + self.sums.refused.without(&self.sums.acked))
    }

    /// Deliveries that there should have been, and what became of them.
    pub(crate) fn tally(&self, wanted: Wanted) -> (u64, Tally) {
        let Seen { acked, echoed, arrived, width, recipients, faults, frames, .. } = &self.sums;
        let lost_echoes = acked.without(echoed);
        let missing = |k: u64| recipients.saturating_sub(arrived.count(k * width..(k + 1) * width));
        let lost_arrivals = || acked.numbers().map(missing).sum::<u64>();
        let (times, lost) = match wanted {
            Wanted::Both => (1 + recipients, lost_echoes + lost_arrivals()),
            Wanted::Echoes => (1, lost_echoes),
            Wanted::Arrivals => (*recipients, lost_arrivals()),
        };
        let Faults { duplicates, disordered, .. } = *faults;
        (times * acked.len(), Tally { received: *frames, duplicates, disordered, lost })
    }

    /// Everything else that is wrong, in words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let Seen { faults, given_up, refused, refusals, drops, .. } = &self.sums;
        // Duplicates and disorder are in the tally.
        let faults = faults.each().into_iter().skip(2);
        let mut problems: Vec<String> = faults.filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if refused.len() > 0 {
            problems.push(format!("{} messages were refused: {}", refused.len(), words(refusals)));
        }
        if self.unanswered() > 0 {
            problems.push(format!("{} messages were never answered", self.unanswered()));
        }
        if *given_up > 0 {
            problems.push(format!("{given_up} messages were never sent: too late, or their session was gone"));
        }
        if !drops.is_empty() {
            problems.push(format!("sessions dropped: {}", words(drops)));
        }
        problems
    }
}

fn words(counts: &BTreeMap<String, u64>) -> String {
    let each: Vec<String> = counts.iter().map(|(reason, n)| format!("{reason} ({n})")).collect();
    each.join(", ")
}

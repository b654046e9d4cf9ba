//! The writing of a plan: an open-loop schedule, carried out by the poll loop.

use super::header::{Head, OP_SEND_MSG};
use super::plan::{Plan, mix};

/// Random bytes that bodies are cut from, so that no store can pack them.
const NOISE_BYTES: usize = 256 << 10;
/// From this rate on, the loop sleeps this long at least between two looks at
/// the schedule: a wake-up for every message would cost more than the message.
const EAGER_RATE_MAX: f64 = 2_000.0;
const NAP_NS: u64 = 200_000;

/// Where one process stands in writing its share.
pub(crate) struct Speech {
    plan: Plan,
    child: u64,
    next_group: u64,
    /// End of the nap, so that the timer is not set anew in every turn.
    nap_ns: u64,
    noise: Vec<u8>,
    body: Vec<u8>,
}

impl Speech {
    pub(crate) fn new(plan: Plan, child: u64) -> Self {
        let noise = (0..NOISE_BYTES as u64 / 8).flat_map(|n| mix(n).to_be_bytes()).collect();
        Self { plan, child, next_group: child, nap_ns: 0, noise, body: Vec::new() }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The messages that are due next, if they are due by now.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<std::ops::Range<u64>> {
        let group = self.plan.group(self.next_group);
        if self.next_group >= self.plan.groups() || self.plan.due_ns(group.start) > now_ns {
            return None;
        }
        self.next_group += self.plan.children.max(1);
        Some(group)
    }

    /// When to look again; none when all is said.
    pub(crate) fn next_ns(&mut self, now_ns: u64) -> Option<u64> {
        if self.next_group >= self.plan.groups() {
            return None;
        }
        let due_ns = self.plan.due_ns(self.plan.group(self.next_group).start);
        if self.nap_ns > now_ns {
            return Some(self.nap_ns);
        }
        let eager = self.plan.rate / crate::stats::to_f64(self.plan.burst.max(1)) <= EAGER_RATE_MAX;
        if eager {
            return Some(due_ns);
        }
        self.nap_ns = due_ns.max(now_ns + NAP_NS);
        Some(self.nap_ns)
    }

    /// The number in this process of the session that writes message `k`.
    pub(crate) fn session(&self, k: u64) -> usize {
        let n = (self.plan.sender(k) - self.child) / self.plan.children.max(1);
        usize::try_from(n).unwrap_or(usize::MAX)
    }

    /// Appends the frame of message `k`.
    pub(crate) fn put(&mut self, k: u64, out: &mut Vec<u8>) {
        let bytes = self.plan.body_bytes;
        let places = self.noise.len().saturating_sub(bytes).max(1) as u64;
        let from = usize::try_from(mix(!k) % places).unwrap_or(0);
        self.body.clear();
        self.body.extend_from_slice(self.noise.get(from..from + bytes).unwrap_or_default());
        self.plan.stamp(k).write(&mut self.body);
        // Only to tell requests apart: cids name the messages.
        #[allow(clippy::cast_possible_truncation)]
        let seq = k as u32;
        let (kind, conv, cid) = (self.plan.kind(), self.plan.conv(k), self.plan.cid(k));
        Head { op: OP_SEND_MSG, seq, conv, cid, kind, ..Head::default() }.put(out, &self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{To, tests::plan};
    use super::*;
    use crate::payload::Stamp;

    #[test]
    fn processes_say_all_together_and_nothing_twice() {
        let plan = Plan { count: 100, burst: 7, rate: 100.0, ..plan(To::Peers(3)) };
        let mut said = Vec::new();
        for child in 0..3 {
            let mut speech = Speech::new(plan, child);
            assert_eq!(speech.due(0), None);
            while let Some(next_ns) = speech.next_ns(0) {
                let group = speech.due(next_ns).unwrap();
                for k in group {
                    assert_eq!(speech.session(k) as u64 * 3 + child, plan.sender(k));
                    said.push(k);
                }
            }
        }
        said.sort_unstable();
        assert_eq!(said, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn frames_say_what_the_plan_says() {
        let plan = plan(To::Dealt { first_mid: 9, users: 5 });
        let mut out = Vec::new();
        Speech::new(plan, 0).put(7, &mut out);
        let head = Head::decode(&out).unwrap();
        assert_eq!((out.len(), head.conv, plan.number(head.cid)), (272, 11, Some(7)));
        assert_eq!(Stamp::decode(&out[72..]), Some(plan.stamp(7)));
        let fast = Plan { rate: 10_000.0, ..plan };
        let mut speech = Speech::new(fast, 0);
        let nap = Some(5_000_000 + NAP_NS);
        assert_eq!([5_000_000, 5_000_001, 5_000_000 + NAP_NS - 1].map(|now_ns| speech.next_ns(now_ns)), [nap; 3]);
        assert_eq!(speech.next_ns(6_000_000), Some(6_000_000 + NAP_NS));
    }
}

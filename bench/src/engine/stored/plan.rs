//! Who writes to whom and when, as arithmetic: every process works out the
//! same from a message's number, so nothing is kept for a message but a bit.

use super::header::{KIND_DIRECT, KIND_GROUP};
use crate::payload::Stamp;
use crate::stats::to_f64;
use serde::{Deserialize, Serialize};

/// The most messages of a plan: each process keeps a few bits for each.
pub(crate) const MESSAGES_MAX: u64 = 1 << 25;

/// A load of messages, numbered from 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Which phase of which run; makes the cids of no other.
    pub(crate) marker: u64,
    pub(crate) count: u64,
    pub(crate) start_ns: u64,
    /// Messages a second.
    pub(crate) rate: f64,
    pub(crate) body_bytes: usize,
    /// Messages that one session writes at once.
    pub(crate) burst: u64,
    /// The writing sessions: user `first_mid + n`, in child `n % children`.
    pub(crate) senders: u64,
    pub(crate) first_mid: u64,
    pub(crate) children: u64,
    pub(crate) to: To,
    /// Messages due in [from, to) are measured; all are checked.
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    /// How late a message may leave; a later one is given up.
    pub(crate) patience_ns: u64,
}

/// Whom the messages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum To {
    /// Other senders: each has so many peers of his own, chosen at random
    /// (0: anybody).
    Peers(u64),
    /// Users that take turns.
    Dealt { first_mid: u64, users: u64 },
    /// Groups of so many senders each, the first `size` in the first, and so on.
    Groups { first_id: u64, size: u64 },
}

/// What a message is to a user who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    /// He wrote it.
    pub(crate) echo: bool,
    /// The conversation as he sees it.
    pub(crate) kind: u16,
    pub(crate) conv: u64,
    /// Names the stream that must be in order: of one writer in one conversation.
    pub(crate) stream: u64,
    /// The bit of this arrival among those of all messages.
    pub(crate) bit: u64,
}

impl Plan {
    /// Groups of messages that leave together.
    pub(crate) fn groups(&self) -> u64 {
        self.count.div_ceil(self.burst.max(1))
    }

    /// The messages of a group.
    pub(crate) fn group(&self, group: u64) -> std::ops::Range<u64> {
        let burst = self.burst.max(1);
        group * burst..((group + 1) * burst).min(self.count)
    }

    /// When message `k` is due: with its group.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn due_ns(&self, k: u64) -> u64 {
        let burst = self.burst.max(1);
        self.start_ns + (to_f64(k / burst * burst) / self.rate * 1e9) as u64
    }

    pub(crate) fn measured(&self, due_ns: u64) -> bool {
        due_ns >= self.from_ns && due_ns < self.to_ns
    }

    /// The number of the session that writes message `k`, in the fleet.
    pub(crate) fn sender(&self, k: u64) -> u64 {
        let (group, children) = (k / self.burst.max(1), self.children.max(1));
        let child = group % children;
        // As many as the fleet gives to that child.
        let own = (self.senders + children - 1 - child) / children;
        child + children * (mix(self.marker ^ group) % own.max(1))
    }

    pub(crate) fn sender_mid(&self, k: u64) -> u64 {
        self.first_mid + self.sender(k)
    }

    /// Users that message `k` comes to, beside its sender.
    pub(crate) fn recipients(&self) -> u64 {
        match self.to {
            To::Groups { size, .. } => size.saturating_sub(1),
            _ => 1,
        }
    }

    /// Bits that the arrivals of one message take.
    pub(crate) fn width(&self) -> u64 {
        match self.to {
            To::Groups { size, .. } => size.max(1),
            _ => 1,
        }
    }

    /// What message `k` is to `mid`; none if it is not for him.
    #[inline]
    pub(crate) fn role(&self, k: u64, mid: u64) -> Option<Role> {
        let sender = self.sender_mid(k);
        let echo = mid == sender;
        let conv = self.conv(k);
        if let To::Groups { .. } = self.to {
            let member = mid.checked_sub(self.first_mid).filter(|n| *n < self.senders)?;
            let there = self.group_of(member) == conv;
            let bit = k * self.width() + member % self.width();
            return there.then_some(Role { echo, kind: KIND_GROUP, conv, stream: sender, bit });
        }
        let peer = if echo { conv } else { sender };
        (echo || mid == conv).then_some(Role { echo, kind: KIND_DIRECT, conv: peer, stream: peer, bit: k })
    }

    pub(crate) fn kind(&self) -> u16 {
        if matches!(self.to, To::Groups { .. }) { KIND_GROUP } else { KIND_DIRECT }
    }

    /// The group of sender `n`.
    fn group_of(&self, n: u64) -> u64 {
        match self.to {
            To::Groups { first_id, size } => first_id + n / size.max(1),
            _ => 0,
        }
    }

    /// Where message `k` is written to: the recipient, or the group.
    pub(crate) fn conv(&self, k: u64) -> u64 {
        match self.to {
            To::Groups { .. } => self.group_of(self.sender(k)),
            To::Dealt { first_mid, users } => first_mid + k % users.max(1),
            To::Peers(each) => {
                let (sender, chance) = (self.sender(k), mix(self.marker.rotate_left(32) ^ k));
                let slot = if each == 0 { chance } else { chance % each };
                // 1 to senders - 1 further on: anybody but oneself, and the same peers in every phase.
                let step = 1 + mix(mix(sender) ^ slot) % (self.senders.max(2) - 1);
                self.first_mid + (sender + step) % self.senders.max(1)
            }
        }
    }

    /// The client's id of message `k`: not 0, and of no other phase.
    pub(crate) fn cid(&self, k: u64) -> u64 {
        self.cid_first() + k
    }

    /// The message with this client's id, if it is one of this plan.
    #[inline]
    pub(crate) fn number(&self, cid: u64) -> Option<u64> {
        cid.checked_sub(self.cid_first()).filter(|k| *k < self.count)
    }

    pub(crate) fn stamp(&self, k: u64) -> Stamp {
        Stamp { marker: self.marker, seq: k + 1, due_ns: self.due_ns(k) }
    }

    fn cid_first(&self) -> u64 {
        // Room above for every message, and never 0.
        mix(self.marker) >> 1 | 1 << 40
    }
}

/// A number that looks random (splitmix64).
pub(super) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    pub(crate) fn plan(to: To) -> Plan {
        Plan {
            marker: 77,
            count: 6_000,
            start_ns: 1_000_000,
            rate: 1_000.0,
            body_bytes: 200,
            burst: 1,
            senders: 101,
            first_mid: 5_000,
            children: 3,
            to,
            from_ns: 0,
            to_ns: u64::MAX,
            patience_ns: u64::MAX,
        }
    }

    #[test]
    fn everybody_writes_to_peers_of_his_own() {
        let plan = plan(To::Peers(4));
        let mut pairs = BTreeSet::new();
        for k in 0..plan.count {
            assert_eq!(plan.sender(k) % 3, k % 3, "a child writes for its own sessions only");
            assert!((5_000..5_101).contains(&plan.sender_mid(k)) && (5_000..5_101).contains(&plan.conv(k)));
            assert_ne!(plan.sender_mid(k), plan.conv(k));
            pairs.insert((plan.sender_mid(k), plan.conv(k)));
        }
        let senders: BTreeSet<u64> = pairs.iter().map(|pair| pair.0).collect();
        assert_eq!(senders.len(), 101);
        assert!((350..=404).contains(&pairs.len()), "{}", pairs.len());
        let anybody = Plan { to: To::Peers(0), ..plan };
        let pairs: BTreeSet<_> = (0..6_000).map(|k| (anybody.sender_mid(k), anybody.conv(k))).collect();
        assert!(pairs.len() > 2_000, "{}", pairs.len());
    }

    #[test]
    fn bursts_leave_together_and_deals_are_even() {
        let plan = Plan { burst: 8, count: 20, ..plan(To::Dealt { first_mid: 9_000, users: 10 }) };
        assert_eq!((plan.groups(), plan.group(2)), (3, 16..20));
        assert!((8..16).all(|k| plan.sender(k) == plan.sender(8) && plan.due_ns(k) == 9_000_000));
        let got = |mid| (0..20).filter(|k| plan.conv(*k) == mid).count();
        assert!((9_000..9_010).all(|mid| got(mid) == 2));
    }

    #[test]
    fn groups_know_their_members() {
        let plan = Plan { senders: 100, ..plan(To::Groups { first_id: 70, size: 10 }) };
        assert_eq!((plan.recipients(), plan.width()), (9, 10));
        for k in 0..200 {
            let group = plan.sender(k) / 10;
            let roles: Vec<Role> = (4_990..5_110).filter_map(|mid| plan.role(k, mid)).collect();
            assert!(roles.iter().all(|role| role.conv == 70 + group && role.kind == KIND_GROUP));
            assert_eq!((roles.len(), roles.iter().filter(|role| role.echo).count()), (10, 1));
            assert_eq!(roles.iter().map(|role| role.bit).collect::<BTreeSet<_>>(), (k * 10..k * 10 + 10).collect());
        }
    }

    #[test]
    fn cids_lead_back() {
        for marker in 0..100 {
            let plan = Plan { marker, ..plan(To::Peers(1)) };
            assert_ne!(plan.cid(0), 0);
            assert_eq!((plan.number(plan.cid(0)), plan.number(plan.cid(5_999))), (Some(0), Some(5_999)));
            assert_eq!((plan.number(plan.cid(0) - 1), plan.number(plan.cid(6_000))), (None, None));
        }
    }
}

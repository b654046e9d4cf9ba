//! What one process saw of a plan: answers, echoes and arrivals, each checked
//! when it comes. Loss is known at the end only, in [`Account`](super::account::Account).

use super::bits::Bits;
use super::header::{FLAG_DUPLICATE, Head};
use super::inbox::Place;
use super::plan::{Plan, Role};
use crate::payload::Stamp;
use crate::stats::{Latency, Sparse};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Reasons kept apart; the rest is counted together.
const REASONS_MAX: usize = 16;

/// What must not happen, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Messages that came twice to one session.
    pub(crate) duplicates: u64,
    /// Messages that came after a later one of the same pair.
    pub(crate) disordered: u64,
    /// Inbox positions that came again, and that left some out.
    pub(crate) repeated: u64,
    pub(crate) jumps: u64,
    /// Positions in conversations that are not the next.
    pub(crate) conv_jumps: u64,
    /// Messages to sessions of neither side, or under a wrong name.
    pub(crate) astray: u64,
    /// Other bytes than were sent.
    pub(crate) garbled: u64,
    /// Replies out of order, twice, without an id, or that call a new message a duplicate.
    pub(crate) answers: u64,
}

impl Faults {
    pub(crate) fn each(&self) -> [(u64, &'static str); 8] {
        [
            (self.duplicates, "messages came twice"),
            (self.disordered, "messages came after a later one of their pair"),
            (self.repeated, "inbox positions came twice"),
            (self.jumps, "jumps in inbox positions"),
            (self.conv_jumps, "conversation positions were not the next"),
            (self.astray, "messages came to the wrong session or under a wrong name"),
            (self.garbled, "messages came with another body"),
            (self.answers, "replies were wrong: out of order, twice, without id or DUPLICATE"),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.duplicates += other.duplicates;
        self.disordered += other.disordered;
        self.repeated += other.repeated;
        self.jumps += other.jumps;
        self.conv_jumps += other.conv_jumps;
        self.astray += other.astray;
        self.garbled += other.garbled;
        self.answers += other.answers;
    }
}

/// What a process saw, on its way to the parent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) sent: u64,
    /// Not sent, because it was far too late or the session was gone.
    pub(crate) given_up: u64,
    /// The longest that a message left after it was due.
    pub(crate) late_max_ns: u64,
    pub(crate) acked: Bits,
    pub(crate) refused: Bits,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) echoed: Bits,
    /// `width` bits for each message, of which `recipients` are its arrivals.
    pub(crate) arrived: Bits,
    pub(crate) width: u64,
    pub(crate) recipients: u64,
    /// Frames of messages, and those that were of no message of the plan.
    pub(crate) frames: u64,
    pub(crate) foreign: u64,
    pub(crate) faults: Faults,
    pub(crate) acked_in_window: u64,
    /// From due to the reply, to the recipient, and back at the sender, ns.
    pub(crate) ack: Sparse,
    pub(crate) arrival: Sparse,
    pub(crate) echo: Sparse,
    /// From the first SYNC of a session to its last page, and from the due
    /// time of a heartbeat to its reply, ns.
    pub(crate) sync: Sparse,
    pub(crate) beat: Sparse,
    pub(crate) last_ns: u64,
    /// Sessions that the server closed, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    pub(crate) reads: u64,
}

/// A stored message at the session where it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// The session's number in its process, and its user.
    pub(crate) session: usize,
    pub(crate) mid: u64,
    pub(crate) head: Head,
    pub(crate) body: &'a [u8],
    pub(crate) now_ns: u64,
}

/// The checks of one process.
pub(crate) struct Ledger {
    plan: Plan,
    pub(crate) seen: Seen,
    ack: Latency,
    arrival: Latency,
    echo: Latency,
    /// 1 + the last message, by session, stream and direction.
    streams: HashMap<(usize, u64, bool), u64>,
    /// The last position, by session and conversation.
    convs: HashMap<(usize, u64), u64>,
    /// By session: 1 + the message that was answered last.
    answered: Vec<u64>,
}

impl Ledger {
    pub(crate) fn new(plan: Plan, sessions: usize) -> Self {
        Self {
            plan,
            seen: Seen { width: plan.width(), recipients: plan.recipients(), ..Seen::default() },
            ack: Latency::default(),
            arrival: Latency::default(),
            echo: Latency::default(),
            streams: HashMap::new(),
            convs: HashMap::new(),
            answered: vec![0; sessions],
        }
    }

    /// What was seen of where the session stands.
    #[inline]
    pub(crate) fn placed(&mut self, place: Place) {
        match place {
            Place::Next | Place::Beside => {}
            Place::Repeated => self.seen.faults.repeated += 1,
            Place::Jump => self.seen.faults.jumps += 1,
        }
    }

    /// A message that was applied; true when it is one of the plan.
    #[inline]
    pub(crate) fn message(&mut self, message: &Arrival<'_>) -> bool {
        let Arrival { head, mid, now_ns, .. } = *message;
        let Some(k) = self.plan.number(head.cid) else {
            self.seen.foreign += 1;
            return false;
        };
        self.seen.frames += 1;
        self.seen.last_ns = now_ns;
        let role = self.plan.role(k, mid);
        let rightly = |role: &Role| {
            let named = head.from == self.plan.sender_mid(k) && head.id != 0;
            named && head.kind == role.kind && head.conv == role.conv
        };
        let Some(role) = role.filter(rightly) else {
            self.seen.faults.astray += 1;
            return true;
        };
        if Stamp::decode(message.body) != Some(self.plan.stamp(k)) || message.body.len() != self.plan.body_bytes {
            self.seen.faults.garbled += 1;
        }
        let new = if role.echo { self.seen.echoed.insert(k) } else { self.seen.arrived.insert(role.bit) };
        if !new {
            self.seen.faults.duplicates += 1;
            return true;
        }
        self.in_order(message.session, role, k, head.conv_pos);
        let due_ns = self.plan.due_ns(k);
        if self.plan.measured(due_ns) {
            let latency = if role.echo { &mut self.echo } else { &mut self.arrival };
            latency.record(now_ns.saturating_sub(due_ns));
        }
        true
    }

    fn in_order(&mut self, session: usize, role: Role, k: u64, conv_pos: u64) {
        let last = self.streams.entry((session, role.stream, role.echo)).or_default();
        if k < *last {
            self.seen.faults.disordered += 1;
        }
        *last = (*last).max(k + 1);
        let last = self.convs.entry((session, role.conv)).or_default();
        // The first that is seen may stand anywhere.
        if conv_pos == 0 || (*last != 0 && conv_pos != *last + 1) {
            self.seen.faults.conv_jumps += 1;
        }
        *last = conv_pos;
    }

    /// A reply to a message that `session` sent; true when it is one of the plan.
    #[inline]
    pub(crate) fn answer(&mut self, session: usize, head: &Head, now_ns: u64) -> bool {
        let Some(k) = self.plan.number(head.cid) else { return false };
        self.seen.last_ns = now_ns;
        let ordered = self.answered.get_mut(session).is_some_and(|last| {
            let ordered = k >= *last;
            *last = (*last).max(k + 1);
            ordered
        });
        let new = self.seen.acked.insert(k);
        if !ordered || !new || head.id == 0 || head.has(FLAG_DUPLICATE) {
            self.seen.faults.answers += 1;
        }
        let due_ns = self.plan.due_ns(k);
        if new && self.plan.measured(due_ns) {
            self.seen.acked_in_window += 1;
            self.ack.record(now_ns.saturating_sub(due_ns));
        }
        true
    }

    /// A message that was refused; true when it is one of the plan.
    pub(crate) fn refusal(&mut self, head: &Head, reason: &str) -> bool {
        let Some(k) = self.plan.number(head.cid) else { return false };
        self.seen.refused.insert(k);
        let known = self.seen.refusals.contains_key(reason) || self.seen.refusals.len() < REASONS_MAX;
        let reason = if known { reason } else { "other reasons" };
        *self.seen.refusals.entry(reason.to_owned()).or_default() += 1;
        true
    }

    /// What was seen, to be sent to the parent.
    pub(crate) fn close(self) -> Seen {
        Seen { ack: self.ack.sparse(), arrival: self.arrival.sparse(), echo: self.echo.sparse(), ..self.seen }
    }
}

#[cfg(test)]
mod tests;

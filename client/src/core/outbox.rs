//! What the user has sent and the server has not acknowledged yet: kept over restarts, in each conversation sent in order
//! and one at a time, each message under one `cid` for ever.
//!
//! ```text
//!            SYNC reached the head              one refused
//!   Closed ───────────────────────▶ Flowing ─────────────────▶ Draining (answers to what is in flight)
//!     ▲                                ▲                            │
//!     └── session lost (any state)     └──── Pausing (backoff) ◀────┘
//! ```

mod slots;

use perseid_protocol::frame::{Header, flag, kind};

use self::slots::{Line, Slot, Slots};
use super::Token;
use super::mutation::{self, Mutation};
use super::random::Random;
use crate::error::{Error, Refused};
use crate::event::Sent;
use crate::storage::OutboxEntry;

/// Messages that may be in flight on a session.
const WINDOW: usize = 32;
/// The first pause after a passing refusal, ms; full jitter, doubled each time.
const BACKOFF_MS: u64 = 200;
/// The longest pause, ms.
const BACKOFF_MS_MAX: u64 = 10_000;
/// How much earlier than the server a `cid` counts as forgotten, ms.
const CID_MARGIN_MS: u64 = 60_000;

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) cid: u64,
    /// Whose call waits for it; nobody's after a restart.
    pub(crate) token: Option<Token>,
    pub(crate) result: Result<Sent, Error>,
}

/// What to put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToSend {
    pub(crate) entry: OutboxEntry,
    /// Whether the storage must know first that it is sent.
    pub(crate) first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Flowing,
    Draining { pause: bool, retry_after_ms: u64 },
    Pausing { until_ms: u64 },
}

#[derive(Debug)]
pub(crate) struct Outbox {
    slots: Slots,
    bytes_max: usize,
    phase: Phase,
    /// In the order sent.
    in_flight: std::collections::VecDeque<InFlight>,
    failures: u32,
    cid_ms: u64,
    /// The largest body that the server takes, bytes; 0: not known.
    body_bytes_max: usize,
    outcomes: Vec<Outcome>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    seq: i32,
    order: u64,
    line: Line,
    sent_ms: u64,
}

impl Outbox {
    /// With what the storage held.
    pub(crate) fn new(stored: Vec<OutboxEntry>, bytes_max: usize) -> Self {
        let mut slots = Slots::default();
        for entry in stored {
            slots.push(Slot { entry, token: None, unsure: false });
        }
        Self {
            slots,
            bytes_max,
            phase: Phase::Closed,
            in_flight: std::collections::VecDeque::new(),
            failures: 0,
            cid_ms: 3_600_000,
            body_bytes_max: 0,
            outcomes: Vec::new(),
        }
    }

    /// Takes a message in; it may be sent after the storage has it.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(crate) fn push(&mut self, entry: OutboxEntry, token: Token) -> Result<(), Error> {
        let waiting_bytes = self.slots.bytes();
        if waiting_bytes.saturating_add(entry.bytes()) > self.bytes_max {
            return Err(Error::Full { waiting_bytes, bytes_max: self.bytes_max });
        }
        self.slots.push(Slot { entry, token: Some(token), unsure: false });
        Ok(())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// The session is gone: what was in flight is unknown now.
    pub(crate) fn lose(&mut self) {
        self.phase = Phase::Closed;
        self.in_flight.clear();
        self.slots.land_all();
    }

    /// A session has read the inbox to its head: what has not come back by now goes out.
    pub(crate) fn open(&mut self, cid_ms: u64, body_bytes_max: usize) {
        self.body_bytes_max = body_bytes_max;
        if self.phase == Phase::Closed {
            self.phase = Phase::Flowing;
        }
        if cid_ms > 0 {
            self.cid_ms = cid_ms;
        }
    }

    /// Positions were skipped: what was sent before can't be recognised in them.
    pub(crate) fn note_skipped(&mut self) {
        self.slots.each(|slot| slot.unsure = slot.unsure || slot.entry.sent_ms != 0);
    }

    /// The next message to send, if one may be sent now. [`Outbox::sent`] has to follow.
    pub(crate) fn next_to_send(&mut self, now_ms: u64, random: &mut Random) -> Option<ToSend> {
        if let Phase::Pausing { until_ms } = self.phase
            && now_ms >= until_ms
        {
            self.phase = Phase::Flowing;
        }
        let open = self.phase == Phase::Flowing || (mutation::is(Mutation::ResendBeforeSync) && self.phase == Phase::Closed);
        if !open || self.in_flight.len() >= WINDOW {
            return None;
        }
        loop {
            let (order, slot) = self.slots.first_ready()?;
            if slot.is_forgotten(now_ms, self.cid_ms.saturating_sub(CID_MARGIN_MS)) {
                self.resolve(order, Err(Error::Unknown));
                continue;
            }
            // Taken in before the limit was known. To send it would end the session, each time anew.
            let bytes = slot.entry.body.len();
            if self.body_bytes_max != 0 && bytes > self.body_bytes_max {
                self.resolve(order, Err(Error::TooLarge { bytes, bytes_max: self.body_bytes_max }));
                continue;
            }
            let slot = self.slots.get_mut(order)?;
            let first = slot.entry.sent_ms == 0;
            if first {
                slot.entry.sent_ms = now_ms.max(1);
            }
            let mut entry = slot.entry.clone();
            if !first && mutation::is(Mutation::NewCidOnRetry) {
                entry.cid = random.cid();
            }
            return Some(ToSend { entry, first });
        }
    }

    /// What [`Outbox::next_to_send`] gave went out as request `seq`.
    pub(crate) fn sent(&mut self, seq: i32, now_ms: u64) {
        let Some(order) = self.slots.first_ready().map(|(order, _)| order) else { return };
        if let Some(line) = self.slots.depart(order) {
            self.in_flight.push_back(InFlight { seq, order, line, sent_ms: now_ms });
        }
    }

    /// The reply to request `seq`. `false` when it is none of ours.
    pub(crate) fn handle_reply(&mut self, seq: i32, header: &Header, now_ms: u64, random: &mut Random) -> bool {
        let Some(flight) = self.land(seq) else { return false };
        self.failures = 0;
        self.resolve(flight.order, Ok(Sent::new(header)));
        self.end_drain(now_ms, random);
        true
    }

    /// Request `seq` was refused. `false` when it is none of ours.
    pub(crate) fn handle_refused(&mut self, seq: i32, refused: Refused, now_ms: u64, random: &mut Random) -> bool {
        let Some(flight) = self.land(seq) else { return false };
        // It may have come back in the inbox before this answer; then the refusal says nothing.
        let pending = self.slots.get_mut(flight.order).is_some();
        let passing = refused.is_passing();
        let retry_after_ms = refused.retry_after_ms.unwrap_or(0);
        if !passing {
            self.resolve(flight.order, Err(Error::Refused(refused)));
        } else if mutation::is(Mutation::SkipRefused)
            && let Some(slot) = self.slots.remove(flight.order)
        {
            self.slots.push(slot);
        }
        match &mut self.phase {
            // What was in flight behind the first refusal is refused because of it, and tells nothing new.
            Phase::Draining { .. } | Phase::Closed => {}
            Phase::Flowing | Phase::Pausing { .. } => {
                self.phase = Phase::Draining { pause: passing && pending, retry_after_ms };
            }
        }
        self.end_drain(now_ms, random);
        true
    }

    /// An own message was seen in the inbox.
    pub(crate) fn handle_echo(&mut self, header: &Header) {
        let ext = &header.ext;
        let Some((order, slot)) = self.slots.find(ext.cid) else { return };
        if slot.entry.conv == ext.conv {
            let sent = Sent { duplicate: false, ..Sent::new(header) };
            self.resolve(order, Ok(sent));
        }
    }

    /// The inbox says that a message of ours was rejected.
    pub(crate) fn handle_rejected(&mut self, cid: u64, reason: &str) {
        if let Some((order, _)) = self.slots.find(cid) {
            self.resolve(order, Err(Error::Rejected { reason: reason.to_owned() }));
        }
    }

    /// When the oldest message in flight was sent, ms.
    pub(crate) fn oldest_sent_ms(&self) -> Option<u64> {
        self.in_flight.front().map(|flight| flight.sent_ms)
    }

    pub(crate) const fn poll_timeout(&self) -> u64 {
        match self.phase {
            Phase::Pausing { until_ms } => until_ms,
            _ => u64::MAX,
        }
    }

    pub(crate) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    fn land(&mut self, seq: i32) -> Option<InFlight> {
        let at = self.in_flight.iter().position(|flight| flight.seq == seq)?;
        let flight = self.in_flight.remove(at)?;
        self.slots.land(flight.line);
        Some(flight)
    }

    fn resolve(&mut self, order: u64, result: Result<Sent, Error>) {
        if let Some(slot) = self.slots.remove(order) {
            self.outcomes.push(Outcome { cid: slot.entry.cid, token: slot.token, result });
        }
    }

    fn end_drain(&mut self, now_ms: u64, random: &mut Random) {
        let Phase::Draining { pause, retry_after_ms } = self.phase else { return };
        if !self.in_flight.is_empty() {
            return;
        }
        if !pause {
            self.phase = Phase::Flowing;
            return;
        }
        let window_ms = BACKOFF_MS.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Pausing { until_ms: now_ms.saturating_add(retry_after_ms).saturating_add(random.up_to(window_ms)) };
    }
}

/// The header fields of a message.
pub(crate) fn extension(entry: &OutboxEntry) -> perseid_protocol::Extension {
    perseid_protocol::Extension {
        conv: entry.conv,
        cid: entry.cid,
        kind: entry.kind,
        flags: if entry.quiet { flag::QUIET } else { 0 },
        ..perseid_protocol::Extension::default()
    }
}

impl Slot {
    /// Whether sending it again could double it: the server has forgotten its `cid`, and the inbox can't show it.
    const fn is_forgotten(&self, now_ms: u64, cid_ms: u64) -> bool {
        let old = self.entry.sent_ms != 0 && now_ms.saturating_sub(self.entry.sent_ms) >= cid_ms;
        // A channel's messages stand in its timeline only.
        old && (self.unsure || self.entry.kind == kind::CHANNEL)
    }
}

#[cfg(test)]
mod tests;

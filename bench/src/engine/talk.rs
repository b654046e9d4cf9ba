//! What the sessions of a process do with stored messages: write their share
//! of a plan, and read their inboxes.

use super::client::{Pool, State};
use super::messages::{Extended, Greeting};
use super::stored::plan::Plan;
use super::stored::{Head, Ledger, OP_SYNC, Seen, Speech};
use crate::stats::Latency;

/// Groups of messages written in one turn of the loop, so that answers are
/// read in time.
const GROUPS_MAX: usize = 64;

impl Pool {
    /// A plan begins; without one only SYNCs and heartbeats are timed.
    pub(crate) fn talk(&mut self, plan: Option<Plan>, speak: bool) {
        self.ledger = plan.map(|plan| Ledger::new(plan, self.sessions.len()));
        self.speech = plan.filter(|_| speak).map(|plan| Speech::new(plan, self.config.child));
        self.books.result = super::messages::PhaseResult::default();
        (self.books.sync_latency, self.books.beat_latency) = (Latency::default(), Latency::default());
        (self.books.progress.received, self.books.progress.answered) = (0, 0);
    }

    /// Ends it.
    pub(crate) fn end_talk(&mut self) -> Seen {
        self.speech = None;
        let result = std::mem::take(&mut self.books.result);
        let seen = self.ledger.take().map(Ledger::close).unwrap_or_default();
        let (sync, beat) = (self.books.sync_latency.sparse(), self.books.beat_latency.sparse());
        Seen { sync, beat, drops: result.drops, reads: result.reads, ..seen }
    }

    /// Writes what is due and says when to come again: at `now_ns` when there
    /// is more than one turn of the loop should do.
    pub(crate) fn speak(&mut self, now_ns: u64) -> Option<u64> {
        let mut speech = self.speech.take()?;
        let mut turns = 0;
        while turns < GROUPS_MAX {
            let Some(group) = speech.due(now_ns) else { break };
            self.say(&mut speech, group, now_ns);
            turns += 1;
        }
        let next_ns = if turns == GROUPS_MAX { Some(now_ns) } else { speech.next_ns(now_ns) };
        self.speech = Some(speech);
        next_ns
    }

    /// One group: one write of one session.
    fn say(&mut self, speech: &mut Speech, group: std::ops::Range<u64>, now_ns: u64) {
        let (count, first) = (group.end - group.start, group.start);
        let n = speech.session(first);
        let late_ns = now_ns.saturating_sub(speech.plan().due_ns(first));
        let online = self.sessions.get(n).is_some_and(|session| session.state == State::Online);
        let Some(ledger) = &mut self.ledger else { return };
        if !online || late_ns > speech.plan().patience_ns {
            ledger.seen.given_up += count;
            return;
        }
        ledger.seen.sent += count;
        ledger.seen.late_max_ns = ledger.seen.late_max_ns.max(late_ns);
        self.out.clear();
        group.for_each(|k| speech.put(k, &mut self.out));
        #[allow(clippy::cast_possible_truncation)]
        self.send_out(n, first as u32);
    }

    /// Asks for a page if session `n` wants one.
    pub(super) fn read_inbox(&mut self, n: usize) {
        let Some(Extended { page, .. }) = self.extended() else { return };
        let Some(pos) = self.inboxes.get_mut(n).and_then(|inbox| inbox.wish()) else { return };
        let head = Head { op: OP_SYNC, seq: 2, pos, ..Head::default() };
        self.send_extended(n, head, &page.to_be_bytes());
    }

    pub(super) fn extended(&self) -> Option<Extended> {
        match &self.config.greeting {
            Greeting::Auth { extended, .. } => *extended,
            Greeting::None => None,
        }
    }

    /// The user of session `n`; users of extended sessions are above 0.
    pub(super) fn mid(&self, n: usize) -> u64 {
        match &self.config.greeting {
            Greeting::Auth { first_mid, .. } => first_mid.cast_unsigned().wrapping_add(self.global(n)),
            Greeting::None => 0,
        }
    }
}

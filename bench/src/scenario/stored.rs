//! What the scenarios of stored messages share: sessions that write, windows
//! that are measured, and inboxes that are filled while their users are away.

use super::{Bench, Crowd, DRAIN_NS, QUIET_NS, Window, new_marker, server_writes};
use crate::cli::Fill;
use crate::clock::{SECOND, now_ns};
use crate::engine::Fleet;
use crate::engine::messages::Extended;
use crate::engine::stored::From;
use crate::engine::stored::account::{Account, Wanted};
use crate::engine::stored::plan::{MESSAGES_MAX, Plan, To};
use crate::report::{Integrity, RunReport};
use crate::stats::{per, to_f64};
use crate::watch::{Snapshot, Watch};
use anyhow::{Result, bail};
use std::time::Duration;

/// Sessions that want only what comes from now on.
pub(super) const FROM_HEAD: Extended = Extended { from: From::Head, page: 200 };
/// Messages that a writer of the preparation sends at once.
const FILL_BURST: u64 = 10;
/// A server that uses less is at rest; looked at so often, for so long.
const QUIET_CORES: f64 = 0.03;
const SETTLE: Duration = Duration::from_millis(500);
const SETTLE_NS_MAX: u64 = 5 * SECOND;
/// How long to listen after the last that is expected.
const TAIL: Duration = Duration::from_millis(100);
/// A generator that is later than this by itself is the limit.
const LATE_NS_MAX: u64 = SECOND / 10;

/// A load of stored messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) rate: f64,
    pub(super) body_bytes: usize,
    pub(super) burst: u64,
    pub(super) to: To,
    pub(super) patience_ns: u64,
}

/// What it came to.
pub(super) struct Measured {
    pub(super) account: Account,
    pub(super) plan: Plan,
    pub(super) from: Snapshot,
    pub(super) to: Snapshot,
    /// Replies between the two snapshots, by the running counts.
    pub(super) moved: u64,
    /// Socket writes between them by the server's own count.
    pub(super) writes: Option<f64>,
}

/// Extended sessions that write.
pub(super) struct Writers {
    pub(super) fleet: Fleet,
    pub(super) sessions: u64,
    first_mid: u64,
}

impl Writers {
    /// Processes for so many; they are not connected yet.
    pub(super) fn new(bench: &Bench<'_>, sessions: u64, first_mid: i64) -> Result<Self> {
        let crowd = Crowd { sessions, first_mid, extended: Some(FROM_HEAD), ..Crowd::default() };
        Ok(Self { fleet: bench.fleet(&crowd)?, sessions, first_mid: first_mid.cast_unsigned() })
    }

    fn plan(&self, load: Load, window: Window) -> Result<Plan> {
        let Window { start_ns, from_ns, to_ns, count } = window;
        let Load { rate, body_bytes, burst, to, patience_ns } = load;
        let (senders, first_mid, children) = (self.sessions, self.first_mid, self.fleet.children());
        let marker = new_marker();
        let plan = Plan {
            marker,
            count,
            start_ns,
            rate,
            body_bytes,
            burst,
            senders,
            first_mid,
            children,
            to,
            from_ns,
            to_ns,
            patience_ns,
        };
        let fates = count.saturating_mul(plan.width());
        if fates > MESSAGES_MAX {
            bail!("{fates} deliveries are more than the {MESSAGES_MAX} that can be remembered; take less time");
        }
        Ok(plan)
    }

    /// Carries a load for the warm-up and the measured time.
    pub(super) fn measure(&mut self, bench: &Bench<'_>, watch: &Watch, load: Load) -> Result<Measured> {
        let window = Window::new(load.rate, bench.common.warmup, bench.common.duration);
        let plan = self.plan(load, window)?;
        self.fleet.talk(Some(plan), true)?;
        let counters = self.fleet.counters();
        let edge = |name, from_ns, to_ns| -> Result<_> {
            bench.phase_progress(name, from_ns, to_ns);
            Ok((watch.snapshot(), counters.total().answered, server_writes(bench.target()?)))
        };
        let (from, answered_from, writes_from) = edge("warming up", window.start_ns, window.from_ns)?;
        let (to, answered_to, writes_to) = edge("send", window.from_ns, window.to_ns)?;
        let moved = answered_to.saturating_sub(answered_from);
        let account = self.finish(plan.count, (1 + plan.recipients()) * plan.count)?;
        let writes = writes_to.zip(writes_from).map(|(to, from)| to - from);
        Ok(Measured { account, plan, from, to, moved, writes })
    }

    /// Writes `each` messages to every one of `users`, who are away.
    pub(super) fn fill(
        &mut self,
        bench: &Bench<'_>,
        fill: Fill,
        first_mid: u64,
        users: u64,
        each: u64,
    ) -> Result<(Plan, Account)> {
        let to = To::Dealt { first_mid, users };
        let count = users.saturating_mul(each);
        let start_ns = now_ns() + SECOND / 5;
        let window = Window { start_ns, from_ns: 0, to_ns: u64::MAX, count };
        let (rate, body_bytes) = (fill.fill_rate, fill.size as usize);
        let load = Load { rate, body_bytes, burst: FILL_BURST, to, patience_ns: u64::MAX };
        let plan = self.plan(load, window)?;
        self.fleet.talk(Some(plan), true)?;
        bench.phase_progress("filling inboxes", start_ns, plan.due_ns(count));
        let account = self.finish(count, count)?;
        Ok((plan, account))
    }

    /// Waits for the last replies and frames.
    fn finish(&mut self, answers: u64, frames: u64) -> Result<Account> {
        let all = |total: &crate::engine::messages::Progress| total.answered >= answers && total.received >= frames;
        self.fleet.drain_until(all, QUIET_NS, DRAIN_NS);
        // What comes twice comes later.
        std::thread::sleep(TAIL);
        self.fleet.end_talk()
    }
}

/// Waits until the server has come to rest: what it still writes of the
/// preparation is not part of what is measured.
pub(super) fn settle(watch: &Watch) {
    let end_ns = now_ns() + SETTLE_NS_MAX;
    while now_ns() < end_ns {
        let before = watch.snapshot();
        std::thread::sleep(SETTLE);
        let after = watch.snapshot();
        let used = after.server.zip(before.server).map_or(0, |(after, before)| (after - before).ns());
        if to_f64(used) <= QUIET_CORES * to_f64(after.at_ns - before.at_ns) {
            return;
        }
    }
}

/// Adds what an account says to the report: loss and order, and all else that
/// is wrong.
pub(super) fn check(report: &mut RunReport, account: &Account, wanted: Wanted) {
    let (expected, tally) = account.tally(wanted);
    report.check(Integrity { expected, tally, foreign: account.seen().foreign });
    report.problems.extend(account.problems());
    let late_ns = account.seen().late_max_ns;
    if late_ns > LATE_NS_MAX {
        let ms = late_ns / 1_000_000;
        report.notes.push(format!("the generator itself was up to {ms} ms late, which counts as latency"));
    }
}

/// Messages acknowledged a second, from the first that was due to the last
/// thing that came.
pub(super) fn acked_per_s(measured: &Measured) -> f64 {
    let Measured { account, plan, .. } = measured;
    let end_ns = account.seen().last_ns.max(plan.to_ns);
    per(to_f64(account.acked()), to_f64(end_ns.saturating_sub(plan.start_ns)) / 1e9)
}

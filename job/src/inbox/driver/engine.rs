//! Runs the machine against the store, and turns what was applied into deliveries. Called on the log's thread and on the job's
//! own one, by one of them at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use perseid_log::{EventLog, Record};
use perseid_protocol::trace::Open;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::step::{Change, ConvOp, Step, UserItem};
use tracing::{error, info, warn};

use super::Ports;
use super::sink::{Sink, Telling};
use super::traced::Traced;
use crate::driver::Seldom;
use crate::inbox::progress::{Done, Ends, Follows, Next, Progress, Stop};
use crate::inbox::show::{Applied, ShownCounts, show};

/// Entries of inboxes that are written on the log's thread at once.
const INLINE_ITEMS_MAX: usize = 256;

/// How far it came.
#[derive(Debug)]
pub(super) enum Stand {
    /// All that was given is applied.
    Idle,
    /// The store does not take it now.
    Later(String),
    /// It would have to wait, and must not.
    Cold,
    /// Nothing more is applied.
    Stopped(Stop),
}

/// The machine and what it works with.
pub(super) struct Engine {
    pub(super) ports: Ports,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) progress: Progress,
    traced: Traced,
    dead_log: Seldom,
    stop_said: bool,
}

/// Where what was applied is told; `None`: to nobody.
pub(super) type Out<'a> = Option<&'a mut Sink>;

impl Engine {
    pub(super) fn new(ports: Ports, log: Arc<dyn EventLog>, progress: Progress) -> Self {
        let traced = Traced::new(ports.spans.clone());
        Self { ports, log, progress, traced, dead_log: Seldom::default(), stop_said: false }
    }

    /// Applies these records, which reach up to `last`, as far as it goes; `may_wait`: this thread may wait for the store.
    /// Records that it has had are passed over; nothing is done when it stands before `first`.
    pub(super) fn apply(&mut self, first: u64, records: &[Record], last: u64, may_wait: bool, out: &mut Out<'_>) -> Stand {
        loop {
            match self.advance(may_wait, out) {
                Stand::Idle => {}
                stand => return stand,
            }
            let next = self.progress.next_offset();
            if next > last || next < first {
                return Stand::Idle;
            }
            let (taken, follows) = self.progress.give(first, records, last);
            self.report_dead();
            let sampled = self.progress.take_sampled();
            if out.is_some() {
                self.traced.begin(sampled);
            }
            let age_ms = records.iter().rfind(|record| record.offset <= taken).map(|record| record.ts_ms);
            self.lag_since(age_ms);
            if let Some(stand) = self.follow(follows, out) {
                return stand;
            }
        }
    }

    /// Goes on until records are wanted.
    pub(super) fn advance(&mut self, may_wait: bool, out: &mut Out<'_>) -> Stand {
        loop {
            let done = match self.progress.next() {
                Next::Records { .. } => return Stand::Idle,
                Next::Stopped(stop) => {
                    self.say_stop(stop);
                    return Stand::Stopped(stop);
                }
                next if may_wait => self.call(next),
                next => match self.call_at_once(next) {
                    Some(done) => Some(done),
                    None => return Stand::Cold,
                },
            };
            let follows = done.map_or(Follows::Nothing, |done| self.progress.done(done));
            if let Some(stand) = self.follow(follows, out) {
                return stand;
            }
        }
    }

    fn call(&self, next: Next) -> Option<Done> {
        let store = &self.ports.store;
        Some(match next {
            Next::Load => {
                let loaded = store.load(self.ports.partition).wait();
                let status = self.log.status();
                Done::Loaded(loaded, Ends { first: status.first, end: status.end }, (self.ports.clock)())
            }
            Next::Prepare(prepare) => Done::Prepared(store.prepare(prepare).wait()),
            Next::Conv(step) => {
                let _spans = self.traced_conv(&step);
                Done::Conv(store.conv(step).wait())
            }
            Next::User(step, again) => {
                let _spans = self.traced_user(&step);
                Done::User(store.user(step, again).wait())
            }
            Next::Records { .. } | Next::Stopped(_) => return None,
        })
    }

    /// The same where nothing may be waited for. An answer that comes later is not waited for: the step is taken again.
    fn call_at_once(&self, next: Next) -> Option<Done> {
        let store = &self.ports.store;
        match next {
            Next::Conv(step) => {
                let convs: Vec<_> = step.items.iter().map(|op| op.conv).collect();
                if !store.is_warm(&convs, &[]) || !step.items.iter().all(|op| self.is_small(op)) {
                    return None;
                }
                let _spans = self.traced_conv(&step);
                store.conv(step).now().map(Done::Conv)
            }
            Next::User(step, again) if self.is_small_and_warm(&step) => {
                let _spans = self.traced_user(&step);
                store.user(step, again).now().map(Done::User)
            }
            _ => None,
        }
    }

    fn traced_conv(&self, step: &Step<ConvOp>) -> Vec<Open> {
        self.traced.step("job.conv", step.items.iter().map(|op| op.offset))
    }

    fn traced_user(&self, step: &Step<UserItem>) -> Vec<Open> {
        self.traced.step("job.user", step.items.iter().map(|item| item.offset))
    }

    /// Whether a change takes no long time, though everything is in memory: a group may be as large as its list of members.
    fn is_small(&self, op: &ConvOp) -> bool {
        let listed = match &op.change {
            Change::Put { members, .. } => members.len(),
            Change::Members { add, remove } => return add.len().saturating_add(remove.len()) <= INLINE_ITEMS_MAX,
            Change::Convert | Change::Delete => 0,
            Change::Message { .. } | Change::RoomFrame { .. } | Change::Recall { .. } | Change::Block { .. } => return true,
        };
        let Conv::Group(group) = op.conv else { return true };
        let is_there = |members: usize| listed.saturating_add(members) <= INLINE_ITEMS_MAX;
        match self.ports.store.group(group).now() {
            Some(Ok(group)) => is_there(group.map_or(0, |group| group.members.len())),
            // Nobody knows how large it is without asking the disk.
            Some(Err(_)) | None => false,
        }
    }

    fn is_small_and_warm(&self, step: &Step<UserItem>) -> bool {
        let mids: Vec<_> = step.items.iter().map(|item| item.mid).take(INLINE_ITEMS_MAX + 1).collect();
        mids.len() <= INLINE_ITEMS_MAX && self.ports.store.is_warm(&[], &mids)
    }

    fn follow(&mut self, follows: Follows, out: &mut Out<'_>) -> Option<Stand> {
        match follows {
            Follows::Nothing => None,
            Follows::Applied(mut applied) => {
                let dispatches = self.traced.applied(&mut applied);
                self.tell(&applied, out);
                if let Some(sink) = out {
                    sink.open(dispatches);
                }
                None
            }
            Follows::Unsure(buckets) => {
                if let Some(sink) = out {
                    info!(buckets = buckets.len(), "inboxes may have lost positions: all sessions look where theirs stand");
                    sink.outlet.resync();
                }
                None
            }
            Follows::Later(reason) => {
                self.ports.inbox_metrics.add(|it| &it.retries, 1);
                Some(Stand::Later(reason))
            }
            Follows::Again(error) => {
                warn!(%error, "the store has lost something: the log is applied again from its guards on");
                self.traced.again();
                self.ports.inbox_metrics.add(|it| &it.reloads, 1);
                None
            }
        }
    }

    fn tell(&mut self, applied: &Applied, out: &mut Out<'_>) {
        let counts = match out {
            Some(sink) if !applied.shown.is_empty() => {
                show(applied, (self.ports.clock)(), &mut Telling { ports: &self.ports, sink })
            }
            _ => ShownCounts::default(),
        };
        self.ports.inbox_metrics.applied(applied.upto, &applied.tally, &counts);
    }

    fn lag_since(&self, appended_ms: Option<u64>) {
        if let Some(appended_ms) = appended_ms {
            let lag_ms = (self.ports.clock)().saturating_sub(appended_ms);
            self.ports.inbox_metrics.lag_ms.store(lag_ms, Relaxed);
        }
    }

    fn report_dead(&mut self) {
        for (offset, error) in self.progress.take_dead() {
            self.ports.inbox_metrics.add(|it| &it.dead, 1);
            if let Some(suppressed) = self.dead_log.take((self.ports.clock)()) {
                warn!(offset, suppressed, %error, "a record of a stored message makes no sense and was skipped");
            }
        }
    }

    fn say_stop(&mut self, stop: Stop) {
        if !std::mem::replace(&mut self.stop_said, true) {
            self.ports.inbox_metrics.stopped.store(1, Relaxed);
            error!(error = %stop, "stored messages are not delivered any more");
        }
    }
}

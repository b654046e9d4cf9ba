//! How far a partition of the log is applied: what is asked of the store next, and what follows from its answers. A machine
//! without a clock, a log or a store of its own, so that tests can stop it, and let another one in, at every call.
//!
//! ```text
//! Load ─▶ Prepare ─▶ Records ─▶ Conv … ─▶ User … ─▶ Records        (applied: told to the comets)
//!  ▲                    │ now and then: Load, and for idle buckets Conv … User …
//!  └── GAP, LOST, another life of the store: from anywhere
//! ```
//!
//! **Invariants**: a step is repeated until it is taken, and never passed over. A bucket gets what is above its guard, and
//! nothing else. What makes no sense counts as applied.

mod batch;
mod plan;
mod values;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use perseid_log::Record;
use perseid_store::stored::Store;
use perseid_store::stored::step::{Bucket, ConvDone, ConvOp, Loaded, Step, StepError, UserDone, UserItem};

use super::meaning::{RoomKeep, Senseless};
use super::show::{Applied, Shown};
pub use batch::Sampled;
use batch::{Batch, Chain};
pub use plan::{Ends, Stop};
use plan::{Plan, plan};
pub use values::{Done, Follows, Next, Tally};

/// Records of a batch.
const RECORDS_MAX: usize = 512;
/// Bytes of a batch, unless a single record is larger.
const BYTES_MAX: usize = 1 << 20;

enum State {
    Load,
    Prepare(Plan),
    Records,
    Conv { batch: Batch, steps: VecDeque<Step<ConvOp>>, dones: Vec<ConvDone> },
    User { last: u64, tally: Tally, shown: Vec<Shown>, steps: VecDeque<Step<UserItem>>, dones: Vec<UserDone> },
    Look,
    Raise { buckets: VecDeque<Bucket>, low_water: u64 },
    Stopped(Stop),
}

/// See the module.
pub struct Progress {
    store: Arc<dyn Store>,
    keep: RoomKeep,
    chain: Chain,
    /// E: positions up to here may have been shown and been lost.
    shown: u64,
    /// The first offset that is not applied.
    next: u64,
    /// Buckets that nothing comes to have to get beyond `shown` too: until then the store does not trust what it knows.
    raise: bool,
    /// Buckets of users who were not told yet that positions of theirs may be lost, or were given anew.
    unsure: BTreeSet<u32>,
    state: State,
    dead: Vec<(u64, Senseless)>,
    sampled: Vec<Sampled>,
}

impl Progress {
    /// A partition of which nothing is known yet. Of `store` only the buckets are asked.
    pub fn new(partition: u32, store: Arc<dyn Store>, keep: RoomKeep) -> Self {
        let chain = Chain { partition, ..Chain::default() };
        Self {
            store,
            keep,
            chain,
            shown: 0,
            next: 0,
            raise: false,
            unsure: BTreeSet::new(),
            state: State::Load,
            dead: Vec::new(),
            sampled: Vec::new(),
        }
    }

    /// The first offset that is not applied; 0: not known yet.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// Takes what made no sense since the last time.
    pub fn take_dead(&mut self) -> Vec<(u64, Senseless)> {
        std::mem::take(&mut self.dead)
    }

    /// Takes what is traced of what was given since the last time.
    pub fn take_sampled(&mut self) -> Vec<Sampled> {
        std::mem::take(&mut self.sampled)
    }

    /// What is to be done next. The same until it is answered.
    pub fn next(&self) -> Next {
        match &self.state {
            State::Load | State::Look => Next::Load,
            State::Prepare(plan) => Next::Prepare(plan.prepare.clone()),
            State::Records => Next::Records { from: self.next },
            State::Conv { steps, .. } => steps.front().map_or(Next::Load, |step| Next::Conv(step.clone())),
            State::User { steps, last, .. } => {
                steps.front().map_or(Next::Load, |step| Next::User(step.clone(), *last <= self.shown))
            }
            State::Raise { buckets, low_water } => match buckets.front() {
                Some(Bucket::Conv(number)) => Next::Conv(self.chain.step(Bucket::Conv(*number), *low_water, Vec::new())),
                Some(Bucket::User(number)) => Next::User(self.chain.step(Bucket::User(*number), *low_water, Vec::new()), false),
                None => Next::Records { from: self.next },
            },
            State::Stopped(stop) => Next::Stopped(*stop),
        }
    }

    /// Takes some of these records, which reach up to `last` (others may have been left out because they are of no interest);
    /// `first`: the offset that they begin at. Gives the offset up to which they were taken: none when something else is to be
    /// done next, or when what comes before them is missing.
    pub fn give(&mut self, first: u64, records: &[Record], last: u64) -> (u64, Follows) {
        if !matches!(self.state, State::Records) || first > self.next || last < self.next {
            return (self.next.saturating_sub(1), Follows::Nothing);
        }
        let begin = records.partition_point(|record| record.offset < self.next);
        let records = &records[begin..];
        let mut bytes = 0;
        let fits = records.iter().take(RECORDS_MAX).take_while(|record| {
            let fits = bytes == 0 || bytes + record.value.len() <= BYTES_MAX;
            bytes += record.value.len();
            // What may have been shown and lost is applied apart from what can't.
            fits && (self.next > self.shown || record.offset <= self.shown)
        });
        let count = fits.count();
        let last = records.get(count).map_or(last, |record| record.offset - 1);
        let last = if self.next <= self.shown { last.min(self.shown) } else { last };
        let mut batch = Batch::read(&records[..count], last, &self.keep);
        self.dead.append(&mut batch.dead);
        self.sampled.append(&mut batch.sampled);
        let steps = batch.conv_steps(&*self.store, &self.chain);
        self.state = State::Conv { batch, steps: steps.into(), dones: Vec::new() };
        (last, self.go_on())
    }

    /// The log has no records from [`Progress::next_offset`] on any more, only later ones: who needs them begins anew.
    pub fn gone(&mut self) {
        if matches!(self.state, State::Records) {
            self.state = State::Load;
        }
    }

    /// Looks whether the store still has what it had, and moves the guards of idle buckets up to where the others are: a
    /// partition without new records would never learn of a loss. Only between batches; gives whether it begins.
    pub fn look_after(&mut self) -> bool {
        let begins = matches!(self.state, State::Records);
        if begins {
            self.state = State::Look;
        }
        begins
    }

    fn looked(&mut self, loaded: &Loaded, ends: Ends, now_ms: u64) {
        if !self.chain.holds(loaded) {
            return self.begin(loaded, ends, now_ms);
        }
        self.raise_idle();
    }

    fn raise_idle(&mut self) {
        let low_water = self.next.saturating_sub(1);
        let buckets: VecDeque<_> = self.chain.idle(low_water).into();
        // With steps without items, under the same checks as every other: a bare order to move a guard could pass over what its
        // bucket has lost a moment ago.
        self.state = if buckets.is_empty() { State::Records } else { State::Raise { buckets, low_water } };
    }

    fn begin(&mut self, loaded: &Loaded, ends: Ends, now_ms: u64) {
        self.state = match plan(self.chain.partition, loaded, ends, now_ms) {
            Ok(plan) => {
                self.unsure.extend(&plan.unsure);
                State::Prepare(plan)
            }
            Err(stop) => State::Stopped(stop),
        };
    }

    /// Takes the answer to what was done. An answer to something else is no answer.
    pub fn done(&mut self, done: Done) -> Follows {
        match (&mut self.state, done) {
            (State::Load, Done::Loaded(Ok(loaded), ends, now_ms)) => {
                self.begin(&loaded, ends, now_ms);
                Follows::Nothing
            }
            (State::Look, Done::Loaded(Ok(loaded), ends, now_ms)) => {
                self.looked(&loaded, ends, now_ms);
                Follows::Nothing
            }
            (State::Load | State::Look, Done::Loaded(Err(error), ..)) => Follows::Later(error.0),
            (State::Prepare(plan), Done::Prepared(Ok(()))) => {
                self.chain.boot = plan.prepare.boot;
                self.chain.guards = std::mem::take(&mut plan.guards);
                self.shown = plan.prepare.shown;
                self.next = plan.start;
                self.raise = self.next <= self.shown;
                self.state = State::Records;
                let unsure: Vec<u32> = std::mem::take(&mut self.unsure).into_iter().collect();
                if unsure.is_empty() { Follows::Nothing } else { Follows::Unsure(unsure) }
            }
            (State::Prepare(_), Done::Prepared(Err(error))) => self.failed(error),
            (State::Conv { .. } | State::Raise { .. }, Done::Conv(result)) => self.conv_done(result),
            (State::User { .. } | State::Raise { .. }, Done::User(result)) => self.user_done(result),
            _ => Follows::Nothing,
        }
    }

    fn conv_done(&mut self, result: Result<Vec<ConvDone>, StepError>) -> Follows {
        match (&mut self.state, result) {
            (_, Err(error)) => return self.failed(error),
            (State::Conv { steps, dones, .. }, Ok(outcomes)) => {
                let Some(step) = steps.front() else { return Follows::Nothing };
                if !step.items.iter().map(|item| item.offset).eq(outcomes.iter().map(|done| done.offset)) {
                    return Follows::Later("the store's answer does not fit the step".into());
                }
                self.chain.taken(Bucket::Conv(step.bucket), step.last);
                dones.extend(outcomes);
                steps.pop_front();
            }
            (State::Raise { buckets, low_water }, Ok(_)) => {
                if let Some(bucket @ Bucket::Conv(_)) = buckets.front() {
                    self.chain.taken(*bucket, *low_water);
                    buckets.pop_front();
                }
                if buckets.is_empty() {
                    self.state = State::Records;
                }
            }
            _ => {}
        }
        self.go_on()
    }

    fn user_done(&mut self, result: Result<Vec<UserDone>, StepError>) -> Follows {
        match (&mut self.state, result) {
            (_, Err(error)) => return self.failed(error),
            (State::User { steps, dones, .. }, Ok(outcomes)) => {
                let Some(step) = steps.front() else { return Follows::Nothing };
                let asked = step.items.iter().map(|item| (item.offset, item.mid));
                if !asked.eq(outcomes.iter().map(|done| (done.offset, done.mid))) {
                    return Follows::Later("the store's answer does not fit the step".into());
                }
                self.chain.taken(Bucket::User(step.bucket), step.last);
                dones.extend(outcomes);
                steps.pop_front();
            }
            (State::Raise { buckets, low_water }, Ok(_)) => {
                if let Some(bucket @ Bucket::User(_)) = buckets.front() {
                    self.chain.taken(*bucket, *low_water);
                    buckets.pop_front();
                }
                if buckets.is_empty() {
                    self.state = State::Records;
                }
            }
            _ => {}
        }
        self.go_on()
    }

    /// From the conversations to the users, from those to the end of the batch, when nothing is left to do.
    fn go_on(&mut self) -> Follows {
        if let State::Conv { batch, steps, dones } = &mut self.state
            && steps.is_empty()
        {
            dones.sort_by_key(|done| done.offset);
            let tally = Tally::of(dones);
            let (steps, shown) = batch.user_steps(dones, &*self.store, &self.chain);
            self.state = State::User { last: batch.last, tally, shown, steps: steps.into(), dones: Vec::new() };
        }
        let State::User { last, tally, shown, steps, dones } = &mut self.state else { return Follows::Nothing };
        if !steps.is_empty() {
            return Follows::Nothing;
        }
        let mut applied = Applied {
            upto: *last,
            tally: *tally,
            shown: std::mem::take(shown),
            dones: std::mem::take(dones),
            again: *last <= self.shown,
        };
        applied.dones.sort_by_key(|done| done.offset);
        self.next = applied.upto + 1;
        self.state = State::Records;
        if self.raise && self.next > self.shown {
            self.raise = false;
            self.raise_idle();
        }
        Follows::Applied(applied)
    }

    fn failed(&mut self, error: StepError) -> Follows {
        match error {
            StepError::Busy => Follows::Later(error.to_string()),
            StepError::Down(reason) => Follows::Later(reason),
            StepError::Lost | StepError::Gap { .. } | StepError::Rebooted => {
                // What was given anew is found again the next time, and would be told as if it had been there before.
                if let State::User { last, dones, steps, .. } = &self.state
                    && *last <= self.shown
                {
                    self.unsure.extend(dones.iter().map(|done| self.store.user_bucket(done.mid)));
                    self.unsure.extend(steps.front().map(|step| step.bucket));
                }
                self.state = State::Load;
                Follows::Again(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;

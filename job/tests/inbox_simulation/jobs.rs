//! Two jobs that both own everything, and what happens to them between any two calls.

use std::collections::VecDeque;
use std::sync::Arc;

use perseid_job::inbox::progress::{Done, Ends, Follows, Next, Progress};
use perseid_job::inbox::{Applied, Hint, RoomFrame, RoomKeep, Showing, show};
use perseid_protocol::operation::op;
use perseid_protocol::push::{Delivery, SessionAddr, Target};
use perseid_store::Verdict;
use perseid_store::stored::Store;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::step::{
    Bucket, Change, ConvDone, ConvOp, ConvOutcome, Recipients, Step, StepError, UserDone, UserItem,
};

use super::people::{Mail, People};
use super::world::{Mode, Mutation, ROOM_KEEP, World};

/// What a job has applied and not handed over yet.
pub(crate) struct Parcel {
    first: u64,
    again: bool,
    deliveries: Vec<Delivery>,
    /// Users of these buckets have to look.
    unsure: Vec<u32>,
}

/// One partition in one job.
pub(crate) struct Job {
    pub(crate) progress: Progress,
    pub(crate) outbox: VecDeque<Parcel>,
}

impl Job {
    pub(crate) fn new(partition: usize, store: &Arc<dyn Store>) -> Self {
        let keep = RoomKeep::new([("live".into(), ROOM_KEEP)]);
        Self { progress: Progress::new(partition as u32, Arc::clone(store), keep), outbox: VecDeque::new() }
    }
}

/// Looks up sessions at the moment of the step, as a store would that holds them.
struct Telling<'a> {
    people: &'a mut People,
    store: &'a dyn Store,
    mutation: Option<Mutation>,
    deliveries: Vec<Delivery>,
    rooms: &'a mut Vec<(Conv, u64, u64)>,
}

impl Showing for Telling<'_> {
    fn sessions(&mut self, mid: u64, out: &mut Vec<SessionAddr>) {
        self.people.sessions_of(mid, out);
    }

    fn deliver(&mut self, session: SessionAddr, delivery: Delivery) {
        let dropped = match self.mutation {
            Some(Mutation::HeadDropped) => delivery.push.op == op::HEAD,
            Some(Mutation::EndDropped) => matches!(delivery.target, Target::End(..)),
            _ => false,
        };
        if let Target::Inbox { pos, .. } = delivery.target
            && delivery.push.op != op::HEAD
        {
            let mid = self.people.devices[self.people.sessions[session.slot as usize].device].mid;
            let epoch = self.store.inbox(mid).now().unwrap().unwrap().epoch;
            self.people.show(mid, epoch, pos, delivery.push.id);
        }
        if !dropped {
            self.deliveries.push(delivery);
        }
    }

    fn room(&mut self, frame: &RoomFrame) {
        self.rooms.push((Conv::Room(frame.push.conv), frame.push.pos, frame.push.id));
    }

    fn channel(&mut self, hint: Hint) {
        self.rooms.push((Conv::Group(hint.group), hint.pos, hint.id));
    }
}

fn slot_of(delivery: &Delivery) -> usize {
    match delivery.target {
        Target::Inbox { session, .. } | Target::End(session, _) | Target::Session(session) => session.slot as usize,
        _ => usize::MAX,
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Work,
    Fail,
    LoseAnswer,
}

impl World {
    /// One job does the next thing for one partition. `calm`: nothing fails. Gives whether it had anything to do.
    pub(crate) fn step_job(&mut self, job: usize, partition: usize, calm: bool) -> bool {
        let at = (job, partition);
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        let follows = match self.job(at).progress.next() {
            Next::Stopped(stop) => {
                self.people.wrong(format!("a job stopped: {stop}"));
                return false;
            }
            Next::Records { from } => return self.give(at, from, calm),
            Next::Load => {
                let loaded = store.load(partition as u32).now().unwrap();
                let ends = Ends { first: 1, end: self.logs[partition].len() as u64 };
                let done = Done::Loaded(loaded, ends, self.now_ms());
                self.job(at).progress.done(done)
            }
            Next::Prepare(prepare) => {
                let fate = self.fate(calm);
                let result = run(fate, || store.prepare(prepare));
                self.job(at).progress.done(Done::Prepared(result))
            }
            Next::Conv(step) => {
                let Some(result) = self.conv_call(step, calm) else { return self.crash(at) };
                self.job(at).progress.done(Done::Conv(result))
            }
            Next::User(step, again) => {
                let Some(result) = self.user_call(step, again, calm) else { return self.crash(at) };
                self.job(at).progress.done(Done::User(result))
            }
        };
        self.follow(at, follows);
        true
    }

    pub(crate) fn job(&mut self, at: (usize, usize)) -> &mut Job {
        &mut self.jobs[at.0][at.1]
    }

    fn give(&mut self, at: (usize, usize), from: u64, calm: bool) -> bool {
        let end = self.logs[at.1].len() as u64;
        if from > end {
            return false;
        }
        if self.dice.once_in(6) && !calm {
            return self.raise(at);
        }
        let last = end.min(from + self.dice.below(7));
        let records = self.logs[at.1][from as usize - 1..last as usize].to_vec();
        let (_, follows) = self.job(at).progress.give(from, &records, last);
        self.follow(at, follows);
        true
    }

    pub(crate) fn raise(&mut self, at: (usize, usize)) -> bool {
        if self.mutation == Some(Mutation::RaisedUnchecked) {
            let low_water = self.job(at).progress.next_offset().saturating_sub(1);
            let now_ms = self.now_ms();
            return self.store.sweep(at.1 as u32, low_water, now_ms).now().is_some();
        }
        self.job(at).progress.look_after()
    }

    fn fate(&mut self, calm: bool) -> Fate {
        if calm || self.mode == Mode::Told {
            return Fate::Work;
        }
        match self.dice.below(24) {
            0 => Fate::Fail,
            1 => Fate::LoseAnswer,
            _ => Fate::Work,
        }
    }

    /// The step as the mutation has it; `None`: the job died over it.
    fn bent<T: Clone>(&mut self, mut step: Step<T>, alone: impl FnOnce(Step<T>)) -> Option<Step<T>> {
        if self.hidden_boot {
            step.boot = self.boot;
        }
        if self.mutation == Some(Mutation::NoPrev) {
            step.prev = 0;
        }
        if self.mutation == Some(Mutation::GuardFirst) && self.dice.once_in(4) {
            alone(Step { items: Vec::new(), ..step.clone() });
            return None;
        }
        Some(step)
    }

    fn conv_call(&mut self, step: Step<ConvOp>, calm: bool) -> Option<Result<Vec<ConvDone>, StepError>> {
        let store = Arc::clone(&self.store);
        let mut step = self.bent(step, |step| _ = store.conv(step).now())?;
        if self.mutation == Some(Mutation::DedupeDropped) {
            let messages = step.items.iter_mut().filter(|op| matches!(op.change, Change::Message { .. }));
            messages.for_each(|op| op.idem = if op.offset.is_multiple_of(5) { 0 } else { op.idem });
        }
        let fate = self.fate(calm);
        if fate == Fate::Fail && self.mutation == Some(Mutation::PassedOver) {
            let nothing = |op: &ConvOp| ConvDone { offset: op.offset, fresh: true, outcome: ConvOutcome::Nothing };
            return Some(Ok(step.items.iter().map(nothing).collect()));
        }
        let mut result = run(fate, || store.conv(step.clone()));
        if let Ok(dones) = &mut result {
            dones.iter().for_each(|done| self.met_outcome(done));
            let convs = step.items.iter().map(|op| op.conv);
            dones.iter_mut().zip(convs).for_each(|(done, conv)| self.bend_recipients(done, conv));
        }
        Some(result)
    }

    fn met_outcome(&mut self, done: &ConvDone) {
        self.met(match (&done.outcome, done.fresh) {
            (ConvOutcome::Row { event: Some(_), .. }, true) => "event",
            (ConvOutcome::Row { .. }, true) => "row",
            (ConvOutcome::Row { .. }, false) => "row again",
            (ConvOutcome::Done, _) => "done",
            (ConvOutcome::Duplicate { .. }, _) => "duplicate",
            (ConvOutcome::Nothing, _) => "nothing",
            (ConvOutcome::Rejected(reason), _) => reason.word(),
            (ConvOutcome::Old, _) => "old",
        });
    }

    fn bend_recipients(&self, done: &mut ConvDone, conv: Conv) {
        let ConvOutcome::Row { recipients, .. } = &mut done.outcome else { return };
        let Recipients::Members(members) = recipients else { return };
        match self.mutation {
            Some(Mutation::MembersNow) if !done.fresh => {
                let Conv::Group(group) = conv else { return };
                let group = self.store.group(group).now().unwrap().unwrap();
                *members = group.map_or_else(|| Arc::from([]), |group| group.members.into());
            }
            Some(Mutation::MemberSkipped) if done.offset.is_multiple_of(7) && members.len() > 1 => {
                *members = members[1..].into();
            }
            _ => {}
        }
    }

    fn user_call(&mut self, step: Step<UserItem>, again: bool, calm: bool) -> Option<Result<Vec<UserDone>, StepError>> {
        let store = Arc::clone(&self.store);
        let step = self.bent(step, |step| _ = store.user(step, again).now())?;
        let again = again && self.mutation != Some(Mutation::NoEpochBump);
        let fate = self.fate(calm);
        if fate == Fate::Fail && self.mutation == Some(Mutation::PassedOver) {
            let nothing = |item: &UserItem| UserDone { offset: item.offset, mid: item.mid, pos: 0, fresh: false };
            return Some(Ok(step.items.iter().map(nothing).collect()));
        }
        Some(run(fate, || store.user(step, again)))
    }

    fn follow(&mut self, at: (usize, usize), follows: Follows) {
        match follows {
            Follows::Applied(applied) => self.pack(at, &applied),
            Follows::Again(StepError::Gap { .. }) => self.met("gap"),
            Follows::Again(StepError::Lost) => self.met("lost"),
            Follows::Again(_) => self.met("rebooted"),
            Follows::Later(_) => self.met("later"),
            Follows::Unsure(unsure) => {
                self.met("unsure");
                self.job(at).outbox.push_back(Parcel { first: 0, again: true, deliveries: Vec::new(), unsure });
            }
            Follows::Nothing => {}
        }
    }

    fn pack(&mut self, at: (usize, usize), applied: &Applied) {
        let Some(first) = applied.shown.first().map(|shown| shown.offset) else { return };
        let (people, rooms, store) = (&mut self.people, &mut self.rooms_shown, &*self.store);
        let mut telling = Telling { people, store, mutation: self.mutation, deliveries: Vec::new(), rooms };
        let counts = show(applied, 0, &mut telling);
        let deliveries = telling.deliveries;
        for (count, what) in [(counts.hints, "head"), (counts.ended, "end"), (counts.fresh, "frame")] {
            if count > 0 {
                self.met(what);
            }
        }
        self.job(at).outbox.push_back(Parcel { first, again: applied.again, deliveries, unsure: Vec::new() });
    }

    /// A job hands over what it applied longest ago.
    pub(crate) fn hand_over(&mut self, at: (usize, usize)) -> bool {
        let Some(parcel) = self.job(at).outbox.pop_front() else { return false };
        for delivery in parcel.deliveries {
            let slot = slot_of(&delivery);
            // A lane without room: the comet is told, and looks.
            let mail = if self.mode == Mode::Wild && self.dice.once_in(20) { Mail::Touch } else { Mail::Delivery(delivery) };
            self.people.post(slot, mail);
        }
        for slot in 0..self.people.sessions.len() {
            let mid = self.people.devices[self.people.sessions[slot].device].mid;
            if parcel.unsure.contains(&self.store.user_bucket(mid)) {
                self.people.post(slot, Mail::Touch);
            }
        }
        true
    }

    /// A job dies, and another one begins in its place.
    pub(crate) fn crash(&mut self, at: (usize, usize)) -> bool {
        let other = self.jobs[1 - at.0][at.1].progress.next_offset();
        let begins = |progress: &Progress| !matches!(progress.next(), Next::Load | Next::Prepare(_));
        let other_begins = begins(&self.jobs[1 - at.0][at.1].progress);
        match self.mode {
            Mode::Wild => {}
            // Only what the other one comes by later may be lost on the way.
            Mode::Told if at.0 == 1 => return true,
            Mode::Told => {
                let lost = |parcel: &Parcel| !parcel.again && other_begins && other <= parcel.first;
                while !self.jobs[at.0][at.1].outbox.iter().all(lost) {
                    self.hand_over(at);
                }
            }
            // In the middle of a batch it would take what it has to tell with it.
            Mode::Calm if !matches!(self.jobs[at.0][at.1].progress.next(), Next::Records { .. }) => return true,
            Mode::Calm => while self.hand_over(at) {},
        }
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        *self.job(at) = Job::new(at.1, &store);
        true
    }

    /// The store fails over: a bucket loses what was written last, or everything, or nothing.
    pub(crate) fn fail_over(&mut self) {
        let at = self.dice.index(self.snapshots.len());
        let bucket = self.buckets[self.dice.index(self.buckets.len())];
        self.boot += 1;
        self.store_failed = true;
        match self.dice.below(6) {
            0 => {
                self.store.wipe(bucket).unwrap();
                self.whole_unknown |= self.logs.len() > 1;
                self.snapshots.retain(|(of, _)| *of != bucket);
            }
            1 => self.store.restart(),
            _ => {
                let (bucket, snapshot) = self.snapshots[at].clone();
                self.store.roll_back(&snapshot).unwrap();
                // Nothing goes back to what was lost.
                let mut index = 0;
                self.snapshots.retain(|(of, _)| {
                    index += 1;
                    *of != bucket || index <= at + 1
                });
            }
        }
        if self.snapshots.is_empty() {
            self.remember(bucket);
        }
    }

    pub(crate) fn remember(&mut self, bucket: Bucket) {
        self.snapshots.push((bucket, self.store.snapshot(bucket)));
    }
}

fn run<T>(fate: Fate, call: impl FnOnce() -> Verdict<Result<T, StepError>>) -> Result<T, StepError> {
    match fate {
        Fate::Work => call().now().unwrap(),
        Fate::Fail => Err(StepError::Down("a test wants it so".into())),
        Fate::LoseAnswer => {
            let _ = call().now();
            Err(StepError::Down("a test wants it so".into()))
        }
    }
}

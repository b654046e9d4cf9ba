//! The port: every call goes to the one bucket that it concerns.

use super::EmbeddedStore;
use super::later::promise;
use super::shared::Shared;
use crate::Verdict;
use crate::stored::conv::{Conv, ConvKind};
use crate::stored::engine::Engine;
use crate::stored::kv::Broken;
use crate::stored::kv::reach;
use crate::stored::read::{
    DeviceCursor, GroupView, HeadsPage, InboxPage, InboxView, Message, OpenInbox, OpenedInbox, OutOfRange, PageBound, Pull,
    PullError, Reserve, Reserved, StoreDown, TimelinePage,
};
use crate::stored::step::{Bucket, ConvDone, ConvOp, Loaded, Prepare, Step, StepError, UserDone, UserItem};
use crate::stored::{Answer, Store};

fn down(broken: Broken) -> StoreDown {
    StoreDown(broken.0)
}

impl Shared {
    /// The answer, when everything applied so far survives this process.
    fn when_committed<T: Send + 'static>(&self, answer: T) -> Answer<T> {
        let (promise, committed) = promise();
        self.wait_for_commit(promise);
        Verdict::Later(Box::pin(async move {
            match committed.await {
                Some(Ok(())) => Ok(answer),
                Some(Err(broken)) => Err(down(broken)),
                None => Err(StoreDown("it was closed, or its disk failed".to_owned())),
            }
        }))
    }
}

impl EmbeddedStore {
    /// The answer at once, if it needs no disk. Else one of the readers waits for it. What is read must change nothing before all
    /// it needs is there.
    fn read<T: Send + 'static>(&self, read: impl Fn(&Engine) -> Result<T, Broken> + Send + 'static) -> Answer<T> {
        self.shared.is_asked(true);
        let shared = self.shared.clone();
        let read = move || shared.may_read().and_then(|()| read(&shared.engine));
        match reach::in_memory(&read) {
            Some(answer) => Verdict::Now(answer.map_err(down)),
            None => self.read_later(read),
        }
    }

    fn read_later<T: Send + 'static>(&self, read: impl Fn() -> Result<T, Broken> + Send + 'static) -> Answer<T> {
        let (promise, answered) = promise();
        let shared = self.shared.clone();
        let taken = self.readers.take(Box::new(move || {
            promise.keep(shared.ground().and_then(|ground| ground.careful.run(read)).flatten());
        }));
        self.shared.counters.cold(taken);
        if !taken {
            return Verdict::Now(Err(StoreDown("too many wait for its disk".to_owned())));
        }
        Verdict::Later(Box::pin(async move {
            let closed = || Err(StoreDown("it was closed".to_owned()));
            answered.await.map_or_else(closed, |answer| answer.map_err(down))
        }))
    }

    /// A step at once, if it needs no disk. Else whoever waits for it takes it, on his own thread: he has nothing else to do.
    fn step<T: Send + 'static>(
        &self,
        step: impl Fn(&Engine) -> Result<(Vec<T>, usize), StepError> + Send + 'static,
        bucket: Bucket,
    ) -> Verdict<Result<Vec<T>, StepError>> {
        let shared = self.shared.clone();
        let step = move || shared.may_step().and_then(|()| step(&shared.engine));
        let shared = self.shared.clone();
        let applied = move |done: Result<(Vec<T>, usize), StepError>| {
            let (done, bytes) = done?;
            shared.applied(bucket, bytes);
            Ok(done)
        };
        // Before anybody asks nobody is held up.
        if !self.shared.is_asked(false) {
            return Verdict::Now(applied(step()));
        }
        if let Some(done) = reach::in_memory(&step) {
            return Verdict::Now(applied(done));
        }
        let shared = self.shared.clone();
        Verdict::Later(Box::pin(async move {
            let done = shared.ground().and_then(|ground| ground.careful.run(step));
            applied(done.unwrap_or_else(|broken| Err(StepError::Down(broken.0))))
        }))
    }

    /// Answered when everything applied so far survives whatever happens to this machine.
    fn when_synced(&self) -> Verdict<Result<(), StepError>> {
        let (promise, synced) = promise();
        self.shared.wait_for_sync(promise);
        Verdict::Later(Box::pin(async move {
            match synced.await {
                Some(Ok(())) => Ok(()),
                Some(Err(broken)) => Err(StepError::Down(broken.0)),
                None => Err(StepError::Down("it was closed, or its disk failed".to_owned())),
            }
        }))
    }

    /// Tells the committer what is to be committed.
    fn applied(&self) {
        let engine = &self.shared.engine;
        let convs = engine.conv_number(0).map_or(0, |bucket| bucket.rows.uncommitted_bytes());
        self.shared.applied(Bucket::Conv(0), convs);
        let users = engine.user_number(0).map_or(0, |bucket| bucket.rows.uncommitted_bytes());
        self.shared.applied(Bucket::User(0), users);
    }
}

impl Store for EmbeddedStore {
    fn conv_bucket(&self, conv: Conv) -> u32 {
        self.shared.engine.conv_bucket(conv)
    }

    fn user_bucket(&self, mid: u64) -> u32 {
        self.shared.engine.user_bucket(mid)
    }

    fn load(&self, partition: u32) -> Answer<Loaded> {
        let mut loaded = self.shared.engine.load(partition);
        // A folder does not fail over: what it does not have was never written to it, or comes again at the same positions.
        loaded.buckets.iter_mut().for_each(|state| state.boot = loaded.boot);
        Verdict::Now(Ok(loaded))
    }

    fn prepare(&self, prepare: Prepare) -> Verdict<Result<(), StepError>> {
        let prepared = self.shared.may_step().and_then(|()| self.shared.engine.prepare(&prepare));
        self.applied();
        // Clients are told an epoch: it must not be another one after a kill. Rare, so it may cost a sync.
        if prepared.is_err() || prepare.renewed.is_empty() { Verdict::Now(prepared) } else { self.when_synced() }
    }

    fn conv(&self, step: Step<ConvOp>) -> Verdict<Result<Vec<ConvDone>, StepError>> {
        self.step(move |engine| engine.conv_step(&step), Bucket::Conv(0))
    }

    fn user(&self, step: Step<UserItem>, again: bool) -> Verdict<Result<Vec<UserDone>, StepError>> {
        self.step(move |engine| engine.user_step(&step, again), Bucket::User(0))
    }

    fn sweep(&self, partition: u32, low_water: u64, now_ms: u64) -> Answer<()> {
        if let Err(error) = self.shared.may_step() {
            return Verdict::Now(Err(StoreDown(error.to_string())));
        }
        self.shared.engine.raise_all(partition, low_water);
        let disk_bytes = self.shared.disk().map_or(0, |disk| disk.bytes());
        let run = |part: &dyn Fn() -> Result<(), Broken>| match self.shared.is_asked(false) {
            true => self.shared.ground()?.careful.run(part)?,
            false => part(),
        };
        let swept = self.shared.engine.sweep(now_ms, disk_bytes, &run).map_err(down);
        self.applied();
        Verdict::Now(swept)
    }

    fn is_warm(&self, convs: &[Conv], mids: &[u64]) -> bool {
        self.shared.is_well() && self.shared.may_step().is_ok() && self.shared.engine.is_warm(convs, mids)
    }

    fn durable(&self, partition: u32) -> u64 {
        self.shared.durable(partition)
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    fn reserve(&self, reserve: Reserve) -> Answer<Reserved> {
        if !self.shared.is_well() && self.shared.may_read().is_err() {
            return Verdict::Now(Ok(Reserved::Rebuilding));
        }
        self.read(move |engine| engine.conv(reserve.conv).reserve(&reserve))
    }

    fn open_inbox(&self, open: OpenInbox) -> Answer<OpenedInbox> {
        // While the disk fails nobody's cursor moves, and sessions come in all the same.
        let may_move = self.shared.may_step().is_ok();
        let opened = self.read(move |engine| engine.user(open.mid).open(&open, may_move));
        let shared = self.shared.clone();
        opened.and_then(move |opened| match opened {
            Ok((opened, true)) if may_move => shared.when_committed(opened),
            opened => Verdict::Now(opened.map(|(opened, _)| opened)),
        })
    }

    fn inbox(&self, mid: u64) -> Answer<InboxView> {
        self.read(move |engine| engine.user(mid).inbox(mid))
    }

    fn sync(&self, mid: u64, after: u64, bound: PageBound) -> Answer<Result<InboxPage, OutOfRange>> {
        self.read(move |engine| engine.sync(mid, after, bound))
    }

    fn ack(&self, mid: u64, device: &str, pos: u64, now_ms: u64) -> Answer<Result<u64, OutOfRange>> {
        if let Err(error) = self.shared.may_step() {
            return Verdict::Now(Err(StoreDown(error.to_string())));
        }
        let device = device.to_owned();
        let held = self.read(move |engine| engine.user(mid).ack(mid, &device, pos, now_ms));
        let shared = self.shared.clone();
        held.and_then(move |held| match held {
            Ok(Ok((pos, true))) => shared.when_committed(Ok(pos)),
            held => Verdict::Now(held.map(|held| held.map(|(pos, _)| pos))),
        })
    }

    fn devices(&self, mid: u64) -> Answer<Vec<DeviceCursor>> {
        self.read(move |engine| engine.user(mid).devices(mid))
    }

    fn find(&self, mid: u64, id: u64, rows_max: usize) -> Answer<Option<u64>> {
        self.read(move |engine| engine.find(mid, id, rows_max))
    }

    fn pull(&self, pull: Pull) -> Answer<Result<TimelinePage, PullError>> {
        self.read(move |engine| engine.pull(&pull))
    }

    fn row(&self, conv: Conv, pos: u64) -> Answer<Option<Message>> {
        self.read(move |engine| Ok(engine.timeline_row(conv, pos)?.map(|row| row.into_message(conv, pos))))
    }

    fn head(&self, conv: Conv) -> Answer<u64> {
        self.read(move |engine| Ok(engine.conv(conv).state(conv)?.head))
    }

    fn heads(&self, mid: u64, after: (u16, u64), only: Option<ConvKind>, limit: usize) -> Answer<HeadsPage> {
        self.read(move |engine| engine.heads(mid, after, only, limit))
    }

    fn read_pos(&self, mid: u64, conv: Conv, by: u64) -> Answer<u64> {
        self.read(move |engine| engine.read_pos(mid, conv, by))
    }

    fn group(&self, id: u64) -> Answer<Option<GroupView>> {
        self.read(move |engine| engine.group(id))
    }

    fn is_member(&self, id: u64, mid: u64) -> Answer<bool> {
        self.read(move |engine| engine.conv(Conv::Group(id)).is_member(id, mid))
    }

    fn is_blocked(&self, by: u64, peer: u64) -> Answer<bool> {
        self.read(move |engine| engine.is_blocked(by, peer))
    }
}

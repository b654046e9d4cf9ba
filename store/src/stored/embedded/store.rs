//! The port: every call goes to the one bucket that it concerns.

use super::EmbeddedStore;
use super::later::promise;
use crate::Verdict;
use crate::stored::conv::{Conv, ConvKind};
use crate::stored::engine::Engine;
use crate::stored::kv::Broken;
use crate::stored::read::{
    DeviceCursor, GroupView, HeadsPage, InboxPage, InboxView, Message, OpenInbox, OpenedInbox, OutOfRange, PageBound, Pull,
    PullError, Reserve, Reserved, StoreDown, TimelinePage,
};
use crate::stored::step::{Bucket, ConvDone, ConvOp, Loaded, Prepare, Step, StepError, UserDone, UserItem};
use crate::stored::{Answer, Store};

fn down(broken: Broken) -> StoreDown {
    StoreDown(broken.0)
}

fn no_answer<T>() -> Answer<T> {
    Verdict::Now(Err(StoreDown("it gave no answer".to_owned())))
}

impl EmbeddedStore {
    fn read<T>(&self, read: impl FnOnce(&Engine) -> Result<T, Broken>) -> Answer<T> {
        Verdict::Now(self.shared.may_read().and_then(|()| read(&self.shared.engine)).map_err(down))
    }

    /// The answer, when everything applied so far survives this process.
    fn when_committed<T: Send + 'static>(&self, answer: T) -> Answer<T> {
        let (promise, committed) = promise();
        self.shared.wait_for_commit(promise);
        Verdict::Later(Box::pin(async move {
            match committed.await {
                Some(Ok(())) => Ok(answer),
                Some(Err(broken)) => Err(down(broken)),
                None => Err(StoreDown("it was closed, or its disk failed".to_owned())),
            }
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
        let (done, bytes) = match self.shared.may_step().and_then(|()| self.shared.engine.conv_step(&step)) {
            Ok(done) => done,
            Err(error) => return Verdict::Now(Err(error)),
        };
        self.shared.applied(Bucket::Conv(0), bytes);
        Verdict::Now(Ok(done))
    }

    fn user(&self, step: Step<UserItem>, again: bool) -> Verdict<Result<Vec<UserDone>, StepError>> {
        let (done, bytes) = match self.shared.may_step().and_then(|()| self.shared.engine.user_step(&step, again)) {
            Ok(done) => done,
            Err(error) => return Verdict::Now(Err(error)),
        };
        self.shared.applied(Bucket::User(0), bytes);
        Verdict::Now(Ok(done))
    }

    fn sweep(&self, partition: u32, low_water: u64, now_ms: u64) -> Answer<()> {
        if let Err(error) = self.shared.may_step() {
            return Verdict::Now(Err(StoreDown(error.to_string())));
        }
        self.shared.engine.raise_all(partition, low_water);
        let disk_bytes = self.shared.disk().map_or(0, |disk| disk.bytes());
        let swept = self.shared.engine.sweep(now_ms, disk_bytes).map_err(down);
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
        self.read(|engine| engine.conv(reserve.conv).reserve(&reserve))
    }

    fn open_inbox(&self, open: OpenInbox) -> Answer<OpenedInbox> {
        // While the disk fails nobody's cursor moves, and sessions come in all the same.
        let may_move = self.shared.may_step().is_ok();
        match self.read(|engine| engine.user(open.mid).open(&open, may_move)).now() {
            Some(Ok((opened, true))) if may_move => self.when_committed(opened),
            Some(Ok((opened, _))) => Verdict::Now(Ok(opened)),
            Some(Err(down)) => Verdict::Now(Err(down)),
            None => no_answer(),
        }
    }

    fn inbox(&self, mid: u64) -> Answer<InboxView> {
        self.read(|engine| engine.user(mid).inbox(mid))
    }

    fn sync(&self, mid: u64, after: u64, bound: PageBound) -> Answer<Result<InboxPage, OutOfRange>> {
        self.read(|engine| engine.sync(mid, after, bound))
    }

    fn ack(&self, mid: u64, device: &str, pos: u64, now_ms: u64) -> Answer<Result<u64, OutOfRange>> {
        if let Err(error) = self.shared.may_step() {
            return Verdict::Now(Err(StoreDown(error.to_string())));
        }
        match self.read(|engine| engine.user(mid).ack(mid, device, pos, now_ms)).now() {
            Some(Ok(Ok((pos, true)))) => self.when_committed(Ok(pos)),
            Some(Ok(Ok((pos, false)))) => Verdict::Now(Ok(Ok(pos))),
            Some(Ok(Err(out_of_range))) => Verdict::Now(Ok(Err(out_of_range))),
            Some(Err(down)) => Verdict::Now(Err(down)),
            None => no_answer(),
        }
    }

    fn devices(&self, mid: u64) -> Answer<Vec<DeviceCursor>> {
        self.read(|engine| engine.user(mid).devices(mid))
    }

    fn find(&self, mid: u64, id: u64, rows_max: usize) -> Answer<Option<u64>> {
        self.read(|engine| engine.find(mid, id, rows_max))
    }

    fn pull(&self, pull: Pull) -> Answer<Result<TimelinePage, PullError>> {
        self.read(|engine| engine.pull(&pull))
    }

    fn row(&self, conv: Conv, pos: u64) -> Answer<Option<Message>> {
        self.read(|engine| Ok(engine.timeline_row(conv, pos)?.map(|row| row.into_message(conv, pos))))
    }

    fn head(&self, conv: Conv) -> Answer<u64> {
        self.read(|engine| Ok(engine.conv(conv).state(conv)?.head))
    }

    fn heads(&self, mid: u64, after: (u16, u64), only: Option<ConvKind>, limit: usize) -> Answer<HeadsPage> {
        self.read(|engine| engine.heads(mid, after, only, limit))
    }

    fn read_pos(&self, mid: u64, conv: Conv, by: u64) -> Answer<u64> {
        self.read(|engine| engine.read_pos(mid, conv, by))
    }

    fn group(&self, id: u64) -> Answer<Option<GroupView>> {
        self.read(|engine| engine.group(id))
    }

    fn is_member(&self, id: u64, mid: u64) -> Answer<bool> {
        self.read(|engine| engine.conv(Conv::Group(id)).is_member(id, mid))
    }

    fn is_blocked(&self, by: u64, peer: u64) -> Answer<bool> {
        self.read(|engine| engine.is_blocked(by, peer))
    }
}

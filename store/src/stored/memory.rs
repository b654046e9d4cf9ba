//! The store in the memory of a process: for tests and simulations, with as many buckets as they want.

use std::sync::{Arc, Mutex, PoisonError};

use super::config::{Clock, StoredConfig};
use super::conv::{Conv, ConvKind};
use super::conv_bucket::ConvBucket;
use super::engine::{Buckets, Engine};
use super::kv::{Broken, Rows};
use super::read::{
    DeviceCursor, GroupView, HeadsPage, InboxPage, InboxView, Message, OpenInbox, OpenedInbox, OutOfRange, PageBound, Pull,
    PullError, Reserve, Reserved, StoreDown, TimelinePage,
};
use super::step::{ConvDone, ConvOp, Loaded, Prepare, Step, StepError, UserDone, UserItem};
use super::testing::{Call, Fate};
use super::user_bucket::UserBucket;
use super::{Answer, Store};
use crate::Verdict;

/// Tells what is to become of a call.
pub(crate) type Faults = Box<dyn FnMut(Call) -> Fate + Send>;

/// A key for the hash of dedupe: nobody attacks a test.
pub(crate) const SEED: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// Settings of a [`MemoryStore`].
#[derive(Clone)]
pub struct MemoryConfig {
    /// Buckets of conversations, at least 1.
    pub conv_buckets: u32,
    /// Buckets of users, at least 1.
    pub user_buckets: u32,
    /// The first life of the store, not 0.
    pub boot: u64,
    /// What is common to all stores.
    pub stored: StoredConfig,
    /// Tells the time: new epochs of users need it.
    pub clock: Clock,
}

/// The store in the memory of a process. What tests do to it besides, [`super::testing`] has.
pub struct MemoryStore {
    pub(crate) engine: Engine,
    pub(crate) faults: Mutex<Option<Faults>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        // Without a committer nothing would pack places of dedupe: each is a row.
        let stored = Arc::new(StoredConfig { dedupe_bytes_max: 0, ..config.stored });
        let rows = || Rows::new(None);
        let convs = (0..config.conv_buckets.max(1)).map(|number| ConvBucket::load(rows(), number, config.boot, SEED, &stored));
        let users = (0..config.user_buckets.max(1)).map(|number| UserBucket::load(rows(), number, config.boot, &stored));
        // Empty rows have nothing that could not be read.
        let buckets = Buckets { convs: convs.flatten().collect(), users: users.flatten().collect() };
        Self { engine: Engine::new(buckets, config.boot, config.clock, stored), faults: Mutex::new(None) }
    }

    /// Runs a call as the faults want it.
    fn faulty<T>(&self, call: Call, lost: impl FnOnce(String) -> T, run: impl FnOnce() -> T) -> Verdict<T> {
        let fate = self.faults.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map_or(Fate::Work, |fate| fate(call));
        let why = || "a test wants it so".to_owned();
        match fate {
            Fate::Work => Verdict::Now(run()),
            Fate::Fail => Verdict::Now(lost(why())),
            Fate::LoseAnswer => {
                run();
                Verdict::Now(lost(why()))
            }
        }
    }
}

fn answer<T>(result: Result<T, Broken>) -> Answer<T> {
    Verdict::Now(result.map_err(|broken| StoreDown(broken.0)))
}

fn down<T>(why: String) -> Result<T, StoreDown> {
    Err(StoreDown(why))
}

fn step_down<T>(why: String) -> Result<T, StepError> {
    Err(StepError::Down(why))
}

impl Store for MemoryStore {
    fn conv_bucket(&self, conv: Conv) -> u32 {
        self.engine.conv_bucket(conv)
    }

    fn user_bucket(&self, mid: u64) -> u32 {
        self.engine.user_bucket(mid)
    }

    fn load(&self, partition: u32) -> Answer<Loaded> {
        self.faulty(Call::Load, down, || Ok(self.engine.load(partition)))
    }

    fn prepare(&self, prepare: Prepare) -> Verdict<Result<(), StepError>> {
        self.faulty(Call::Prepare, step_down, || self.engine.prepare(&prepare))
    }

    fn conv(&self, step: Step<ConvOp>) -> Verdict<Result<Vec<ConvDone>, StepError>> {
        self.faulty(Call::Conv, step_down, || Ok(self.engine.conv_step(&step)?.0))
    }

    fn user(&self, step: Step<UserItem>, again: bool) -> Verdict<Result<Vec<UserDone>, StepError>> {
        self.faulty(Call::User, step_down, || Ok(self.engine.user_step(&step, again)?.0))
    }

    fn sweep(&self, partition: u32, low_water: u64, now_ms: u64) -> Answer<()> {
        self.faulty(Call::Sweep, down, || {
            self.engine.raise_all(partition, low_water);
            self.engine.sweep(now_ms, 0, &|part| part()).map_err(|broken| StoreDown(broken.0))
        })
    }

    fn is_warm(&self, convs: &[Conv], mids: &[u64]) -> bool {
        self.engine.is_warm(convs, mids)
    }

    /// Nothing survives a process: the log has to keep all.
    fn durable(&self, _: u32) -> u64 {
        0
    }

    fn reserve(&self, reserve: Reserve) -> Answer<Reserved> {
        self.faulty(Call::Reserve, down, || {
            self.engine.conv(reserve.conv).reserve(&reserve).map_err(|broken| StoreDown(broken.0))
        })
    }

    fn open_inbox(&self, open: OpenInbox) -> Answer<OpenedInbox> {
        answer(self.engine.user(open.mid).open(&open, true).map(|(opened, _)| opened))
    }

    fn inbox(&self, mid: u64) -> Answer<InboxView> {
        answer(self.engine.user(mid).inbox(mid))
    }

    fn sync(&self, mid: u64, after: u64, bound: PageBound) -> Answer<Result<InboxPage, OutOfRange>> {
        answer(self.engine.sync(mid, after, bound))
    }

    fn ack(&self, mid: u64, device: &str, pos: u64, now_ms: u64) -> Answer<Result<u64, OutOfRange>> {
        let acked = self.engine.user(mid).ack(mid, device, pos, now_ms);
        answer(acked.map(|acked| acked.map(|(pos, _)| pos)))
    }

    fn devices(&self, mid: u64) -> Answer<Vec<DeviceCursor>> {
        answer(self.engine.user(mid).devices(mid))
    }

    fn find(&self, mid: u64, id: u64, rows_max: usize) -> Answer<Option<u64>> {
        answer(self.engine.find(mid, id, rows_max))
    }

    fn pull(&self, pull: Pull) -> Answer<Result<TimelinePage, PullError>> {
        answer(self.engine.pull(&pull))
    }

    fn row(&self, conv: Conv, pos: u64) -> Answer<Option<Message>> {
        answer(self.engine.timeline_row(conv, pos).map(|row| row.map(|row| row.into_message(conv, pos))))
    }

    fn head(&self, conv: Conv) -> Answer<u64> {
        answer(self.engine.conv(conv).state(conv).map(|state| state.head))
    }

    fn heads(&self, mid: u64, after: (u16, u64), only: Option<ConvKind>, limit: usize) -> Answer<HeadsPage> {
        answer(self.engine.heads(mid, after, only, limit))
    }

    fn read_pos(&self, mid: u64, conv: Conv, by: u64) -> Answer<u64> {
        answer(self.engine.read_pos(mid, conv, by))
    }

    fn group(&self, id: u64) -> Answer<Option<GroupView>> {
        answer(self.engine.group(id))
    }

    fn is_member(&self, id: u64, mid: u64) -> Answer<bool> {
        answer(self.engine.conv(Conv::Group(id)).is_member(id, mid))
    }

    fn is_blocked(&self, by: u64, peer: u64) -> Answer<bool> {
        answer(self.engine.is_blocked(by, peer))
    }
}

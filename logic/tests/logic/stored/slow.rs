//! The store, which has to be waited for, or does not answer, when a test wants that.

use std::sync::{Arc, Mutex};

use perseid_store::Verdict;
use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::read::{
    DeviceCursor, GroupView, HeadsPage, InboxPage, InboxView, Message, OpenInbox, OpenedInbox, OutOfRange, PageBound, Pull,
    PullError, Reserve, Reserved, StoreDown, TimelinePage,
};
use perseid_store::stored::step::{ConvDone, ConvOp, Loaded, Prepare, Step, StepError, UserDone, UserItem};
use perseid_store::stored::{Answer, MemoryStore, Store};

/// How the store answers what logic asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    #[default]
    Now,
    Later,
    Down,
}

pub(crate) struct Slow {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) pace: Mutex<Pace>,
}

impl Slow {
    fn answer<T: Send + 'static>(&self, answer: impl FnOnce(&MemoryStore) -> Answer<T> + Send + 'static) -> Answer<T> {
        match *self.pace.lock().unwrap() {
            Pace::Now => answer(&self.store),
            Pace::Down => Verdict::Now(Err(StoreDown("the test".to_owned()))),
            Pace::Later => {
                let store = self.store.clone();
                Verdict::Later(Box::pin(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    answer(&store).get().await
                }))
            }
        }
    }
}

impl Store for Slow {
    fn conv_bucket(&self, conv: Conv) -> u32 {
        self.store.conv_bucket(conv)
    }
    fn user_bucket(&self, mid: u64) -> u32 {
        self.store.user_bucket(mid)
    }
    fn load(&self, partition: u32) -> Answer<Loaded> {
        self.store.load(partition)
    }
    fn prepare(&self, prepare: Prepare) -> Verdict<Result<(), StepError>> {
        self.store.prepare(prepare)
    }
    fn conv(&self, step: Step<ConvOp>) -> Verdict<Result<Vec<ConvDone>, StepError>> {
        self.store.conv(step)
    }
    fn user(&self, step: Step<UserItem>, again: bool) -> Verdict<Result<Vec<UserDone>, StepError>> {
        self.store.user(step, again)
    }
    fn sweep(&self, partition: u32, low_water: u64, now_ms: u64) -> Answer<()> {
        self.store.sweep(partition, low_water, now_ms)
    }
    fn is_warm(&self, convs: &[Conv], mids: &[u64]) -> bool {
        self.store.is_warm(convs, mids)
    }
    fn durable(&self, partition: u32) -> u64 {
        self.store.durable(partition)
    }
    fn reserve(&self, reserve: Reserve) -> Answer<Reserved> {
        self.answer(move |store| store.reserve(reserve))
    }
    fn open_inbox(&self, open: OpenInbox) -> Answer<OpenedInbox> {
        self.answer(move |store| store.open_inbox(open))
    }
    fn inbox(&self, mid: u64) -> Answer<InboxView> {
        self.answer(move |store| store.inbox(mid))
    }
    fn sync(&self, mid: u64, after: u64, bound: PageBound) -> Answer<Result<InboxPage, OutOfRange>> {
        self.answer(move |store| store.sync(mid, after, bound))
    }
    fn ack(&self, mid: u64, device: &str, pos: u64, now_ms: u64) -> Answer<Result<u64, OutOfRange>> {
        let device = device.to_owned();
        self.answer(move |store| store.ack(mid, &device, pos, now_ms))
    }
    fn devices(&self, mid: u64) -> Answer<Vec<DeviceCursor>> {
        self.answer(move |store| store.devices(mid))
    }
    fn find(&self, mid: u64, id: u64, rows_max: usize) -> Answer<Option<u64>> {
        self.answer(move |store| store.find(mid, id, rows_max))
    }
    fn pull(&self, pull: Pull) -> Answer<Result<TimelinePage, PullError>> {
        self.answer(move |store| store.pull(pull))
    }
    fn row(&self, conv: Conv, pos: u64) -> Answer<Option<Message>> {
        self.answer(move |store| store.row(conv, pos))
    }
    fn head(&self, conv: Conv) -> Answer<u64> {
        self.answer(move |store| store.head(conv))
    }
    fn heads(&self, mid: u64, after: (u16, u64), only: Option<ConvKind>, limit: usize) -> Answer<HeadsPage> {
        self.answer(move |store| store.heads(mid, after, only, limit))
    }
    fn read_pos(&self, mid: u64, conv: Conv, by: u64) -> Answer<u64> {
        self.answer(move |store| store.read_pos(mid, conv, by))
    }
    fn group(&self, id: u64) -> Answer<Option<GroupView>> {
        self.answer(move |store| store.group(id))
    }
    fn is_member(&self, id: u64, mid: u64) -> Answer<bool> {
        self.answer(move |store| store.is_member(id, mid))
    }
    fn is_blocked(&self, by: u64, peer: u64) -> Answer<bool> {
        self.answer(move |store| store.is_blocked(by, peer))
    }
}

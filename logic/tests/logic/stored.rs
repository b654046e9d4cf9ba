//! Stored messages as clients ask for them: over a log on disk, the job that applies it, and the store in memory.

mod auth;
mod ephemeral;
mod marks;
mod pages;
mod recall;
mod send;
mod slow;

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use perseid_job::inbox::{Inbox as InboxAtEnd, InboxJob, InboxMetrics, Ports, RoomKeep};
use perseid_job::{Lanes, Routes};
use perseid_log::{EmbeddedConfig, EmbeddedLog, EventLog, Topic};
use perseid_logic::snowflake::Snowflake;
use perseid_logic::{
    Answerer, Config, Inbox, InboxParts, Metrics, Relay, StoredConfig, StoredOutcome, StoredRefusal, StoredReply, StoredRequest,
    Thread,
};
use perseid_protocol::frame::{self, Extension, Header};
use perseid_protocol::push::{Delivery, SessionAddr};
use perseid_protocol::{Refusal, SessionKey};
use perseid_rpc::{GroupChange, GroupChangeKind, LogRecord, log_record};
use perseid_store::stored::conv::Conv;
use perseid_store::stored::{MemoryConfig, MemoryStore};
use perseid_store::{MemoryRegistry, NewSession, SessionRegistry, Takeover};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::fakes::{FakeLog, World};
pub(crate) use slow::{Pace, Slow};

/// What keeps messages in a [`World`].
pub(crate) struct Keeping {
    pub(crate) store: Arc<MemoryStore>,
    /// The same, as logic sees it.
    pub(crate) slow: Arc<Slow>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) relayed: Arc<Relayed>,
    counts: Arc<InboxMetrics>,
    // In this order they go.
    _job: InboxJob,
    _dir: tempfile::TempDir,
}

/// What was relayed.
#[derive(Default)]
pub(crate) struct Relayed(pub(crate) Mutex<Vec<Delivery>>);

impl Relay for Relayed {
    fn relay(&self, deliveries: Vec<Delivery>) {
        self.0.lock().unwrap().extend(deliveries);
    }
}

struct Nowhere;

impl Routes for Nowhere {
    fn by_key(&self, _key: &str, _out: &mut Vec<SessionAddr>) {}
    fn by_mid(&self, _mid: i64, _out: &mut Vec<SessionAddr>) {}
}

pub(crate) fn unix_ms() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

impl Keeping {
    /// Has `log` write to a real one, and applies that.
    pub(crate) fn new(
        log: &Arc<FakeLog>,
        registry: &Arc<MemoryRegistry>,
        metrics: &Arc<Metrics>,
        ids: Arc<Snowflake>,
        config: StoredConfig,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let real = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
        log.real.set(real.clone()).ok().unwrap();
        let store = Arc::new(MemoryStore::new(MemoryConfig {
            conv_buckets: 1,
            user_buckets: 1,
            boot: 1,
            stored: perseid_store::stored::StoredConfig::default(),
            clock: Arc::new(unix_ms),
        }));
        let (lanes, metrics_of_job) = (Lanes::from(Vec::new()), Arc::new(perseid_job::Metrics::default()));
        let ports = Ports::new(store.clone(), Arc::new(Nowhere), lanes, metrics_of_job, Arc::new(unix_ms));
        let counts = ports.inbox_metrics.clone();
        let keep = RoomKeep::new(config.recovery.iter().map(|(kind, count)| (kind.as_str().into(), *count)));
        let job = InboxAtEnd::catch_up(Arc::new(real), ports, keep).unwrap().start().unwrap();
        let relayed = Arc::new(Relayed::default());
        let slow = Arc::new(Slow { store: store.clone(), pace: Mutex::default() });
        let parts = InboxParts {
            store: slow.clone(),
            log: log.clone(),
            registry: registry.clone(),
            relay: relayed.clone(),
            ids,
            metrics: metrics.clone(),
            runtime: Handle::current(),
            traces: perseid_logic::Traces::default(),
        };
        Self { store, slow, inbox: Inbox::new(parts, config), relayed, counts, _job: job, _dir: dir }
    }
}

/// A session of a user.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) mid: u64,
    pub(crate) key: SessionKey,
    pub(crate) addr: SessionAddr,
}

/// A refusal, as a test looks at it.
pub(crate) fn refused(outcome: StoredOutcome) -> Refusal {
    let refusal = outcome.expect_err("it is not refused");
    assert!(!refusal.message.is_empty());
    refusal.refusal
}

/// The frames of a page.
pub(crate) fn frames(body: &Bytes) -> Vec<(Header, Bytes)> {
    let (mut at, mut frames) = (0, Vec::new());
    while at < body.len() {
        let frame = frame::decode(&body[at..], usize::MAX).unwrap().unwrap();
        frames.push((frame.header, Bytes::copy_from_slice(frame.body)));
        at += frame.len;
    }
    frames
}

impl World {
    /// One that keeps messages, with settings of them.
    pub(crate) fn storing(stored: StoredConfig) -> Self {
        Self::keeping(Config { stored, ..Config::default() })
    }

    /// Waits until all that the log has is applied: the first of a conversation is, a moment after it is answered.
    pub(crate) async fn settled(&self) {
        let end = self.log.real.get().unwrap().status().end;
        while self.kept().counts.snapshot().offset < end {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn pace(&self, pace: Pace) {
        *self.kept().slow.pace.lock().unwrap() = pace;
    }

    pub(crate) fn kept(&self) -> &Keeping {
        self.keeps.as_ref().unwrap()
    }

    /// Lets an extended session in.
    pub(crate) fn client(&self, mid: u64, device: &str, slot: u32) -> Client {
        let addr = SessionAddr { slot, ..SessionAddr::default() };
        let key = SessionKey::parse(&format!("{mid}-{slot}"));
        let session = NewSession {
            key: key.clone(),
            mid: mid.cast_signed(),
            addr,
            platform: "web",
            device_id: device,
            peer: None,
            since_ms: 1,
            extended: true,
        };
        self.registry.open(session, Takeover::Anybody).unwrap();
        Client { mid, key, addr }
    }

    /// Asks something; gives the answer and where it came from: `None` when it was there at once.
    pub(crate) async fn request(&self, client: &Client, op: i32, ext: Extension, body: &[u8]) -> (StoredOutcome, Option<Thread>) {
        self.request_seq(client, 1, op, ext, body).await
    }

    pub(crate) async fn request_seq(
        &self,
        client: &Client,
        seq: i32,
        op: i32,
        ext: Extension,
        body: &[u8],
    ) -> (StoredOutcome, Option<Thread>) {
        let header = Header { ver: 2, op, seq, ext };
        self.ask_as_of(client, &header, body, unix_ms()).await
    }

    pub(crate) async fn ask_as_of(
        &self,
        client: &Client,
        header: &Header,
        body: &[u8],
        now_ms: u64,
    ) -> (StoredOutcome, Option<Thread>) {
        let Client { mid, key, addr } = client;
        let request = StoredRequest { mid: *mid, key, addr: *addr, header, body, foreign: false, now_ms };
        let (tell, told) = oneshot::channel();
        let answerer = || -> Answerer { Box::new(move |outcome, thread| tell.send((outcome, thread)).unwrap()) };
        match self.kept().inbox.request(&request, answerer) {
            Some(outcome) => (outcome, None),
            None => {
                let (outcome, thread) = told.await.unwrap();
                self.settled().await;
                (outcome, Some(thread))
            }
        }
    }

    /// The same, of which only the answer matters.
    pub(crate) async fn asked(&self, client: &Client, op: i32, ext: Extension, body: &[u8]) -> StoredOutcome {
        self.request(client, op, ext, body).await.0
    }

    /// Writes a record past logic, and waits until it is applied.
    pub(crate) async fn write(&self, from: u64, key: &str, body: log_record::Body) {
        let ids = self.accept.ids();
        let record = LogRecord { id: ids.next(unix_ms()).id, ts_ms: unix_ms(), from, body: Some(body), ..Default::default() };
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |result| tell.send(result).unwrap());
        self.log.real.get().unwrap().append(Topic::Log, key.as_bytes(), record.to_value(), done);
        told.await.unwrap().unwrap();
        self.settled().await;
    }

    /// Changes a group past the API.
    pub(crate) async fn change(&self, change: GroupChange) {
        let key = Conv::Group(change.group).to_string();
        self.write(0, &key, log_record::Body::Change(change)).await;
    }

    pub(crate) async fn put_group(&self, group: u64, channel: bool, owner: u64, members: &[u64]) {
        let kind = GroupChangeKind::Put as i32;
        self.change(GroupChange { group, kind, channel, owner, add: members.to_vec(), ..GroupChange::default() }).await;
    }
}

pub(crate) fn to(kind: u16, conv: u64) -> Extension {
    Extension { kind, conv, ..Extension::default() }
}

pub(crate) fn ok(outcome: StoredOutcome) -> StoredReply {
    outcome.unwrap_or_else(|StoredRefusal { refusal, message, .. }| panic!("{refusal:?}: {message}"))
}

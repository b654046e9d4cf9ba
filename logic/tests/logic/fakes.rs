//! A log in memory that does as it is told, comets that are made up, and a way to ask the APIs.

use std::sync::{Arc, Mutex, OnceLock};

use crate::stored::Keeping;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response};
use http_body_util::BodyExt;
use perseid_log::{
    AppendDone, AppendError, Consumer, Counters, Cursor, EmbeddedLog, EventLog, HistogramSnapshot, LogError, LogReader,
    LogStatus, Record, Start, Topic,
};
use perseid_logic::access::{TokenHash, entry, new_token};
use perseid_logic::metrics::MetricsSnapshot;
use perseid_logic::snowflake::made_ms;
use perseid_logic::{
    Accept, Access, Api, Config, DrainProgress, Metrics, NodeInfo, Nodes, RoomOnline, Scope, SentBook, Tokens, Totals,
    UnknownNode, router,
};
use perseid_protocol::origin::Pages;
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, SessionKey};
use perseid_rpc::{LogRecord, PushMsg};
use perseid_store::{MemoryRegistry, NewSession, SessionRegistry, Takeover};
use prost::Message;
use tower::ServiceExt;

/// What the fake log does with an append.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mode {
    /// Has it at once.
    #[default]
    Take,
    /// Has it when it is told to.
    Hold,
    /// Refuses it.
    Refuse(AppendError),
    /// Never answers: drops the callback.
    Forget,
    /// Says that it has it, and has it not: nothing ever comes of it.
    Swallow,
}

#[derive(Default)]
pub(crate) struct FakeLog {
    pub(crate) mode: Mutex<Mode>,
    pub(crate) records: Mutex<Vec<(Vec<u8>, PushMsg)>>,
    /// What is to be stored, and where it goes.
    pub(crate) stored: Mutex<Vec<(String, LogRecord)>>,
    pub(crate) real: OnceLock<EmbeddedLog>,
    held: Mutex<Vec<AppendDone>>,
    pub(crate) poisoned: Mutex<Option<String>>,
    pub(crate) refusing: Mutex<Option<String>>,
}

impl FakeLog {
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Answers what was held.
    pub(crate) fn release(&self, result: &Result<u64, AppendError>) {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        held.into_iter().for_each(|done| done(result.clone()));
    }

    pub(crate) fn pushes(&self) -> Vec<PushMsg> {
        self.records.lock().unwrap().iter().map(|(_, push)| push.clone()).collect()
    }

    pub(crate) fn last(&self) -> PushMsg {
        self.pushes().pop().expect("nothing was appended")
    }

    pub(crate) fn stored(&self) -> Vec<LogRecord> {
        self.stored.lock().unwrap().iter().map(|(_, record)| record.clone()).collect()
    }

    pub(crate) fn last_key(&self) -> String {
        String::from_utf8(self.records.lock().unwrap().last().unwrap().0.clone()).unwrap()
    }
}

struct Nothing;

impl LogReader for Nothing {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        Ok(Vec::new())
    }

    fn next(&self) -> u64 {
        1
    }
}

impl EventLog for FakeLog {
    fn append(&self, topic: Topic, key: &[u8], value: Bytes, done: AppendDone) {
        let mode = self.mode.lock().unwrap().clone();
        if !matches!(mode, Mode::Refuse(_)) {
            match topic {
                Topic::Push => self.records.lock().unwrap().push((key.to_vec(), PushMsg::decode(value.clone()).unwrap())),
                Topic::Log => {
                    let record = LogRecord::from_value(&value).unwrap();
                    self.stored.lock().unwrap().push((String::from_utf8(key.to_vec()).unwrap(), record));
                }
                Topic::Events => panic!("no events here"),
            }
        }
        match mode {
            Mode::Take => match self.real.get().filter(|_| topic == Topic::Log) {
                Some(real) => real.append(topic, key, value, done),
                None => done(Ok(1)),
            },
            Mode::Swallow => done(Ok(1)),
            Mode::Hold => self.held.lock().unwrap().push(done),
            Mode::Refuse(error) => done(Err(error)),
            Mode::Forget => drop(done),
        }
    }

    fn subscribe(&self, _name: &str, _start: Start, _consumer: Box<dyn Consumer>) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    fn follow(&self, _name: &str, _consumer: Box<dyn Consumer>) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    fn replay(&self, on_records: &mut dyn FnMut(&[Record])) -> Result<u64, LogError> {
        let record = |(offset, push): (u64, &PushMsg)| {
            let value = Bytes::from(push.encode_to_vec());
            Record { offset, topic: Topic::Push, ts_ms: made_ms(push.id), value }
        };
        let records: Vec<Record> = (1..).zip(&self.pushes()).map(record).collect();
        records.chunks(2).for_each(on_records);
        Ok(records.len() as u64)
    }

    fn reader(&self, _from: u64) -> Box<dyn LogReader> {
        Box::new(Nothing)
    }

    fn cursor(&self, _name: &str, _start: Start) -> Result<Box<dyn Cursor>, LogError> {
        Err(LogError::Closed)
    }

    fn status(&self) -> LogStatus {
        let none = HistogramSnapshot { bounds_seconds: &[], counts: Vec::new(), sum_seconds: 0.0 };
        LogStatus {
            first: 1,
            end: 0,
            segments: 0,
            disk_bytes: 0,
            queue_bytes: 0,
            poisoned: self.poisoned.lock().unwrap().clone(),
            refusing: self.refusing.lock().unwrap().clone(),
            consumers: Vec::new(),
            counters: Counters::default(),
            sync_seconds: none.clone(),
            append_seconds: none,
        }
    }

    fn close(&self) {}
}

#[derive(Default)]
pub(crate) struct FakeNodes {
    /// The fullest first.
    pub(crate) rooms: Vec<(String, u64)>,
    pub(crate) nodes: Vec<NodeInfo>,
    pub(crate) totals: Totals,
    pub(crate) unready: Mutex<Option<String>>,
    pub(crate) ended: Mutex<Vec<(SessionAddr, CloseReason, Option<String>)>>,
    pub(crate) drain: Mutex<Option<(String, DrainProgress)>>,
}

impl FakeNodes {
    /// What [`Accept`] asks of it.
    pub(crate) fn counts_rooms(self: &Arc<Self>) -> RoomOnline {
        let nodes = self.clone();
        Arc::new(move |room| nodes.room_online(room))
    }
}

impl Nodes for FakeNodes {
    fn room_online(&self, room: &str) -> u64 {
        self.rooms.iter().find(|(id, _)| id == room).map_or(0, |(_, online)| *online)
    }

    fn rooms(&self, kind: Option<&str>, limit: usize) -> Vec<(String, u64)> {
        let of_kind = |id: &str| kind.is_none_or(|kind| id.split_once("://").is_some_and(|(other, _)| other == kind));
        self.rooms.iter().filter(|(id, _)| of_kind(id)).take(limit).cloned().collect()
    }

    fn totals(&self) -> Totals {
        self.totals
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        self.nodes.clone()
    }

    fn end_sessions(&self, sessions: &[SessionAddr], reason: CloseReason, message: Option<&str>) {
        let ended = sessions.iter().map(|session| (*session, reason, message.map(str::to_owned)));
        self.ended.lock().unwrap().extend(ended);
    }

    fn drain(&self, node: &str, per_second: Option<u32>) -> Result<(), UnknownNode> {
        let known = self.nodes.iter().find(|known| known.id == node).ok_or(UnknownNode)?;
        let progress = DrainProgress {
            sessions_at_start: known.sessions,
            sessions: known.sessions / 2,
            per_second: per_second.unwrap_or(5000),
            since_ms: 1_700_000_000_000,
        };
        self.drain.lock().unwrap().get_or_insert((node.to_owned(), progress));
        Ok(())
    }

    fn drain_progress(&self, node: &str) -> Option<DrainProgress> {
        self.drain.lock().unwrap().as_ref().filter(|(draining, _)| draining == node).map(|(_, progress)| *progress)
    }

    fn is_ready(&self) -> Result<(), String> {
        self.unready.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

pub(crate) fn room(id: &str, online: u64) -> (String, u64) {
    (id.to_owned(), online)
}

/// Logic with all its fakes.
pub(crate) struct World {
    pub(crate) log: Arc<FakeLog>,
    pub(crate) nodes: Arc<FakeNodes>,
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) accept: Arc<Accept>,
    pub(crate) access: Arc<Access>,
    pub(crate) api: Arc<Api>,
    /// What job tells of what nobody got.
    pub(crate) book: Arc<SentBook>,
    /// Stored messages, if the world has them.
    pub(crate) keeps: Option<Keeping>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(FakeNodes::default(), Config::default())
    }

    pub(crate) fn with(nodes: FakeNodes, config: Config) -> Self {
        Self::whole(nodes, config, |metrics| Access::open(metrics.clone()))
    }

    /// One that lets in who has a token: see [`token`].
    pub(crate) fn with_tokens(tokens: &[(&str, &[Scope], Option<u32>)]) -> Self {
        let nodes = FakeNodes {
            nodes: vec![NodeInfo { id: "vm:1".to_owned(), sessions: 9, ..NodeInfo::default() }],
            ..FakeNodes::default()
        };
        Self::with_tokens_and(tokens, nodes, Config { pages: Pages::default(), ..Config::default() })
    }

    /// The same with nodes and limits.
    pub(crate) fn with_tokens_and(tokens: &[(&str, &[Scope], Option<u32>)], nodes: FakeNodes, config: Config) -> Self {
        Self::whole(nodes, config, tokens_of(tokens))
    }

    /// One that keeps messages.
    pub(crate) fn keeping(config: Config) -> Self {
        Self::build(FakeNodes::default(), config, |metrics| Access::open(metrics.clone()), true)
    }

    /// The same with nodes.
    pub(crate) fn keeping_nodes(nodes: FakeNodes) -> Self {
        Self::build(nodes, Config::default(), |metrics| Access::open(metrics.clone()), true)
    }

    /// One that keeps messages and lets in who has a token.
    pub(crate) fn keeping_with_tokens(tokens: &[(&str, &[Scope], Option<u32>)], nodes: FakeNodes, config: Config) -> Self {
        Self::build(nodes, config, tokens_of(tokens), true)
    }

    fn whole(nodes: FakeNodes, config: Config, access: impl FnOnce(&Arc<Metrics>) -> Access) -> Self {
        Self::build(nodes, config, access, false)
    }

    fn build(nodes: FakeNodes, config: Config, access: impl FnOnce(&Arc<Metrics>) -> Access, keeps: bool) -> Self {
        let (log, nodes, registry) = (Arc::new(FakeLog::default()), Arc::new(nodes), Arc::new(MemoryRegistry::new()));
        let metrics = Arc::new(Metrics::default());
        let book = Arc::new(SentBook::default());
        let accept = Accept::new(log.clone(), registry.clone(), nodes.counts_rooms(), metrics.clone(), &config);
        let mut accept = accept.with_book(book.clone());
        let keeps = keeps.then(|| Keeping::new(&log, &registry, &metrics, accept.ids().clone(), config.stored.clone()));
        if let Some(keeps) = &keeps {
            accept = accept.keeping(keeps.inbox.clone());
        }
        let accept = Arc::new(accept);
        let access = Arc::new(access(&metrics));
        let api = Api::new(accept.clone(), registry.clone(), log.clone(), nodes.clone(), metrics.clone(), access.clone(), config);
        let api = Arc::new(match &keeps {
            Some(keeps) => api.keeping(keeps.inbox.clone()),
            None => api,
        });
        Self { log, nodes, registry, metrics, accept, access, api, book, keeps }
    }

    pub(crate) fn router(&self) -> Router {
        router(self.api.clone(), Router::new())
    }

    pub(crate) fn connect(&self, mid: i64, key: &str, platform: &str, slot: u32) {
        let session = NewSession {
            key: SessionKey::parse(key),
            mid,
            addr: SessionAddr { slot, ..SessionAddr::default() },
            platform,
            device_id: "",
            peer: Some("127.0.0.1:1234".parse().unwrap()),
            since_ms: 1_700_000_000_000 + u64::from(slot),
            extended: true,
        };
        self.registry.open(session, Takeover::Anybody).unwrap();
    }

    pub(crate) async fn ask(&self, method: Method, uri: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::builder().method(method).uri(uri).body(body.into()).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.router().oneshot(request).await.unwrap()).await
    }

    /// Asks as the owner of a token.
    pub(crate) async fn ask_as(&self, name: &str, method: Method, uri: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {}", token(name)));
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.ask(Method::GET, uri, Body::empty()).await
    }

    pub(crate) async fn post(&self, uri: &str, body: impl Into<Body>) -> Answer {
        self.ask(Method::POST, uri, body).await
    }

    pub(crate) fn counters(&self) -> MetricsSnapshot {
        self.metrics.snapshot()
    }
}

/// Lets in who has one of these tokens; see [`token`].
fn tokens_of(tokens: &[(&str, &[Scope], Option<u32>)]) -> impl FnOnce(&Arc<Metrics>) -> Access + use<> {
    let text: String = tokens
        .iter()
        .map(|(name, scopes, quota)| entry(name, &TokenHash::of(&token(name)), scopes, quota.map(|rate| (rate, None)), None))
        .collect();
    let tokens = Tokens::parse(&text).unwrap();
    move |metrics| Access::with_tokens(tokens, metrics.clone())
}

/// The token of this name.
pub(crate) fn token(name: &str) -> String {
    let mut random = [0; 32];
    random[..name.len()].copy_from_slice(name.as_bytes());
    new_token(&random)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let content_type = parts.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status.as_u16(),
            content_type,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

//! Parts in one process, met over real sockets on free ports; a proxy that can be cut; small blocking clients.
#![allow(dead_code, clippy::unwrap_used)] // each test uses its part

pub(crate) mod client;
pub(crate) mod proxy;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use perseid_comet::Comet;
use perseid_comet::link::LogicLink;
use perseid_job::{JobConsumer, LaneConfig, Lanes, Routes};
use perseid_log::{Consumer, EmbeddedConfig, EmbeddedLog, EventLog, Record, Topic};
use perseid_logic::{Accept, Access, Api, DrainProgress, InsecureAuth, Logic, Metrics, NodeInfo, Nodes, Totals, UnknownNode};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, SessionKey};
use perseid_rpc::{PushMsg, PushType};
use perseid_store::{MemoryRegistry, SessionRegistry};
use perseid_wire::comet::{CometNode, LinkConfig, PushService, RemoteLink};
use perseid_wire::goim::{CometService, GoimComets, GoimConfig, LogicService as GoimLogic};
use perseid_wire::logic::{AllNodes, Comets, CometsConfig, LogicService};
use perseid_wire::{Dial, GrpcServer, WireTls, node_number};
use prost::Message;
use tokio::runtime::{Handle, Runtime};
use tonic::service::Routes as GrpcRoutes;

pub(crate) use client::Client;
#[allow(unused_imports)] // each test uses its part
pub(crate) use proxy::Proxy;

/// Far more than anything takes; only a hang gets here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A short lease, so that tests see its end.
pub(crate) const LEASE_MS: u64 = 300;

pub(crate) fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(crate) fn listen() -> TcpListener {
    TcpListener::bind(any()).unwrap()
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Looks until there is something to see.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A node without a comet of its own.
struct NoComet(Arc<dyn SessionRegistry>);

impl Nodes for NoComet {
    fn room_online(&self, _room: &str) -> u64 {
        0
    }

    fn rooms(&self, _kind: Option<&str>, _limit: usize) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn totals(&self) -> Totals {
        Totals { sessions: 0, ips: self.0.addresses() }
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        Vec::new()
    }

    fn end_sessions(&self, _sessions: &[SessionAddr], _reason: CloseReason, _message: Option<&str>) {}

    fn drain(&self, _node: &str, _per_second: Option<u32>) -> Result<(), UnknownNode> {
        Err(UnknownNode)
    }

    fn drain_progress(&self, _node: &str) -> Option<DrainProgress> {
        None
    }

    fn is_ready(&self) -> Result<(), String> {
        Ok(())
    }
}

struct RegistryRoutes(Arc<dyn SessionRegistry>);

impl Routes for RegistryRoutes {
    fn by_key(&self, key: &str, out: &mut Vec<SessionAddr>) {
        out.extend(self.0.by_key(&SessionKey::parse(key)));
    }

    fn by_mid(&self, mid: i64, out: &mut Vec<SessionAddr>) {
        out.extend(self.0.by_mid(mid));
    }
}

/// Logic and job, serving comets and goim's; its job is fed by hand.
pub(crate) struct TestLogic {
    pub(crate) registry: Arc<dyn SessionRegistry>,
    pub(crate) comets: Arc<Comets>,
    pub(crate) goim: Arc<GoimComets>,
    pub(crate) nodes: Arc<AllNodes>,
    pub(crate) lanes: Lanes,
    pub(crate) addr: SocketAddr,
    pub(crate) job_metrics: Arc<perseid_job::Metrics>,
    pub(crate) logic_metrics: Arc<Metrics>,
    job: JobConsumer,
    offset: u64,
    server: Option<GrpcServer>,
    _log_dir: tempfile::TempDir,
}

/// What a test may want otherwise.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) tls: Option<WireTls>,
    pub(crate) lane: LaneConfig,
    pub(crate) goim: Vec<(String, String)>,
    /// Where it listens, if it has to be at a certain place.
    pub(crate) at: Option<SocketAddr>,
}

impl TestLogic {
    pub(crate) fn start(runtime: &Runtime, options: &Options) -> Self {
        let _guard = runtime.enter();
        let log_dir = tempfile::tempdir().unwrap();
        let registry: Arc<dyn SessionRegistry> = Arc::new(MemoryRegistry::new());
        let logic_metrics = Arc::new(Metrics::default());
        let logic = Arc::new(Logic::new(registry.clone(), Arc::new(InsecureAuth), logic_metrics.clone()));
        let lanes = Lanes::from(Vec::new());
        let dial = Dial { tls: options.tls.clone() };
        let lane = LaneConfig { retry_ms: 20_000, ..options.lane.clone() };
        let config = CometsConfig { lease_ms: LEASE_MS, lane: lane.clone(), dial: dial.clone(), own_node: None };
        let comets = Comets::new(config, logic.clone(), lanes.clone(), Handle::current());
        let goim = GoimConfig { addrs: options.goim.iter().cloned().collect(), lane, dial };
        let goim = GoimComets::new(goim, logic.clone(), lanes.clone(), Handle::current());
        let nodes = Arc::new(AllNodes::new(Arc::new(NoComet(registry.clone())), comets.clone(), goim.clone()));

        let log: Arc<dyn EventLog> = Arc::new(open_log(log_dir.path()));
        let config = perseid_logic::Config::default();
        let rooms = nodes.clone();
        let room_online: perseid_logic::RoomOnline = Arc::new(move |room: &str| rooms.room_online(room));
        let accept = Arc::new(Accept::new(log.clone(), registry.clone(), room_online, logic_metrics.clone(), &config));
        let access = Arc::new(Access::open(logic_metrics.clone()));
        let api = Arc::new(Api::new(accept, registry.clone(), log, nodes.clone(), logic_metrics.clone(), access, config));

        let routes = GrpcRoutes::new(GoimLogic::new(logic.clone(), goim.clone(), nodes.clone(), api).server())
            .add_service(LogicService::new(logic, comets.clone(), nodes.clone()).server());
        let listener = match options.at {
            // The port of a logic that has just ended.
            Some(at) => until("its port is free", || TcpListener::bind(at).ok()),
            None => listen(),
        };
        let server = GrpcServer::start(vec![listener], routes, options.tls.as_ref()).unwrap();
        let job_metrics = Arc::new(perseid_job::Metrics::default());
        let clock = Arc::new(|| 1);
        let job = JobConsumer::new(Arc::new(RegistryRoutes(registry.clone())), lanes.clone(), job_metrics.clone(), clock);
        let addr = server.addrs()[0];
        Self {
            registry,
            comets,
            goim,
            nodes,
            lanes,
            addr,
            job_metrics,
            logic_metrics,
            job,
            offset: 0,
            server: Some(server),
            _log_dir: log_dir,
        }
    }

    /// A record of the log reaches the job.
    pub(crate) fn push(&mut self, push: &PushMsg) {
        self.offset += 1;
        let value = push.encode_to_vec().into();
        self.job.on_records(&[Record { offset: self.offset, topic: Topic::Push, ts_ms: 1, value }]);
    }

    pub(crate) fn push_to_room(&mut self, room: &str, body: &str) {
        let (room, msg) = (room.to_owned(), body.to_owned().into());
        self.push(&PushMsg { r#type: PushType::Room.into(), operation: 1000, room, msg, ..PushMsg::default() });
    }

    pub(crate) fn push_to_mid(&mut self, mid: i64, body: &str) {
        self.push(&PushMsg { operation: 1000, mids: vec![mid], msg: body.to_owned().into(), ..PushMsg::default() });
    }

    pub(crate) fn push_to_all(&mut self, body: &str) {
        let msg = body.to_owned().into();
        self.push(&PushMsg { r#type: PushType::Broadcast.into(), operation: 1000, msg, ..PushMsg::default() });
    }

    /// Ends it as a process ends: its streams break, and what it knew is gone.
    pub(crate) fn stop(mut self, runtime: &Runtime) -> SocketAddr {
        self.comets.stop();
        let server = self.server.take().unwrap();
        runtime.block_on(server.stop());
        self.addr
    }
}

fn open_log(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(dir, EmbeddedConfig::default()).unwrap()
}

/// A comet with its link and its push service.
pub(crate) struct TestComet {
    pub(crate) comet: Arc<Comet>,
    pub(crate) link: Arc<RemoteLink>,
    pub(crate) push: PushService,
    pub(crate) node: CometNode,
    pub(crate) grpc: SocketAddr,
    server: Option<GrpcServer>,
}

/// Lives never begin twice at the same time.
static STARTED_MS: AtomicU64 = AtomicU64::new(1);

impl TestComet {
    /// `logic`: where it finds that; `push_addr`: where jobs are told to find it (a proxy), if not at its own address.
    pub(crate) fn start(
        runtime: &Runtime,
        name: &str,
        logic: SocketAddr,
        tls: Option<WireTls>,
        push_addr: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let _guard = runtime.enter();
        let started_ms = STARTED_MS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (node, incarnation) = (node_number(name), started_ms as u32);
        let dial = Dial { tls: tls.clone() };
        let config = LinkConfig { node, incarnation, logics: vec![logic.to_string()], dial };
        let link = RemoteLink::new(config, Handle::current());
        let config = perseid_comet::Config {
            node_id: name.to_owned(),
            node,
            incarnation,
            tcp: vec![any()],
            ws: vec![any()],
            ..perseid_comet::Config::default()
        };
        let comet = Arc::new(Comet::start(config, link.clone() as Arc<dyn LogicLink>).unwrap());
        let push = PushService::new(comet.clone(), link.interest().clone());
        let goim = CometService::new(comet.clone(), link.sessions().clone(), 1 << 20);
        let routes = GrpcRoutes::new(push.server()).add_service(goim.server());
        let server = GrpcServer::start(vec![listen()], routes, tls.as_ref()).unwrap();
        let grpc = server.addrs()[0];
        let node = CometNode::start(&link, &comet, started_ms, push_addr(grpc).to_string());
        Self { comet, link, push, node, grpc, server: Some(server) }
    }

    /// At its own address, and known to logic.
    pub(crate) fn connected(runtime: &Runtime, name: &str, logic: &TestLogic) -> Self {
        let comet = Self::start(runtime, name, logic.addr, None, |addr| addr);
        comet.wait_for_lane(logic);
        comet
    }

    /// Waits until logic knows it, and a lane leads to it.
    pub(crate) fn wait_for_lane(&self, logic: &TestLogic) {
        let name = &self.comet.config().node_id;
        until("a lane", || logic.comets.lane_infos().into_iter().find(|lane| lane.name == *name && lane.streams > 0));
        until("its link", || self.link.is_up().then_some(()));
    }

    pub(crate) fn login(&self, mid: i64, key: &str, room: &str) -> Client {
        Client::login(self.comet.tcp()[0], mid, key, room)
    }
}

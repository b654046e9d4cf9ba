//! The standalone: comet, logic and job in one process, over the embedded log. The one place where they are wired.

mod adapters;
mod api_tokens;
mod drain;
mod shutdown;
mod telling;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use perseid_comet::link::LogicLink;
use perseid_comet::{Certificates, Comet, ForeignPages, LimitConfig, Rate};
use perseid_job::{JobConsumer, Lanes};
use perseid_log::{EmbeddedConfig, EmbeddedLog, EventLog, Record, Start, Topic};
use perseid_logic::{Accept, Access, Api, Logic, Scope, ServeLimits, Tokens};
use perseid_rpc::PushMsg;
use perseid_store::{MemoryRegistry, SessionRegistry};
use prost::Message;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;

use crate::clock::unix_ms;
use crate::config::{Auth, LISTENER_KINDS, Settings};
use crate::gate::{Gate, session_limits};
use crate::limits::{open_files_max, sessions_within};
use crate::parts::Parts;
use crate::telemetry::LogLevel;
use crate::traces::Export;
use crate::{admin, certificates, console, metrics, stats, traces};
use adapters::{Addresses, CallLane, Link, OneNode, RegistryRoutes};
use drain::Drain;
use telling::{Telling, Told};

use wire::{Wire, Wiring};

pub use shutdown::Outcome;

/// A running standalone.
pub struct Standalone {
    parts: Arc<Parts>,
    api: Arc<Api>,
    logic: Arc<Logic>,
    gate: Arc<Gate>,
    access: Arc<Access>,
    drain: Arc<Drain>,
    wire: Wire,
    settings: Settings,
    certificates: Option<Certificates>,
    http: JoinHandle<()>,
    http_stop: CancellationToken,
    told: Told,
    traces: perseid_logic::Traces,
    export: Export,
}

/// The folder of the event log in the data directory.
const LOG_DIR: &str = "log";

impl Standalone {
    /// Starts everything; when it returns, everything serves. `level` is what admins may change the log with. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// A listener that can't be bound, a data directory that can't be opened: said in one line. Nothing is left running.
    pub fn start(settings: Settings, level: LogLevel) -> Result<Self> {
        let started_ms = unix_ms();
        let logic_metrics = Arc::new(perseid_logic::Metrics::default());
        let access = Arc::new(access(&settings, &logic_metrics)?);
        let http_listeners = bind_http(&settings.logic.http)?;
        let http: Vec<SocketAddr> = http_listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?;

        let gate = Arc::new(Gate::open(&settings, &logic_metrics)?);
        let export = Export::start(&settings.trace, &node_id(&settings))?;
        let spans = export.spans();
        let traces = spans.clone().map(|spans| perseid_logic::Traces::new(spans, traces::ratio(&settings.trace)));
        let traces = traces.unwrap_or_default();
        let embedded = open_log(&settings)?;
        let log: Arc<dyn EventLog> = Arc::new(embedded.clone());
        let telling = Telling::prepare(&settings, embedded)?;
        let registry: Arc<dyn SessionRegistry> = Arc::new(MemoryRegistry::new());
        let logic = Logic::new(registry.clone(), gate.authenticator(), logic_metrics.clone());
        let logic = Arc::new(telling.told_by(logic));
        logic.reload(session_limits(&settings));

        let lanes = Lanes::from(Vec::new());
        let wire = Wiring::bind(&settings, &logic, &lanes)?;
        let runtime = tokio::runtime::Handle::current();
        let link: Arc<dyn LogicLink> = Arc::new(Link { logic: logic.clone(), runtime, comets: wire.comets.clone() });
        let certificates = certificates::load(&settings, None)?;
        let comet = Arc::new(Comet::start(comet_config(&settings, started_ms, certificates.clone()), link)?);
        if let Some(spans) = spans.clone() {
            comet.trace(spans);
        }

        let job = Arc::new(perseid_job::Metrics::default());
        let routes = Arc::new(RegistryRoutes(registry.clone()));
        lanes.add(Arc::new(CallLane(comet.clone())));
        let consumer = JobConsumer::new(routes, lanes, job.clone(), Arc::new(unix_ms)).with_spans(spans);
        log.subscribe("job", Start::Earliest, Box::new(consumer)).context("can't read the event log")?;

        let draining = Arc::new(AtomicBool::new(false));
        let drain = Arc::new(Drain::new(comet.clone(), draining.clone(), settings.comet.drain_rate));
        let nodes = wire.all_nodes(OneNode {
            comet: comet.clone(),
            drain: drain.clone(),
            registry: registry.clone(),
            gate: gate.clone(),
            draining: draining.clone(),
            started_ms,
            addresses: Addresses::default(),
        });
        let config = logic_config(&settings);
        let accept = Accept::new(log.clone(), registry.clone(), nodes.clone(), logic_metrics.clone(), &config);
        let accept = Arc::new(accept.with_traces(traces.clone()));
        restore_idempotency(&*log, &accept, started_ms.saturating_sub(config.idempotency_ms))?;
        let api = Api::new(accept, registry.clone(), log.clone(), nodes.clone(), logic_metrics.clone(), access.clone(), config);
        let api = Arc::new(api.with_events(telling.feed()).with_traces(traces.clone()));
        let (feed, hooks) = (telling.feed(), telling.metrics());
        let told = telling.start(logic.presence())?;
        let wire = wire.serve(&settings, &comet, &registry, nodes, &api)?;
        let (log, logic_counts, spans) = (Some(log), logic_metrics.clone(), export.counters().clone());
        let parts = Arc::new(Parts {
            comet,
            registry,
            log,
            logic: logic_counts,
            job,
            feed,
            hooks,
            wire: wire.parts(),
            spans,
            draining,
            http,
            started_ms,
        });

        let http_stop = CancellationToken::new();
        let looked_at = metrics::router(parts.clone()).merge(stats::router(parts.clone()));
        let extra = access.guard(Scope::Read, looked_at);
        let administered = admin::router(level, http_stop.clone());
        let extra = extra.merge(access.guard(Scope::Admin, administered)).merge(console::router(parts.comet.ws()));
        let described = perseid_logic::describe(admin::Description::openapi(), Scope::Admin);
        let router = perseid_logic::router_with(api.clone(), extra, described);
        let serving = perseid_logic::serve(http_listeners, router, ServeLimits::default(), logic_metrics, http_stop.clone());
        let http = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTP listener failed");
            }
        });
        Ok(Self { parts, api, logic, gate, access, drain, wire, settings, certificates, http, http_stop, told, traces, export })
    }

    /// What runs.
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// The line for stdout when everything serves.
    pub fn ready_line(&self) -> String {
        let text = |addrs: &[SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        serde_json::json!({
            "ready": true,
            "pid": std::process::id(),
            "tcp": text(self.parts.comet.tcp()),
            "ws": text(self.parts.comet.ws()),
            "tls": text(self.parts.comet.tls()),
            "wss": text(self.parts.comet.wss()),
            "http": self.parts.http.first().map(ToString::to_string),
            "comet_grpc": self.wire.comet_grpc().map(|addr| addr.to_string()),
            "logic_grpc": self.wire.logic_grpc().map(|addr| addr.to_string()),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string()
    }

    /// The certificates to go on with: those of the files as they are now, or, if these can't be used, those in use.
    fn reload_certificates(&mut self, settings: &Settings) -> Option<Certificates> {
        match certificates::load(settings, self.certificates.as_ref()) {
            Ok(Some(fresh)) => self.certificates = Some(fresh),
            Ok(None) if self.certificates.is_some() => {
                tracing::warn!("no certificate is named any more: those in use stay, until a restart");
            }
            Ok(None) => {}
            Err(error) => tracing::error!("the certificates were not read again, those in use stay: {error:#}"),
        }
        self.certificates.clone()
    }

    /// Goes on with what may change while it runs: the keys that the table marks so.
    pub fn reload(&mut self, settings: Settings) {
        let certificates = self.reload_certificates(&settings);
        let comet = comet_config(&settings, self.parts.started_ms, certificates);
        self.parts.comet.reload(perseid_comet::Config { node_id: self.parts.comet.config().node_id.clone(), ..comet });
        self.api.reload(logic_config(&settings));
        self.logic.reload(session_limits(&settings));
        self.gate.reload(&settings);
        self.drain.reload(settings.comet.drain_rate);
        self.reload_tokens();
        self.told.reload(&settings);
        self.traces.reload(traces::ratio(&settings.trace));
        self.settings = settings;
    }

    /// Reads the API tokens again. A bad file changes nothing and is reported.
    fn reload_tokens(&self) {
        let file = &self.settings.logic.api_tokens;
        if file.as_os_str().is_empty() {
            return;
        }
        match api_tokens::read(file) {
            Ok(tokens) => {
                tracing::info!(count = tokens.count(), "the file of API tokens is read");
                self.access.reload(tokens);
            }
            Err(error) => tracing::error!("the API tokens stay as they were: {error:#}"),
        }
    }

    /// Waits until a drain was asked for through the API and everybody has left; then it is time to shut down.
    pub async fn drained(&self) {
        self.drain.asked().await;
        self.api.drain();
        self.drain.done().await;
    }
}

/// Who may call the API.
fn access(settings: &Settings, metrics: &Arc<perseid_logic::Metrics>) -> Result<Access> {
    let file = &settings.logic.api_tokens;
    if !file.as_os_str().is_empty() {
        return Ok(Access::with_tokens(api_tokens::read(file)?, metrics.clone()));
    }
    Ok(match settings.logic.auth {
        Auth::Insecure => Access::open(metrics.clone()),
        // Nobody may, and the answers say what is missing.
        Auth::Jwt | Auth::Hook => Access::with_tokens(Tokens::default(), metrics.clone()),
    })
}

pub(crate) fn bind_http(addrs: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    addrs
        .iter()
        .map(|addr| {
            let listener = TcpListener::bind(addr).with_context(|| format!("can't listen on {addr} (HTTP)"))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect()
}

fn open_log(settings: &Settings) -> Result<EmbeddedLog> {
    let dir = settings.node.data_dir.join(LOG_DIR);
    std::fs::create_dir_all(&dir).with_context(|| format!("can't make the data directory {}", dir.display()))?;
    let config = EmbeddedConfig {
        segment_bytes: settings.log.segment_bytes,
        rest_us: settings.log.rest_us,
        retention_bytes: settings.log.retention_bytes,
        retention_ms: settings.log.retention_ms,
        queue_bytes_max: settings.log.queue_bytes_max,
        cursor_bytes_max: settings.events.hold_bytes_max,
        cursor_ms_max: settings.events.hold_ms_max,
        keep_from: telling::keep_from_at_start(settings),
        ..EmbeddedConfig::default()
    };
    let log = EmbeddedLog::open(&dir, config).context("can't open the event log")?;
    let status = log.status();
    if status.counters.torn_bytes > 0 {
        tracing::warn!(bytes = status.counters.torn_bytes, "a torn tail of the event log was cut off: never acknowledged");
    }
    Ok(log)
}

/// Idempotency keys hold over a restart: the log knows them.
fn restore_idempotency(log: &dyn EventLog, accept: &Accept, since_ms: u64) -> Result<()> {
    let mut restore = |records: &[Record]| {
        for record in records.iter().filter(|record| record.topic == Topic::Push && record.ts_ms >= since_ms) {
            if let Ok(push) = PushMsg::decode(record.value.clone()) {
                accept.restore(&push, record.ts_ms);
            }
        }
    };
    log.replay(&mut restore).context("can't read the event log")?;
    Ok(())
}

pub(crate) fn comet_config(settings: &Settings, started_ms: u64, certificates: Option<Certificates>) -> perseid_comet::Config {
    let comet = &settings.comet;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    perseid_comet::Config {
        node_id: node_id(settings),
        node: 0,
        // Two lives of a node never begin in the same ms; 2^32 ms are 49 days.
        incarnation: (started_ms & 0xffff_ffff) as u32,
        tcp: comet.tcp.clone(),
        ws: comet.ws.clone(),
        tls: comet.tls.clone(),
        wss: comet.wss.clone(),
        certificates,
        workers: if comet.workers == 0 { cores } else { comet.workers },
        limits: perseid_protocol::limits::Limits {
            auth_bytes_max: comet.auth_bytes_max,
            body_bytes_max: comet.body_bytes_max,
            room_id_bytes_max: comet.room_id_bytes_max,
            subscriptions_max: comet.subscriptions_max,
            handshake_ms: comet.handshake_ms,
            silence_ms: comet.heartbeat_ms.saturating_mul(u64::from(comet.heartbeat_max)),
        },
        heartbeat_ms: comet.heartbeat_ms,
        reconnect_ms: comet.reconnect_ms,
        id_epoch_ms: perseid_logic::snowflake::ID_EPOCH_MS,
        message_bytes_max: comet.message_bytes_max,
        fragments_max: comet.fragments_max,
        write_stall_ms: comet.write_stall_ms,
        session_bytes_max: comet.session_bytes_max,
        node_bytes_max: comet.node_bytes_max,
        mailbox_bytes_max: settings.job.lane_bytes_max,
        sessions_max: if comet.sessions_max == 0 { sessions_within(open_files_max()) } else { comet.sessions_max },
        door: perseid_comet::DoorConfig {
            proxies: comet.proxies.clone(),
            proxy_protocol: LISTENER_KINDS.map(|kind| comet.proxy_protocol.iter().any(|given| given == kind)),
            pages: perseid_comet::Pages {
                foreign: if settings.logic.auth == Auth::Insecure { ForeignPages::Refuse } else { ForeignPages::Allow },
                origins: comet.origins.clone(),
                hosts: comet.hosts.clone(),
            },
        },
        limit: limit_config(settings),
        room: perseid_comet::RoomConfig {
            ring_bytes_max: settings.room.ring_bytes_max,
            share: settings.room.share,
            rest_ms_max: settings.room.rest_ms_max,
            pace_ms: settings.room.pace_ms,
        },
        echo: false,
    }
}

/// More than a worker reads at a time: a lone frame always passes.
const BYTES_BURST_MIN: u32 = 128 * 1024;

fn limit_config(settings: &Settings) -> LimitConfig {
    let limit = &settings.limit;
    let frame_bytes = u32::try_from(settings.comet.body_bytes_max).unwrap_or(u32::MAX).saturating_add(1024);
    let mut bytes = Rate::new(limit.bytes_per_second, limit.bytes_burst);
    bytes.burst = bytes.burst.max(frame_bytes).max(BYTES_BURST_MIN);
    LimitConfig {
        handshakes: Rate::new(limit.handshakes_per_second, limit.handshakes_burst),
        handshakes_max: limit.handshakes_max,
        address_connects: Rate::new(limit.connects_per_address_per_second, limit.connects_per_address_burst),
        address_sessions_max: limit.sessions_per_address_max,
        frames: Rate::new(limit.frames_per_second, limit.frames_burst),
        bytes,
        rooms_max: limit.rooms_max,
        exempt: limit.exempt.clone(),
    }
}

fn node_id(settings: &Settings) -> String {
    if settings.node.id.is_empty() { host_name() } else { settings.node.id.clone() }
}

pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "perseid".to_owned() } else { name.to_owned() }
}

fn logic_config(settings: &Settings) -> perseid_logic::Config {
    let (logic, goim) = (&settings.logic, &settings.goim);
    perseid_logic::Config {
        request_bytes_max: logic.request_bytes_max,
        request_ms: logic.request_ms,
        push_bytes_max: logic.push_bytes_max,
        idempotency_ms: logic.idempotency_ms,
        idempotency_bytes_max: logic.idempotency_bytes_max,
        batch_max: logic.batch_max,
        targets_max: logic.targets_max,
        snowflake_worker: settings.node.snowflake_worker,
        heartbeat_ms: settings.comet.heartbeat_ms,
        heartbeat_max: settings.comet.heartbeat_max,
        insecure: logic.auth == Auth::Insecure,
        hosts: logic.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        origins: logic.origins.clone(),
        goim: perseid_logic::GoimConfig {
            domain: goim.domain.clone(),
            host_domain: goim.host_domain.clone(),
            tcp_port: goim.tcp_port,
            ws_port: goim.ws_port,
            wss_port: goim.wss_port,
            backoff_max_delay: i32::try_from(goim.backoff_max_delay).unwrap_or(i32::MAX),
            backoff_base_delay: i32::try_from(goim.backoff_base_delay).unwrap_or(i32::MAX),
            backoff_factor: goim.backoff_factor as f32,
            backoff_jitter: goim.backoff_jitter as f32,
        },
    }
}

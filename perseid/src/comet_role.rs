//! `perseid comet`: a comet as a process of its own, beside a logic and a job elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use perseid_comet::link::LogicLink;
use perseid_comet::{Certificates, Comet};
use perseid_store::SessionRegistry;
use perseid_wire::comet::{CometNode, LinkConfig, PushService, RemoteLink};
use perseid_wire::goim::CometService;
use perseid_wire::{Dial, GrpcServer, node_number};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::certificates;
use crate::clock::unix_ms;
use crate::config::Settings;
use crate::grpc::{bind, tls};
use crate::metrics;
use crate::parts::{Parts, WireParts};
use crate::standalone::{bind_http, comet_config, host_name, serve_http};
use crate::traces::Export;

/// Where health and metrics are served unless it is said: beside the standalone's port, which may be on the same machine.
pub const HTTP_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3112);

/// What of `shutdown_ms` is for sessions to leave.
const SESSIONS_SHARE: f64 = 0.8;
/// The most for spans that wait for a collector.
const TRACES_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The ready line waits this long for a logic; without one, sessions are refused, and nothing else is wrong.
const LOGIC_WAIT: Duration = Duration::from_secs(3);

/// A running comet.
pub struct CometRole {
    parts: Arc<Parts>,
    link: Arc<RemoteLink>,
    node: CometNode,
    push: PushService,
    grpc: GrpcServer,
    settings: Settings,
    certificates: Option<Certificates>,
    http: JoinHandle<()>,
    http_stop: CancellationToken,
    export: Export,
}

impl CometRole {
    /// Starts it. It serves clients when this returns; a logic may still be looked for.
    ///
    /// # Errors
    /// What can't be opened, in one line. Nothing is left running.
    pub fn start(settings: Settings) -> Result<Self> {
        let started_ms = unix_ms();
        if settings.comet.grpc.is_empty() {
            bail!("jobs push through comet.grpc, which is empty: say --comet-grpc ADDR");
        }
        let http_listeners = bind_http(&settings.logic.http)?;
        let http: Vec<SocketAddr> =
            http_listeners.iter().map(|listener| listener.local_addr()).collect::<std::io::Result<_>>()?;
        let grpc_listeners = bind(&settings.comet.grpc, "gRPC of the comet")?;
        let grpc_addr = grpc_listeners[0].local_addr()?;
        let tls = tls(&settings)?;

        let certificates = certificates::load(&settings, None)?;
        let config = role_config(&settings, started_ms, certificates.clone(), grpc_addr);
        let link_config = LinkConfig {
            node: config.node,
            incarnation: config.incarnation,
            logics: settings.cluster.logics.clone(),
            dial: Dial { tls: tls.clone() },
        };
        let link = RemoteLink::new(link_config, Handle::current());
        let comet = Arc::new(Comet::start(config, link.clone() as Arc<dyn LogicLink>)?);

        let export = Export::start(&settings.trace, &comet.config().node_id)?;
        if let Some(spans) = export.spans() {
            comet.trace(spans);
        }
        let push = PushService::new(comet.clone(), link.interest().clone());
        let sessions: Arc<dyn SessionRegistry> = link.sessions().clone();
        let goim = CometService::new(comet.clone(), sessions.clone(), settings.logic.push_bytes_max);
        let routes = Routes::new(push.server()).add_service(goim.server());
        let grpc = GrpcServer::start(grpc_listeners, routes, tls.as_ref()).context("can't serve gRPC")?;
        let advertise = Some(settings.cluster.advertise.clone()).filter(|addr| !addr.is_empty());
        let node = CometNode::start(&link, &comet, started_ms, advertise.unwrap_or_else(|| grpc_addr.to_string()));

        let parts = Arc::new(Parts {
            stored: None,
            comet,
            registry: sessions,
            log: None,
            logic: Arc::default(),
            job: Arc::default(),
            feed: None,
            hooks: Vec::new(),
            wire: WireParts {
                listeners: vec![("comet", grpc.counters().clone())],
                comets: None,
                comet: Some((link.clone(), push.counters().clone())),
            },
            spans: export.counters().clone(),
            draining: Arc::new(AtomicBool::new(false)),
            http,
            started_ms,
        });
        let router = metrics::router(parts.clone()).merge(health(parts.clone(), link.clone()));
        let http_stop = CancellationToken::new();
        let http = serve_http(http_listeners, router, parts.logic.clone(), http_stop.clone());
        Ok(Self { parts, link, node, push, grpc, settings, certificates, http, http_stop, export })
    }

    /// Waits until a logic is there, but not for long.
    pub async fn ready(&self) {
        let started = Instant::now();
        while !self.link.is_up() {
            if started.elapsed() > LOGIC_WAIT {
                return tracing::warn!(logics = ?self.settings.cluster.logics, "no logic can be reached: nobody is let in");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The line for stdout when everything serves.
    pub fn ready_line(&self) -> String {
        let text = |addrs: &[SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        serde_json::json!({
            "ready": true,
            "pid": std::process::id(),
            "role": "comet",
            "node": self.parts.comet.config().node_id,
            "tcp": text(self.parts.comet.tcp()),
            "ws": text(self.parts.comet.ws()),
            "tls": text(self.parts.comet.tls()),
            "wss": text(self.parts.comet.wss()),
            "http": self.parts.http.first().map(ToString::to_string),
            "comet_grpc": self.grpc.addrs().first().map(ToString::to_string),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string()
    }

    /// Goes on with what may change while it runs.
    pub fn reload(&mut self, settings: Settings) {
        let now = self.parts.comet.config();
        match certificates::load(&settings, self.certificates.as_ref()) {
            Ok(fresh) => self.certificates = fresh,
            Err(error) => tracing::error!("the certificates stay as they were: {error:#}"),
        }
        let config = comet_config(&settings, self.parts.started_ms, self.certificates.clone());
        let (node_id, node, incarnation) = (now.node_id.clone(), now.node, now.incarnation);
        self.parts.comet.reload(perseid_comet::Config { node_id, node, incarnation, ..config });
        self.settings = settings;
    }

    /// Waits until logic says that this comet is to leave; sessions told a second.
    pub async fn told_to_leave(&self) -> Option<u32> {
        self.link.told_to_leave().await
    }

    /// Leaves: no new sessions, those that are there told to go (`per_second`, or as configured), logic told goodbye.
    pub async fn shut_down(self, per_second: Option<u32>) {
        let total = Duration::from_millis(self.settings.node.shutdown_ms);
        let started = Instant::now();
        self.parts.draining.store(true, Ordering::Relaxed);
        let comet = &self.parts.comet;
        let sessions = comet.connections();
        let for_sessions = match per_second {
            // As slowly as an operator has asked.
            Some(per_second) => total + Duration::from_secs(sessions / u64::from(per_second.max(1))),
            None => total.mul_f64(SESSIONS_SHARE),
        };
        let needed = sessions as f64 / for_sessions.as_secs_f64().max(0.1) * 2.0;
        let per_second = per_second.unwrap_or(self.settings.comet.drain_rate.max(needed.ceil() as u32));
        tracing::info!(sessions, per_second, "leaving: sessions are told to go");
        self.link.set_draining(sessions, per_second, unix_ms());
        comet.drain(per_second, self.settings.comet.reconnect_ms);
        while comet.connections() > 0 && started.elapsed() < for_sessions {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let sessions_cut = comet.connections();
        self.push.stop();
        let stopping = comet.clone();
        // It joins threads.
        let _ = tokio::task::spawn_blocking(move || stopping.stop()).await;
        self.node.finish().await;
        self.http_stop.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.http).await;
        self.grpc.stop().await;
        self.export.flush(TRACES_MAX.min(total)).await;
        tracing::info!(sessions_cut, ms = started.elapsed().as_millis() as u64, "left");
    }
}

fn role_config(
    settings: &Settings,
    started_ms: u64,
    certificates: Option<Certificates>,
    grpc: SocketAddr,
) -> perseid_comet::Config {
    let config = comet_config(settings, started_ms, certificates);
    let node_id = match settings.node.id.as_str() {
        // Several comets on one machine are the rule where names are not given.
        "" => format!("{}-{}", host_name(), grpc.port()),
        name => name.to_owned(),
    };
    perseid_comet::Config { node: node_number(&node_id), node_id, ..config }
}

/// `/healthz`: it lives. `/readyz`: it takes sessions.
fn health(parts: Arc<Parts>, link: Arc<RemoteLink>) -> Router {
    let ready = move || {
        let answer = if parts.is_draining() {
            (StatusCode::SERVICE_UNAVAILABLE, "leaving\n")
        } else if !parts.comet.is_healthy() {
            (StatusCode::SERVICE_UNAVAILABLE, "a worker of the comet has ended; restart this process\n")
        } else if !link.is_up() {
            (StatusCode::SERVICE_UNAVAILABLE, "no logic can be reached: nobody is let in\n")
        } else {
            (StatusCode::OK, "ok\n")
        };
        std::future::ready(answer)
    };
    Router::new().route("/healthz", get(|| std::future::ready("ok\n"))).route("/readyz", get(ready))
}

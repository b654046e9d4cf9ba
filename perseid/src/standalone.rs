//! The standalone: comet, logic and job in one process, over the embedded log. The one place where they are wired.

mod access;
mod adapters;
mod comet_config;
mod disks;
mod drain;
mod ground;
mod http;
mod inbox_link;
mod log;
mod logic_config;
mod ready;
mod reload;
mod shutdown;
mod stored;
mod telling;
mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use perseid_comet::Certificates;
use perseid_job::Lanes;
use perseid_logic::{Access, Api, Logic, Traces};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::certificates;
use crate::config::Settings;
use crate::gate::Gate;
use crate::parts::Parts;
use crate::telemetry::LogLevel;
use crate::traces::Export;
use adapters::{Addresses, Link, OneNode};
use drain::Drain;
use ground::{Ground, LateNodes};
use stored::Stored;
use telling::{Telling, Told};
use wire::{Wire, Wiring};

pub(crate) use comet_config::{comet_config, host_name};
pub use disks::Disks;
pub(crate) use http::{bind_http, serve as serve_http};
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
    stored: Stored,
    traces: Traces,
    export: Export,
}

impl Standalone {
    /// Starts everything; when it returns, everything serves. `level` is what admins may change the log with. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// A listener that can't be bound, a data directory that can't be opened: said in one line. Nothing is left running.
    pub fn start(settings: Settings, level: LogLevel) -> Result<Self> {
        Self::start_on(settings, level, &Disks::default())
    }

    /// The same on other disks than the operating system's: tests make them fail.
    ///
    /// # Errors
    /// As [`Standalone::start`].
    pub fn start_on(settings: Settings, level: LogLevel, disks: &Disks) -> Result<Self> {
        // Before anything is opened that has something to tell: a mistake in there is one line.
        let certificates = certificates::load(&settings, None)?;
        let ground = Ground::open(&settings, disks)?;
        let telling = Telling::prepare(&settings, ground.embedded.clone())?;
        let lanes = Lanes::from(Vec::new());
        let stored = ground.stored(&settings, disks, &lanes)?;
        let all_nodes = LateNodes::default();
        let accept = ground.accept(&settings, &stored.inbox, &all_nodes)?;
        let logic = ground.logic(&settings, &telling, &stored.inbox);
        let wire = Wiring::bind(&settings, &logic, &lanes)?;
        let link =
            Link { logic: logic.clone(), runtime: Handle::current(), comets: wire.comets.clone(), inbox: stored.inbox.clone() };
        let comet = ground.comet(&settings, certificates.clone(), link)?;
        ground.job(&comet, lanes)?;
        let stored = stored.start(&comet)?;
        let draining = Arc::new(AtomicBool::new(false));
        let drain = Arc::new(Drain::new(comet.clone(), draining.clone(), settings.comet.drain_rate));
        let nodes = wire.all_nodes(OneNode {
            comet: comet.clone(),
            drain: drain.clone(),
            registry: ground.registry.clone(),
            gate: ground.gate.clone(),
            draining: draining.clone(),
            started_ms: ground.started_ms,
            addresses: Addresses::default(),
            listens: wire.listens(&ground.http),
        });
        let _ = all_nodes.set(nodes.clone());
        let (feed, hooks) = (telling.feed(), telling.metrics());
        let api = ground.api(&settings, accept, nodes.clone(), feed.clone(), &stored.inbox);
        let told = telling.start(logic.presence())?;
        let wire = wire.serve(&settings, &comet, &ground.registry, nodes, &api)?;
        let Ground { started_ms, metrics, access, http_listeners, http, gate, export, traces, log, registry, job, .. } = ground;
        let parts = Arc::new(Parts {
            comet,
            registry,
            log: Some(log),
            logic: metrics.clone(),
            job,
            stored: Some(stored.parts()),
            feed,
            hooks,
            wire: wire.parts(),
            spans: export.counters().clone(),
            draining,
            http,
            started_ms,
        });
        let http_stop = CancellationToken::new();
        let routes = http::routes(&parts, &api, &access, level, &http_stop);
        let http = http::serve(http_listeners, routes, metrics, http_stop.clone());
        Ok(Self {
            parts,
            api,
            logic,
            gate,
            access,
            drain,
            wire,
            settings,
            certificates,
            http,
            http_stop,
            told,
            stored,
            traces,
            export,
        })
    }

    /// What runs.
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// Waits until a drain was asked for through the API and everybody has left; then it is time to shut down.
    pub async fn drained(&self) {
        self.drain.asked().await;
        self.api.drain();
        self.drain.done().await;
    }
}

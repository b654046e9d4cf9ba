//! What the parts stand on, opened before any of them runs; and the parts that need no more than that to begin.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use perseid_comet::{Certificates, Comet};
use perseid_job::{JobConsumer, Lanes};
use perseid_log::{EmbeddedLog, EventLog, Start};
use perseid_logic::snowflake::Snowflake;
use perseid_logic::{Accept, Access, Api, Feed, Inbox, Logic, Metrics, Nodes, SentBook, Traces};
use perseid_store::{MemoryRegistry, SessionRegistry};

use super::adapters::{CallLane, Link, RegistryRoutes, UnheardBook};
use super::comet_config::{comet_config, node_id};
use super::logic_config::logic_config;
use super::stored::{StoredAtEnd, StoredGround};
use super::telling::Telling;
use super::{Disks, access, log};
use crate::clock::unix_ms;
use crate::config::Settings;
use crate::gate::{Gate, session_limits};
use crate::traces::{self, Export};

/// All comets, when they are there.
pub(super) type LateNodes = Arc<OnceLock<Arc<dyn Nodes>>>;

pub(super) struct Ground {
    pub(super) started_ms: u64,
    /// What logic counts, and what is in front of it.
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: Arc<Access>,
    /// HTTP as bound, which serves nothing yet.
    pub(super) http_listeners: Vec<TcpListener>,
    pub(super) http: Vec<SocketAddr>,
    pub(super) gate: Arc<Gate>,
    pub(super) export: Export,
    pub(super) traces: Traces,
    pub(super) embedded: EmbeddedLog,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) registry: Arc<dyn SessionRegistry>,
    /// What the job counts.
    pub(super) job: Arc<perseid_job::Metrics>,
    /// Where message ids come from.
    pub(super) ids: Arc<Snowflake>,
    /// What became of what was sent.
    pub(super) sent: Arc<SentBook>,
}

impl Ground {
    /// Opens what can fail on its own: files, addresses, keys.
    pub(super) fn open(settings: &Settings, disks: &Disks) -> Result<Self> {
        let started_ms = unix_ms();
        let metrics = Arc::new(Metrics::default());
        let access = Arc::new(access::open(settings, &metrics)?);
        let http_listeners = super::bind_http(&settings.logic.http)?;
        let http = http_listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?;
        let gate = Arc::new(Gate::open(settings, &metrics)?);
        let export = Export::start(&settings.trace, &node_id(settings))?;
        let traces = export.spans().map(|spans| Traces::new(spans, traces::ratio(&settings.trace))).unwrap_or_default();
        let embedded = log::open(settings, disks.log.clone())?;
        let log: Arc<dyn EventLog> = Arc::new(embedded.clone());
        let registry: Arc<dyn SessionRegistry> = Arc::new(MemoryRegistry::new());
        let job = Arc::new(perseid_job::Metrics::default());
        let ids = Arc::new(Snowflake::new(settings.node.snowflake_worker));
        let sent = Arc::default();
        Ok(Self {
            started_ms,
            metrics,
            access,
            http_listeners,
            http,
            gate,
            export,
            traces,
            embedded,
            log,
            registry,
            job,
            ids,
            sent,
        })
    }

    /// Stored messages, as far as the log goes.
    pub(super) fn stored(&self, settings: &Settings, disks: &Disks, lanes: &Lanes) -> Result<StoredAtEnd> {
        StoredAtEnd::open(StoredGround {
            settings,
            disk: disks.store.clone(),
            log: &self.embedded,
            registry: &self.registry,
            routes: Arc::new(RegistryRoutes(self.registry.clone())),
            lanes: lanes.clone(),
            ids: self.ids.clone(),
            logic: self.metrics.clone(),
            job: self.job.clone(),
            traces: self.traces.clone(),
            spans: self.export.spans(),
        })
    }

    /// Who says who a client is.
    pub(super) fn logic(&self, settings: &Settings, telling: &Telling, inbox: &Arc<Inbox>) -> Arc<Logic> {
        let logic = Logic::new(self.registry.clone(), self.gate.authenticator(), self.metrics.clone());
        let logic = Arc::new(telling.told_by(logic.keeping(inbox.clone())));
        logic.reload(session_limits(settings));
        logic
    }

    /// The part that holds connections. It lets sessions in from here on.
    pub(super) fn comet(&self, settings: &Settings, certificates: Option<Certificates>, link: Link) -> Result<Arc<Comet>> {
        let config = comet_config(settings, self.started_ms, certificates);
        let comet = Arc::new(Comet::start(config, Arc::new(link))?);
        if let Some(spans) = self.export.spans() {
            comet.trace(spans);
        }
        Ok(comet)
    }

    /// The part that reads the log. It delivers from here on: to `comet`, and to whoever is or comes to be in `lanes`.
    pub(super) fn job(&self, comet: &Arc<Comet>, lanes: Lanes) -> Result<()> {
        let routes = Arc::new(RegistryRoutes(self.registry.clone()));
        lanes.add(Arc::new(CallLane(comet.clone())));
        let consumer = JobConsumer::new(routes, lanes, self.job.clone(), Arc::new(unix_ms)).with_spans(self.export.spans());
        let consumer = consumer.telling(Some(Arc::new(UnheardBook(self.sent.clone()))));
        self.log.subscribe("job", Start::Earliest, Box::new(consumer)).context("can't read the event log")
    }

    /// What takes pushes. It knows what the log has: idempotency keys, and ids to go on after. A log that is damaged anywhere is
    /// found here, before anybody is let in. `nodes`: when they are there.
    pub(super) fn accept(&self, settings: &Settings, inbox: &Arc<Inbox>, nodes: &LateNodes) -> Result<Arc<Accept>> {
        let config = logic_config(settings);
        let nodes = nodes.clone();
        let room_online = Arc::new(move |room: &str| nodes.get().map_or(0, |nodes| nodes.room_online(room)));
        let accept = Accept::new(self.log.clone(), self.registry.clone(), room_online, self.metrics.clone(), &config);
        let accept = accept
            .with_traces(self.traces.clone())
            .with_ids(self.ids.clone())
            .with_book(self.sent.clone())
            .keeping(inbox.clone());
        log::restore(&*self.log, &accept, self.started_ms.saturating_sub(config.idempotency_ms))?;
        Ok(Arc::new(accept))
    }

    /// What answers questions, for all ports.
    pub(super) fn api(
        &self,
        settings: &Settings,
        accept: Arc<Accept>,
        nodes: Arc<dyn Nodes>,
        feed: Option<Arc<Feed>>,
        inbox: &Arc<Inbox>,
    ) -> Arc<Api> {
        let config = logic_config(settings);
        let (log, registry, metrics) = (self.log.clone(), self.registry.clone(), self.metrics.clone());
        let api = Api::new(accept, registry, log, nodes, metrics, self.access.clone(), config);
        Arc::new(api.with_events(feed).with_traces(self.traces.clone()).keeping(inbox.clone()))
    }
}

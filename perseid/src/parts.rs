//! The running parts of a node, for those who look at them: metrics, the console, the drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use perseid_comet::Comet;
use perseid_comet::metrics::{Cell, WorkerMetrics};
use perseid_log::EventLog;
use perseid_protocol::push::Drop;
use perseid_store::SessionRegistry;
use perseid_store::stored::EmbeddedStore;
use perseid_wire::comet::{PushCounters, RemoteLink};
use perseid_wire::goim::GoimComets;
use perseid_wire::logic::Comets;
use perseid_wire::server::ServerCounters;

use crate::traces::SpanCounters;

/// What runs in this process.
pub struct Parts {
    /// Holds the sessions.
    pub comet: Arc<Comet>,
    /// Who is online where.
    pub registry: Arc<dyn SessionRegistry>,
    /// The event log, where logic and job run.
    pub log: Option<Arc<dyn EventLog>>,
    /// What logic counts.
    pub logic: Arc<perseid_logic::Metrics>,
    /// What the job counts.
    pub job: Arc<perseid_job::Metrics>,
    /// What is counted of stored messages, where they are.
    pub stored: Option<StoredParts>,
    /// What writes events, if somebody wants them.
    pub feed: Option<Arc<perseid_logic::Feed>>,
    /// What webhooks count.
    pub hooks: Vec<Arc<perseid_hooks::HookMetrics>>,
    /// Connections to other parts.
    pub wire: WireParts,
    /// What became of spans.
    pub spans: Arc<SpanCounters>,
    /// The node is leaving.
    pub draining: Arc<AtomicBool>,
    /// HTTP addresses as bound.
    pub http: Vec<SocketAddr>,
    /// When this process started, unix ms.
    pub started_ms: u64,
}

/// What counts stored messages.
pub struct StoredParts {
    /// What the job counts.
    pub job: Arc<perseid_job::inbox::InboxMetrics>,
    /// What is counted of the store, and how it is.
    pub store: Arc<EmbeddedStore>,
}

/// What of the wire runs in this process.
#[derive(Default)]
pub struct WireParts {
    /// Listeners, by the part that they are of.
    pub listeners: Vec<(&'static str, Arc<ServerCounters>)>,
    /// Comets in other processes, of whom logic and job know.
    pub comets: Option<(Arc<Comets>, Arc<GoimComets>)>,
    /// A comet's way to a logic elsewhere, and what jobs elsewhere send it.
    pub comet: Option<(Arc<RemoteLink>, Arc<PushCounters>)>,
}

impl WireParts {
    /// Comets in other processes that are known here.
    pub fn other_comets(&self) -> u64 {
        self.comets.as_ref().map_or(0, |(comets, _)| comets.lane_infos().len() as u64)
    }
}

impl Parts {
    /// The sum of a counter over the comet's workers.
    pub fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Cell) -> u64 {
        self.comet.workers().iter().map(|metrics| counter(metrics).get()).sum()
    }

    /// Pushes dropped for `reason`, wherever they were.
    pub fn dropped(&self, reason: Drop) -> u64 {
        let job = self.job.snapshot();
        let in_job = match reason {
            Drop::Offline => job.dropped(perseid_job::DropReason::Offline) + job.dropped(perseid_job::DropReason::NoLane),
            Drop::Expired => job.dropped(perseid_job::DropReason::Expired),
            Drop::Slow => job.dropped(perseid_job::DropReason::LaneFull) + job.dropped(perseid_job::DropReason::LaneBroken),
            Drop::Filtered | Drop::Closing | Drop::Collapsed => 0,
        };
        in_job + self.comet.dropped(reason) + self.sum(|metrics| &metrics.dropped[reason as usize])
    }

    /// Whether the node is leaving.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

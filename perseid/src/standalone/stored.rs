//! Stored messages: the store, the job that fills it from the log, and what logic asks of it.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use perseid_comet::Comet;
use perseid_comet::net::patiently;
use perseid_job::inbox::{Inbox as InboxAtEnd, InboxJob, InboxMetrics, Ports, RoomKeep};
use perseid_job::{Lanes, Routes};
use perseid_log::{EmbeddedLog, EventLog};
use perseid_logic::snowflake::Snowflake;
use perseid_logic::{Inbox, InboxParts, Metrics, Relay, Traces};
use perseid_protocol::push::Delivery;
use perseid_protocol::trace::Spans;
use perseid_store::SessionRegistry;
use perseid_store::stored::{Condition, DiskFault, EmbeddedConfig, EmbeddedStore, OpenError, Retention, StoredConfig};
use tokio::runtime::Handle;

use super::logic_config::stored_config;
use crate::clock::unix_ms;
use crate::config::{Post, Settings};
use crate::parts::StoredParts;

/// The folder of the store in the data directory.
const STORE_DIR: &str = "store";
/// Who holds back the log for the sake of what the store does not hold for good yet: however long its disk fails, and however
/// large the log becomes.
pub(super) const HOLDER: &str = "store";
const DAY_MS: u64 = 24 * 3_600_000;

/// Stored messages, filled up to the end of the log; nobody is delivered to yet.
pub(super) struct StoredAtEnd {
    pub(super) inbox: Arc<Inbox>,
    metrics: Arc<InboxMetrics>,
    store: Arc<EmbeddedStore>,
    at_end: InboxAtEnd,
    comet: Arc<OnceLock<Arc<Comet>>>,
}

/// What stored messages stand on.
pub(super) struct StoredGround<'a> {
    pub(super) settings: &'a Settings,
    pub(super) disk: DiskFault,
    pub(super) log: &'a EmbeddedLog,
    pub(super) registry: &'a Arc<dyn SessionRegistry>,
    pub(super) routes: Arc<dyn Routes>,
    pub(super) lanes: Lanes,
    pub(super) ids: Arc<Snowflake>,
    pub(super) logic: Arc<Metrics>,
    pub(super) job: Arc<perseid_job::Metrics>,
    pub(super) traces: Traces,
    pub(super) spans: Option<Arc<dyn Spans>>,
}

impl StoredAtEnd {
    /// Opens the store and applies what the log has and it has not.
    pub(super) fn open(ground: StoredGround<'_>) -> Result<Self> {
        let StoredGround { settings, disk, log, registry, routes, lanes, ids, logic, job, traces, spans } = ground;
        let events: Arc<dyn EventLog> = Arc::new(log.clone());
        let store = Arc::new(open(settings, disk)?);
        let log = log.clone();
        let metrics = Arc::new(InboxMetrics::default());
        let comet: Arc<OnceLock<Arc<Comet>>> = Arc::default();
        let asleep = comet.clone();
        let ports = Ports {
            inbox_metrics: metrics.clone(),
            wake: Arc::new(move || {
                if let Some(comet) = asleep.get() {
                    comet.wake();
                }
            }),
            spans,
            durable: Arc::new(move |offset| log.keep_from(HOLDER, offset.saturating_add(1))),
            ..Ports::new(store.clone(), routes, lanes.clone(), job.clone(), Arc::new(unix_ms))
        };
        let config = stored_config(settings);
        let keep = RoomKeep::new(config.recovery.iter().map(|(kind, count)| (kind.as_str().into(), *count)));
        let at_end = InboxAtEnd::catch_up(events.clone(), ports, keep).context("can't apply the event log to the store")?;
        let parts = InboxParts {
            store: store.clone(),
            log: events,
            registry: registry.clone(),
            relay: Arc::new(LaneRelay { lanes, metrics: job }),
            ids,
            metrics: logic,
            traces,
            runtime: Handle::current(),
        };
        let inbox = Inbox::new(parts, config);
        Ok(Self { inbox, metrics, store, at_end, comet })
    }

    /// Delivers from here on, to `comet` among others.
    pub(super) fn start(self, comet: &Arc<Comet>) -> Result<Stored> {
        let _ = self.comet.set(comet.clone());
        let job = self.at_end.start().context("can't deliver stored messages")?;
        Ok(Stored { inbox: self.inbox, metrics: self.metrics, store: self.store, job })
    }
}

/// Stored messages that are delivered.
pub(super) struct Stored {
    pub(super) inbox: Arc<Inbox>,
    metrics: Arc<InboxMetrics>,
    store: Arc<EmbeddedStore>,
    job: InboxJob,
}

impl Stored {
    /// What is counted of them.
    pub(super) fn parts(&self) -> StoredParts {
        StoredParts { job: self.metrics.clone(), store: self.store.clone() }
    }

    /// Ends after the log was closed: what the job has is applied, and what was applied is on the disk, so that the next start
    /// finds the store where the log ends.
    pub(super) fn close(mut self) {
        self.job.stop();
        self.store.close();
    }
}

fn open(settings: &Settings, disk: DiskFault) -> Result<EmbeddedStore> {
    let config = EmbeddedConfig {
        uncommitted_bytes_max: settings.stored.uncommitted_bytes_max,
        disk_fault: disk,
        on_condition: Arc::new(say),
        ..EmbeddedConfig::new(settings.node.data_dir.join(STORE_DIR), store_config(settings), Arc::new(unix_ms))
    };
    let is_held = |error: &OpenError| matches!(error, OpenError::Locked(_));
    let store = patiently(is_held, || EmbeddedStore::open(config.clone()))?;
    if let Some(moved_to) = store.moved_to() {
        tracing::warn!(to = %moved_to.display(), "the store could not be read and was moved aside: it is filled again from the log");
    }
    Ok(store)
}

fn say(condition: &Condition) {
    match condition {
        Condition::Fails(why) => tracing::error!(
            why,
            "the disk of the store fails: messages are accepted while the log has room, and are delivered when the disk takes \
             bytes again. Make room, or repair it; it is tried every second"
        ),
        Condition::Behind => tracing::info!("the disk of the store takes bytes again: what it has not is applied from the log"),
        Condition::Works => tracing::info!("the store works again"),
    }
}

fn store_config(settings: &Settings) -> StoredConfig {
    let stored = &settings.stored;
    StoredConfig {
        retention: Retention {
            inbox_rows_max: stored.inbox_max,
            inbox_age_ms: stored.inbox_days * DAY_MS,
            timeline_rows_max: stored.timeline_max,
            timeline_age_ms: stored.timeline_days * DAY_MS,
            disk_bytes_max: stored.disk_bytes_max,
            // Whoever reads the log again finds who was a member then.
            left_age_ms: settings.log.retention_ms.saturating_add(DAY_MS),
        },
        members_post: stored.post == Post::Members,
        cache_bytes_max: stored.cache_bytes_max,
        dedupe_bytes_max: stored.dedupe_bytes_max,
        ..StoredConfig::default()
    }
}

/// logic → comets: what is never stored takes the way of the job's deliveries.
struct LaneRelay {
    lanes: Lanes,
    metrics: Arc<perseid_job::Metrics>,
}

impl Relay for LaneRelay {
    fn relay(&self, deliveries: Vec<Delivery>) {
        perseid_job::relay(&self.lanes, &self.metrics, deliveries);
    }
}

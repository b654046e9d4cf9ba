//! Where spans go: to an OpenTelemetry collector, in a build with the feature `otel`; else nowhere.

#[cfg(feature = "otel")]
mod otel;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use perseid_protocol::trace::{Ratio, Spans};

use crate::config::Trace;

/// Whether this build can export spans.
pub const HAS_EXPORTER: bool = cfg!(feature = "otel");

/// Why a span did not reach the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// More came than the collector took.
    QueueFull,
    /// The collector refused it, or did not answer.
    Collector,
    /// It was still waiting when the process had to end.
    Shutdown,
}

impl Lost {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Collector, Self::Shutdown];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Collector => "collector",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct SpanCounters {
    exported: AtomicU64,
    lost: [AtomicU64; Lost::ALL.len()],
}

impl SpanCounters {
    /// Spans that the collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that it did not get, by reason.
    pub fn lost(&self, reason: Lost) -> u64 {
        self.lost[reason as usize].load(Ordering::Relaxed)
    }

    #[cfg(feature = "otel")]
    fn export(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Ordering::Relaxed);
    }

    #[cfg(feature = "otel")]
    fn lose(&self, reason: Lost, spans: usize) {
        self.lost[reason as usize].fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// The way of this process's spans.
#[derive(Debug, Default)]
pub struct Export {
    counters: Arc<SpanCounters>,
    #[cfg(feature = "otel")]
    exporter: Option<otel::Exporter>,
}

impl Export {
    /// Starts what `settings` ask for; without an endpoint nothing. Must run inside a tokio runtime. `node` names this process.
    ///
    /// # Errors
    /// An endpoint that is no address; the configuration's check excludes it.
    #[cfg(feature = "otel")]
    pub fn start(settings: &Trace, node: &str) -> Result<Self> {
        let counters = Arc::new(SpanCounters::default());
        let exporter =
            (!settings.endpoint.is_empty()).then(|| otel::Exporter::start(settings, node, counters.clone())).transpose()?;
        Ok(Self { counters, exporter })
    }

    /// Nothing: this build has no exporter.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "otel"))]
    pub fn start(_settings: &Trace, _node: &str) -> Result<Self> {
        Ok(Self::default())
    }

    /// Who takes spans, if anybody does.
    pub fn spans(&self) -> Option<Arc<dyn Spans>> {
        #[cfg(feature = "otel")]
        return self.exporter.as_ref().map(otel::Exporter::spans);
        #[cfg(not(feature = "otel"))]
        None
    }

    /// What became of spans.
    pub fn counters(&self) -> &Arc<SpanCounters> {
        &self.counters
    }

    /// Sends what waits, for at most `within`; what comes later is lost.
    pub async fn flush(self, within: Duration) {
        #[cfg(feature = "otel")]
        if let Some(exporter) = self.exporter {
            exporter.finish(within).await;
        }
        #[cfg(not(feature = "otel"))]
        let _ = within;
    }
}

/// The share of traces that begin here and are sampled.
pub fn ratio(settings: &Trace) -> Ratio {
    Ratio::new(settings.sample_ratio)
}

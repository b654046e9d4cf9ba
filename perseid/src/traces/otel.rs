//! The exporter: a bounded queue and one task that sends it in batches, OTLP over gRPC. The only file that knows
//! OpenTelemetry.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use opentelemetry::trace::{SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, trace};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use perseid_protocol::trace::{Span, SpanId, SpanKind, Spans, TraceId, Value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use super::{Lost, SpanCounters};
use crate::config::Trace;

/// Spans that may wait: some megabytes.
const QUEUE_SPANS: usize = 8192;
/// Spans in one request.
const BATCH_SPANS: usize = 512;
/// How long a span may wait for others to go with it.
const REST: Duration = Duration::from_secs(1);
/// How long the collector may take for a request.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// At most one line about a collector that fails in this time.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A running exporter.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: Arc<Queue>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    pub(super) fn start(settings: &Trace, node: &str, counters: Arc<SpanCounters>) -> Result<Self> {
        let endpoint = Endpoint::from_shared(settings.endpoint.clone())
            .with_context(|| format!("trace.endpoint is no address: {:?}", settings.endpoint))?
            .connect_timeout(CONNECT_WITHIN)
            .timeout(EXPORT_WITHIN);
        // Connects when there is something to send, and again whenever the collector has gone.
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(endpoint.connect_lazy())
            .build()
            .context("can't build the exporter of traces")?;
        exporter.set_resource(&resource(&settings.service_name, node));
        let (queue, waiting) = channel(QUEUE_SPANS);
        let stop = CancellationToken::new();
        let sending = Sending { exporter, scope: scope(), counters: counters.clone(), next_log: Instant::now() };
        let task = tokio::spawn(sending.run(waiting, stop.clone()));
        Ok(Self { queue: Arc::new(Queue { queue, ids: RandomIdGenerator::default(), counters }), stop, task })
    }

    pub(super) fn spans(&self) -> Arc<dyn Spans> {
        self.queue.clone()
    }

    /// Sends what waits, for at most `within`.
    pub(super) async fn finish(self, within: Duration) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(within, self.task).await.is_err() {
            abort.abort();
            let waiting = self.queue.queue.max_capacity() - self.queue.queue.capacity();
            self.queue.counters.lose(Lost::Shutdown, waiting);
            tracing::warn!(waiting, "the collector of traces did not take the last spans in time");
        }
    }
}

fn resource(service: &str, node: &str) -> Resource {
    let attributes = [
        KeyValue::new("service.name", service.to_owned()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", node.to_owned()),
    ];
    Resource::builder_empty().with_attributes(attributes).build()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("perseid").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// The way in, from any thread.
#[derive(Debug)]
struct Queue {
    queue: Sender<Span>,
    ids: RandomIdGenerator,
    counters: Arc<SpanCounters>,
}

impl Spans for Queue {
    fn now_ns(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn span_id(&self) -> SpanId {
        loop {
            if let Some(id) = SpanId::new(self.ids.new_span_id().to_bytes()) {
                return id;
            }
        }
    }

    fn trace_id(&self) -> TraceId {
        loop {
            if let Some(id) = TraceId::new(self.ids.new_trace_id().to_bytes()) {
                return id;
            }
        }
    }

    fn record(&self, span: Span) {
        match self.queue.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.counters.lose(Lost::QueueFull, 1),
            Err(TrySendError::Closed(_)) => self.counters.lose(Lost::Shutdown, 1),
        }
    }
}

struct Sending {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    counters: Arc<SpanCounters>,
    next_log: Instant,
}

impl Sending {
    async fn run(mut self, mut waiting: Receiver<Span>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                count = waiting.recv_many(&mut batch, BATCH_SPANS) => if count == 0 { break },
            }
            collect(&mut batch, &mut waiting, &stop).await;
            self.send(&mut batch).await;
        }
        waiting.close();
        while !batch.is_empty() || waiting.recv_many(&mut batch, BATCH_SPANS).await > 0 {
            self.send(&mut batch).await;
        }
    }

    async fn send(&mut self, batch: &mut Vec<Span>) {
        let count = batch.len();
        let spans = batch.drain(..).map(|span| span_data(span, &self.scope)).collect();
        let error = match tokio::time::timeout(EXPORT_WITHIN, self.exporter.export(spans)).await {
            Ok(Ok(())) => return self.counters.export(count),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", EXPORT_WITHIN.as_secs()),
        };
        self.counters.lose(Lost::Collector, count);
        if Instant::now() >= self.next_log {
            self.next_log = Instant::now() + LOG_EVERY;
            tracing::warn!(spans = count, error, "the collector of traces did not take a batch; it is lost");
        }
    }
}

/// Fills a batch, or gives up waiting for more.
async fn collect(batch: &mut Vec<Span>, waiting: &mut Receiver<Span>, stop: &CancellationToken) {
    let rest = tokio::time::sleep(REST);
    tokio::pin!(rest);
    while batch.len() < BATCH_SPANS {
        tokio::select! {
            () = &mut rest => return,
            () = stop.cancelled() => return,
            count = waiting.recv_many(batch, BATCH_SPANS - batch.len()) => if count == 0 { return },
        }
    }
}

fn span_data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let at = |ns| UNIX_EPOCH + Duration::from_nanos(ns);
    let id = trace::SpanId::from_bytes(span.id.bytes());
    let trace_id = trace::TraceId::from_bytes(span.trace.bytes());
    let attributes = span.attributes.into_iter().map(|(name, value)| match value {
        // Attributes have no unsigned type; ids of ours have 63 bits.
        Value::Number(number) => KeyValue::new(name, i64::try_from(number).unwrap_or(i64::MAX)),
        Value::Word(word) => KeyValue::new(name, word),
    });
    SpanData {
        span_context: SpanContext::new(trace_id, id, TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: span.parent.map_or(trace::SpanId::INVALID, |parent| trace::SpanId::from_bytes(parent.bytes())),
        parent_span_is_remote: matches!(span.kind, SpanKind::Server | SpanKind::Consumer),
        span_kind: match span.kind {
            SpanKind::Server => trace::SpanKind::Server,
            SpanKind::Producer => trace::SpanKind::Producer,
            SpanKind::Consumer => trace::SpanKind::Consumer,
            SpanKind::Internal => trace::SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: at(span.start_ns),
        end_time: at(span.end_ns),
        attributes: attributes.collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

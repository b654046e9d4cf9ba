//! `/metrics`: everything that the parts count, in OpenMetrics text (which Prometheus reads).
//!
//! Names follow `perseid_<part>_<what>`; durations are histograms in seconds, never summaries, so that nodes add up.

mod events;
mod inbox;
mod wire;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use perseid_comet::metrics::{
    Cell, Histogram, Limit, Recovery, SECONDS_BOUNDS, STORED_OPS, TRANSPORTS, Unwelcome, WorkerMetrics,
};
use perseid_comet::net::tls::Fault;
use perseid_log::{ConsumerState, EventLog, HistogramSnapshot};
use perseid_protocol::push::Drop;
use perseid_protocol::{CloseReason, operation};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::clock::unix_ms;
use crate::limits::open_files_max;
use crate::parts::Parts;
use crate::traces::Lost;

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const WAYS: [&str; 4] = ["direct", "room", "all", "inbox"];

/// The route.
pub fn router(parts: Arc<Parts>) -> Router {
    let mut registry = Registry::with_prefix("perseid");
    registry.register_collector(Box::new(Everything(parts)));
    let registry = Arc::new(registry);
    Router::new().route("/metrics", get(move || std::future::ready(expose(&registry))))
}

fn expose(registry: &Registry) -> axum::response::Response {
    let mut text = String::with_capacity(16 * 1024);
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => ([(CONTENT_TYPE, CONTENT)], text).into_response(),
        Err(error) => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

struct Everything(Arc<Parts>);

impl fmt::Debug for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everything")
    }
}

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        node(&mut out, &self.0)?;
        comet(&mut out, &self.0)?;
        if let Some(event_log) = &self.0.log {
            logic(&mut out, &self.0)?;
            job(&mut out, &self.0)?;
            inbox::put(&mut out, &self.0)?;
            log(&mut out, &**event_log)?;
            events::put(&mut out, &self.0)?;
        }
        wire::put(&mut out, &self.0.wire)?;
        spans(&mut out, &self.0)?;
        process(&mut out, &self.0)
    }
}

/// Writes families of one kind.
struct Out<'a>(DescriptorEncoder<'a>);

type Labels<'a> = [(&'a str, &'a str)];

impl Out<'_> {
    fn metric<'s>(&'s mut self, name: &'s str, help: &str, kind: MetricType) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.metric(name, help, MetricType::Counter)?)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'l str, &'l str)>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.metric(name, help, MetricType::Counter)?;
        for (labels, value) in values {
            let labels: &Labels<'_> = &labels;
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(self.metric(name, help, MetricType::Gauge)?)
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'l str, &'l str)>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.metric(name, help, MetricType::Gauge)?;
        for (labels, value) in values {
            let labels: &Labels<'_> = &labels;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &HistogramSnapshot) -> fmt::Result {
        let mut encoder = self.metric(name, help, MetricType::Histogram)?;
        put_histogram(&mut encoder, histogram)
    }
}

fn put_histogram(encoder: &mut MetricEncoder<'_>, histogram: &HistogramSnapshot) -> fmt::Result {
    let bounds = histogram.bounds_seconds.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts.iter().copied()).collect();
    encoder.encode_histogram::<NoLabelSet>(histogram.sum_seconds, histogram.count(), &buckets, None)
}

fn node(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let counts = parts.registry.counts();
    out.gauges("node_build", "Always 1; the version is a label", [(vec![("version", env!("CARGO_PKG_VERSION"))], 1)])?;
    out.gauge("node_num_clients", "Connections open", parts.comet.connections())?;
    out.gauge("node_num_sessions", "Sessions past AUTH", parts.comet.sessions())?;
    out.gauge("node_num_users", "Users with a session", counts.users)?;
    out.gauge("node_num_rooms", "Rooms with somebody in them", parts.comet.room_count() as u64)?;
    out.gauge("node_num_nodes", "Comets known", 1 + parts.wire.other_comets())?;
    out.gauge("node_draining", "1 while the node is leaving", parts.is_draining().into())?;
    out.gauge("node_queued_bytes", "Bytes that wait for sessions or are half read", parts.comet.queued_bytes())?;
    out.gauge("node_queued_bytes_max", "Their bound", parts.comet.config().node_bytes_max as u64)
}

fn transports(
    parts: &Parts,
    cells: fn(&WorkerMetrics) -> &[Cell; TRANSPORTS.len()],
) -> Vec<(Vec<(&'static str, &'static str)>, u64)> {
    let of = |index: usize| parts.sum(|metrics| &cells(metrics)[index]);
    TRANSPORTS.into_iter().enumerate().map(|(index, name)| (vec![("transport", name)], of(index))).collect()
}

fn comet(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let sum = |counter: fn(&WorkerMetrics) -> &Cell| parts.sum(counter);
    out.counters("client_connections_accepted", "Connections accepted", transports(parts, |m| &m.accepted))?;
    out.gauges("client_connections_inflight", "Connections open", transports(parts, |m| &m.connections))?;
    out.gauges("client_sessions_inflight", "Sessions past AUTH", transports(parts, |m| &m.sessions))?;
    out.counter("client_turned_away", "Connections turned away at the door", sum(|m| &m.turned_away))?;
    let limits = Limit::ALL.into_iter().map(|limit| (vec![("limit", limit.word())], parts.sum(|m| &m.limited[limit as usize])));
    out.counters("limited", "Refusals because of a limit", limits)?;
    let unwelcome = Unwelcome::ALL.into_iter();
    let unwelcome = unwelcome.map(|why| (vec![("reason", why.word())], parts.sum(|m| &m.unwelcome[why as usize])));
    out.counters("client_unwelcome", "Connections not let in, whatever the limits", unwelcome)?;
    out.counter("client_accept_errors", "Accepts that failed; the listener paused", sum(|m| &m.accept_errors))?;
    out.counter("client_upgrades_refused", "WebSocket upgrades refused", sum(|m| &m.upgrades_refused))?;
    let handshakes = ["full", "resumed"].into_iter().enumerate();
    out.counters(
        "tls_handshakes",
        "TLS handshakes completed",
        handshakes.map(|(index, kind)| (vec![("kind", kind)], parts.sum(|m| &m.tls_handshakes[index]))),
    )?;
    let faults =
        Fault::ALL.into_iter().map(|fault| (vec![("reason", fault.word())], parts.sum(|m| &m.tls_faults[fault as usize])));
    out.counters("tls_faults", "TLS connections that could not go on", faults)?;
    let certificates = parts.comet.certificates();
    let names: Vec<(String, u64)> =
        certificates.iter().filter_map(|file| Some((file.path.display().to_string(), file.not_after_s?))).collect();
    let expiry = names.iter().map(|(path, at)| (vec![("file", path.as_str())], *at));
    out.gauges("tls_certificate_expiry_seconds", "When a certificate in use ends, unix time", expiry)?;
    out.counters(
        "client_auth",
        "AUTH frames by outcome",
        [(vec![("outcome", "accepted")], sum(|m| &m.auth_accepted)), (vec![("outcome", "refused")], sum(|m| &m.auth_refused))],
    )?;
    out.counter("client_left", "Connections ended by the client or the network", sum(|m| &m.left))?;
    let codes: Vec<String> = CloseReason::ALL.iter().map(|reason| reason.code().to_string()).collect();
    let ended = CloseReason::ALL.iter().zip(&codes).enumerate();
    out.counters(
        "client_num_server_disconnects",
        "Sessions ended by the server",
        ended.map(|(index, (reason, code))| {
            (vec![("code", code.as_str()), ("reason", reason.word())], parts.sum(|m| &m.ended[index]))
        }),
    )?;
    out.counter("client_num_reply_errors", "Requests refused with ERROR", sum(|m| &m.requests_refused))?;
    out.counter("client_heartbeats", "Heartbeats answered", sum(|m| &m.heartbeats))?;
    out.counter("client_upstream_frames", "Frames handed to the business", sum(|m| &m.upstream))?;
    out.gauge("client_blocked", "Sessions whose socket is full", sum(|m| &m.blocked))?;
    out.counter("transport_messages_received", "Frames read", sum(|m| &m.frames_received))?;
    out.counter("transport_received_bytes", "Bytes read", sum(|m| &m.bytes_received))?;
    let delivered = WAYS.iter().enumerate().map(|(index, way)| (vec![("way", *way)], parts.sum(|m| &m.delivered[index])));
    out.counters("transport_messages_sent", "Pushes written whole to a session, by way", delivered)?;
    out.counter("transport_sent_bytes", "Bytes written", sum(|m| &m.bytes_sent))?;
    out.counter("comet_writes", "send calls", sum(|m| &m.writes))?;
    stored(out, parts)?;
    let dropped = Drop::ALL.iter().map(|reason| (vec![("reason", reason.word())], parts.dropped(*reason)));
    out.counters("push_dropped", "Frames not delivered, by reason", dropped)?;
    let passes = merge(parts.comet.workers().iter().map(|metrics| &metrics.pass));
    out.histogram("node_broadcast_duration_seconds", "CPU time of a pass over a room's members", &passes)
}

/// What comets do for stored messages and for rooms that keep their last frames.
fn stored(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let sum = |cell: fn(&WorkerMetrics) -> &Cell| parts.sum(cell);
    let requests = STORED_OPS.iter().enumerate();
    let requests = requests.map(|(index, op)| (vec![("op", operation::name(*op))], parts.sum(|m| &m.stored_requests[index])));
    out.counters("comet_stored_requests", "Requests about stored messages", requests)?;
    out.gauge("comet_sends_in_flight", "Sends whose answers are not known", sum(|m| &m.sends_in_flight))?;
    out.counter("comet_withheld", "Stored messages that wait for SYNC", sum(|m| &m.withheld))?;
    out.counter("comet_heads", "HEAD frames", sum(|m| &m.heads))?;
    let recoveries = Recovery::ALL.iter().enumerate();
    let recoveries = recoveries.map(|(index, what)| (vec![("outcome", what.word())], parts.sum(|m| &m.recoveries[index])));
    out.counters("comet_room_recoveries", "CHANGE_ROOM with what was seen of the room", recoveries)
}

fn merge<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> HistogramSnapshot {
    let mut merged =
        HistogramSnapshot { bounds_seconds: &SECONDS_BOUNDS, counts: vec![0; SECONDS_BOUNDS.len() + 1], sum_seconds: 0.0 };
    for histogram in histograms {
        for (sum, cell) in merged.counts.iter_mut().zip(&histogram.buckets) {
            *sum += cell.get();
        }
        merged.sum_seconds += histogram.sum_ns.get() as f64 / 1e9;
    }
    merged
}

fn logic(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let logic = parts.logic.snapshot();
    let by = |label: &'static str, values: &[(&'static str, u64)]| -> Vec<_> {
        values.iter().map(|(word, count)| (vec![(label, *word)], *count)).collect()
    };
    let mut encoder = out.metric("api_command_duration_seconds", "HTTP requests by route", MetricType::Histogram)?;
    for (route, histogram) in &logic.requests {
        let labels: &Labels<'_> = &[("route", *route)];
        put_histogram(&mut encoder.encode_family(&labels)?, histogram)?;
    }
    out.counters("api_command_errors", "Refused requests and messages", by("reason", &logic.refusals))?;
    out.counters(
        "api_access",
        "Calls that need a scope, and calls of foreign pages, by what was decided",
        by("outcome", &logic.access),
    )?;
    out.counter("sessions_kicked", "Sessions told to end through the API", logic.sessions_kicked)?;
    out.counters("api_pushes_accepted", "Pushes that the log has", by("target", &logic.pushes))?;
    out.counters("auth_outcomes", "AUTH by what became of it", by("outcome", &logic.auths))?;
    out.counters("auth_refusals", "AUTH refused, by why", by("cause", &logic.auth_refusals))?;
    out.counters("auth_jwks_fetches", "Fetches of the key set by what they brought", by("outcome", &logic.jwks_fetches))?;
    out.counters("auth_hook", "AUTH that the hook decides, by what became of it", by("outcome", &logic.hook))?;
    out.histogram("auth_hook_duration_seconds", "Calls of the hook", &logic.hook_took)?;
    out.gauge("auth_jwks_keys", "Keys that the last good fetch brought", logic.jwks_keys)?;
    let age_ms = if logic.jwks_fetched_ms == 0 { 0 } else { unix_ms().saturating_sub(logic.jwks_fetched_ms) };
    out.gauge("auth_jwks_age_ms", "Since the last good fetch", age_ms)?;
    out.counters("upstream_frames", "Frames from clients for the business", by("class", &logic.upstream))?;
    out.counter("upstream_bytes", "Their bodies", logic.upstream_bytes)?;
    out.counter("sessions_replaced", "Sessions that a newer one with the same key replaced", logic.sessions_replaced)?;
    out.counter("api_idempotent_hits", "Pushes answered from an earlier one with the same id", logic.idempotent_hits)?;
    out.counter("api_idempotency_evicted", "Idempotency keys forgotten early for want of memory", logic.idempotency_evicted)?;
    out.counter("api_connections_accepted", "HTTP connections accepted", logic.http_connections)?;
    out.gauge("api_connections_inflight", "HTTP connections open", logic.http_open)?;
    out.counter("api_accept_errors", "HTTP accepts that failed", logic.http_accept_errors)?;
    out.counter("api_connections_timed_out", "HTTP connections that sent no request in time", logic.http_timed_out)?;
    out.counter("api_connections_broken", "HTTP connections that ended by an error", logic.http_broken)
}

fn job(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let job = parts.job.snapshot();
    out.counter("consumers_messages_processed", "Push records read", job.records)?;
    out.counter("consumers_errors", "Push records that made no sense", job.dead)?;
    out.counter("job_deliveries", "Deliveries handed to comets", job.deliveries)?;
    let drops = perseid_job::DropReason::ALL.iter().map(|reason| (vec![("reason", reason.word())], job.dropped(*reason)));
    out.counters("job_dropped", "What was not handed to a comet", drops)?;
    out.gauge("job_lag_ms", "Age of the last record when it was dispatched", job.lag_ms)?;
    out.gauge("job_offset", "Offset of the last record", job.offset)
}

fn log(out: &mut Out<'_>, log: &dyn EventLog) -> fmt::Result {
    let log = log.status();
    out.gauge("log_first_offset", "Oldest record kept", log.first)?;
    out.gauge("log_end_offset", "Newest durable record", log.end)?;
    out.gauge("log_segments", "Files", log.segments as u64)?;
    out.gauge("log_disk_bytes", "Their bytes", log.disk_bytes)?;
    out.gauge("log_queue_bytes", "Bytes accepted and not yet durable", log.queue_bytes as u64)?;
    out.gauge("log_poisoned", "1 after a failed write: needs a restart", log.poisoned.is_some().into())?;
    out.gauge("log_refusing", "1 while there is no space", log.refusing.is_some().into())?;
    // Webhooks have families of their own.
    let consumers = || log.consumers.iter().filter(|consumer| consumer.state != ConsumerState::Cursor);
    let lags = consumers().map(|consumer| (vec![("consumer", consumer.name.as_str())], consumer.lag));
    out.gauges("log_consumer_lag", "Durable records that a consumer has not seen", lags)?;
    let stopped = consumers().map(|consumer| {
        let stopped = matches!(consumer.state, ConsumerState::Stopped(_));
        (vec![("consumer", consumer.name.as_str())], u64::from(stopped))
    });
    out.gauges("log_consumer_stopped", "1 for a consumer that will get nothing more: needs a restart", stopped)?;
    let counters = log.counters;
    for (name, help, value) in [
        ("log_records", "Records made durable", counters.records),
        ("log_bytes", "Their bytes", counters.bytes),
        ("log_syncs", "Write-and-sync rounds", counters.syncs),
        ("log_too_large", "Appends refused because of their size", counters.too_large),
        ("log_overloaded", "Appends refused because the queue was full", counters.overloaded),
        ("log_unavailable", "Appends refused as unavailable", counters.unavailable),
        ("log_unknown", "Appends with an unknown outcome", counters.unknown),
        ("log_rolls", "Segments begun", counters.rolls),
        ("log_space_waits", "Times the writer waited for zeroed space", counters.space_waits),
        ("log_segments_deleted", "Segments deleted by retention", counters.segments_deleted),
        ("log_reread", "Records read again from disk", counters.reread),
        ("log_done_panics", "Callbacks of appends that panicked: a defect", counters.done_panics),
        ("log_torn_bytes", "Bytes of a torn tail cut off at the start", counters.torn_bytes),
    ] {
        out.counter(name, help, value)?;
    }
    out.histogram("log_sync_duration_seconds", "One write and its fdatasync", &log.sync_seconds)?;
    out.histogram("log_append_duration_seconds", "From append to durable", &log.append_seconds)
}

fn spans(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    out.counter("trace_spans_exported", "Spans that the collector took", parts.spans.exported())?;
    let lost = Lost::ALL.iter().map(|reason| (vec![("reason", reason.word())], parts.spans.lost(*reason)));
    out.counters("trace_spans_dropped", "Spans that it did not get", lost)
}

fn process(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let fds = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let seconds = cpu_ticks(&stat).unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64;
    ConstCounter::new(seconds).encode(out.metric("process_cpu_seconds", "CPU time taken", MetricType::Counter)?)?;
    out.gauge("process_resident_memory_bytes", "RSS", pages * rustix::param::page_size() as u64)?;
    out.gauge("process_open_fds", "File descriptors in use", fds as u64)?;
    out.gauge("process_max_fds", "File descriptors that may be in use", open_files_max())?;
    out.gauge("process_threads", "Threads", threads as u64)?;
    out.gauge("process_start_time_seconds", "When the process started, unix seconds", parts.started_ms / 1000)
}

/// User and system time of /proc/PID/stat, clock ticks. The second field may hold anything, blanks and brackets too.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()?.saturating_add(fields.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::cpu_ticks;

    #[test]
    fn cpu_time_of_a_process_with_any_name() {
        let rest = "R 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20";
        for name in ["perseid", "a) b", ") R 1 2 3"] {
            assert_eq!(cpu_ticks(&format!("42 ({name}) {rest}")), Some(730), "{name}");
        }
        for stat in ["", "42 (x", "42 (x) R 1 2", "42 (x) R 1 2 3 4 5 6 7 8 9 10 x y"] {
            assert_eq!(cpu_ticks(stat), None, "{stat}");
        }
    }
}

//! The loop of one webhook: read, post, pass.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use perseid_log::{Cursor, LogReader, Offset};
use perseid_outbound::{Client, Method, OutboundError, Request, Response, SIGNATURE, Secrets, sign};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::batch::Pending;
use crate::config::{HookConfig, cursor_name, origin};
use crate::judge::{Judged, judge};
use crate::metrics::HookMetrics;
use crate::pace::{Breaker, Pace};

/// How often a webhook without events reads on, so that its place follows the log, which keeps what is not passed.
const IDLE: Duration = Duration::from_secs(5);
/// The wait after the log could not be read or the place not be kept: an operator has to see to that.
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// How much of an answer that says no is logged, characters.
const ANSWER_CHARS_MAX: usize = 200;

/// What all webhooks share.
pub(crate) struct Shared {
    pub(crate) config: HookConfig,
    pub(crate) client: RwLock<Client>,
    pub(crate) secrets: RwLock<Secrets>,
    pub(crate) clock: Clock,
}

/// One webhook.
pub(crate) struct Endpoint {
    url: String,
    reader: Box<dyn LogReader>,
    cursor: Box<dyn Cursor>,
    pending: Pending,
    metrics: Arc<HookMetrics>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    On,
    /// It was told to end.
    Home,
}

/// A running webhook.
struct Delivery {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    newest: watch::Receiver<Offset>,
    finish: CancellationToken,
    stop: CancellationToken,
    pace: Pace,
    /// Events in the next request: fewer after one was refused, to find out which it is.
    size: usize,
    /// Refusals of the first event, when it was alone.
    refusals: u32,
}

impl Endpoint {
    pub(crate) fn new(url: &str, reader: Box<dyn LogReader>, cursor: Box<dyn Cursor>) -> Self {
        let metrics = Arc::new(HookMetrics::new(cursor_name(url), origin(url)));
        let pending = Pending::new(cursor.offset());
        Self { url: url.to_owned(), reader, cursor, pending, metrics }
    }

    pub(crate) fn metrics(&self) -> Arc<HookMetrics> {
        self.metrics.clone()
    }

    /// Posts until it is told to end.
    pub(crate) async fn run(
        self,
        shared: Arc<Shared>,
        newest: watch::Receiver<Offset>,
        finish: CancellationToken,
        stop: CancellationToken,
    ) {
        let (pace, size) = (Pace::new(shared.config.retry_ms_max), shared.config.batch_events);
        let mut delivery = Delivery { endpoint: self, shared, newest, finish, stop, pace, size, refusals: 0 };
        while delivery.turn().await == Going::On {}
    }
}

impl Delivery {
    /// Reads what there is, and posts it.
    async fn turn(&mut self) -> Going {
        // Before it is read, so that what comes meanwhile wakes us again.
        self.newest.mark_unchanged();
        if !self.read() {
            return if self.finish.is_cancelled() { Going::Home } else { self.rest(LOG_PAUSE).await };
        }
        if self.endpoint.pending.len() == 0 {
            self.pass();
            return self.wait_for_events().await;
        }
        let config = &self.shared.config;
        let full = self.endpoint.pending.len() >= config.batch_events || self.endpoint.pending.bytes() >= config.batch_bytes;
        if !full && config.linger_ms > 0 && !self.finish.is_cancelled() {
            if self.rest(Duration::from_millis(config.linger_ms)).await == Going::Home {
                return Going::Home;
            }
            self.read();
        }
        self.drain().await
    }

    /// Reads until there are enough events for a request, or no more in the log; whether that went well.
    fn read(&mut self) -> bool {
        let Endpoint { url, reader, pending, metrics, .. } = &mut self.endpoint;
        let config = &self.shared.config;
        while pending.len() < config.batch_events && pending.bytes() < config.batch_bytes {
            let records = match reader.read() {
                Ok(records) if records.is_empty() => break,
                Ok(records) => records,
                Err(error) => {
                    tracing::error!(%error, hook = %origin(url), "a webhook can't read the log");
                    return false;
                }
            };
            let taken = pending.take(&records, |kind| config.wants(kind));
            if taken.missing > 0 {
                metrics.drop_events("deleted", taken.missing);
                tracing::warn!(
                    records = taken.missing,
                    hook = %origin(url),
                    "a webhook was so far behind that the log has deleted records that it had not seen: see events.hold_bytes_max"
                );
            }
            if taken.nonsense > 0 {
                metrics.drop_events("nonsense", taken.nonsense);
                tracing::error!(records = taken.nonsense, "records of events make no sense");
            }
        }
        let oldest_ms = pending.first().map_or(0, |event| event.ts_ms);
        metrics.oldest_ms.store(oldest_ms, Relaxed);
        let newest = *self.newest.borrow();
        metrics.lag_records.store(newest.saturating_sub(pending.passed()), Relaxed);
        true
    }

    /// Posts what is pending.
    async fn drain(&mut self) -> Going {
        let keep_ms = self.shared.config.keep_ms;
        while self.endpoint.pending.len() > 0 {
            let too_old = self.endpoint.pending.older_than((self.shared.clock)().saturating_sub(keep_ms));
            if too_old > 0 {
                self.give_up(too_old, "expired", "no receiver took it while it was kept");
                continue;
            }
            let count = self.next_count();
            let Some(result) = self.post(count).await else { return Going::Home };
            let wait_ms = match judge(&result) {
                Judged::Delivered => {
                    self.delivered(count);
                    continue;
                }
                Judged::Refused { reason } => self.refused(count, reason, &result),
                Judged::Later { reason, retry_after_ms } => Some(self.failed(reason, retry_after_ms, &result)),
            };
            if let Some(wait_ms) = wait_ms
                && (self.finish.is_cancelled() || self.rest(Duration::from_millis(wait_ms)).await == Going::Home)
            {
                return Going::Home;
            }
        }
        Going::On
    }

    fn next_count(&self) -> usize {
        let config = &self.shared.config;
        match self.pace.breaker() {
            Breaker::Closed => self.endpoint.pending.fitting(self.size.clamp(1, config.batch_events), config.batch_bytes),
            Breaker::Open => 1,
        }
    }

    /// Posts the first events; `None` when it was told to stop meanwhile.
    async fn post(&mut self, count: usize) -> Option<Result<Response, OutboundError>> {
        let body = self.endpoint.pending.body(count);
        let time_s = (self.shared.clock)() / 1000;
        let signature = sign(&self.shared.secrets.read().unwrap_or_else(PoisonError::into_inner), time_s, &body);
        let request = Request {
            method: Method::Post,
            url: self.endpoint.url.clone(),
            headers: vec![("content-type", "application/json".to_owned()), (SIGNATURE, signature)],
            body,
            wanted: &[],
        };
        let metrics = &self.endpoint.metrics;
        metrics.requests.fetch_add(1, Relaxed);
        if self.pace.failures() + self.refusals > 0 {
            metrics.retried.fetch_add(1, Relaxed);
        }
        let client = self.shared.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::select! {
            result = client.send(request) => Some(result),
            () = self.stop.cancelled() => None,
        }
    }

    fn delivered(&mut self, count: usize) {
        if self.pace.breaker() == Breaker::Open {
            tracing::info!(hook = %origin(&self.endpoint.url), "a webhook takes events again");
        }
        self.pace.succeed();
        self.refusals = 0;
        self.size = self.size.saturating_mul(2).min(self.shared.config.batch_events);
        self.endpoint.metrics.delivered.fetch_add(count as u64, Relaxed);
        self.endpoint.metrics.set_breaker(self.pace.breaker());
        self.endpoint.pending.remove(count);
        self.pass();
    }

    /// The receiver, or the way to it, is not all right: how long to wait, ms.
    fn failed(&mut self, reason: &'static str, retry_after_ms: Option<u64>, result: &Result<Response, OutboundError>) -> u64 {
        self.endpoint.metrics.fail(reason);
        let before = self.pace.breaker();
        let wait_ms = self.pace.fail(random(), retry_after_ms);
        self.endpoint.metrics.set_breaker(self.pace.breaker());
        if before == Breaker::Closed {
            let (hook, why) = (origin(&self.endpoint.url), describe(result));
            tracing::warn!(%hook, reason, why, failures = self.pace.failures(), "a webhook did not take events: tried again");
        }
        wait_ms
    }

    /// The receiver does not want what it got: smaller requests show which event it is, and that one is given up after some
    /// tries. How long to wait, ms.
    fn refused(&mut self, count: usize, reason: &'static str, result: &Result<Response, OutboundError>) -> Option<u64> {
        self.endpoint.metrics.fail(reason);
        if count > 1 {
            self.size = count / 2;
            return None;
        }
        // It answers: the breaker is for those that do not.
        self.pace.succeed();
        self.endpoint.metrics.set_breaker(self.pace.breaker());
        self.refusals += 1;
        if self.refusals < self.shared.config.refusals_max {
            let mut pace = Pace::new(self.shared.config.retry_ms_max);
            return (0..self.refusals).map(|_| pace.fail(random(), None)).last();
        }
        self.give_up(1, reason, &describe(result));
        None
    }

    /// Passes the first events undelivered.
    fn give_up(&mut self, count: usize, reason: &'static str, why: &str) {
        self.refusals = 0;
        self.endpoint.metrics.drop_events(reason, count as u64);
        let gone = self.endpoint.pending.remove(count);
        if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
            let (hook, kind) = (origin(&self.endpoint.url), first.kind().word());
            let (first, last) = (first.id, last.id);
            tracing::error!(%hook, reason, why, count, first, last, kind, "events are given up for a webhook");
        }
        self.pass();
    }

    /// Keeps how far it is.
    fn pass(&mut self) {
        let Endpoint { cursor, pending, metrics, url, .. } = &mut self.endpoint;
        let passed = pending.passed();
        metrics.oldest_ms.store(pending.first().map_or(0, |event| event.ts_ms), Relaxed);
        metrics.lag_records.store(self.newest.borrow().saturating_sub(passed), Relaxed);
        if passed > cursor.offset()
            && let Err(error) = cursor.store(passed)
        {
            tracing::error!(%error, hook = %origin(url), "the place of a webhook in the log is not kept: events may come twice");
        }
    }

    async fn wait_for_events(&mut self) -> Going {
        tokio::select! {
            () = self.stop.cancelled() => Going::Home,
            () = self.finish.cancelled() => {
                if self.newest.has_changed().unwrap_or(false) { Going::On } else { Going::Home }
            }
            changed = self.newest.changed() => if changed.is_ok() { Going::On } else { Going::Home },
            () = tokio::time::sleep(IDLE) => Going::On,
        }
    }

    async fn rest(&mut self, time: Duration) -> Going {
        tokio::select! {
            () = self.stop.cancelled() => Going::Home,
            () = self.finish.cancelled(), if !self.finish.is_cancelled() => Going::On,
            () = tokio::time::sleep(time) => Going::On,
        }
    }
}

/// What went wrong, for people. Of an answer only the beginning, and nothing that a terminal would obey.
fn describe(result: &Result<Response, OutboundError>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(response) => {
            let text = String::from_utf8_lossy(response.body_start());
            let text: String = text.chars().take(ANSWER_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
            format!("status {}: {text}", response.status)
        }
    }
}

/// Any number. Without one (which never happens) the waits are the longest.
fn random() -> u64 {
    let mut bytes = [0xff; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

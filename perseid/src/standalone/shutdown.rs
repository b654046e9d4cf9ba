//! The end of a standalone, in stages with one deadline: sessions leave, accepted work is finished, the log is closed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Standalone;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Sessions that had not left when time was up.
    pub sessions_cut: u64,
}

/// What of the time is for sessions to leave; the rest is for HTTP and the log.
const SESSIONS_SHARE: f64 = 0.7;
/// What of the time that is left then webhooks get to take the last events.
const HOOKS_SHARE: f64 = 0.5;
/// How long comets in other processes may take to take what is queued for them.
const LANES_WAIT: Duration = Duration::from_secs(2);
/// The most for spans that wait for a collector.
const TRACES_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Standalone {
    /// Leaves: not ready any more, no new sessions, sessions told to leave at a pace, what was accepted finished, the log
    /// closed. Takes at most `shutdown_ms`.
    pub async fn shut_down(self) -> Outcome {
        let parts = &self.parts;
        let total = Duration::from_millis(self.settings.node.shutdown_ms);
        let started = Instant::now();
        parts.draining.store(true, Ordering::Relaxed);
        self.api.drain();

        let comet = &parts.comet;
        let sessions = comet.connections();
        let for_sessions = total.mul_f64(SESSIONS_SHARE);
        // As slowly as asked, but so that everybody has been told at half of the time.
        let needed = sessions as f64 / for_sessions.as_secs_f64().max(0.1) * 2.0;
        let per_second = self.settings.comet.drain_rate.max(needed.ceil() as u32);
        tracing::info!(sessions, per_second, "leaving: sessions are told to go");
        comet.drain(per_second, self.settings.comet.reconnect_ms);
        while comet.connections() > 0 && started.elapsed() < for_sessions {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let sessions_cut = comet.connections();

        self.http_stop.cancel();
        let left = total.saturating_sub(started.elapsed()).max(Duration::from_millis(100));
        let _ = tokio::time::timeout(left, self.http).await;

        // What sessions did last is told of, if it can be.
        let (told, within) = (self.told, total.saturating_sub(started.elapsed()).mul_f64(HOOKS_SHARE));
        let telling = tokio::task::spawn_blocking(move || told.finish(within));
        let _ = telling.await;

        let (log, comets, comet, stored) = (parts.log.clone(), self.wire.comets().clone(), comet.clone(), self.stored);
        // Both join threads.
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(log) = log {
                log.close();
            }
            stored.close();
            // What was handed over to comets elsewhere is on its way.
            comets.drain_lanes(LANES_WAIT);
            comet.stop();
        });
        let left = total.saturating_sub(started.elapsed()).max(Duration::from_millis(100));
        let _ = tokio::time::timeout(left, closing).await;
        self.wire.stop().await;
        // Last: what was going on has ended its spans by now.
        let left = total.saturating_sub(started.elapsed()).clamp(Duration::from_millis(100), TRACES_MAX);
        self.export.flush(left).await;
        tracing::info!(sessions_cut, ms = started.elapsed().as_millis() as u64, "left");
        Outcome { sessions_cut }
    }
}

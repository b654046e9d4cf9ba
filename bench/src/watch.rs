//! Looks at the processes some times a second while a scenario runs: CPU,
//! memory, deliveries.

use crate::clock::{MILLI, SECOND, now_ns};
use crate::engine::FleetCounters;
use crate::procfs::{Cpu, Meter};
use crate::stats::{per, to_f64};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const EVERY: Duration = Duration::from_nanos(250 * MILLI);

/// One look, relative to the start and to the look before.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) at_s: f64,
    pub(crate) deliveries_per_s: f64,
    /// Cores busy with the server, and with the generator.
    pub(crate) server_cores: f64,
    pub(crate) generator_cores: f64,
    pub(crate) server_rss_bytes: u64,
    pub(crate) online: u64,
}

/// Totals at one moment; the difference of two is a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) at_ns: u64,
    /// None without a process to look at.
    pub(crate) server: Option<Cpu>,
    pub(crate) generator: Cpu,
}

/// A thread that looks, until it is finished or dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    meters: Mutex<Meters>,
    points: Mutex<Vec<Point>>,
    fleets: Vec<Arc<FleetCounters>>,
    start_ns: u64,
}

struct Meters {
    server: Option<Meter>,
    generator: Meter,
}

impl Watch {
    /// Watches the server (none: no server figures) and the generator's
    /// children and itself.
    pub(crate) fn start(server: &[u32], children: &[u32], fleets: Vec<Arc<FleetCounters>>) -> Self {
        let generator: Vec<u32> = children.iter().copied().chain([std::process::id()]).collect();
        let meters = Meters { server: (!server.is_empty()).then(|| Meter::new(server)), generator: Meter::new(&generator) };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            meters: Mutex::new(meters),
            points: Mutex::new(Vec::new()),
            fleets,
            start_ns: now_ns(),
        });
        let watched = Arc::clone(&shared);
        let thread = std::thread::spawn(move || watched.run());
        Self { shared, thread: Some(thread) }
    }

    /// The totals at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// The server's resident memory, exactly.
    pub(crate) fn server_rss_bytes(&self) -> Option<u64> {
        lock(&self.shared.meters).server.as_ref().map(Meter::rss_bytes_exact)
    }

    /// Server processes that have ended.
    pub(crate) fn ended(&self) -> Vec<u32> {
        lock(&self.shared.meters).server.as_ref().map(Meter::ended).unwrap_or_default()
    }

    /// Stops looking and returns what was seen.
    pub(crate) fn finish(mut self) -> Vec<Point> {
        self.stop();
        std::mem::take(&mut lock(&self.shared.points))
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let (mut before, mut received) = (self.snapshot(), 0);
        while !self.stop.load(Relaxed) {
            std::thread::park_timeout(EVERY);
            let now = self.snapshot();
            let total: u64 = self.fleets.iter().map(|fleet| fleet.total().received).sum();
            let seconds = per(to_f64(now.at_ns - before.at_ns), to_f64(SECOND));
            if seconds < 0.02 {
                continue;
            }
            // A new phase begins its count at 0.
            let came = if total >= received { total - received } else { total };
            let cores = |cpu: Cpu| to_f64(cpu.ns()) / 1e9 / seconds;
            let server = now.server.zip(before.server).map(|(now, before)| now - before);
            let point = Point {
                at_s: to_f64(now.at_ns - self.start_ns) / 1e9,
                deliveries_per_s: to_f64(came) / seconds,
                server_cores: server.map_or(0.0, cores),
                generator_cores: cores(now.generator - before.generator),
                server_rss_bytes: lock(&self.meters).server.as_ref().map_or(0, Meter::rss_bytes),
                online: self.fleets.iter().map(|fleet| fleet.total().online).sum(),
            };
            lock(&self.points).push(point);
            (before, received) = (now, total);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut meters = lock(&self.meters);
        let at_ns = now_ns();
        let server = meters.server.as_mut().map(Meter::cpu);
        Snapshot { at_ns, server, generator: meters.generator.cpu() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

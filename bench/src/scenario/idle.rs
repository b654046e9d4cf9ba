//! `idle`: sessions stand and send heartbeats; memory of each, CPU of each,
//! and whether the memory comes back when they leave.

use super::stored::FROM_HEAD;
use super::{Bench, Crowd, cpu_figures, run_name, server_cpu_ns};
use crate::cli::Idle;
use crate::clock::{MILLI, SECOND, now_ns, seconds_ns};
use crate::procfs::slab_bytes;
use crate::report::RunReport;
use crate::stats::{per, to_f64};
use crate::watch::Watch;
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

/// How long memory may take to come back.
const LEAVE_NS: u64 = 5 * SECOND;
/// Let the server come to rest before it is weighed.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) fn run(bench: &Bench<'_>, options: &Idle) -> Result<RunReport> {
    let sessions = bench.sessions(5_000);
    let level = if options.extended { "extended sessions" } else { "sessions" };
    let title = format!("idle: {sessions} {level} over {}", bench.transport());
    let mut report = bench.report("idle", title);
    report.parameter("sessions", sessions);
    report.parameter("heartbeat", format!("every {} s, evenly spread", options.heartbeat));
    report.parameter("duration", format!("{} s", options.common.duration));

    let mut fleet = bench.fleet(&Crowd {
        sessions,
        first_mid: options.common.first_mid,
        room: Some(format!("bench://{}", run_name())),
        heartbeat_ms: seconds_ns(options.heartbeat) / MILLI,
        extended: options.extended.then_some(FROM_HEAD),
        ..Crowd::default()
    })?;
    let watch = bench.watch(&[&fleet]);
    sleep(SETTLE);
    let (rss_before, slab_before) = (watch.server_rss_bytes(), slab_bytes());
    bench.open(&mut fleet)?;
    sleep(SETTLE + Duration::from_nanos(seconds_ns(options.common.warmup)));
    let slab_with = slab_bytes();

    let counters = fleet.counters();
    let (before, from) = (counters.total(), watch.snapshot());
    let to_ns = from.at_ns + seconds_ns(options.common.duration);
    bench.phase_progress("idle", from.at_ns, to_ns);
    let to = watch.snapshot();
    sleep(Duration::from_millis(300));
    let (after, rss_with) = (counters.total(), watch.server_rss_bytes());
    fleet.close()?;
    let rss_after = leave(&watch, rss_before, rss_with);

    let count = to_f64(sessions);
    if let (Some(before), Some(with), Some((left, seconds))) = (rss_before, rss_with, rss_after) {
        let (before, with, left) = (to_f64(before), to_f64(with), to_f64(left));
        let grown = (with - before).max(0.0);
        let mib = 1024.0 * 1024.0;
        report.figure("rss_bytes_per_session", "server RSS of a session", grown / count, "B");
        report.figure("rss_before_mib", "server RSS before", before / mib, "MiB");
        report.figure("rss_with_mib", "with the sessions", with / mib, "MiB");
        report.figure("rss_after_mib", "after they left", left / mib, "MiB");
        let back = per((with - left).max(0.0), grown) * 100.0;
        report.figure("rss_back_share", "growth given back", back.min(100.0), "%");
        report.figure("rss_back_s", "waited for it", seconds, "s");
    }
    if let (Some(before), Some(with)) = (slab_before, slab_with) {
        let each = (to_f64(with) - to_f64(before)) / count;
        report.figure("slab_bytes_per_session", "kernel slab, both ends", each, "B");
    }
    if let Some(cpu_ns) = server_cpu_ns(from, to) {
        let seconds = to_f64(to.at_ns - from.at_ns) / 1e9;
        let each = cpu_ns / 1e3 / seconds / count;
        report.figure("cpu_us_per_s_per_session", "server CPU of a session", each, "µs/s");
        let beats = after.heartbeats - before.heartbeats;
        if beats > 0 {
            let each = cpu_ns / 1e3 / to_f64(beats);
            report.figure("cpu_us_per_heartbeat", "server CPU of a heartbeat", each, "µs");
        }
    }
    report.figure("heartbeats", "heartbeats", to_f64(after.heartbeats), "");
    cpu_figures(&mut report, from, to);
    let unanswered = after.heartbeats.saturating_sub(after.heartbeat_replies);
    // A few may be on their way at any moment.
    if unanswered > sessions / 100 + 2 {
        report.problems.push(format!("{unanswered} heartbeats were not answered"));
    }
    if after.dropped > 0 {
        report.problems.push(format!("the server closed {} idle sessions", after.dropped));
    }
    Bench::finish(&mut report, watch);
    Ok(report)
}

/// Waits until the memory is back or the time is over; what is left, and after
/// how many seconds.
fn leave(watch: &Watch, before: Option<u64>, with: Option<u64>) -> Option<(u64, f64)> {
    let start = now_ns();
    let enough = before? + with?.saturating_sub(before?) / 20;
    loop {
        sleep(Duration::from_millis(200));
        let (rss, waited_ns) = (watch.server_rss_bytes()?, now_ns() - start);
        if rss <= enough || waited_ns >= LEAVE_NS {
            return Some((rss, to_f64(waited_ns) / 1e9));
        }
    }
}

//! `storm`: many sessions are cut off, miss messages, and come back at once, each
//! with its cursor; others stay and go on sending heartbeats.

use super::stored::{FROM_HEAD, Writers, check, settle};
use super::sync::{latencies, parameters, readers};
use super::{Bench, Crowd, cpu_figures, server_cpu_ns, us_each};
use crate::cli::Storm;
use crate::clock::{MILLI, now_ns, seconds_ns, sleep_until};
use crate::engine::messages::Progress;
use crate::engine::stored::From;
use crate::engine::stored::account::{Account, Wanted};
use crate::report::RunReport;
use crate::stats::to_f64;
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

/// All at once: sessions started a second.
const AT_ONCE: f64 = 1e6;
/// For replies that are on their way.
const REPLIES: Duration = Duration::from_millis(500);

pub(super) fn run(bench: &Bench<'_>, options: &Storm) -> Result<RunReport> {
    let sessions = bench.sessions(10_000);
    let (each, fill) = (options.messages, options.fill);
    let title = format!("storm: {sessions} sessions come back at once over {}", bench.transport());
    let mut report = bench.report("storm", title);
    parameters(&mut report, each, fill);
    report.parameter("beside", format!("{} sessions with a heartbeat every {} s", options.idle, options.heartbeat));

    let first = options.common.first_mid;
    let mut writers = Writers::new(bench, fill.writers, first)?;
    let away_mid = first.saturating_add(fill.writers.cast_signed());
    let mut away = readers(bench, sessions, away_mid, From::Cursor, fill)?;
    let mut idle = bench.fleet(&Crowd {
        sessions: options.idle,
        first_mid: away_mid.saturating_add(sessions.cast_signed()),
        heartbeat_ms: (seconds_ns(options.heartbeat) / MILLI).max(1),
        extended: Some(FROM_HEAD),
        ..Crowd::default()
    })?;
    let watch = bench.watch(&[&writers.fleet, &away, &idle]);
    bench.open(&mut writers.fleet)?;
    // They are here once, to learn where they stand.
    bench.open(&mut away)?;
    away.close()?;
    let (plan, written) = writers.fill(bench, fill, away_mid.cast_unsigned(), sessions, each)?;
    check(&mut report, &written, Wanted::Echoes);
    writers.fleet.close()?;
    settle(&watch);
    bench.open(&mut idle)?;
    sleep(REPLIES);

    away.talk(Some(plan), false)?;
    idle.talk(None, false)?;
    let before = idle.counters().total();
    let at_ns = now_ns() + 200 * MILLI;
    sleep_until(at_ns - 10 * MILLI);
    let from = watch.snapshot();
    let connected = away.open(at_ns, AT_ONCE, bench.bar)?;
    let to = watch.snapshot();
    // One heartbeat more of each, so that none is asked for too early.
    sleep(Duration::from_nanos(seconds_ns(options.heartbeat)) + REPLIES);
    let after = idle.counters().total();
    let read = away.end_talk()?.after(&written);
    check(&mut report, &read, Wanted::Arrivals);

    let storm_s = to_f64(connected.last_ns.saturating_sub(at_ns)) / 1e9;
    report.figure("storm_s", "until the last had all", storm_s, "s");
    report.figure("synced", "sessions that read all", to_f64(connected.online), "");
    if let Some(cpu_ns) = server_cpu_ns(from, to) {
        report.figure("cpu_us_per_session", "server CPU of a session", us_each(cpu_ns, connected.online), "µs");
    }
    cpu_figures(&mut report, from, to);
    latencies(&mut report, &connected, &read);
    heartbeats(&mut report, &idle.end_talk()?, before, after);
    away.close()?;
    idle.close()?;
    Bench::finish(&mut report, watch);
    Ok(report)
}

/// What became of those who stayed.
fn heartbeats(report: &mut RunReport, stayed: &Account, before: Progress, after: Progress) {
    report.latency("heartbeat of one who stays", ("beat_p50_ms", "beat_p99_ms"), &stayed.beat);
    let sent = after.heartbeats - before.heartbeats;
    report.figure("heartbeats", "heartbeats meanwhile", to_f64(sent), "");
    let unanswered = after.heartbeats.saturating_sub(after.heartbeat_replies);
    // A few may be on their way at any moment.
    if unanswered > after.online / 100 + 2 {
        report.problems.push(format!("{unanswered} heartbeats were not answered"));
    }
    report.problems.extend(stayed.problems());
}

//! `connect`: sessions start by a schedule; from the scheduled start to
//! AUTH_REPLY, and the server's CPU for each.

use super::{Bench, Crowd, cpu_figures, reasons, run_name, server_cpu_ns, us_each};
use crate::cli::Connect;
use crate::clock::{MILLI, now_ns, sleep_until};
use crate::report::RunReport;
use crate::stats::{per, to_f64};
use anyhow::Result;

pub(super) fn run(bench: &Bench<'_>, options: &Connect) -> Result<RunReport> {
    let sessions = bench.sessions(5_000);
    let title = format!("connect: {sessions} sessions over {}", bench.transport());
    let mut report = bench.report("connect", title);
    report.parameter("sessions", sessions);
    report.parameter("offered", format!("{}/s, open loop", options.rate));
    report.parameter("each", "connect, auth, room join");

    let mut fleet = bench.fleet(&Crowd {
        sessions,
        first_mid: options.common.first_mid,
        room: Some(format!("bench://{}", run_name())),
        ..Crowd::default()
    })?;
    let watch = bench.watch(&[&fleet]);
    let at_ns = now_ns() + 300 * MILLI;
    sleep_until(at_ns - 10 * MILLI);
    let from = watch.snapshot();
    let connected = fleet.open(at_ns, options.rate, bench.bar)?;
    let to = watch.snapshot();
    fleet.close()?;

    let seconds = to_f64(connected.last_ns.saturating_sub(at_ns)) / 1e9;
    report.figure("online", "came online", to_f64(connected.online), "sessions");
    let achieved = per(to_f64(connected.online), seconds);
    report.figure("connects_per_s", "achieved", achieved, "/s");
    if let Some(cpu_ns) = server_cpu_ns(from, to) {
        let each = us_each(cpu_ns, connected.online);
        report.figure("cpu_us_per_connect", "server CPU of a connect", each, "µs");
    }
    cpu_figures(&mut report, from, to);
    let keys = ("connect_p50_ms", "connect_p99_ms");
    report.latency("scheduled start to AUTH_REPLY", keys, &connected.latency);
    if !connected.failures.is_empty() {
        let failures = reasons(&connected.failures);
        report.problems.push(format!("sessions that did not come online: {failures}"));
    }
    Bench::finish(&mut report, watch);
    Ok(report)
}

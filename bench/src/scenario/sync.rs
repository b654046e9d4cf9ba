//! `sync`: users were away while messages came; each connects and reads its
//! inbox from the first message to the head.

use super::stored::{Writers, check, settle};
use super::{Bench, Crowd, cpu_figures, reasons, server_cpu_ns};
use crate::cli::{Fill, Sync};
use crate::clock::{MILLI, now_ns, sleep_until};
use crate::engine::messages::Extended;
use crate::engine::stored::From;
use crate::engine::stored::account::{Account, Wanted};
use crate::engine::{Connected, Fleet};
use crate::report::RunReport;
use crate::stats::{per, to_f64};
use anyhow::Result;

pub(super) fn run(bench: &Bench<'_>, options: &Sync) -> Result<RunReport> {
    let sessions = bench.sessions(100);
    let (each, fill) = (options.messages, options.fill);
    let title = format!("sync: {sessions} sessions with {each} missed messages over {}", bench.transport());
    let mut report = bench.report("sync", title);
    parameters(&mut report, each, fill);
    report.parameter("offered", format!("{}/s come back, open loop", options.rate));

    let mut writers = Writers::new(bench, fill.writers, options.common.first_mid)?;
    let first_mid = options.common.first_mid.saturating_add(fill.writers.cast_signed());
    let mut readers = readers(bench, sessions, first_mid, From::Floor, fill)?;
    let watch = bench.watch(&[&writers.fleet, &readers]);
    bench.open(&mut writers.fleet)?;
    let (plan, written) = writers.fill(bench, fill, first_mid.cast_unsigned(), sessions, each)?;
    check(&mut report, &written, Wanted::Echoes);
    writers.fleet.close()?;
    settle(&watch);

    readers.talk(Some(plan), false)?;
    let at_ns = now_ns() + 200 * MILLI;
    sleep_until(at_ns - 10 * MILLI);
    let from = watch.snapshot();
    let connected = readers.open(at_ns, options.rate, bench.bar)?;
    let to = watch.snapshot();
    let read = readers.end_talk()?.after(&written);
    check(&mut report, &read, Wanted::Arrivals);

    report.figure("synced", "sessions that read all", to_f64(connected.online), "");
    if let Some(cpu_ns) = server_cpu_ns(from, to) {
        let ms = per(cpu_ns / 1e6, to_f64(connected.online));
        report.figure("cpu_ms_per_sync", "server CPU of connect, AUTH and SYNC", ms, "ms");
        let us = per(cpu_ns / 1e3, to_f64(read.seen().frames));
        report.figure("cpu_us_per_message", "of a message read", us, "µs");
    }
    cpu_figures(&mut report, from, to);
    latencies(&mut report, &connected, &read);
    readers.close()?;
    Bench::finish(&mut report, watch);
    Ok(report)
}

pub(super) fn parameters(report: &mut RunReport, each: u64, fill: Fill) {
    report.parameter("missed", format!("{each} messages of {} B", fill.size));
    report.parameter("page", format!("{} messages", fill.page));
    report.parameter("written by", format!("{} sessions, {}/s", fill.writers, fill.fill_rate));
}

/// Processes for users who read what they missed; not connected yet.
pub(super) fn readers(bench: &Bench<'_>, sessions: u64, first_mid: i64, from: From, fill: Fill) -> Result<Fleet> {
    let extended = Some(Extended { from, page: fill.page });
    bench.fleet(&Crowd { sessions, first_mid, extended, ..Crowd::default() })
}

/// How long it took, who did not come, and what was there before.
pub(super) fn latencies(report: &mut RunReport, connected: &Connected, read: &Account) {
    report.latency("first SYNC to last page", ("sync_p50_ms", "sync_p99_ms"), &read.sync);
    report.latency("scheduled start to last page", ("back_p50_ms", "back_p99_ms"), &connected.latency);
    if !connected.failures.is_empty() {
        let failures = reasons(&connected.failures);
        report.problems.push(format!("sessions that did not get all: {failures}"));
    }
    if read.seen().foreign > 0 {
        let older = read.seen().foreign;
        report
            .notes
            .push(format!("{older} older messages were in these inboxes too: take another --first-mid on a lasting server"));
    }
}

//! `send --step`: the most stored messages a second, each acknowledged,
//! delivered and echoed.

use super::search::most;
use super::send::{load, make_groups, parameters, sessions, us_per_message};
use super::stored::{Measured, Writers, acked_per_s};
use super::{Bench, QUIET_NS};
use crate::cli::Send;
use crate::clock::SECOND;
use crate::engine::stored::account::Wanted;
use crate::report::{Integrity, RunReport};
use crate::stats::to_f64;
use crate::watch::Watch;
use anyhow::Result;

/// A message that leaves later shows that the generator cannot do more.
const PATIENCE_NS: u64 = SECOND;

/// What a rate led to.
struct Trial {
    rate: f64,
    acked_per_s: f64,
    us_per_message: Option<f64>,
    ack_p99_ms: f64,
    arrival_p99_ms: f64,
    /// Why it was too much; empty: it was carried.
    verdict: String,
    integrity: Integrity,
}

pub(super) fn run(bench: &Bench<'_>, options: &Send) -> Result<RunReport> {
    let sessions = sessions(bench, options)?;
    let title = format!("send, most stored messages: {sessions} sessions over {}", bench.transport());
    let mut report = bench.report("send-step", title);
    parameters(&mut report, options);
    report.parameter("each trial", format!("{} s after {} s", options.common.duration, options.common.warmup));
    report.parameter("carried", "all acknowledged, delivered and echoed in order, within 2 s of the last send");

    let mut standing: Option<(Writers, Watch)> = None;
    let mut trials = Vec::new();
    most(options.rate, |rate| {
        let (mut writers, watch) = match standing.take() {
            Some(standing) => standing,
            None => stand(bench, sessions, options)?,
        };
        let measured = writers.measure(bench, &watch, load(options, rate, PATIENCE_NS))?;
        let trial = Trial::of(rate, &measured);
        let carried = trial.verdict.is_empty();
        trials.push(trial);
        match carried {
            true => standing = Some((writers, watch)),
            // What is still on its way must not meet the next trial.
            false => writers.fleet.close()?,
        }
        Ok(carried)
    })?;
    show(&mut report, &trials);
    if let Some((mut writers, watch)) = standing {
        writers.fleet.close()?;
        Bench::finish(&mut report, watch);
    }
    Ok(report)
}

fn stand(bench: &Bench<'_>, sessions: u64, options: &Send) -> Result<(Writers, Watch)> {
    let mut writers = Writers::new(bench, sessions, options.common.first_mid)?;
    let watch = bench.watch(&[&writers.fleet]);
    make_groups(bench, options, sessions)?;
    bench.open(&mut writers.fleet)?;
    Ok((writers, watch))
}

impl Trial {
    fn of(rate: f64, measured: &Measured) -> Self {
        let account = &measured.account;
        let (expected, tally) = account.tally(Wanted::Both);
        Self {
            rate,
            acked_per_s: acked_per_s(measured),
            us_per_message: us_per_message(measured),
            ack_p99_ms: account.ack.ms(0.99),
            arrival_p99_ms: account.arrival.ms(0.99),
            verdict: verdict(measured),
            integrity: Integrity { expected, tally, foreign: account.seen().foreign },
        }
    }
}

fn verdict(measured: &Measured) -> String {
    let account = &measured.account;
    let tally = account.tally(Wanted::Both).1;
    let late_ns = account.seen().last_ns.saturating_sub(measured.plan.to_ns);
    if let Some(problem) = account.problems().into_iter().next() {
        problem
    } else if !tally.clean() {
        let (lost, twice, order) = (tally.lost, tally.duplicates, tally.disordered);
        format!("{lost} lost, {twice} duplicated, {order} out of order")
    } else if late_ns > QUIET_NS {
        format!("{:.1} s behind", to_f64(late_ns) / 1e9)
    } else {
        String::new()
    }
}

fn show(report: &mut RunReport, trials: &[Trial]) {
    for trial in trials {
        let cpu = trial.us_per_message.map_or(String::new(), |us| format!(", {us:.1} µs each"));
        let outcome = match trial.verdict.as_str() {
            "" => format!("carried{cpu}, p99 of replies {:.1} ms, of arrivals {:.1} ms", trial.ack_p99_ms, trial.arrival_p99_ms),
            reason => reason.to_owned(),
        };
        report.notes.push(format!("{:.0} messages/s: {outcome}", trial.rate));
    }
    let carried = trials.iter().filter(|trial| trial.verdict.is_empty());
    match carried.max_by(|a, b| a.rate.total_cmp(&b.rate)) {
        Some(best) => {
            report.check(best.integrity);
            report.figure("messages_per_s_max", "most, nothing lost, in order", best.rate, "/s");
            report.figure("messages_per_s", "acknowledged then", best.acked_per_s, "/s");
            report.figure("ack_p99_ms", "due to reply, p99", best.ack_p99_ms, "ms");
            report.figure("arrival_p99_ms", "due to recipient, p99", best.arrival_p99_ms, "ms");
            if let Some(us) = best.us_per_message {
                report.figure("cpu_us_per_message", "server CPU of a message", us, "µs");
            }
        }
        None => report.problems.push("not even the first rate was carried".to_owned()),
    }
}

//! `room --step`: the most deliveries a second with nothing lost, by doubling
//! the load until it fails and then halving the interval.

use super::room::{Hall, Seen, delivered_per_s, measure};
use super::search::most;
use super::{Bench, QUIET_NS, server_cpu_ns, us_each};
use crate::cli::Room;
use crate::clock::SECOND;
use crate::report::{Integrity, RunReport, group};
use crate::stats::to_f64;
use crate::watch::Watch;
use anyhow::Result;

/// A push that leaves later shows that the API is the limit, and ends a trial.
const PATIENCE_NS: u64 = SECOND;

/// What a rate led to.
struct Trial {
    rate: f64,
    deliveries_per_s: f64,
    us_per_delivery: Option<f64>,
    p99_ms: f64,
    /// Why it was too much; empty: it was carried.
    verdict: String,
    integrity: Integrity,
}

pub(super) fn run(bench: &Bench<'_>, options: &Room) -> Result<RunReport> {
    let common = &options.common;
    let sessions = bench.sessions(5_000);
    let title = format!("room, most deliveries: {sessions} sessions over {}", bench.transport());
    let mut report = bench.report("room-step", title);
    report.parameter("sessions", sessions);
    report.parameter("each trial", format!("{} s after {} s", common.duration, common.warmup));
    report.parameter("carried", "all delivered in order, within 2 s of the last push");

    let mut search = Search { bench, options, sessions, hall: None };
    let mut trials = Vec::new();
    most(options.rate, |rate| {
        let trial = search.trial(rate)?;
        let carried = trial.verdict.is_empty();
        trials.push(trial);
        Ok(carried)
    })?;
    show(&mut report, &trials);
    if let Some((mut hall, watch)) = search.hall.take() {
        hall.fleet.close()?;
        Bench::finish(&mut report, watch);
    }
    Ok(report)
}

struct Search<'a> {
    bench: &'a Bench<'a>,
    options: &'a Room,
    sessions: u64,
    hall: Option<(Hall, Watch)>,
}

impl Search<'_> {
    /// One rate, on the sessions of the trial before if that went well.
    fn trial(&mut self, rate: f64) -> Result<Trial> {
        let common = &self.options.common;
        let (mut hall, watch) = match self.hall.take() {
            Some(hall) => hall,
            None => {
                let mut hall = Hall::new(self.bench, self.sessions, common.first_mid)?;
                let watch = self.bench.watch(&[&hall.fleet]);
                self.bench.open(&mut hall.fleet)?;
                (hall, watch)
            }
        };
        let mut side = hall.side(rate, self.options.size as usize);
        side.patience_ns = PATIENCE_NS;
        let measured = measure(self.bench, &watch, &mut [side], common.warmup, common.duration)?;
        // One side went in, so one comes out.
        let Some(seen) = measured.seen.first() else { anyhow::bail!("nothing was measured") };
        let trial = Trial {
            rate,
            deliveries_per_s: delivered_per_s(seen),
            us_per_delivery: server_cpu_ns(measured.from, measured.to).map(|cpu_ns| us_each(cpu_ns, measured.moved)),
            p99_ms: seen.outcome.latency.ms(0.99),
            verdict: verdict(seen),
            integrity: Integrity { expected: seen.expected, tally: seen.outcome.tally, foreign: seen.outcome.foreign },
        };
        if trial.verdict.is_empty() {
            self.hall = Some((hall, watch));
        } else {
            // What is still on its way must not meet the next trial.
            hall.fleet.close()?;
        }
        Ok(trial)
    }
}

fn verdict(seen: &Seen) -> String {
    let (tally, pushed) = (&seen.outcome.tally, &seen.pushed);
    let late_ns = seen.outcome.last_ns.saturating_sub(seen.window.to_ns);
    if pushed.refused_count() > 0 {
        format!("{} pushes failed", pushed.refused_count())
    } else if pushed.given_up > 0 {
        "the push API did not keep up".to_owned()
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
        let cpu = trial.us_per_delivery.map_or(String::new(), |us| format!(", {us:.3} µs each"));
        let outcome = match trial.verdict.as_str() {
            "" => format!("carried{cpu}, p99 {:.0} ms", trial.p99_ms),
            // What it cost until it was given up says nothing.
            reason => reason.to_owned(),
        };
        let (rate, came) = (trial.rate, group(trial.deliveries_per_s));
        report.notes.push(format!("{rate:.0} messages/s: {came} deliveries/s: {outcome}"));
    }
    let carried = trials.iter().filter(|trial| trial.verdict.is_empty());
    match carried.max_by(|a, b| a.deliveries_per_s.total_cmp(&b.deliveries_per_s)) {
        Some(best) => {
            report.check(best.integrity);
            let most = best.deliveries_per_s;
            report.figure("deliveries_per_s_max", "most, nothing lost, in order", most, "/s");
            report.figure("messages_per_s_max", "messages pushed", best.rate, "/s");
            report.figure("latency_p99_ms", "due to received, p99", best.p99_ms, "ms");
            if let Some(us) = best.us_per_delivery {
                report.figure("cpu_us_per_delivery", "server CPU of a delivery", us, "µs");
            }
        }
        None => report.problems.push("not even the first rate was carried".to_owned()),
    }
}

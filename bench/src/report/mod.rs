//! What a run found, as a value; and how it is shown.

mod html;
mod json;
mod plot;
mod table;

use crate::engine::check::Tally;
use crate::setup::Setup;
use crate::stats::{Latency, Spread};
use crate::watch::Point;
use anyhow::Result;
use serde::Serialize;

/// Everything that one invocation found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) tool: &'static str,
    pub(crate) version: &'static str,
    /// The command that repeats it.
    pub(crate) command: String,
    /// UTC, RFC 3339.
    pub(crate) started: String,
    pub(crate) environment: Environment,
    pub(crate) ok: bool,
    pub(crate) runs: Vec<RunReport>,
}

/// The machine.
#[derive(Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) memory_kib: u64,
    pub(crate) note: &'static str,
}

/// One scenario.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RunReport {
    pub(crate) scenario: &'static str,
    pub(crate) title: String,
    pub(crate) server_version: String,
    /// Offered load and circumstances, in words.
    pub(crate) parameters: Vec<(&'static str, String)>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) integrity: Option<Integrity>,
    pub(crate) curves: Vec<Curve>,
    pub(crate) timeline: Vec<Point>,
    pub(crate) budgets: Vec<Budget>,
    /// What to know when reading the figures.
    pub(crate) notes: Vec<String>,
    /// What went wrong; empty is success.
    pub(crate) problems: Vec<String>,
}

/// One number.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Stable name, with its unit at the end.
    pub(crate) key: &'static str,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<Spread>,
}

/// Deliveries counted as whole frames at the clients.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Integrity {
    pub(crate) expected: u64,
    #[serde(flatten)]
    pub(crate) tally: Tally,
    /// Frames of operation 1000 that were not of this run.
    pub(crate) foreign: u64,
}

/// A latency distribution.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) max_ms: f64,
    /// Quantile (0 to 1) and ms.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A figure against what it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Budget {
    pub(crate) key: &'static str,
    pub(crate) what: &'static str,
    pub(crate) limit: f64,
    pub(crate) at_most: bool,
    /// None when it could not be measured.
    pub(crate) value: Option<f64>,
    pub(crate) met: bool,
    pub(crate) unit: &'static str,
}

/// The quantiles of tables.
const PERCENTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Curve {
    pub(crate) fn new(name: &'static str, latency: &Latency) -> Self {
        let steps = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99];
        let tails = [0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999];
        // A quantile finer than one of the values says nothing.
        let finest = 1.0 - 1.0 / crate::stats::to_f64(latency.count().max(1));
        let mut points: Vec<(f64, f64)> = steps
            .into_iter()
            .chain(tails.into_iter().filter(|quantile| *quantile < finest))
            .map(|quantile| (quantile, latency.ms(quantile)))
            .collect();
        points.push((1.0, latency.max_ms()));
        let (count, mean_ms, max_ms) = (latency.count(), latency.mean_ms(), latency.max_ms());
        Self { name, count, mean_ms, max_ms, points }
    }
}

impl RunReport {
    pub(crate) fn new(scenario: &'static str, title: String) -> Self {
        Self { scenario, title, ..Self::default() }
    }

    pub(crate) fn parameter(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.parameters.push((name, format!("{value}")));
    }

    pub(crate) fn figure(&mut self, key: &'static str, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { key, what: what.into(), value, unit, spread: None });
    }

    /// Median of several measurements with their spread; nothing of none.
    pub(crate) fn figure_spread(&mut self, key: &'static str, what: impl Into<String>, values: &[f64], unit: &'static str) {
        if let Some(spread) = Spread::of(values) {
            let (what, value) = (what.into(), spread.median);
            let spread = (spread.count > 1).then_some(spread);
            self.figures.push(Figure { key, what, value, unit, spread });
        }
    }

    /// A latency distribution, with its median and p99 as figures.
    pub(crate) fn latency(&mut self, name: &'static str, keys: (&'static str, &'static str), latency: &Latency) {
        if latency.count() > 0 {
            self.figure(keys.0, format!("{name}, p50"), latency.ms(0.5), "ms");
            self.figure(keys.1, format!("{name}, p99"), latency.ms(0.99), "ms");
            self.curves.push(Curve::new(name, latency));
        }
    }

    pub(crate) fn value(&self, key: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.key == key).map(|figure| figure.value)
    }

    /// Adds what was seen to the record, and what is wrong with it.
    pub(crate) fn check(&mut self, integrity: Integrity) {
        let Integrity { tally, .. } = integrity;
        for (count, what) in [(tally.lost, "lost"), (tally.duplicates, "duplicated"), (tally.disordered, "out of order")] {
            if count > 0 {
                self.problems.push(format!("{count} deliveries {what}"));
            }
        }
        let total = self.integrity.get_or_insert(Integrity { expected: 0, tally: Tally::default(), foreign: 0 });
        total.expected += integrity.expected;
        total.tally.add(tally);
        total.foreign += integrity.foreign;
    }
}

impl Report {
    pub(crate) fn new(command: String, started: String, runs: Vec<RunReport>) -> Self {
        let ok = runs.iter().all(|run| run.problems.is_empty());
        Self {
            tool: "perseid bench",
            version: env!("CARGO_PKG_VERSION"),
            command,
            started,
            environment: Environment::of_this_machine(),
            ok,
            runs,
        }
    }
}

impl Environment {
    fn of_this_machine() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_kib: memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0),
            note: "the generator shares this machine with the server",
        }
    }
}

/// Shows the report everywhere it was asked for; true when all was well.
pub(crate) fn publish(report: &Report, setup: &Setup) -> Result<bool> {
    table::print(report);
    if let Some(path) = &setup.json {
        json::write(report, path)?;
    }
    if let Some(path) = &setup.html {
        html::write(report, path)?;
    }
    Ok(report.ok)
}

/// A number with as many figures as help.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == value.trunc() && size < 1e15 || size >= 1_000.0 {
        group(value)
    } else if size >= 100.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// A whole number, with its thousands apart.
pub(crate) fn group(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let shown = [(0.0, "0"), (0.1234, "0.123"), (12.345, "12.35"), (512.34, "512.3")];
        for (value, text) in shown.into_iter().chain([(1_234_567.8, "1,234,568"), (-1000.0, "-1,000")]) {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn every_fault_is_a_problem() {
        let mut run = RunReport::new("room", String::new());
        let tally = Tally { received: 9, duplicates: 1, disordered: 2, lost: 3 };
        run.check(Integrity { expected: 10, tally, foreign: 0 });
        assert_eq!(run.problems.len(), 3);
        assert!(!Report::new(String::new(), String::new(), vec![run]).ok);
    }
}

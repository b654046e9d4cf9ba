//! `all`: the rows of the budget table that a client from outside can measure,
//! each a command line and what its figures should be.

use super::run_one;
use crate::cli::{self, All, Common, Scenario};
use crate::progress::Bar;
use crate::report::{Budget, RunReport};
use crate::setup::Setup;
use anyhow::{Context, Result, bail};

/// A row: what to run and what it should come to.
struct Row {
    name: &'static str,
    /// The words of the command line, and the same with small counts.
    line: &'static str,
    quick: &'static str,
    /// Arguments that the server needs; such a row runs only on a server that
    /// is started for it.
    server: &'static [&'static str],
    budgets: &'static [Limit],
}

/// `key`, what it is called, unit, limit, and whether less is better.
struct Limit(&'static str, &'static str, &'static str, f64, bool);

const fn at_most(key: &'static str, what: &'static str, unit: &'static str, limit: f64) -> Limit {
    Limit(key, what, unit, limit, true)
}

const fn at_least(key: &'static str, what: &'static str, unit: &'static str, limit: f64) -> Limit {
    Limit(key, what, unit, limit, false)
}

const IDLE: &[Limit] = &[
    at_most("rss_bytes_per_session", "RSS of a session", "B", 512.0),
    at_least("rss_back_share", "memory given back within 5 s", "%", 80.0),
    at_most("cpu_us_per_s_per_session", "CPU of a session", "µs/s", 0.5),
];

const ROWS: &[Row] = &[
    Row {
        name: "connect-tcp",
        line: "connect --sessions 15000 --rate 2000",
        quick: "connect --sessions 200 --rate 500",
        server: &[],
        budgets: &[at_most("cpu_us_per_connect", "CPU of a connect", "µs", 20.0)],
    },
    Row {
        name: "connect-ws",
        line: "connect --ws --sessions 15000 --rate 2000",
        quick: "connect --ws --sessions 200 --rate 500",
        server: &[],
        budgets: &[at_most("cpu_us_per_connect", "CPU of a connect", "µs", 25.0)],
    },
    Row {
        name: "connect-tls",
        line: "connect --tls --sessions 10000 --rate 1000",
        quick: "connect --tls --sessions 100 --rate 200",
        server: &[],
        budgets: &[at_most("cpu_us_per_connect", "CPU of a connect", "µs", 200.0)],
    },
    Row {
        name: "idle-tls",
        line: "idle --tls --sessions 10000 --open-rate 1000 --heartbeat 30 --duration 30",
        quick: "idle --tls --sessions 100 --open-rate 200 --heartbeat 1 --duration 2 --warmup 0",
        server: &[],
        budgets: &[at_most("rss_bytes_per_session", "RSS of a session", "B", 5000.0)],
    },
    Row {
        name: "idle-tcp",
        line: "idle --sessions 15000 --heartbeat 30 --duration 30",
        quick: "idle --sessions 200 --heartbeat 1 --duration 2 --warmup 0",
        server: &[],
        budgets: IDLE,
    },
    Row {
        name: "idle-ws",
        line: "idle --ws --sessions 15000 --heartbeat 30 --duration 30",
        quick: "idle --ws --sessions 200 --heartbeat 1 --duration 2 --warmup 0",
        server: &[],
        budgets: IDLE,
    },
    Row {
        name: "idle-extended",
        line: "idle --extended --sessions 15000 --heartbeat 30 --duration 30",
        quick: "idle --extended --sessions 200 --heartbeat 1 --duration 2 --warmup 0",
        server: &[],
        budgets: IDLE,
    },
    Row {
        name: "room-alone",
        line: "room --with-floor --pairs 5 --sessions 5000 --rate 4 --duration 8",
        quick: "room --with-floor --pairs 2 --sessions 50 --rate 8 --duration 1 --warmup 0",
        server: &[],
        budgets: &[
            at_most("ratio_to_floor", "CPU of a write to the floor", "×", 1.10),
            at_most("last_p50_ms", "a lone message at the last", "ms", 30.0),
        ],
    },
    // Cost as it grows: to be compared with room-alone and with one another.
    Row {
        name: "growth-1000",
        line: "room --with-floor --pairs 5 --sessions 1000 --rate 4 --duration 5",
        quick: "room --with-floor --pairs 1 --sessions 20 --rate 8 --duration 1 --warmup 0",
        server: &[],
        budgets: &[],
    },
    Row {
        name: "growth-15000",
        line: "room --with-floor --pairs 5 --sessions 15000 --rate 4 --duration 5",
        quick: "room --with-floor --pairs 1 --sessions 100 --rate 8 --duration 1 --warmup 0",
        server: &[],
        budgets: &[],
    },
    Row {
        name: "room-5000",
        line: "room --sessions 5000 --rate 40 --duration 15",
        quick: "room --sessions 50 --rate 40 --duration 1 --warmup 0",
        server: &[],
        budgets: &[at_most("latency_p99_ms", "latency, p99", "ms", 40.0)],
    },
    Row {
        name: "room-5000-ws",
        line: "room --ws --sessions 5000 --rate 40 --duration 15",
        quick: "room --ws --sessions 50 --rate 40 --duration 1 --warmup 0",
        server: &[],
        budgets: &[at_most("latency_p99_ms", "latency, p99", "ms", 40.0)],
    },
    Row {
        name: "room-5000-tls",
        line: "room --tls --sessions 5000 --open-rate 1000 --rate 40 --duration 15",
        quick: "room --tls --sessions 50 --rate 40 --duration 1 --warmup 0",
        server: &[],
        budgets: &[],
    },
    Row {
        name: "room-15000",
        line: "room --sessions 15000 --rate 40 --duration 15",
        quick: "room --sessions 100 --rate 40 --duration 1 --warmup 0",
        server: &[],
        budgets: &[
            at_most("latency_p99_ms", "latency, p99", "ms", 200.0),
            at_most("cpu_us_per_delivery", "CPU of a delivery", "µs", 0.85),
        ],
    },
    Row {
        name: "room-15000-pace",
        line: "room --sessions 15000 --rate 40 --duration 15",
        quick: "room --sessions 100 --rate 40 --duration 1 --warmup 0",
        server: &["--set", "room.pace_ms=500"],
        budgets: &[
            at_most("latency_p99_ms", "latency, p99", "ms", 550.0),
            at_most("cpu_us_per_delivery", "CPU of a delivery", "µs", 0.27),
        ],
    },
    Row {
        name: "most-5000",
        line: "room --step --sessions 5000 --rate 200 --duration 5",
        quick: "room --step --sessions 20 --rate 2000 --duration 0.3 --warmup 0",
        server: &[],
        budgets: &[at_least("deliveries_per_s_max", "most, none lost", "/s", 7e6)],
    },
    Row {
        name: "most-15000",
        line: "room --step --sessions 15000 --rate 50 --duration 5",
        quick: "room --step --sessions 20 --rate 2000 --duration 0.3 --warmup 0",
        server: &[],
        budgets: &[at_least("deliveries_per_s_max", "most, none lost", "/s", 6e6)],
    },
    Row {
        name: "push-beside-room",
        line: "push --sessions 1000 --rate 200 --beside-room 15000,40 --duration 15",
        quick: "push --sessions 20 --rate 100 --beside-room 50,20 --duration 1 --warmup 0",
        server: &[],
        budgets: &[at_most("latency_p99_ms", "direct push, p99", "ms", 5.0)],
    },
    Row {
        name: "push-1000",
        line: "push --sessions 1000 --rate 1000 --duration 15",
        quick: "push --sessions 20 --rate 200 --duration 1 --warmup 0",
        server: &[],
        budgets: &[
            at_most("latency_p50_ms", "latency, p50", "ms", 0.5),
            at_most("latency_p99_ms", "latency, p99", "ms", 2.0),
            at_most("cpu_us_per_push", "CPU of a push", "µs", 120.0),
        ],
    },
    Row {
        name: "push-5000",
        line: "push --sessions 1000 --rate 5000 --connections 16 --duration 15",
        quick: "push --sessions 20 --rate 400 --duration 1 --warmup 0",
        server: &[],
        budgets: &[at_most("cpu_us_per_push", "CPU of a push", "µs", 80.0)],
    },
    Row {
        name: "send-20000",
        line: "send --sessions 1000 --rate 20000 --duration 15",
        quick: "send --sessions 20 --rate 500 --duration 1 --warmup 0.2",
        server: &[],
        budgets: &[at_most("cpu_us_per_message", "CPU of a message", "µs", 45.0)],
    },
    Row {
        name: "send-15000",
        line: "send --sessions 1000 --rate 15000 --duration 15",
        quick: "send --sessions 20 --rate 500 --duration 1 --warmup 0.2",
        server: &[],
        budgets: &[at_most("ack_p99_ms", "due to reply, p99", "ms", 15.0)],
    },
    Row {
        name: "send-alone",
        line: "send --sessions 1000 --rate 100 --duration 15",
        quick: "send --sessions 20 --rate 50 --duration 1 --warmup 0.2",
        server: &[],
        budgets: &[at_most("ack_p50_ms", "due to reply, p50", "ms", 1.0)],
    },
    Row {
        name: "send-most",
        line: "send --step --sessions 1000 --rate 6250 --duration 5",
        quick: "send --step --sessions 20 --rate 5000 --duration 0.3 --warmup 0",
        server: &[],
        budgets: &[at_least("messages_per_s_max", "most, none lost", "/s", 25_000.0)],
    },
    Row {
        name: "sync-1000",
        line: "sync --sessions 100 --messages 1000 --rate 20",
        quick: "sync --sessions 4 --messages 300 --rate 20 --writers 5 --fill-rate 5000",
        server: &[],
        budgets: &[at_most("sync_p50_ms", "SYNC of all, p50", "ms", 20.0), at_most("cpu_ms_per_sync", "CPU of it", "ms", 2.0)],
    },
    Row {
        name: "storm-10000",
        line: "storm --sessions 10000 --messages 10 --idle 1000 --heartbeat 1",
        quick: "storm --sessions 100 --messages 10 --idle 20 --heartbeat 0.2 --writers 10 --fill-rate 5000",
        server: &[],
        budgets: &[at_most("storm_s", "until the last has all", "s", 5.0)],
    },
];

pub(super) fn run(options: &All, setup: &Setup, bar: &Bar) -> Result<Vec<RunReport>> {
    let chosen = ROWS.iter().filter(|row| match &options.only {
        Some(text) => row.name.contains(text.as_str()),
        None => true,
    });
    let mut runs = Vec::new();
    for row in chosen {
        if (!row.server.is_empty() || row.line.contains("--tls")) && !setup.spawns() {
            eprintln!("perseid bench: {}: skipped, it needs --spawn-server", row.name);
            continue;
        }
        let scenario = row.scenario(options)?;
        let server: Vec<String> = row.server.iter().map(|arg| (*arg).to_owned()).collect();
        // A row that fails is reported; the others still count.
        let mut report = match run_one(&scenario, setup, &server, bar) {
            Ok(report) => report,
            Err(error) => {
                let mut report = RunReport::new(row.name, String::new());
                report.problems.push(format!("{error:#}"));
                report
            }
        };
        report.title = format!("{}: {}", row.name, row.words(options.quick));
        report.budgets = row.budgets.iter().map(|limit| limit.judge(&report)).collect();
        runs.push(report);
    }
    if runs.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("no such row; there are {}", names.join(", "));
    }
    Ok(runs)
}

impl Row {
    fn words(&self, quick: bool) -> &'static str {
        if quick { self.quick } else { self.line }
    }

    /// The row as a scenario, with those options of `all` that are not its own.
    fn scenario(&self, options: &All) -> Result<Scenario> {
        let words: Vec<String> = self.words(options.quick).split(' ').map(str::to_owned).collect();
        let mut scenario = cli::parse(&words).context(self.name)?;
        let own = scenario.common_mut();
        *own = Common {
            ws: own.ws,
            tls: own.tls,
            open_rate: if own.tls { own.open_rate } else { options.common.open_rate },
            sessions: own.sessions,
            duration: own.duration,
            warmup: own.warmup,
            ..options.common.clone()
        };
        Ok(scenario)
    }
}

impl Limit {
    fn judge(&self, report: &RunReport) -> Budget {
        let Self(key, what, unit, limit, at_most) = *self;
        let value = report.value(key);
        let met = value.is_some_and(|value| if at_most { value <= limit } else { value >= limit });
        Budget { key, what, limit, at_most, value, met, unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> All {
        match cli::parse(&["all".to_owned(), "--quiet".to_owned()]) {
            Ok(Scenario::All(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_row_is_a_command_line() {
        for row in ROWS {
            for quick in [false, true] {
                let scenario = row.scenario(&All { quick, ..options() }).unwrap();
                assert!(scenario.common().quiet, "{}", row.name);
                assert_eq!(scenario.common().ws, row.line.contains("--ws"));
                assert_eq!(scenario.common().tls, row.line.contains("--tls"));
            }
        }
    }

    #[test]
    fn limits_are_judged() {
        let mut report = RunReport::new("room", String::new());
        report.figure("x", "x", 2.0, "");
        assert!(at_most("x", "", "", 2.0).judge(&report).met);
        assert!(!at_most("x", "", "", 1.9).judge(&report).met);
        assert!(at_least("x", "", "", 2.0).judge(&report).met);
        assert_eq!(at_least("y", "", "", 2.0).judge(&report).value, None);
    }
}

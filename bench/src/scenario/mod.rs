//! The scenarios, one file each, and what they share.

mod all;
mod connect;
mod floor;
mod idle;
mod push;
mod room;
mod search;
mod send;
mod send_step;
mod step;
mod stored;
mod storm;
mod sync;

use crate::cli::{Common, Scenario};
use crate::clock::{MILLI, SECOND, now_ns, seconds_ns};
use crate::engine::messages::{Extended, Greeting};
use crate::engine::{Connected, Fleet, FleetSpec, Outcome};
use crate::progress::Bar;
use crate::push::Pushed;
use crate::report::{Integrity, Report, RunReport};
use crate::setup::{Setup, Target};
use crate::stats::{per, to_f64};
use crate::watch::{Snapshot, Watch};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nothing has moved for this long: what has not come will not come.
const QUIET_NS: u64 = 2 * SECOND;
/// The longest wait for the last deliveries.
const DRAIN_NS: u64 = 20 * SECOND;

/// Runs what the command line asks for.
pub(crate) fn run(scenario: &Scenario, setup: &Setup) -> Result<Report> {
    let started = utc(SystemTime::now());
    let bar = Bar::new(setup.quiet);
    let runs = match scenario {
        Scenario::All(options) => all::run(options, setup, &bar)?,
        one => vec![run_one(one, setup, &[], &bar)?],
    };
    bar.clear();
    Ok(Report::new(setup.command.clone(), started, runs))
}

/// Runs one scenario, on a server started with `server_args` if there is one
/// to be started.
fn run_one(scenario: &Scenario, setup: &Setup, server_args: &[String], bar: &Bar) -> Result<RunReport> {
    let target = match scenario {
        // The floor needs no server.
        Scenario::Floor(_) => None,
        _ => Some(setup.target(server_args, scenario.common().tls)?),
    };
    let version = target.as_ref().map(|target| target.version.clone()).unwrap_or_default();
    let bench = Bench { setup, target, common: scenario.common(), bar };
    let mut report = match scenario {
        Scenario::Connect(options) => connect::run(&bench, options),
        Scenario::Idle(options) => idle::run(&bench, options),
        Scenario::Room(options) if options.step => step::run(&bench, options),
        Scenario::Room(options) => room::run(&bench, options),
        Scenario::Push(options) => push::run(&bench, options),
        Scenario::Send(options) if options.step => send_step::run(&bench, options),
        Scenario::Send(options) => send::run(&bench, options),
        Scenario::Sync(options) => sync::run(&bench, options),
        Scenario::Storm(options) => storm::run(&bench, options),
        Scenario::Floor(options) => floor::run(&bench, options),
        Scenario::All(_) => bail!("a list of rows cannot be a row"),
    }?;
    report.server_version = version;
    Ok(report)
}

/// What a scenario works with.
struct Bench<'a> {
    setup: &'a Setup,
    target: Option<Target>,
    common: &'a Common,
    bar: &'a Bar,
}

/// A group of sessions: how many, who, and where they stand.
#[derive(Clone, Debug, Default)]
struct Crowd {
    sessions: u64,
    first_mid: i64,
    room: Option<String>,
    key_prefix: Option<String>,
    heartbeat_ms: u64,
    extended: Option<Extended>,
}

impl Bench<'_> {
    fn target(&self) -> Result<&Target> {
        match &self.target {
            Some(target) => Ok(target),
            None => bail!("this scenario needs a server"),
        }
    }

    fn sessions(&self, default: u64) -> u64 {
        self.common.sessions.unwrap_or(default)
    }

    fn transport(&self) -> &'static str {
        match (self.common.ws, self.common.tls) {
            (false, false) => "TCP",
            (true, false) => "WebSocket",
            (false, true) => "TLS",
            (true, true) => "WebSocket over TLS",
        }
    }

    /// Child processes for a crowd, not connected yet.
    fn fleet(&self, crowd: &Crowd) -> Result<Fleet> {
        let target = self.target()?;
        let targets = if self.common.ws { &target.ws } else { &target.tcp };
        if targets.is_empty() {
            bail!("the server does not listen for {}", self.transport());
        }
        let spec = FleetSpec {
            sessions: crowd.sessions,
            processes: self.common.processes,
            targets: targets.clone(),
            tls: self.common.tls,
            greeting: Greeting::Auth {
                websocket: self.common.ws.then(|| "/sub".to_owned()),
                first_mid: crowd.first_mid,
                room: crowd.room.clone(),
                key_prefix: crowd.key_prefix.clone(),
                token: self.common.client_token.clone(),
                extended: crowd.extended,
            },
            heartbeat_ms: crowd.heartbeat_ms,
            spread: self.common.spread_sources,
        };
        Fleet::launch(&spec, &self.setup.launcher)
    }

    /// Opens a fleet at the preparing rate; all of it must come online.
    fn open(&self, fleet: &mut Fleet) -> Result<Connected> {
        let connected = fleet.open(now_ns() + 50 * MILLI, self.common.open_rate, self.bar)?;
        if connected.failures.is_empty() {
            return Ok(connected);
        }
        bail!("not all sessions came online: {}", reasons(&connected.failures));
    }

    fn watch(&self, fleets: &[&Fleet]) -> Watch {
        let pids = self.target.as_ref().map(|target| target.pids.clone()).unwrap_or_default();
        let children: Vec<u32> = fleets.iter().flat_map(|fleet| fleet.pids()).collect();
        Watch::start(&pids, &children, fleets.iter().map(|fleet| fleet.counters()).collect())
    }

    /// A report with what every scenario says of itself.
    fn report(&self, scenario: &'static str, title: String) -> RunReport {
        let mut report = RunReport::new(scenario, title);
        if let Some(target) = &self.target {
            report.parameter("transport", self.transport());
            if target.pids.is_empty() {
                report.notes.push("no server figures: name its process with --server-pid, or use --spawn-server".to_owned());
            }
        }
        report
    }

    /// Ends a watch: the curves over time, and whether the server lived.
    fn finish(report: &mut RunReport, watch: Watch) {
        for pid in watch.ended() {
            report.problems.push(format!("the server process {pid} ended during the run"));
        }
        report.timeline = watch.finish();
    }

    fn phase_progress(&self, name: &str, from_ns: u64, to_ns: u64) {
        self.bar.begin(name, (to_ns - from_ns) / MILLI);
        while now_ns() < to_ns {
            self.bar.set(now_ns().saturating_sub(from_ns) / MILLI);
            let rest = (to_ns - now_ns().min(to_ns)).min(100 * MILLI);
            std::thread::sleep(std::time::Duration::from_nanos(rest));
        }
    }
}

/// The window of a phase: messages due in it are measured.
#[derive(Clone, Copy, Debug)]
struct Window {
    start_ns: u64,
    from_ns: u64,
    to_ns: u64,
    count: u64,
}

impl Window {
    /// `rate` messages a second for the warm-up and the measured time. The
    /// edges lie between two messages, so that the work of each is inside or
    /// outside as a whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn new(rate: f64, warmup: f64, duration: f64) -> Self {
        let start_ns = now_ns() + 200 * MILLI;
        let before = (rate * warmup).ceil();
        let inside = (rate * duration).ceil().max(1.0);
        let edge_ns = |messages: f64| start_ns + seconds_ns(((messages - 0.5) / rate).max(0.0));
        Self { start_ns, from_ns: edge_ns(before), to_ns: edge_ns(before + inside), count: (before + inside) as u64 }
    }
}

/// A number that no other run and no other phase has.
fn new_marker() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static PHASE: AtomicU64 = AtomicU64::new(1);
    let run = (u64::from(std::process::id()) << 32) ^ (now_ns() & 0xffff_ffff);
    (run << 8).wrapping_add(PHASE.fetch_add(1, Relaxed))
}

/// Text that names this run's rooms and keys.
fn run_name() -> String {
    format!("{}-{}", std::process::id(), now_ns() / MILLI % 1_000_000_000)
}

/// CPU of the server and of the generator between two moments.
fn cpu_figures(report: &mut RunReport, from: Snapshot, to: Snapshot) {
    let seconds = to_f64(to.at_ns - from.at_ns) / 1e9;
    if let Some((to, from)) = to.server.zip(from.server) {
        let used = to - from;
        let cores = to_f64(used.ns()) / 1e9 / seconds;
        report.figure("server_cores", "server CPU", cores, "cores");
        if let Some(share) = used.user_share() {
            report.figure("server_user_share", "of it in user space", share * 100.0, "%");
        }
    }
    let cores = to_f64((to.generator - from.generator).ns()) / 1e9 / seconds;
    report.figure("generator_cores", "generator CPU", cores, "cores");
}

/// The server's CPU between two moments, ns.
fn server_cpu_ns(from: Snapshot, to: Snapshot) -> Option<f64> {
    to.server.zip(from.server).map(|(to, from)| to_f64((to - from).ns()))
}

/// What the API did with a load.
fn api_problems(report: &mut RunReport, pushed: &Pushed) {
    if pushed.refused_count() > 0 {
        let count = pushed.refused_count();
        report.problems.push(format!("{count} pushes failed: {}", reasons(&pushed.refused)));
    }
    if pushed.given_up > 0 {
        report.problems.push(format!("{} pushes were never sent: the API was too slow for this rate", pushed.given_up));
    }
}

/// What the clients saw of `expected` deliveries.
fn delivery_problems(report: &mut RunReport, outcome: &Outcome, expected: u64) {
    report.check(Integrity { expected, tally: outcome.tally, foreign: outcome.foreign });
    if !outcome.drops.is_empty() {
        report.problems.push(format!("sessions dropped: {}", reasons(&outcome.drops)));
    }
}

fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let each: Vec<String> = counts.iter().map(|(reason, n)| format!("{reason} ({n})")).collect();
    each.join(", ")
}

/// How many latencies are thinned for this many deliveries a second: at very
/// high rates recording each would cost more than it tells.
fn sample_shift(deliveries_per_s: f64) -> u32 {
    match deliveries_per_s {
        rate if rate > 4e6 => 6,
        rate if rate > 1e6 => 4,
        _ => 0,
    }
}

/// Says so when not every latency was recorded.
fn sampling_note(report: &mut RunReport, deliveries_per_s: f64) {
    let one_in = 1u64 << sample_shift(deliveries_per_s);
    if one_in > 1 {
        report.notes.push(format!("order was checked on every frame, the latency of one in {one_in} recorded"));
    }
}

/// Socket writes that the server has counted, if it publishes them.
fn server_writes(target: &Target) -> Option<f64> {
    let metrics = crate::http::get(&target.api, "/metrics").ok().filter(|r| r.status == 200)?;
    counter(&String::from_utf8_lossy(&metrics.body), "perseid_comet_writes_total")
}

/// The sum of a counter over its labels in Prometheus' text format.
fn counter(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// A moment in UTC as RFC 3339 writes it.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    // Civil date of a day number: years begin in March, so that the leap day
    // is the last of one; 400 years have 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// µs of CPU for each of `count`.
fn us_each(cpu_ns: f64, count: u64) -> f64 {
    per(cpu_ns / 1e3, to_f64(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_257_531), "2026-11-21T10:38:51Z");
    }

    #[test]
    fn counters_add_their_labels() {
        let text = "# TYPE a_total counter\na_total{w=\"0\"} 3\na_total{w=\"1\"} 4 123\na_totals 9\n";
        assert_eq!(counter(text, "a_total"), Some(7.0));
        assert_eq!(counter(text, "b_total"), None);
    }

    #[test]
    fn windows_hold_whole_messages() {
        let window = Window::new(4.0, 2.0, 5.0);
        assert_eq!(window.count, 28);
        let due = |k: u64| window.start_ns + k * SECOND / 4;
        let inside = (0..window.count).filter(|k| (window.from_ns..window.to_ns).contains(&due(*k)));
        assert_eq!(inside.count(), 20);
        assert_eq!(Window::new(4.0, 0.0, 0.0).count, 1);
    }
}

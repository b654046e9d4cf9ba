//! `room`: one room, messages through the push API, every delivery checked;
//! with `--with-floor` in turn with the bare loop of `send`.

use super::floor::Rig;
use super::{
    Bench, Crowd, DRAIN_NS, QUIET_NS, Window, api_problems, cpu_figures, delivery_problems, new_marker, run_name, sample_shift,
    sampling_note, server_cpu_ns, server_writes, us_each,
};
use crate::cli::Room;
use crate::engine::messages::{Expect, Phase};
use crate::engine::{Fleet, Outcome};
use crate::push::{Address, Load, PATIENCE_NS, Pushed};
use crate::report::RunReport;
use crate::stats::{Latency, per, to_f64};
use crate::watch::{Snapshot, Watch};
use anyhow::{Result, anyhow};
use std::sync::atomic::AtomicBool;

/// First and last receivers are remembered for so many messages.
const MARKS_MAX: u64 = 100_000;

/// A fleet and what is pushed to it.
pub(super) struct Side<'a> {
    pub(super) name: &'static str,
    pub(super) fleet: &'a mut Fleet,
    pub(super) sessions: u64,
    pub(super) address: Address,
    /// Everybody gets every message, or each gets those dealt to him.
    pub(super) to_all: bool,
    pub(super) rate: f64,
    pub(super) size: usize,
    pub(super) connections: u64,
    /// How late a push may leave; after that the load is given up.
    pub(super) patience_ns: u64,
}

/// What one side saw.
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) pushed: Pushed,
    pub(super) window: Window,
    /// Deliveries that should have been made.
    pub(super) expected: u64,
}

/// The processes between the edges of the window.
pub(super) struct Measured {
    pub(super) seen: Vec<Seen>,
    pub(super) from: Snapshot,
    pub(super) to: Snapshot,
    /// Socket writes by the server's own count.
    pub(super) writes: Option<f64>,
    /// Deliveries between the two snapshots, by the running counts.
    pub(super) moved: u64,
}

/// Runs loads at the same time, once; the window of the first is measured.
pub(super) fn measure(bench: &Bench<'_>, watch: &Watch, sides: &mut [Side<'_>], warmup: f64, duration: f64) -> Result<Measured> {
    let target = bench.target()?;
    let stop = AtomicBool::new(false);
    let mut loads = Vec::new();
    for side in sides.iter_mut() {
        let window = Window::new(side.rate, warmup, duration);
        let marker = new_marker();
        let receivers = if side.to_all { side.sessions } else { 1 };
        let marks = if side.to_all { window.count.min(MARKS_MAX) } else { 0 };
        side.fleet.begin(Phase {
            marker,
            from_ns: window.from_ns,
            to_ns: window.to_ns,
            sample_shift: sample_shift(side.rate * to_f64(receivers)),
            marks: usize::try_from(marks)?,
        })?;
        let load = Load {
            api: target.api.clone(),
            address: side.address.clone(),
            users: if side.to_all { 1 } else { side.sessions },
            marker,
            size: side.size,
            start_ns: window.start_ns,
            rate: side.rate,
            count: window.count,
            connections: side.connections,
            patience_ns: side.patience_ns,
        };
        loads.push((load, window));
    }
    let first = loads.first().ok_or_else(|| anyhow!("nothing to push"))?.1;
    let name = sides[0].name;
    let moved = || sides.iter().map(|side| side.fleet.counters().total().received).sum::<u64>();
    let (pushed, edges) = std::thread::scope(|scope| {
        let pushing: Vec<_> = loads.iter().map(|(load, _)| scope.spawn(|| load.run(&stop))).collect();
        let edge = |from_ns, to_ns| {
            bench.phase_progress(name, from_ns, to_ns);
            (watch.snapshot(), server_writes(target), moved())
        };
        bench.bar.begin("warming up", 0);
        let edges = (edge(first.start_ns, first.from_ns), edge(first.from_ns, first.to_ns));
        let pushed: Vec<_> = pushing.into_iter().map(|thread| thread.join()).collect();
        (pushed, edges)
    });
    let mut seen = Vec::new();
    for ((side, (_, window)), pushed) in sides.iter_mut().zip(&loads).zip(pushed) {
        let pushed = pushed.map_err(|_| anyhow!("the pushing thread panicked"))?;
        let (total, receivers) = (pushed.sent(), if side.to_all { side.sessions } else { 1 });
        let expect = match side.to_all {
            true => Expect::Each(total),
            false => Expect::Dealt { total, users: side.sessions },
        };
        let mut expected = total * receivers;
        side.fleet.drain(expected, QUIET_NS, DRAIN_NS);
        let mut outcome = side.fleet.end(expect)?;
        if pushed.given_up > 0 && !side.to_all {
            // Each connection gave up elsewhere in the deal: whose messages are
            // missing because they were never sent cannot be told.
            (expected, outcome.tally.lost) = (outcome.tally.received, 0);
        }
        seen.push(Seen { outcome, pushed, window: *window, expected });
    }
    let ((from, writes_from, moved_from), (to, writes_to, moved_to)) = edges;
    let writes = writes_to.zip(writes_from).map(|(to, from)| to - from);
    Ok(Measured { seen, from, to, writes, moved: moved_to.saturating_sub(moved_from) })
}

/// A room full of sessions.
pub(super) struct Hall {
    pub(super) fleet: Fleet,
    pub(super) sessions: u64,
    id: String,
}

impl Hall {
    /// Processes for a room of so many; they are not connected yet.
    pub(super) fn new(bench: &Bench<'_>, sessions: u64, first_mid: i64) -> Result<Self> {
        let id = run_name();
        let room = Some(format!("bench://{id}"));
        let fleet = bench.fleet(&Crowd { sessions, first_mid, room, ..Crowd::default() })?;
        Ok(Self { fleet, sessions, id })
    }

    pub(super) fn side(&mut self, rate: f64, size: usize) -> Side<'_> {
        Side {
            name: "room",
            sessions: self.sessions,
            address: Address::Room { kind: "bench".to_owned(), id: self.id.clone() },
            fleet: &mut self.fleet,
            to_all: true,
            rate,
            size,
            // One, so that the order in which messages are accepted is known.
            connections: 1,
            patience_ns: PATIENCE_NS,
        }
    }
}

pub(super) fn run(bench: &Bench<'_>, options: &Room) -> Result<RunReport> {
    let common = &options.common;
    let sessions = bench.sessions(5_000);
    let floor_threads = options.floor_threads.unwrap_or_else(super::floor::threads_default);
    let with_floor = if options.with_floor { ", in turn with the floor" } else { "" };
    let title = format!("room: {sessions} × {} messages/s over {}{with_floor}", options.rate, bench.transport());
    let mut report = bench.report("room", title);
    let frame_bytes = options.size as usize + crate::engine::classic::HEADER_LEN;
    report.parameter("sessions", sessions);
    report.parameter("offered", format!("{} deliveries/s", options.rate * to_f64(sessions)));
    report.parameter("frame", format!("{frame_bytes} B"));
    report.parameter("duration", format!("{} s after {} s", common.duration, common.warmup));

    let mut hall = Hall::new(bench, sessions, common.first_mid)?;
    let watch = bench.watch(&[&hall.fleet]);
    bench.open(&mut hall.fleet)?;
    let mut rig = match options.with_floor {
        true => Some(Rig::new(bench, sessions, floor_threads)?),
        false => None,
    };
    let rounds = if options.with_floor { options.pairs } else { options.repeat };
    let mut pairs = Pairs::default();
    for _ in 0..rounds {
        let side = hall.side(options.rate, options.size as usize);
        let measured = measure(bench, &watch, &mut [side], common.warmup, common.duration)?;
        if let Some(rig) = &mut rig {
            let floor = rig.measure(bench, options.rate, common.warmup, common.duration, frame_bytes)?;
            delivery_problems(&mut report, &floor.outcome, floor.sends);
            pairs.floor_us.push(floor.us_per_send);
        }
        pairs.add(&mut report, &measured);
    }
    pairs.show(&mut report, floor_threads);
    sampling_note(&mut report, options.rate * to_f64(sessions));
    hall.fleet.close()?;
    Bench::finish(&mut report, watch);
    Ok(report)
}

/// The figures of the rounds.
#[derive(Default)]
struct Pairs {
    us_per_delivery: Vec<f64>,
    us_per_write: Vec<f64>,
    frames_per_write: Vec<f64>,
    deliveries_per_s: Vec<f64>,
    floor_us: Vec<f64>,
    latency: Latency,
    first: Latency,
    last: Latency,
    api: Latency,
    behind: bool,
    edges: Option<(Snapshot, Snapshot)>,
    frames_per_read: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, report: &mut RunReport, measured: &Measured) {
        let Some(seen) = measured.seen.first() else { return };
        let outcome = &seen.outcome;
        api_problems(report, &seen.pushed);
        delivery_problems(report, outcome, seen.expected);
        self.deliveries_per_s.push(delivered_per_s(seen));
        self.frames_per_read.push(per(to_f64(outcome.tally.received), to_f64(outcome.reads)));
        // A server that is behind has not done the window's work by its end.
        let behind = measured.moved < outcome.in_window / 10 * 9;
        self.behind |= behind;
        let done = if behind { measured.moved } else { outcome.in_window };
        if let Some(cpu_ns) = server_cpu_ns(measured.from, measured.to) {
            self.us_per_delivery.push(us_each(cpu_ns, done));
            if let Some(writes) = measured.writes.filter(|writes| *writes > 0.0) {
                self.us_per_write.push(cpu_ns / 1e3 / writes);
                self.frames_per_write.push(to_f64(done) / writes);
            }
        }
        self.latency.merge(&outcome.latency.sparse());
        self.first.merge(&outcome.first.sparse());
        self.last.merge(&outcome.last.sparse());
        self.api.merge(&seen.pushed.from_due.sparse());
        self.edges = Some((measured.from, measured.to));
    }

    fn show(&self, report: &mut RunReport, floor_threads: u64) {
        report.figure_spread("deliveries_per_s", "deliveries", &self.deliveries_per_s, "/s");
        let cpu = &self.us_per_delivery;
        report.figure_spread("cpu_us_per_delivery", "server CPU of a delivery", cpu, "µs");
        let writes = &self.us_per_write;
        report.figure_spread("cpu_us_per_write", "server CPU of a socket write", writes, "µs");
        let batch = &self.frames_per_write;
        report.figure_spread("frames_per_write", "deliveries in a write", batch, "");
        let reads = &self.frames_per_read;
        report.figure_spread("frames_per_read", "deliveries in a read of a client", reads, "");
        let what = format!("floor: CPU of a send, {floor_threads} threads");
        report.figure_spread("floor_us_per_send", what, &self.floor_us, "µs");
        let counted = !self.us_per_write.is_empty();
        let server = if counted { &self.us_per_write } else { &self.us_per_delivery };
        let ratios: Vec<f64> = server.iter().zip(&self.floor_us).map(|(room, floor)| per(*room, *floor)).collect();
        let what = if counted { "write to floor" } else { "delivery to floor" };
        report.figure_spread("ratio_to_floor", format!("{what}, in pairs"), &ratios, "×");
        if let Some((from, to)) = self.edges {
            cpu_figures(report, from, to);
        }
        report.latency("due to received", ("latency_p50_ms", "latency_p99_ms"), &self.latency);
        report.latency("first receiver", ("first_p50_ms", "first_p99_ms"), &self.first);
        report.latency("last receiver", ("last_p50_ms", "last_p99_ms"), &self.last);
        report.latency("push API", ("api_p50_ms", "api_p99_ms"), &self.api);
        if self.behind {
            report.notes.push(
                "the server was behind at the end of the window: CPU is divided by the deliveries \
                 it had made"
                    .to_owned(),
            );
        }
        if !counted && !self.us_per_delivery.is_empty() {
            report.notes.push("no perseid_comet_writes_total in /metrics: CPU for each write is not known".to_owned());
        }
    }
}

/// Deliveries a second from the first message to the last delivery.
pub(super) fn delivered_per_s(seen: &Seen) -> f64 {
    let end_ns = seen.outcome.last_ns.max(seen.window.to_ns);
    let seconds = to_f64(end_ns.saturating_sub(seen.window.start_ns)) / 1e9;
    per(to_f64(seen.outcome.tally.received), seconds)
}

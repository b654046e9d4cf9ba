//! `push`: messages to single users by HTTP, alone or beside a busy room.

use super::room::{Hall, Measured, Seen, Side, measure};
use super::{Bench, Crowd, api_problems, cpu_figures, delivery_problems, run_name, sampling_note, server_cpu_ns, us_each};
use crate::cli::{By, Push};
use crate::push::{Address, PATIENCE_NS};
use crate::report::RunReport;
use crate::stats::{Latency, per, to_f64};
use crate::watch::Snapshot;
use anyhow::Result;

pub(super) fn run(bench: &Bench<'_>, options: &Push) -> Result<RunReport> {
    let common = &options.common;
    let sessions = bench.sessions(1_000);
    let beside = match options.beside_room {
        Some((members, rate)) => format!(" beside a room of {members} × {rate}/s"),
        None => String::new(),
    };
    let title = format!("push to one user: {}/s to {sessions} over {}{beside}", options.rate, bench.transport());
    let mut report = bench.report("push", title);
    report.parameter("offered", format!("{}/s, open loop", options.rate));
    report.parameter("API", format!("{:?}, {} connections", options.by, options.connections));
    report.parameter("duration", format!("{} s after {} s", common.duration, common.warmup));

    let first = common.first_mid;
    let prefix = format!("bench-{}-", run_name());
    let key_prefix = (options.by == By::Keys).then(|| prefix.clone());
    let crowd = Crowd { sessions, first_mid: first, key_prefix, ..Crowd::default() };
    let mut users = bench.fleet(&crowd)?;
    let mut hall = match options.beside_room {
        Some((members, rate)) => {
            let room_first = first.saturating_add(sessions.cast_signed());
            Some((Hall::new(bench, members, room_first)?, rate))
        }
        None => None,
    };
    let watch = match &hall {
        Some((hall, _)) => bench.watch(&[&users, &hall.fleet]),
        None => bench.watch(&[&users]),
    };
    bench.open(&mut users)?;
    if let Some((hall, _)) = &mut hall {
        bench.open(&mut hall.fleet)?;
    }

    let size = options.size as usize;
    let mut sides = vec![Side {
        name: "push",
        fleet: &mut users,
        sessions,
        address: match options.by {
            By::Mids => Address::Mids { first },
            By::Keys => Address::Keys { prefix, first },
            By::V1 => Address::Native { first },
        },
        to_all: false,
        rate: options.rate,
        size,
        connections: options.connections,
        patience_ns: PATIENCE_NS,
    }];
    if let Some((hall, rate)) = &mut hall {
        sides.push(hall.side(*rate, size));
    }
    let mut rounds = Rounds::default();
    for _ in 0..options.repeat {
        let measured = measure(bench, &watch, &mut sides, common.warmup, common.duration)?;
        rounds.add(&mut report, &measured);
    }
    drop(sides);
    rounds.show(&mut report, options.beside_room.is_none());
    if let Some((members, rate)) = options.beside_room {
        sampling_note(&mut report, rate * to_f64(members));
    }
    users.close()?;
    if let Some((hall, _)) = &mut hall {
        hall.fleet.close()?;
    }
    Bench::finish(&mut report, watch);
    Ok(report)
}

/// The figures of the rounds.
#[derive(Default)]
struct Rounds {
    pushes_per_s: Vec<f64>,
    us_per_push: Vec<f64>,
    received: Latency,
    from_due: Latency,
    from_sent: Latency,
    room_per_s: Vec<f64>,
    room: Latency,
    edges: Option<(Snapshot, Snapshot)>,
}

impl Rounds {
    fn add(&mut self, report: &mut RunReport, measured: &Measured) {
        for seen in &measured.seen {
            api_problems(report, &seen.pushed);
            delivery_problems(report, &seen.outcome, seen.expected);
        }
        if let Some(Seen { outcome, pushed, window, .. }) = measured.seen.first() {
            let seconds = to_f64(window.to_ns - window.from_ns) / 1e9;
            self.pushes_per_s.push(per(to_f64(outcome.in_window), seconds));
            if let Some(cpu_ns) = server_cpu_ns(measured.from, measured.to) {
                self.us_per_push.push(us_each(cpu_ns, outcome.in_window));
            }
            self.received.merge(&outcome.latency.sparse());
            self.from_due.merge(&pushed.from_due.sparse());
            self.from_sent.merge(&pushed.from_sent.sparse());
        }
        if let Some(seen) = measured.seen.get(1) {
            self.room_per_s.push(super::room::delivered_per_s(seen));
            self.room.merge(&seen.outcome.latency.sparse());
        }
        self.edges = Some((measured.from, measured.to));
    }

    /// `alone`: all of the server's CPU belongs to the pushes.
    fn show(&self, report: &mut RunReport, alone: bool) {
        report.figure_spread("pushes_per_s", "pushes received", &self.pushes_per_s, "/s");
        if alone {
            report.figure_spread("cpu_us_per_push", "server CPU of a push", &self.us_per_push, "µs");
        }
        let rate = &self.room_per_s;
        report.figure_spread("room_deliveries_per_s", "deliveries of the room", rate, "/s");
        if let Some((from, to)) = self.edges {
            cpu_figures(report, from, to);
        }
        report.latency("push due to received", ("latency_p50_ms", "latency_p99_ms"), &self.received);
        report.latency("API, due to answered", ("api_p50_ms", "api_p99_ms"), &self.from_due);
        report.latency("API, sent to answered", ("api_sent_p50_ms", "api_sent_p99_ms"), &self.from_sent);
        report.latency("room, due to received", ("room_p50_ms", "room_p99_ms"), &self.room);
    }
}

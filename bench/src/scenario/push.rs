//! `push`: messages to single users by HTTP, alone or beside a busy room.

use super::room::{Hall, Side, measure};
use super::{Bench, Crowd, api_problems, cpu_figures, delivery_problems, run_name, server_cpu_ns, us_each};
use crate::cli::{By, Push};
use crate::push::Address;
use crate::report::RunReport;
use crate::stats::{per, to_f64};
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
    }];
    if let Some((hall, rate)) = &mut hall {
        sides.push(hall.side(*rate, size));
    }
    let measured = measure(bench, &watch, &mut sides, common.warmup, common.duration)?;
    drop(sides);

    if let Some(seen) = measured.seen.first() {
        api_problems(&mut report, &seen.pushed);
        delivery_problems(&mut report, &seen.outcome, seen.expected);
        let seconds = to_f64(seen.window.to_ns - seen.window.from_ns) / 1e9;
        let rate = per(to_f64(seen.outcome.in_window), seconds);
        report.figure("pushes_per_s", "pushes received", rate, "/s");
        if let (Some(cpu_ns), None) = (server_cpu_ns(measured.from, measured.to), &hall) {
            let each = us_each(cpu_ns, seen.outcome.in_window);
            report.figure("cpu_us_per_push", "server CPU of a push", each, "µs");
        }
        cpu_figures(&mut report, measured.from, measured.to);
        let keys = ("latency_p50_ms", "latency_p99_ms");
        report.latency("push due to received", keys, &seen.outcome.latency);
        report.latency("API, due to answered", ("api_p50_ms", "api_p99_ms"), &seen.pushed.from_due);
        let keys = ("api_sent_p50_ms", "api_sent_p99_ms");
        report.latency("API, sent to answered", keys, &seen.pushed.from_sent);
    }
    if let Some(seen) = measured.seen.get(1) {
        api_problems(&mut report, &seen.pushed);
        delivery_problems(&mut report, &seen.outcome, seen.expected);
        let rate = super::room::delivered_per_s(seen);
        report.figure("room_deliveries_per_s", "deliveries of the room", rate, "/s");
        let keys = ("room_p50_ms", "room_p99_ms");
        report.latency("room, due to received", keys, &seen.outcome.latency);
    }
    users.close()?;
    if let Some((hall, _)) = &mut hall {
        hall.fleet.close()?;
    }
    Bench::finish(&mut report, watch);
    Ok(report)
}

//! `send`: extended sessions write stored messages to one another by an
//! open-loop schedule; every reply, arrival and echo is checked.

use super::stored::{Load, Measured, Writers, acked_per_s, check};
use super::{Bench, cpu_figures, server_cpu_ns, us_each};
use crate::cli::Send;
use crate::engine::stored::account::Wanted;
use crate::engine::stored::plan::To;
use crate::http::Connection;
use crate::push::PATIENCE_NS;
use crate::report::RunReport;
use crate::stats::{Latency, per, to_f64};
use crate::watch::Snapshot;
use anyhow::{Context, Result, bail};

pub(super) fn run(bench: &Bench<'_>, options: &Send) -> Result<RunReport> {
    let sessions = sessions(bench, options)?;
    let title = format!("send: {sessions} sessions, {} stored messages/s over {}", options.rate, bench.transport());
    let mut report = bench.report("send", title);
    parameters(&mut report, options);
    report.parameter("offered", format!("{}/s, open loop", options.rate));
    let common = &options.common;
    report.parameter("duration", format!("{} s after {} s", common.duration, common.warmup));

    let mut writers = Writers::new(bench, sessions, common.first_mid)?;
    let watch = bench.watch(&[&writers.fleet]);
    make_groups(bench, options, sessions)?;
    bench.open(&mut writers.fleet)?;
    let mut rounds = Rounds::default();
    for _ in 0..options.repeat {
        let measured = writers.measure(bench, &watch, load(options, options.rate, PATIENCE_NS))?;
        rounds.add(&mut report, &measured);
    }
    rounds.show(&mut report);
    writers.fleet.close()?;
    Bench::finish(&mut report, watch);
    Ok(report)
}

/// Somebody must be there to be written to.
pub(super) fn sessions(bench: &Bench<'_>, options: &Send) -> Result<u64> {
    match (bench.sessions(1_000), options.group) {
        (1, _) => bail!("messages need two sessions at least"),
        (sessions, Some(size)) if sessions % size != 0 => bail!("{sessions} sessions do not make whole groups of {size}"),
        (sessions, _) => Ok(sessions),
    }
}

pub(super) fn parameters(report: &mut RunReport, options: &Send) {
    report.parameter("body", format!("{} B", options.size));
    let peers = match (options.group, options.peers) {
        (Some(size), _) => format!("groups of {size}"),
        (None, 0) => "anybody".to_owned(),
        (None, peers) => format!("{peers} peers each, at random"),
    };
    report.parameter("to", peers);
    if options.pipeline > 1 {
        report.parameter("pipeline", format!("{} messages in a write", options.pipeline));
    }
}

pub(super) fn load(options: &Send, rate: f64, patience_ns: u64) -> Load {
    let (body_bytes, burst) = (options.size as usize, options.pipeline);
    let to = match options.group {
        Some(size) => To::Groups { first_id: options.common.first_mid.cast_unsigned(), size },
        None => To::Peers(options.peers),
    };
    Load { rate, body_bytes, burst, to, patience_ns }
}

/// Makes the groups, if it is groups that are written to.
pub(super) fn make_groups(bench: &Bench<'_>, options: &Send, sessions: u64) -> Result<()> {
    let Some(size) = options.group else { return Ok(()) };
    let (api, first) = (&bench.target()?.api, options.common.first_mid.cast_unsigned());
    let mut connection = Connection::new(api.addr);
    for group in 0..sessions / size {
        let members: Vec<u64> = (first + group * size..first + (group + 1) * size).collect();
        let json = serde_json::json!({ "kind": "group", "members": members }).to_string();
        let path = format!("/v1/groups/{}", first + group);
        let mut request = api.request("PUT", &path, "application/json", json.len());
        request.extend_from_slice(json.as_bytes());
        let answer = connection.call(&request).context("making a group")?;
        if answer.status != 200 && answer.status != 201 {
            bail!("making a group: status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
    }
    Ok(())
}

/// Server CPU of a message, µs: by those of the window, or by those answered
/// in it when the server is behind.
pub(super) fn us_per_message(measured: &Measured) -> Option<f64> {
    server_cpu_ns(measured.from, measured.to).map(|cpu_ns| us_each(cpu_ns, done(measured)))
}

/// Messages that the server's work in the window belongs to.
fn done(measured: &Measured) -> u64 {
    if behind(measured) { measured.moved } else { measured.account.seen().acked_in_window }
}

/// It had not answered by the end of the window what was due in it.
pub(super) fn behind(measured: &Measured) -> bool {
    measured.moved < measured.account.seen().acked_in_window / 10 * 9
}

/// The figures of the rounds.
#[derive(Default)]
struct Rounds {
    acked_per_s: Vec<f64>,
    us_per_message: Vec<f64>,
    us_of_generator: Vec<f64>,
    /// To groups: with a message of theirs to every member.
    us_per_delivery: Vec<f64>,
    writes: Vec<f64>,
    frames_per_read: Vec<f64>,
    ack: Latency,
    arrival: Latency,
    echo: Latency,
    behind: bool,
    edges: Option<(Snapshot, Snapshot)>,
}

impl Rounds {
    fn add(&mut self, report: &mut RunReport, measured: &Measured) {
        let Measured { account, from, to, .. } = measured;
        check(report, account, Wanted::Both);
        self.acked_per_s.push(acked_per_s(measured));
        self.us_per_message.extend(us_per_message(measured));
        if measured.plan.recipients() > 1 {
            let deliveries = to_f64(1 + measured.plan.recipients());
            self.us_per_delivery.extend(us_per_message(measured).map(|us| us / deliveries));
        }
        let generator_ns = to_f64((to.generator - from.generator).ns());
        self.us_of_generator.push(us_each(generator_ns, account.seen().acked_in_window));
        self.writes.extend(measured.writes.map(|writes| per(writes, to_f64(done(measured)))));
        let frames = account.seen().frames + account.acked();
        self.frames_per_read.push(per(to_f64(frames), to_f64(account.seen().reads)));
        self.ack.merge(&account.ack.sparse());
        self.arrival.merge(&account.arrival.sparse());
        self.echo.merge(&account.echo.sparse());
        self.behind |= behind(measured);
        self.edges = Some((*from, *to));
    }

    fn show(&self, report: &mut RunReport) {
        report.figure_spread("messages_per_s", "messages acknowledged", &self.acked_per_s, "/s");
        report.figure_spread("cpu_us_per_message", "server CPU of a message", &self.us_per_message, "µs");
        report.figure_spread("cpu_us_per_delivery", "of a delivery", &self.us_per_delivery, "µs");
        report.figure_spread("generator_us_per_message", "generator CPU of a message", &self.us_of_generator, "µs");
        report.figure_spread("writes_per_message", "socket writes of the server for a message", &self.writes, "");
        report.figure_spread("frames_per_read", "frames in a read of a client", &self.frames_per_read, "");
        if let Some((from, to)) = self.edges {
            cpu_figures(report, from, to);
        }
        report.latency("due to reply", ("ack_p50_ms", "ack_p99_ms"), &self.ack);
        report.latency("due to recipient", ("arrival_p50_ms", "arrival_p99_ms"), &self.arrival);
        report.latency("due to echo", ("echo_p50_ms", "echo_p99_ms"), &self.echo);
        if self.behind {
            let note = "the server was behind at the end of the window: CPU is divided by the messages it had answered";
            report.notes.push(note.to_owned());
        }
    }
}

//! `floor`: a bare loop of `send` over loopback sockets. No server can write
//! to its sessions for less, so it is what a server's writes are compared to.

use super::{Bench, DRAIN_NS, QUIET_NS, Window, delivery_problems, new_marker};
use crate::cli::Floor;
use crate::clock::{self, SECOND, now_ns};
use crate::engine::messages::{Expect, Greeting, Phase};
use crate::engine::{Fleet, FleetSpec, Outcome, classic};
use crate::payload::{STAMP_LEN, Stamp};
use crate::report::RunReport;
use crate::stats::{per, to_f64};
use anyhow::{Context, Result, anyhow, bail};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Sockets, their senders here and their receivers in other processes.
pub(super) struct Rig {
    fleet: Fleet,
    /// One share for each sending thread.
    shares: Vec<Vec<TcpStream>>,
    sessions: u64,
}

/// What a run of the loop cost.
pub(super) struct Cost {
    /// CPU of the sending threads for each `send`, µs.
    pub(super) us_per_send: f64,
    /// Sends of the whole run, warm-up included.
    pub(super) sends: u64,
    pub(super) outcome: Outcome,
}

/// As many senders as a server has workers by default.
pub(super) fn threads_default() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

pub(super) fn run(bench: &Bench<'_>, options: &Floor) -> Result<RunReport> {
    let common = &options.common;
    let (sessions, rate) = (bench.sessions(5_000), options.rate);
    let threads = options.threads.unwrap_or_else(threads_default);
    let title = format!("floor: {sessions} sockets × {rate} rounds/s, {threads} threads");
    let mut report = bench.report("floor", title);
    report.parameter("frame", format!("{} B", options.frame_bytes));
    report.parameter("duration", format!("{} s after {} s", common.duration, common.warmup));
    let mut rig = Rig::new(bench, sessions, threads)?;
    let watch = bench.watch(&[&rig.fleet]);
    let from = watch.snapshot();
    let bytes = options.frame_bytes as usize;
    let cost = rig.measure(bench, rate, common.warmup, common.duration, bytes)?;
    let to = watch.snapshot();
    report.figure("floor_us_per_send", "CPU of a send", cost.us_per_send, "µs");
    report.figure("sends", "sends", to_f64(cost.sends), "");
    super::cpu_figures(&mut report, from, to);
    delivery_problems(&mut report, &cost.outcome, cost.sends);
    report.latency("due to received", ("latency_p50_ms", "latency_p99_ms"), &cost.outcome.latency);
    report.latency("last receiver", ("last_p50_ms", "last_p99_ms"), &cost.outcome.last);
    rig.fleet.close()?;
    Bench::finish(&mut report, watch);
    Ok(report)
}

impl Rig {
    pub(super) fn new(bench: &Bench<'_>, sessions: u64, threads: u64) -> Result<Self> {
        let listener = listen().context("floor: no port")?;
        let spec = FleetSpec {
            sessions,
            processes: bench.common.processes,
            targets: vec![listener.local_addr()?],
            tls: false,
            greeting: Greeting::None,
            heartbeat_ms: 0,
            spread: bench.common.spread_sources,
        };
        let mut fleet = Fleet::launch(&spec, &bench.setup.launcher)?;
        let accepted = std::thread::scope(|scope| {
            let accepting = scope.spawn(|| accept(&listener, sessions));
            bench.open(&mut fleet)?;
            accepting.join().map_err(|_| anyhow!("the accepting thread panicked"))?
        })?;
        let mut shares: Vec<Vec<TcpStream>> = (0..threads.max(1)).map(|_| Vec::new()).collect();
        let count = shares.len();
        for (n, socket) in accepted.into_iter().enumerate() {
            shares[n % count].push(socket);
        }
        Ok(Self { fleet, shares, sessions })
    }

    /// Runs the loop once: a frame to each socket, `rate` times a second.
    pub(super) fn measure(
        &mut self,
        bench: &Bench<'_>,
        rate: f64,
        warmup: f64,
        duration: f64,
        frame_bytes: usize,
    ) -> Result<Cost> {
        let window = Window::new(rate, warmup, duration);
        let marker = new_marker();
        self.fleet.begin(Phase {
            marker,
            from_ns: window.from_ns,
            to_ns: window.to_ns,
            sample_shift: super::sample_shift(rate * to_f64(self.sessions)),
            marks: usize::try_from(window.count)?.min(100_000),
        })?;
        let body_bytes = frame_bytes.saturating_sub(classic::HEADER_LEN).max(STAMP_LEN);
        let rounds = Rounds { window, rate, marker, body_bytes };
        let shares = &mut self.shares;
        let sent = std::thread::scope(|scope| {
            let senders: Vec<_> = shares.iter_mut().map(|share| scope.spawn(|| rounds.send_all(share))).collect();
            bench.phase_progress("floor", window.start_ns, window.to_ns);
            senders
                .into_iter()
                .map(|sender| sender.join().map_err(|_| anyhow!("a sending thread panicked"))?)
                .collect::<Result<Vec<Sent>>>()
        })?;
        let cpu_ns: u64 = sent.iter().map(|one| one.cpu_ns).sum();
        let measured: u64 = sent.iter().map(|one| one.measured).sum();
        let sends = window.count * self.sessions;
        self.fleet.drain(sends, QUIET_NS, DRAIN_NS);
        let outcome = self.fleet.end(Expect::Each(window.count))?;
        let us_per_send = per(to_f64(cpu_ns) / 1e3, to_f64(measured));
        Ok(Cost { us_per_send, sends, outcome })
    }
}

/// The schedule that the sending threads share.
struct Rounds {
    window: Window,
    rate: f64,
    marker: u64,
    body_bytes: usize,
}

/// What one thread did inside the window.
struct Sent {
    cpu_ns: u64,
    measured: u64,
}

impl Rounds {
    fn send_all(&self, sockets: &mut [TcpStream]) -> Result<Sent> {
        clock::exact_sleeps();
        let stamp = Stamp { marker: self.marker, seq: 0, due_ns: 0 };
        let mut frame = Vec::new();
        classic::put_frame(&mut frame, classic::OP_PUSH, 0, &stamp.encode(self.body_bytes));
        let mut sent = Sent { cpu_ns: 0, measured: 0 };
        let mut begun_ns = None;
        for round in 0..self.window.count {
            let due_ns = self.due_ns(round);
            if due_ns >= self.window.from_ns && begun_ns.is_none() {
                begun_ns = Some(clock::thread_cpu_ns());
            }
            clock::sleep_until(due_ns);
            let stamp = Stamp { marker: self.marker, seq: round + 1, due_ns };
            stamp.write(&mut frame[classic::HEADER_LEN..classic::HEADER_LEN + STAMP_LEN]);
            for socket in sockets.iter_mut() {
                send(socket, &frame)?;
            }
            sent.measured += begun_ns.map_or(0, |_| sockets.len() as u64);
        }
        sent.cpu_ns = begun_ns.map_or(0, |begun| clock::thread_cpu_ns() - begun);
        Ok(sent)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn due_ns(&self, round: u64) -> u64 {
        self.window.start_ns + (to_f64(round) / self.rate * 1e9) as u64
    }
}

/// One `send`; where the receiver is so late that it does not fit, waits.
fn send(socket: &mut TcpStream, mut frame: &[u8]) -> Result<()> {
    let give_up_ns = now_ns() + 5 * SECOND;
    loop {
        match socket.write(frame) {
            Ok(written) if written == frame.len() => return Ok(()),
            Ok(written) => frame = &frame[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if now_ns() > give_up_ns {
                    bail!("floor: a receiver stopped reading");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("floor: send"),
        }
    }
}

/// A port with room for many connections that are not accepted yet.
fn listen() -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(i32::from(u16::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes `count` connections, or fails when they do not come.
fn accept(listener: &TcpListener, count: u64) -> Result<Vec<TcpStream>> {
    let mut sockets = Vec::new();
    let mut deadline_ns = now_ns() + 15 * SECOND;
    while (sockets.len() as u64) < count {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                sockets.push(socket);
                deadline_ns = now_ns() + 15 * SECOND;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if now_ns() > deadline_ns {
                    bail!("floor: only {} of {count} connections came", sockets.len());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("floor: accept"),
        }
    }
    Ok(sockets)
}

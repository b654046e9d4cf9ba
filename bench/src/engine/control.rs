//! The parent's side of the children: start them, tell them what to do, add up
//! what they saw.

use super::WORKER_WORD;
use super::messages::{Command, Event, Expect, Greeting, Phase, Progress, WorkerConfig};
use super::outcome::{Connected, Outcome};
use super::stored::account::Account;
use super::stored::plan::Plan;
use crate::clock::{MILLI, SECOND, now_ns, seconds_ns};
use crate::progress::Bar;
use crate::setup::Launcher;
use crate::stats::{per, to_f64};
use anyhow::{Context, Result, anyhow, bail};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// More sessions than this to one address could use up its ports (28,000 by
/// default, some of them still waiting from the run before).
const PORTS_PER_ADDRESS: u64 = 20_000;
/// Descriptors that a child needs beside its sessions.
const DESCRIPTORS_SPARE: u64 = 200;
/// Sessions from which a second child pays.
const SESSIONS_PER_CHILD: u64 = 2_000;

/// What a fleet of sessions is.
#[derive(Clone, Debug)]
pub(crate) struct FleetSpec {
    pub(crate) sessions: u64,
    /// Child processes; 0 chooses.
    pub(crate) processes: u64,
    pub(crate) targets: Vec<SocketAddr>,
    /// Through TLS.
    pub(crate) tls: bool,
    pub(crate) greeting: Greeting,
    pub(crate) heartbeat_ms: u64,
    /// Each child connects from an address of its own even when one would do.
    pub(crate) spread: bool,
}

/// Sessions spread over child processes.
pub(crate) struct Fleet {
    members: Vec<Member>,
    events: Receiver<(usize, Event)>,
    counters: Arc<FleetCounters>,
    sessions: u64,
}

struct Member {
    process: Child,
    input: Option<ChildStdin>,
}

/// The latest totals of a fleet, readable from any thread.
#[derive(Debug)]
pub(crate) struct FleetCounters {
    members: Mutex<Vec<Progress>>,
    /// When something last arrived at any session, on the common clock.
    moved_ns: AtomicU64,
}

impl Fleet {
    /// Starts the children; they connect to nothing yet.
    pub(crate) fn launch(spec: &FleetSpec, launcher: &Launcher) -> Result<Self> {
        let limit = super::worker::raise_descriptor_limit();
        let children = children(spec, limit)?;
        let spread = spec.spread || spec.sessions > PORTS_PER_ADDRESS;
        let (sender, events) = mpsc::channel();
        let counters = Arc::new(FleetCounters {
            members: Mutex::new(vec![Progress::default(); usize::try_from(children)?]),
            moved_ns: AtomicU64::new(now_ns()),
        });
        let mut members = Vec::new();
        for child in 0..children {
            let config = WorkerConfig {
                child,
                children,
                sessions: (spec.sessions + children - 1 - child) / children,
                targets: spec.targets.clone(),
                source: if spread { source(&spec.targets, child) } else { None },
                tls: spec.tls,
                greeting: spec.greeting.clone(),
                heartbeat_ms: spec.heartbeat_ms,
            };
            let mut process = Process::new(&launcher.exe)
                .args(&launcher.prefix)
                .arg(WORKER_WORD)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot start {}", launcher.exe.display()))?;
            let input = process.stdin.take();
            let output = process.stdout.take().context("a child without output")?;
            let (sender, counters, n) = (sender.clone(), Arc::clone(&counters), members.len());
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    match serde_json::from_str(&line) {
                        Ok(Event::Progress(progress)) => counters.set(n, progress),
                        Ok(event) => drop(sender.send((n, event))),
                        Err(error) => drop(sender.send((n, Event::Fatal(error.to_string())))),
                    }
                }
                let _ = sender.send((n, Event::Fatal("a worker process ended early".to_owned())));
            });
            let mut member = Member { process, input };
            member.write(&config)?;
            members.push(member);
        }
        Ok(Self { members, events, counters, sessions: spec.sessions })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.process.id()).collect()
    }

    pub(crate) fn counters(&self) -> Arc<FleetCounters> {
        Arc::clone(&self.counters)
    }

    /// Opens all sessions by an open-loop schedule of `rate` a second that
    /// begins at `at_ns`, and waits until each is online or has failed.
    pub(crate) fn open(&mut self, at_ns: u64, rate: f64, bar: &Bar) -> Result<Connected> {
        bar.begin("connecting", self.sessions);
        self.tell(&Command::Open { at_ns, rate })?;
        let schedule_ns = seconds_ns(per(to_f64(self.sessions), rate));
        let deadline_ns = at_ns + schedule_ns + 30 * SECOND;
        let mut all = Connected::default();
        self.gather(deadline_ns, bar, |event| match event {
            Event::Opened(opened) => {
                all.add(&opened);
                true
            }
            _ => false,
        })?;
        Ok(all)
    }

    /// Begins a phase: all streams start anew.
    pub(crate) fn begin(&mut self, phase: Phase) -> Result<()> {
        self.counters.moved_ns.store(now_ns(), Relaxed);
        self.tell(&Command::Begin(phase))
    }

    /// Waits until `expected` frames have come, or nothing has moved for
    /// `quiet_ns`, or `at_most_ns` have passed.
    pub(crate) fn drain(&self, expected: u64, quiet_ns: u64, at_most_ns: u64) {
        self.drain_until(|total| total.received >= expected, quiet_ns, at_most_ns);
    }

    /// The same, until `done`.
    pub(crate) fn drain_until(&self, done: impl Fn(&Progress) -> bool, quiet_ns: u64, at_most_ns: u64) {
        let start = now_ns();
        loop {
            let now = now_ns();
            let quiet = now.saturating_sub(self.counters.moved_ns.load(Relaxed).max(start));
            if done(&self.counters.total()) || quiet >= quiet_ns || now - start >= at_most_ns {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends a phase and returns what was seen.
    pub(crate) fn end(&mut self, expect: Expect) -> Result<Outcome> {
        self.tell(&Command::End { expect })?;
        let mut results = Vec::new();
        self.gather(now_ns() + 30 * SECOND, &Bar::hidden(), |event| match event {
            Event::Phase(result) => {
                results.push(*result);
                true
            }
            _ => false,
        })?;
        Ok(Outcome::of(&results))
    }

    /// Stored messages of `plan` are checked from now on, and written by these
    /// sessions if `speak`.
    pub(crate) fn talk(&mut self, plan: Option<Plan>, speak: bool) -> Result<()> {
        self.counters.moved_ns.store(now_ns(), Relaxed);
        self.tell(&Command::Talk { plan, speak })
    }

    /// Ends a talk and returns what was seen.
    pub(crate) fn end_talk(&mut self) -> Result<Account> {
        self.tell(&Command::EndTalk)?;
        let mut parts = Vec::new();
        self.gather(now_ns() + 60 * SECOND, &Bar::hidden(), |event| match event {
            Event::Talk(seen) => {
                parts.push(*seen);
                true
            }
            _ => false,
        })?;
        Ok(Account::of(&parts))
    }

    /// The number of child processes.
    pub(crate) fn children(&self) -> u64 {
        self.members.len() as u64
    }

    /// Closes all sessions.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.tell(&Command::Close)?;
        self.gather(now_ns() + 30 * SECOND, &Bar::hidden(), |event| matches!(event, Event::Closed))
    }

    fn tell(&mut self, command: &Command) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.write(command))
    }

    /// Takes events until `wanted` has accepted one of every child.
    fn gather(&self, deadline_ns: u64, bar: &Bar, mut wanted: impl FnMut(Event) -> bool) -> Result<()> {
        let mut missing = self.members.len();
        while missing > 0 {
            match self.events.recv_timeout(Duration::from_nanos(100 * MILLI)) {
                Ok((n, Event::Fatal(reason))) => bail!("worker process {n}: {reason}"),
                Ok((_, event)) => missing -= usize::from(wanted(event)),
                Err(RecvTimeoutError::Timeout) if now_ns() > deadline_ns => {
                    bail!("{missing} worker processes did not answer in time");
                }
                Err(RecvTimeoutError::Timeout) => {
                    let total = self.counters.total();
                    bar.set(total.online + total.failed);
                }
                Err(RecvTimeoutError::Disconnected) => bail!("all worker processes ended"),
            }
        }
        Ok(())
    }
}

impl Drop for Fleet {
    /// A child ends when its input does; one that does not is killed.
    fn drop(&mut self) {
        for member in &mut self.members {
            member.input = None;
        }
        let deadline_ns = now_ns() + 3 * SECOND;
        for member in &mut self.members {
            while matches!(member.process.try_wait(), Ok(None)) {
                if now_ns() > deadline_ns {
                    let _ = member.process.kill();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Member {
    fn write(&mut self, message: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let input = self.input.as_mut().ok_or_else(|| anyhow!("a worker process is gone"))?;
        input.write_all(&line).and_then(|()| input.flush()).context("a worker process is gone")
    }
}

impl FleetCounters {
    /// The sum over all children.
    pub(crate) fn total(&self) -> Progress {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().fold(Progress::default(), |sum, one| Progress {
            online: sum.online + one.online,
            failed: sum.failed + one.failed,
            dropped: sum.dropped + one.dropped,
            received: sum.received + one.received,
            answered: sum.answered + one.answered,
            heartbeats: sum.heartbeats + one.heartbeats,
            heartbeat_replies: sum.heartbeat_replies + one.heartbeat_replies,
        })
    }

    fn set(&self, n: usize, progress: Progress) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = members.get_mut(n) {
            if (member.received, member.answered) != (progress.received, progress.answered) {
                self.moved_ns.store(now_ns(), Relaxed);
            }
            *member = progress;
        }
    }
}

/// How many child processes hold the sessions of `spec`.
fn children(spec: &FleetSpec, descriptors: u64) -> Result<u64> {
    let each_max = descriptors.saturating_sub(DESCRIPTORS_SPARE).max(1);
    let needed = spec.sessions.div_ceil(each_max).max(1);
    if spec.processes > 0 {
        if spec.processes < needed {
            bail!("{} sessions need at least {needed} processes here", spec.sessions);
        }
        return Ok(spec.processes.min(spec.sessions.max(1)));
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    Ok(needed.max(spec.sessions.div_ceil(SESSIONS_PER_CHILD).clamp(1, cores.min(8))))
}

/// A loopback address of its own for each child.
fn source(targets: &[SocketAddr], child: u64) -> Option<IpAddr> {
    let loopback = targets.iter().all(|target| matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback()));
    let last = u8::try_from(child % 250 + 2).unwrap_or(2);
    loopback.then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_follow_sessions_and_limits() {
        let spec = |sessions, processes| FleetSpec {
            sessions,
            processes,
            targets: Vec::new(),
            tls: false,
            greeting: Greeting::None,
            heartbeat_ms: 0,
            spread: false,
        };
        assert_eq!(children(&spec(10, 0), 20_000).unwrap(), 1);
        assert_eq!(children(&spec(50_000, 0), 10_200).unwrap(), 5);
        assert_eq!(children(&spec(10, 3), 20_000).unwrap(), 3);
        assert!(children(&spec(50_000, 2), 10_200).is_err());
    }
}

//! A child process: one thread, one poll loop, commands on standard input,
//! events on standard output.

use super::client::Pool;
use super::messages::{Command, Event, Progress, WorkerConfig};
use super::timer::Timer;
use crate::clock::{MILLI, SECOND, now_ns};
use crate::stats::to_f64;
use anyhow::{Context, Result};
use mio::{Events, Poll, Token, Waker};
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

/// The hidden word that makes this program a child of the generator.
pub(crate) const WORKER_WORD: &str = "__worker";

const TIMER: Token = Token(usize::MAX - 1);
const COMMANDS: Token = Token(usize::MAX);
const PROGRESS_NS: u64 = 100 * MILLI;
/// Sessions opened in one turn of the loop, so that answers are read in time.
const OPENS_MAX: usize = 64;
/// How long after the last start a session may take to come online.
const OPEN_PATIENCE_NS: u64 = 10 * SECOND;

/// Runs a child to its end; the result is the exit status.
pub(crate) fn main() -> u8 {
    match serve() {
        Ok(()) => 0,
        Err(error) => {
            let _ = emit(&Event::Fatal(format!("{error:#}")));
            1
        }
    }
}

/// Lets this process hold as many sockets as the system allows at all.
pub(crate) fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn serve() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let config: WorkerConfig = serde_json::from_str(&line).context("worker configuration")?;
    raise_descriptor_limit();
    crate::clock::exact_sleeps();
    let poll = Poll::new()?;
    let timer = Timer::new(poll.registry(), TIMER)?;
    let commands = read_commands(Arc::new(Waker::new(poll.registry(), COMMANDS)?));
    let pool = Pool::new(config.clone(), poll.registry().try_clone()?);
    Worker { config, poll, timer, commands, pool, opening: None, heartbeat: None, shown: Progress::default(), shown_ns: 0 }.run()
}

/// Standard input has a thread of its own: it blocks, the loop must not.
fn read_commands(waker: Arc<Waker>) -> Receiver<Command> {
    let (sender, commands) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let command = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(command) = command else { break };
            if sender.send(command).is_err() {
                break;
            }
            let _ = waker.wake();
        }
        // The parent is gone: so is the reason to stay.
        drop(sender);
        let _ = waker.wake();
    });
    commands
}

fn emit(event: &Event) -> Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    out.flush()?;
    Ok(())
}

struct Worker {
    config: WorkerConfig,
    poll: Poll,
    timer: Timer,
    commands: Receiver<Command>,
    pool: Pool,
    opening: Option<Opening>,
    heartbeat: Option<Heartbeat>,
    shown: Progress,
    shown_ns: u64,
}

/// The open-loop schedule of connects.
struct Opening {
    at_ns: u64,
    rate: f64,
    next: u64,
    /// Nothing more is due; gives up at this time.
    deadline_ns: u64,
}

/// One cursor serves all sessions, because their turns are evenly spread.
struct Heartbeat {
    start_ns: u64,
    next: u64,
}

impl Worker {
    fn run(mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let more_due = self.due()?;
            let patience = if more_due { Duration::ZERO } else { Duration::from_millis(100) };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    TIMER | COMMANDS => {}
                    Token(n) => {
                        let ended = event.is_read_closed() || event.is_error();
                        self.pool.ready(n, event.is_writable(), ended);
                    }
                }
            }
            if !self.obey()? {
                return Ok(());
            }
            self.show(false)?;
        }
    }

    /// Does what is due and arms the timer for what comes next; true when
    /// there is more to do at once.
    fn due(&mut self) -> Result<bool> {
        let now = now_ns();
        let mut next_ns = u64::MAX;
        if let Some(opening) = &mut self.opening {
            for _ in 0..OPENS_MAX {
                let due_ns = opening.due_ns(&self.config);
                if opening.next >= self.config.sessions || due_ns > now {
                    break;
                }
                let n = usize::try_from(opening.next).unwrap_or(usize::MAX);
                opening.next += 1;
                opening.deadline_ns = due_ns.max(now) + OPEN_PATIENCE_NS;
                self.pool.open(n, due_ns);
            }
            let all = opening.next >= self.config.sessions;
            next_ns = if all { opening.deadline_ns } else { opening.due_ns(&self.config) };
            if all && now >= opening.deadline_ns {
                self.pool.give_up();
            }
            if all && self.pool.settled() {
                self.opening = None;
                self.show(true)?;
                emit(&Event::Opened(self.pool.opened()))?;
                if self.config.heartbeat_ms > 0 && self.config.sessions > 0 {
                    self.heartbeat = Some(Heartbeat { start_ns: now_ns(), next: 0 });
                }
            }
        }
        if let Some(heartbeat) = &mut self.heartbeat {
            let every_ns = self.config.heartbeat_ms * MILLI;
            while heartbeat.due_ns(every_ns, self.config.sessions) <= now {
                let (n, due_ns) = (heartbeat.next % self.config.sessions, heartbeat.due_ns(every_ns, self.config.sessions));
                heartbeat.next += 1;
                self.pool.heartbeat(usize::try_from(n).unwrap_or(usize::MAX), due_ns);
            }
            next_ns = next_ns.min(heartbeat.due_ns(every_ns, self.config.sessions));
        }
        if let Some(speak_ns) = self.pool.speak(now) {
            next_ns = next_ns.min(speak_ns);
        }
        if next_ns < u64::MAX {
            self.timer.arm(next_ns)?;
        }
        Ok(next_ns <= now)
    }

    /// Obeys the commands that have come; false when the parent is gone.
    fn obey(&mut self) -> Result<bool> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Open { at_ns, rate }) => {
                    let deadline_ns = at_ns + OPEN_PATIENCE_NS;
                    self.pool.reopen();
                    self.opening = Some(Opening { at_ns, rate, next: 0, deadline_ns });
                }
                Ok(Command::Begin(phase)) => self.pool.begin(phase),
                Ok(Command::End { expect }) => {
                    self.show(true)?;
                    let result = self.pool.end(|n| expect.of(n));
                    emit(&Event::Phase(Box::new(result)))?;
                }
                Ok(Command::Talk { plan, speak }) => self.pool.talk(plan, speak),
                Ok(Command::EndTalk) => {
                    self.show(true)?;
                    emit(&Event::Talk(Box::new(self.pool.end_talk())))?;
                }
                Ok(Command::Close) => {
                    self.heartbeat = None;
                    self.pool.close();
                    self.show(true)?;
                    emit(&Event::Closed)?;
                }
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn show(&mut self, at_once: bool) -> Result<()> {
        let progress = self.pool.progress();
        if progress == self.shown {
            return Ok(());
        }
        let now = now_ns();
        if at_once || now >= self.shown_ns + PROGRESS_NS {
            emit(&Event::Progress(progress))?;
            (self.shown, self.shown_ns) = (progress, now);
        }
        Ok(())
    }
}

impl Opening {
    /// When the next session of this child is due, by its place in the fleet.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn due_ns(&self, config: &WorkerConfig) -> u64 {
        let index = self.next * config.children + config.child;
        self.at_ns + (to_f64(index) / self.rate * 1e9) as u64
    }
}

impl Heartbeat {
    fn due_ns(&self, every_ns: u64, sessions: u64) -> u64 {
        let rounds = self.next / sessions * every_ns;
        // At most an hour in ns times 200,000 sessions: far below 2^64.
        let inside = (self.next % sessions) * (every_ns / 1_000) / sessions * 1_000;
        self.start_ns + rounds + inside
    }
}

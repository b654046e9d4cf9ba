//! `perseid standalone`, and what it shares with every server: start, say so, serve, and leave when told.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ServerArgs;
use crate::commands::config::load_or_report;
use crate::config::{Apply, Loaded, Settings};
use crate::limits::raise_file_limit;
use crate::standalone::Standalone;
use crate::telemetry::{self, LogLevel};

/// Exit status after a second signal, as of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Runs the standalone until it is told to leave.
///
/// # Errors
/// What could not be opened.
pub fn run(args: &ServerArgs) -> Result<ExitCode> {
    run_server::<Standalone>(args, |_| {})
}

impl Server for Standalone {
    type Leave = ();

    async fn start(settings: Settings, level: LogLevel) -> Result<Self> {
        Self::start(settings, level)
    }

    fn ready_line(&self) -> String {
        self.ready_line()
    }

    fn reload(&mut self, settings: Settings) {
        self.reload(settings);
    }

    async fn told_to_leave(&self) -> Self::Leave {
        self.drained().await;
    }

    async fn shut_down(self, _: Option<Self::Leave>) {
        self.shut_down().await;
    }
}

/// Something that serves until it is told to leave.
pub(super) trait Server: Sized {
    /// What it may be told about how to leave, by others than a signal.
    type Leave;

    /// Starts it; when it is there, it serves.
    async fn start(settings: Settings, level: LogLevel) -> Result<Self>;

    /// The line for stdout.
    fn ready_line(&self) -> String;

    /// Goes on with what may change while it runs.
    fn reload(&mut self, settings: Settings);

    /// Waits until somebody else than a signal says that it is to leave.
    async fn told_to_leave(&self) -> Self::Leave;

    /// Leaves.
    async fn shut_down(self, leave: Option<Self::Leave>);
}

/// Runs a server until it is told to leave. `adjust` has the last word on what was configured.
///
/// # Errors
/// What could not be opened.
pub(super) fn run_server<S: Server>(args: &ServerArgs, adjust: fn(&mut Loaded)) -> Result<ExitCode> {
    let loaded = match load_or_report(args) {
        Ok(mut loaded) => {
            adjust(&mut loaded);
            loaded
        }
        Err(status) => return Ok(status),
    };
    let level = telemetry::init(&loaded.settings.telemetry)?;
    let files = raise_file_limit();
    tracing::debug!(files, "file descriptors");
    let mut builder = match loaded.settings.logic.http_threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    builder.enable_all().build().context("can't start the runtime")?.block_on(serve::<S>(args, adjust, loaded, level))
}

async fn serve<S: Server>(args: &ServerArgs, adjust: fn(&mut Loaded), mut loaded: Loaded, level: LogLevel) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    for (key, addr) in loaded.settings.exposed() {
        tracing::warn!(%addr, key, "listening beyond loopback without authentication: anybody there can be anybody");
    }
    let mut server = S::start(loaded.settings.clone(), level.clone()).await?;
    say_ready(&server.ready_line())?;
    let leave = loop {
        tokio::select! {
            told = signals.next() => match told {
                Some(Told::Reload) => reload(args, adjust, &mut loaded, &level, &mut server),
                Some(Told::Leave) | None => break None,
            },
            leave = server.told_to_leave() => break Some(leave),
        }
    };
    let leaving = server.shut_down(leave);
    tokio::pin!(leaving);
    loop {
        tokio::select! {
            () = &mut leaving => return Ok(ExitCode::SUCCESS),
            told = signals.next() => if told == Some(Told::Leave) {
                tracing::warn!("told twice: leaving at once");
                std::process::exit(INTERRUPTED.into());
            },
        }
    }
}

/// The only line that a server ever writes to stdout.
fn say_ready(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("can't write the ready line to stdout")
}

/// SIGHUP: reads the configuration again. A bad one changes nothing and is reported.
fn reload<S: Server>(args: &ServerArgs, adjust: fn(&mut Loaded), loaded: &mut Loaded, level: &LogLevel, server: &mut S) {
    let mut fresh = match args.load() {
        Ok(fresh) => fresh,
        Err(problems) => return tracing::error!("the configuration was not read again: {problems}"),
    };
    adjust(&mut fresh);
    for change in loaded.changes(&fresh) {
        let (key, before, after) = (change.key.path(), &change.before, &change.after);
        match change.key.apply {
            Apply::Reload => tracing::info!(key, %before, %after, "changed"),
            Apply::Restart => tracing::warn!(key, %before, %after, "changed, but counts only after a restart"),
        }
    }
    if let Err(error) = level.set(&fresh.settings.telemetry.level) {
        tracing::error!(%error, "the log level was not changed");
    }
    server.reload(fresh.settings.clone());
    *loaded = fresh;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Leave,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        // A file that may not grow (`ulimit -f`) is an error of the write then, like a full disk, and not the end of the process.
        drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Option<Told> {
        tokio::select! {
            told = self.terminate.recv() => told.map(|()| Told::Leave),
            told = self.interrupt.recv() => told.map(|()| Told::Leave),
            told = self.hang_up.recv() => told.map(|()| Told::Reload),
        }
    }
}

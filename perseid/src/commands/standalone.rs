//! `perseid standalone`: start, say so, serve, and leave when told.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ServerArgs;
use crate::commands::config::load_or_report;
use crate::config::{Apply, Loaded};
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
    let loaded = match load_or_report(args) {
        Ok(loaded) => loaded,
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
    builder.enable_all().build().context("can't start the runtime")?.block_on(serve(args, loaded, level))
}

async fn serve(args: &ServerArgs, mut loaded: Loaded, level: LogLevel) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    for (key, addr) in loaded.settings.exposed() {
        tracing::warn!(%addr, key, "listening beyond loopback without authentication: anybody there can be anybody");
    }
    if args.comet_grpc.is_some() || args.logic_grpc.is_some() {
        tracing::warn!("this version serves no gRPC: --comet-grpc and --logic-grpc are not listened on");
    }
    let mut standalone = Standalone::start(loaded.settings.clone(), level.clone())?;
    say_ready(&standalone.ready_line())?;
    loop {
        let told = tokio::select! {
            told = signals.next() => told,
            () = standalone.drained() => None,
        };
        match told {
            Some(Told::Reload) => reload(args, &mut loaded, &level, &mut standalone),
            Some(Told::Leave) | None => break,
        }
    }
    let leaving = standalone.shut_down();
    tokio::pin!(leaving);
    loop {
        tokio::select! {
            _ = &mut leaving => return Ok(ExitCode::SUCCESS),
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
fn reload(args: &ServerArgs, loaded: &mut Loaded, level: &LogLevel, standalone: &mut Standalone) {
    let fresh = match args.load() {
        Ok(fresh) => fresh,
        Err(problems) => return tracing::error!("the configuration was not read again: {problems}"),
    };
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
    standalone.reload(fresh.settings.clone());
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

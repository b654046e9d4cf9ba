//! The program: one command, one function.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use perseid::cli::{Cli, Command, ServerArgs};
use perseid::commands;
use perseid::telemetry;

fn main() -> ExitCode {
    match run(Cli::parse().into_command()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("perseid: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Standalone(args) => standalone(&args),
        Command::Config(command) => commands::config::run(&command),
        Command::Bench(_) | Command::Push(_) | Command::Listen(_) | Command::Send(_) => {
            bail!("this command is not part of this build yet")
        }
    }
}

/// The configuration, the log, then the server.
fn standalone(args: &ServerArgs) -> Result<ExitCode> {
    let loaded = match commands::config::load_or_report(args) {
        Ok(loaded) => loaded,
        Err(status) => return Ok(status),
    };
    let _level = telemetry::init(&loaded.settings.telemetry)?;
    bail!("the standalone is not part of this build yet")
}

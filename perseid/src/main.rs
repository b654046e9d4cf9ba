//! The program: one command, one function.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use perseid::cli::{Cli, Command};
use perseid::commands;

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
        Command::Standalone(args) => commands::standalone::run(&args),
        Command::Comet(args) => commands::comet::run(&args),
        Command::Logic(_) => Ok(commands::comet::not_alone("logic")),
        Command::Job(_) => Ok(commands::comet::not_alone("job")),
        Command::Config(command) => commands::config::run(&command),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Bench(args) => commands::bench::run(args.args),
        Command::Push(args) => commands::push::run(&args),
        Command::Listen(args) => commands::listen::run(&args),
        Command::Send(args) => commands::send::run(&args),
        Command::Token(args) => commands::token::run(&args),
    }
}

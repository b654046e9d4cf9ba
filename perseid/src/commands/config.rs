//! `perseid config check | print | docs`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use crate::cli::{ConfigCommand, ServerArgs};
use crate::config::{self, Loaded, Problem, Problems};

/// The exit status of a configuration that is wrong, as of a wrong command line.
pub const EXIT_INVALID: u8 = 2;

/// Runs the command.
///
/// # Errors
///
/// A file or stdout that can't be written. A wrong configuration is reported here, as status 2.
pub fn run(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Check(args) => check(&args.server, args.json),
        ConfigCommand::Print(args) => print(&args.server, args.json),
        ConfigCommand::Docs(args) if args.check => docs_check(&args.output),
        ConfigCommand::Docs(args) => docs_write(&args.output),
    }
}

/// Reads the configuration of a server command, or reports everything that is wrong on stderr.
///
/// # Errors
///
/// The exit status to end with.
pub fn load_or_report(args: &ServerArgs) -> Result<Loaded, ExitCode> {
    args.load().map_err(|problems| report(&problems))
}

fn report(problems: &Problems) -> ExitCode {
    // Nobody to tell if stderr is closed; the status says it too.
    let _ = writeln!(io::stderr(), "perseid: {problems}");
    ExitCode::from(EXIT_INVALID)
}

fn check(args: &ServerArgs, as_json: bool) -> Result<ExitCode> {
    let loaded = args.load();
    if as_json {
        let problems = loaded.as_ref().err().map_or(&[][..], |problems| &problems.0);
        let problems: Vec<_> = problems.iter().map(Problem::to_json).collect();
        answer(&format!("{}\n", json!({"valid": loaded.is_ok(), "problems": problems})))?;
    } else if loaded.is_ok() {
        answer("configuration is valid\n")?;
    }
    Ok(match loaded {
        Ok(_) => ExitCode::SUCCESS,
        Err(problems) => report(&problems),
    })
}

fn print(args: &ServerArgs, as_json: bool) -> Result<ExitCode> {
    let loaded = match load_or_report(args) {
        Ok(loaded) => loaded,
        Err(status) => return Ok(status),
    };
    if as_json {
        answer(&format!("{:#}\n", config::json(&loaded)))?;
    } else {
        answer(&config::text(&loaded))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn docs_write(output: &Path) -> Result<ExitCode> {
    let context = || format!("can't write {}", output.display());
    if let Some(parent) = output.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    fs::write(output, config::markdown()).with_context(context)?;
    Ok(ExitCode::SUCCESS)
}

fn docs_check(output: &Path) -> Result<ExitCode> {
    let found = fs::read_to_string(output).with_context(|| format!("can't read {}", output.display()))?;
    if found == config::markdown() {
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!("{} is not what the table of keys says; write it with: perseid config docs", output.display())
}

/// Writes what was asked for to stdout. A reader that went away (`| head`) is no error.
fn answer(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("can't write to stdout"),
    }
}

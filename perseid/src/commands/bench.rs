//! `perseid bench`: the load generator has a command line of its own.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, anyhow};

/// Runs a scenario.
///
/// # Errors
/// An argument that is no text.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let args = args
        .into_iter()
        .map(|arg| arg.into_string().map_err(|arg| anyhow!("{} is no text", arg.display())))
        .collect::<Result<Vec<String>>>()?;
    Ok(perseid_bench::run(args))
}

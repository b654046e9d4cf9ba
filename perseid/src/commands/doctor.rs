//! `perseid doctor`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cli::DoctorArgs;
use crate::config::Settings;
use crate::doctor::{self, Verdict, Wanted, gather};

/// Looks at this machine and says what would hurt. Status 1 if something fails.
///
/// # Errors
/// Certificates without keys, or stdout that can't be written.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    if args.certificate.len() != args.key.len() {
        bail!("{} --certificate and {} --key: each certificate needs its key", args.certificate.len(), args.key.len());
    }
    let certificates: Vec<_> = args.certificate.iter().cloned().zip(args.key.iter().cloned()).collect();
    let (settings, problems) = match args.server.load() {
        Ok(loaded) => (loaded.settings, None),
        Err(problems) => (Settings::default(), Some(problems)),
    };
    let facts = gather::gather(&settings, Wanted::new(args.sessions, &settings), &certificates);
    let findings = doctor::examine(&facts, &settings, problems.as_ref());
    let answer = if args.json { format!("{:#}\n", doctor::json(&findings)) } else { doctor::text(&findings) };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(answer.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error).context("can't write to stdout"),
        _ => {}
    }
    Ok(if doctor::worst(&findings) == Verdict::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

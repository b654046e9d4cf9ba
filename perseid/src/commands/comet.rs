//! `perseid comet`: one role of a cluster; and what is said of the roles that can't be had alone yet.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::standalone::{Server, run_server};
use crate::cli::CometArgs;
use crate::comet_role::{CometRole, HTTP_DEFAULT};
use crate::config::{Loaded, Origin, Settings};
use crate::telemetry::LogLevel;

/// Runs a comet until it is told to leave.
///
/// # Errors
/// What could not be opened.
pub fn run(args: &CometArgs) -> Result<ExitCode> {
    let args = args.as_server_args();
    // What else is wrong the start reports.
    if args.load().is_ok_and(|loaded| loaded.settings.cluster.logics.is_empty()) {
        eprintln!("perseid: a comet needs a logic: say --logic HOST:PORT, or set cluster.logics");
        return Ok(ExitCode::from(2));
    }
    run_server::<CometRole>(&args, own_port)
}

/// `perseid logic` and `perseid job`.
pub fn not_alone(role: &str) -> ExitCode {
    eprintln!(
        "perseid: {role} can't run alone yet: both need a log and a store that processes share. \
         `perseid standalone` is logic and job in one process, with `perseid comet` beside it"
    );
    ExitCode::from(2)
}

/// Health and metrics have a port of their own.
fn own_port(loaded: &mut Loaded) {
    let is_default = |entry: &&crate::config::Entry| entry.key.path() == "logic.http" && entry.origin == Origin::Default;
    if loaded.entries.iter().any(|entry| is_default(&entry)) {
        loaded.settings.logic.http = vec![HTTP_DEFAULT];
    }
}

impl Server for CometRole {
    type Leave = Option<u32>;

    async fn start(settings: Settings, _: LogLevel) -> Result<Self> {
        let role = Self::start(settings).context("the comet can't start")?;
        role.ready().await;
        Ok(role)
    }

    fn ready_line(&self) -> String {
        self.ready_line()
    }

    fn reload(&mut self, settings: Settings) {
        self.reload(settings);
    }

    async fn told_to_leave(&self) -> Option<u32> {
        self.told_to_leave().await
    }

    async fn shut_down(self, leave: Option<Option<u32>>) {
        self.shut_down(leave.flatten()).await;
    }
}

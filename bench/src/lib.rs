//! Load generator and reports: `perseid bench SCENARIO`.
//!
//! The generator is a client of the public surface only (the classic wire
//! protocol over TCP or WebSocket, the extended one for stored messages, the
//! HTTP push API, `/metrics`, `/proc`), so it measures anything that is
//! compatible on the wire, goim included. It depends on no other crate of this
//! workspace.
//!
//! How it is built, from the outside in:
//!
//! - `cli` reads the command line, `setup` decides what is measured and
//!   refuses targets that are not on this machine,
//! - `scenario` holds one file for each scenario; each returns a value
//!   (`report::RunReport`), and `report` shows it as table, JSON and HTML,
//! - `engine` holds the sessions: child processes of one thread each, which
//!   read frames, check the order of every one of them and take latencies;
//!   `engine::stored` are those that write to one another and have inboxes;
//!   `push` sends messages by an open-loop schedule; `watch` reads CPU and
//!   memory of the processes under test and of the generator itself.

mod cli;
mod clock;
mod engine;
mod http;
mod payload;
mod procfs;
mod progress;
mod push;
mod report;
mod scenario;
mod server;
mod setup;
mod stats;
mod watch;

use std::process::ExitCode;

/// Everything was measured and nothing was lost, duplicated or disordered.
const EXIT_OK: u8 = 0;
/// The target failed, or messages were lost, duplicated or out of order.
const EXIT_FAILED: u8 = 1;
/// The command line was wrong; nothing was started.
const EXIT_USAGE: u8 = 2;

/// Runs `perseid bench` with the arguments that follow the word `bench`.
///
/// Exit status: 0 when all went well, 1 when something was lost, duplicated or
/// disordered or the target failed, 2 when the command line is wrong.
#[must_use]
// The signature that the program calls: it owns its arguments.
#[allow(clippy::needless_pass_by_value)]
pub fn run(args: Vec<String>) -> ExitCode {
    if args.first().is_some_and(|word| word == engine::WORKER_WORD) {
        return ExitCode::from(engine::worker_main());
    }
    let command = match cli::parse(&args) {
        Ok(command) => command,
        Err(error) => {
            // clap chooses the stream: help goes to stdout, errors to stderr.
            let _ = error.print();
            let usage = error.use_stderr();
            return ExitCode::from(if usage { EXIT_USAGE } else { EXIT_OK });
        }
    };
    let setup = match setup::Setup::new(command.common(), &args) {
        Ok(setup) => setup,
        Err(error) => {
            eprintln!("perseid bench: {error:#}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match scenario::run(&command, &setup).and_then(|report| report::publish(&report, &setup)) {
        Ok(true) => ExitCode::from(EXIT_OK),
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            eprintln!("perseid bench: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

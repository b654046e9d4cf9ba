//! The command line, as types. Nothing is done here.

mod api_token;
mod client;
mod server;
mod token;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use api_token::{ApiTokenArgs, ScopeWord};
pub use client::{ListenArgs, PushArgs, SendArgs, SessionArgs, Target};
pub use server::{CometArgs, ServerArgs};
pub use token::TokenArgs;

/// A long-connection IM gateway: comet, logic and job.
#[derive(Debug, Parser)]
#[command(
    name = "perseid",
    version,
    about = "A long-connection IM gateway",
    long_about = LONG_ABOUT,
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// Without a command: the options of the standalone.
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const LONG_ABOUT: &str = "\
A long-connection IM gateway. Clients hold TCP or WebSocket connections, businesses push
over HTTP, and the protocol is goim's, byte for byte.

Without a command the standalone starts: everything in one process.";

const EXAMPLES: &str = "\
Examples:
  perseid                                  start the standalone on loopback
  perseid listen --mid 7                   in a second terminal: be user 7
  perseid push --mid 7 'hello'             in a third: push to user 7

  perseid --config perseid.toml --set comet.heartbeat_ms=60000
  perseid config print --config perseid.toml
  kill -HUP PID                            read limits and log level again";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Comet, logic and job in one process, with an embedded log and store (the default)
    #[command(after_help = SERVER_HELP)]
    Standalone(ServerArgs),
    /// A comet alone: holds connections, beside a standalone that is logic and job
    #[command(after_help = SERVER_HELP)]
    Comet(CometArgs),
    /// Logic alone (not in this version)
    #[command(hide = true)]
    Logic(AnyArgs),
    /// Job alone (not in this version)
    #[command(hide = true)]
    Job(AnyArgs),
    /// Load generator and reports
    #[command(disable_help_flag = true)]
    Bench(BenchArgs),
    /// Push a message as a business does
    #[command(after_help = client::PUSH_EXAMPLES)]
    Push(PushArgs),
    /// Connect as a client and show what arrives
    #[command(after_help = client::LISTEN_EXAMPLES)]
    Listen(ListenArgs),
    /// Send one frame as a user and show the reply
    #[command(after_help = client::SEND_EXAMPLES)]
    Send(SendArgs),
    /// Sign a development token or check one; make a token for callers of the push API
    #[command(after_help = token::TOKEN_EXAMPLES)]
    Token(TokenArgs),
    /// Check, show and document the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what would hurt in production here: limits, clock, disk, certificates, configuration
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
}

const SERVER_HELP: &str = "\
When everything serves, one line of JSON goes to stdout; logs go to stderr.
SIGTERM and SIGINT end in order, a second one at once. SIGHUP reads limits and log level again.
Exit status: 0 after a signal, 1 if something can't be opened, 2 if the configuration is wrong.";

const DOCTOR_HELP: &str = "\
Looks at this machine as the server will find it, so run it as the server's user, with its options.
Writes and removes one small file in the data directory, to measure the disk; takes a second or two.
Exit status: 0, 1 if something fails.";

/// What to look at.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    /// How many sessions this machine is to hold [default: comet.sessions_max, else 10000]
    #[arg(long, value_name = "N")]
    pub sessions: Option<u64>,
    /// A further certificate to look at, a PEM file (repeatable, each with its --key)
    #[arg(long, value_name = "FILE")]
    pub certificate: Vec<PathBuf>,
    /// The key of the certificate at the same place
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// The options of the server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of the load generator, which has a command line of its own.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The scenario and its options; `perseid bench --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SCENARIO")]
    pub args: Vec<std::ffi::OsString>,
}

/// Arguments of a command that there is not.
#[derive(Debug, Args)]
pub struct AnyArgs {
    /// Whatever was said.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<std::ffi::OsString>,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether it is valid; every error at once otherwise (exit status 2)
    Check(ConfigArgs),
    /// Show the effective values and where each came from
    Print(ConfigArgs),
    /// Write the documentation of all keys
    Docs(DocsArgs),
}

/// The configuration to look at, given as to the server itself.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    /// The options of the server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Where the documentation goes.
#[derive(Debug, Args)]
pub struct DocsArgs {
    /// Write nothing; exit with 1 if the file is not what would be written
    #[arg(long)]
    pub check: bool,
    /// The file
    #[arg(long, value_name = "FILE", default_value = "docs/configuration.md")]
    pub output: PathBuf,
}

impl Cli {
    /// The command; none is the standalone.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Standalone(self.server))
    }
}

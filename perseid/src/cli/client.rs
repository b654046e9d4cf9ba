//! The options of `push`, `listen` and `send`: Perseid tried by hand.

use std::path::PathBuf;

use clap::Args;

pub(super) const PUSH_EXAMPLES: &str = "\
Examples:
  perseid push --mid 7 'hello'                       to every session of user 7
  perseid push --mid 7 --mid 8 --op 1001 'hello'     to two users, another operation
  perseid push --key web-1 --ttl-ms 5000 'hello'     to one session, within five seconds
  perseid push --mid 7 --store 'hello'               into the inbox of user 7, who may be offline
  perseid push --group 42 'hello'                    to a group or channel
  perseid push --room live://1 - < message.json      to a room, body from stdin
  perseid push --all --speed 2000 'maintenance at 4' to everyone, 2,000 sessions a second";

pub(super) const LISTEN_EXAMPLES: &str = "\
Examples:
  perseid listen --mid 7                             be user 7 until Ctrl-C
  perseid listen --token @token.jwt                  where the server asks for one
  perseid listen --mid 7 --extended --device phone   with what is stored, each message once for a device
  perseid listen --mid 7 --room live://1 --accepts 1000,1001
  perseid listen --ws ws://127.0.0.1:3102/sub --extended --json
  perseid listen --mid 7 --ws wss://localhost:3103/sub --ca cert.pem
  perseid listen --mid 7 --count 1 --timeout-ms 5000 wait for one message";

pub(super) const SEND_EXAMPLES: &str = "\
Examples:
  perseid send --mid 7 'hello'                       upstream to the business
  perseid send --mid 7 --to 8 'hello'                to user 8, whether or not he is there
  perseid send --mid 7 --group 42 'hello'            to a group that user 7 is in
  perseid send --mid 7 --op 12 live://2              change the room
  perseid send --ws 127.0.0.1:3102 --mid 7 - < body  body from stdin";

/// Arguments of `push`.
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// The body as text; `-` reads it from stdin
    #[arg(value_name = "BODY", required_unless_present = "base64", conflicts_with = "base64")]
    pub body: Option<String>,
    /// The body in base64
    #[arg(long, value_name = "BODY")]
    pub base64: Option<String>,
    /// The operation of the pushed frame; sessions get those they accept
    #[arg(long, value_name = "OP", default_value_t = 1000)]
    pub op: i32,
    /// Idempotency key: pushing again with the same one is answered, not repeated
    #[arg(long, value_name = "KEY")]
    pub id: Option<String>,
    /// Not delivered after this time
    #[arg(long, value_name = "MS")]
    pub ttl_ms: Option<u64>,
    /// With --all: sessions per second
    #[arg(long, value_name = "N", conflicts_with_all = ["mid", "key", "group", "room"])]
    pub speed: Option<u32>,
    /// With --mid: through the inbox, so that who is offline gets it later; to a group it always is
    #[arg(long, conflicts_with_all = ["key", "room", "all"])]
    pub store: bool,
    /// The sender's mid [default: the system]
    #[arg(long, value_name = "MID")]
    pub from: Option<u64>,
    /// Who is dropped first where not all can wait: high, normal or low
    #[arg(long, value_name = "WORD", value_parser = ["high", "normal", "low"])]
    pub priority: Option<String>,
    /// Takes the place of an earlier push to the same target with this key, where that waits; only what is not stored
    #[arg(long, value_name = "KEY", conflicts_with_all = ["store", "group"])]
    pub collapse: Option<String>,
    /// The push API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3111")]
    pub api: String,
    /// The API token, where one is needed; @FILE reads it from a file, so that it stands in no list of processes
    #[arg(long, value_name = "TOKEN|@FILE")]
    pub token: Option<String>,
    /// Print the answer as it came
    #[arg(long)]
    pub json: bool,
    /// To whom.
    #[command(flatten)]
    pub target: Target,
}

/// To whom a push goes: exactly one kind of target.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Target (exactly one kind)")]
pub struct Target {
    /// A user (repeatable)
    #[arg(long, value_name = "MID", allow_negative_numbers = true)]
    pub mid: Vec<i64>,
    /// A session, by its key (repeatable)
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
    /// The members of a group or channel, stored
    #[arg(long, value_name = "ID")]
    pub group: Option<u64>,
    /// Everyone in a room
    #[arg(long, value_name = "TYPE://ID")]
    pub room: Option<String>,
    /// Everyone
    #[arg(long)]
    pub all: bool,
}

/// How to connect and who to be.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Session")]
pub struct SessionArgs {
    /// Connect over TCP [default: 127.0.0.1:3101]
    #[arg(long, value_name = "ADDR", conflicts_with = "ws")]
    pub tcp: Option<String>,
    /// Connect over WebSocket: an address, or a URL like ws://127.0.0.1:3102/sub or wss://im.example.org/sub
    #[arg(long, value_name = "ADDR|URL")]
    pub ws: Option<String>,
    /// Connect over TCP behind TLS, by the name that the certificate has
    #[arg(long, value_name = "NAME:PORT", conflicts_with_all = ["tcp", "ws"])]
    pub tls: Option<String>,
    /// Trust these certificates (PEM) with --tls and wss:// [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The user; 0 is a guest
    #[arg(long, value_name = "MID", default_value_t = 0, allow_negative_numbers = true)]
    pub mid: i64,
    /// A token for a server that asks for one (`perseid token`); @FILE reads it from a file
    #[arg(long, value_name = "JWT|@FILE", default_value = "", hide_default_value = true)]
    pub token: String,
    /// The session's key; empty: the server makes one
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub key: String,
    /// The room to enter
    #[arg(long, value_name = "TYPE://ID", default_value = "", hide_default_value = true)]
    pub room: String,
    /// The operations to accept
    #[arg(long, value_name = "OP,…", value_delimiter = ',', default_value = "1000")]
    pub accepts: Vec<i32>,
    /// The platform to name
    #[arg(long, value_name = "NAME", default_value = "cli")]
    pub platform: String,
    /// Speak the extended protocol (version 2)
    #[arg(long)]
    pub extended: bool,
    /// With --extended: the device that acknowledges what it has stored [default: the platform]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub device: String,
}

impl SessionArgs {
    /// Where TCP clients connect unless told otherwise.
    pub const TCP_DEFAULT: &str = "127.0.0.1:3101";
}

/// Arguments of `listen`.
#[derive(Debug, Clone, Args)]
pub struct ListenArgs {
    /// Stop after this many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after this time; an error if --count was not reached
    #[arg(long, value_name = "MS")]
    pub timeout_ms: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How to connect and who to be.
    #[command(flatten)]
    pub session: SessionArgs,
}

/// Arguments of `send`.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// The operation of the frame
    #[arg(long, value_name = "OP", default_value_t = 4)]
    pub op: i32,
    /// The body as text; `-` reads it from stdin
    #[arg(value_name = "BODY")]
    pub body: String,
    /// A message to this user, stored; speaks the extended protocol
    #[arg(long, value_name = "MID", conflicts_with_all = ["group", "op"])]
    pub to: Option<u64>,
    /// A message to this group or channel, stored; speaks the extended protocol
    #[arg(long, value_name = "ID", conflicts_with = "op")]
    pub group: Option<u64>,
    /// With --to or --group: the id by which a repetition of the message is known [default: a random one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub cid: Option<u64>,
    /// How long to wait for the reply
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub timeout_ms: u64,
    /// Print the reply as JSON
    #[arg(long)]
    pub json: bool,
    /// How to connect and who to be.
    #[command(flatten)]
    pub session: SessionArgs,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
        let words = std::iter::once("perseid").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(Cli::into_command).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_standalone_needs_no_name() {
        for line in ["--tcp 127.0.0.1:0 --ws 127.0.0.1:0", "standalone --tcp 127.0.0.1:0 --ws 127.0.0.1:0"] {
            let Ok(Command::Standalone(args)) = parse(line) else {
                panic!("{line}");
            };
            assert_eq!((args.tcp.len(), args.ws.len()), (1, 1));
        }
        assert!(matches!(parse("--tls 127.0.0.1:0 --wss 127.0.0.1:0"), Ok(Command::Standalone(_))));
        assert!(matches!(parse(""), Ok(Command::Standalone(_))));
        for later in ["token", "--tsl 127.0.0.1:0"] {
            assert!(parse(later).is_err(), "{later}");
        }
        let Ok(Command::Comet(args)) = parse("comet --logic a:1,b:2 --logic c:3 --tcp 127.0.0.1:0") else { panic!() };
        assert_eq!(args.as_server_args().set, ["cluster.logics=a:1,b:2,c:3"]);
        for alone in ["logic", "job --whatever"] {
            assert!(matches!(parse(alone), Ok(Command::Logic(_) | Command::Job(_))), "{alone}");
        }
    }

    #[test]
    fn a_push_has_one_kind_of_target_and_one_body() {
        let Ok(Command::Push(args)) = parse("push --mid 7 --mid -8 hello --ttl-ms 5") else {
            panic!();
        };
        assert_eq!((args.target.mid, args.op, args.ttl_ms), (vec![7, -8], 1000, Some(5)));
        assert!(parse("push --all --speed 5 --base64 aGk=").is_ok());
        assert!(parse("push --room live://1 -").is_ok());
        let Ok(Command::Push(args)) = parse("push --group 4 --from 7 --priority low hello") else { panic!() };
        assert_eq!((args.target.group, args.from, args.priority.as_deref()), (Some(4), Some(7), Some("low")));
        assert!(parse("push --mid 7 --store hello").is_ok());
        let Ok(Command::Push(args)) = parse("push --mid 7 --token @file hello") else { panic!() };
        assert_eq!(args.token.as_deref(), Some("@file"));
        for wrong in [
            "push hello",
            "push --mid 7",
            "push --mid 7 --all hello",
            "push --mid 7 --base64 aGk= hello",
            "push --mid 7 --speed 5 hello",
            "push --mid x hello",
            "push --room live://1 --store hello",
            "push --mid 7 --group 4 hello",
            "push --group 4 --collapse x hello",
            "push --mid 7 --priority urgent hello",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_session_has_one_transport() {
        let Ok(Command::Listen(args)) = parse("listen --mid 7 --accepts 1000,1001 --count 2") else {
            panic!();
        };
        assert_eq!((args.session.accepts, args.count), (vec![1000, 1001], Some(2)));
        assert!(parse("listen --tcp 127.0.0.1:1 --ws 127.0.0.1:2").is_err());
        let Ok(Command::Send(args)) = parse("send --ws ws://127.0.0.1:2/sub --op 12 live://2") else {
            panic!();
        };
        assert_eq!((args.op, args.body.as_str()), (12, "live://2"));
        let Ok(Command::Send(args)) = parse("send --mid 7 --to 8 --cid 5 hello") else { panic!() };
        assert_eq!((args.to, args.group, args.cid), (Some(8), None, Some(5)));
        for wrong in ["send --mid 7", "send --to 8 --group 4 x", "send --to 8 --op 5 x", "send --to 8 --cid 0 x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_behind_bench_reaches_it() {
        for line in ["bench --help", "bench -h", "bench room --sessions 5 --version", "bench"] {
            let Ok(Command::Bench(bench)) = parse(line) else {
                panic!("{line}");
            };
            let words: Vec<_> = line.split_whitespace().skip(1).collect();
            assert_eq!(bench.args, words);
        }
    }
}

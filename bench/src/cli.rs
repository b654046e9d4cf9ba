//! The command line.

mod stored;

pub(crate) use stored::{Fill, Send, Storm, Sync};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use std::path::PathBuf;

/// Nothing larger is meant by anybody.
const SESSIONS_MAX: u64 = 200_000;
const RATE_MAX: f64 = 1_000_000.0;
const SECONDS_MAX: f64 = 3_600.0;

/// Reads the words after `bench`.
pub(crate) fn parse(args: &[String]) -> Result<Scenario, clap::Error> {
    let words = std::iter::once("perseid bench").chain(args.iter().map(String::as_str));
    Cli::try_parse_from(words).map(|cli| cli.scenario)
}

/// Load generator and reports
///
/// Measures a server from outside: sessions over TCP or WebSocket, pushes over
/// HTTP, CPU and memory from /proc. Every load is bounded and stops by itself.
/// Exit status: 0 all well; 1 messages were lost, duplicated or disordered, or
/// the target failed; 2 usage.
#[derive(Debug, Parser)]
#[command(name = "perseid bench", bin_name = "perseid bench", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Open sessions by a schedule: latency and CPU of connect, auth and join
    Connect(Connect),
    /// Let sessions stand idle: memory of each and CPU of their heartbeats
    Idle(Idle),
    /// Push to one room: deliveries, latency, order, CPU of each delivery
    Room(Room),
    /// Push to single users by HTTP: latency and CPU of each push
    Push(Push),
    /// Stored messages between extended sessions: replies, arrivals, echoes, order, CPU of each
    Send(Send),
    /// Sessions with many missed messages read their inboxes: time and CPU of each
    Sync(Sync),
    /// Many sessions come back at once and read what they missed, beside others that stay
    Storm(Storm),
    /// The cost of a bare loop of `send`, the floor of every fan-out
    Floor(Floor),
    /// The rows of the budget table, one after another
    All(All),
}

impl Scenario {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Connect(options) => &options.common,
            Self::Idle(options) => &options.common,
            Self::Room(options) => &options.common,
            Self::Push(options) => &options.common,
            Self::Send(options) => &options.common,
            Self::Sync(options) => &options.common,
            Self::Storm(options) => &options.common,
            Self::Floor(options) => &options.common,
            Self::All(options) => &options.common,
        }
    }

    pub(crate) fn common_mut(&mut self) -> &mut Common {
        match self {
            Self::Connect(options) => &mut options.common,
            Self::Idle(options) => &mut options.common,
            Self::Room(options) => &mut options.common,
            Self::Push(options) => &mut options.common,
            Self::Send(options) => &mut options.common,
            Self::Sync(options) => &mut options.common,
            Self::Storm(options) => &mut options.common,
            Self::Floor(options) => &mut options.common,
            Self::All(options) => &mut options.common,
        }
    }
}

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Address of the server's client port; repeatable [default: 127.0.0.1:3101, with --ws :3102]
    #[arg(long, value_name = "ADDR")]
    pub(crate) target: Vec<String>,
    /// Speak WebSocket (path /sub) instead of TCP
    #[arg(long)]
    pub(crate) ws: bool,
    /// Through TLS, every session with a whole handshake; --target names the TLS port [default with --ws: 127.0.0.1:3103].
    /// Certificates are not looked at, so this is for targets on this machine only
    #[arg(long, conflicts_with = "i_own_this_target")]
    pub(crate) tls: bool,
    /// Address of the WebSocket port when --target names the TCP port; repeatable
    #[arg(long, value_name = "ADDR")]
    pub(crate) ws_target: Vec<String>,
    /// The push API [default: http://127.0.0.1:3111]
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// Bearer token for the push API
    #[arg(long, value_name = "TOKEN")]
    pub(crate) api_token: Option<String>,
    /// Token that every session sends in AUTH
    #[arg(long, value_name = "TOKEN")]
    pub(crate) client_token: Option<String>,
    /// Process under test, for its CPU and memory; repeatable
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
    /// Start a standalone server for the run, with the arguments after --
    #[arg(long, conflicts_with_all = ["target", "ws_target", "api", "server_pid"])]
    pub(crate) spawn_server: bool,
    /// The program that --spawn-server starts [default: this one]
    #[arg(long, value_name = "FILE", requires = "spawn_server")]
    pub(crate) server_exe: Option<PathBuf>,
    /// Sessions to open [default: 5000; push and send 1000; sync 100; storm 10000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=SESSIONS_MAX))]
    pub(crate) sessions: Option<u64>,
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub(crate) duration: f64,
    /// Seconds of load before measuring
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    pub(crate) warmup: f64,
    /// User id of the first session
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = value_parser!(i64).range(1..1 << 53))]
    pub(crate) first_mid: i64,
    /// Child processes that hold the sessions; 0 = as many as are needed
    #[arg(long, value_name = "P", default_value = "0", value_parser = value_parser!(u64).range(0..=64))]
    pub(crate) processes: u64,
    /// Connect from 127.0.0.x, another x for each child process, also where one address would do
    #[arg(long)]
    pub(crate) spread_sources: bool,
    /// Sessions opened a second while preparing
    #[arg(long, value_name = "R", default_value = "4000", value_parser = rate)]
    pub(crate) open_rate: f64,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// No progress bar
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Allow a target that is not on this machine
    #[arg(long)]
    pub(crate) i_own_this_target: bool,
    /// Arguments for the server of --spawn-server
    #[arg(last = true, value_name = "SERVER ARGS")]
    pub(crate) server_args: Vec<String>,
}

/// `connect`
#[derive(Args, Clone, Debug)]
pub(crate) struct Connect {
    /// Sessions started a second, whether the earlier are answered or not
    #[arg(long, value_name = "R", default_value = "1000", value_parser = rate)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `idle`
#[derive(Args, Clone, Debug)]
pub(crate) struct Idle {
    /// Seconds between the heartbeats of a session
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pub(crate) heartbeat: f64,
    /// Extended sessions, each with an inbox that it has read
    #[arg(long)]
    pub(crate) extended: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `room`
#[derive(Args, Clone, Debug)]
pub(crate) struct Room {
    /// Messages pushed to the room a second
    #[arg(long, value_name = "R", default_value = "40", value_parser = rate)]
    pub(crate) rate: f64,
    /// Bytes of a message's body; with the header of 16 a frame
    #[arg(long, value_name = "BYTES", default_value = "24", value_parser = value_parser!(u32).range(24..=1 << 20))]
    pub(crate) size: u32,
    /// Search for the most deliveries a second with nothing lost
    #[arg(long, conflicts_with = "with_floor")]
    pub(crate) step: bool,
    /// Measure the floor in turn with the room, and their ratio
    #[arg(long)]
    pub(crate) with_floor: bool,
    /// Pairs of room and floor
    #[arg(long, value_name = "N", default_value = "5", value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) pairs: u32,
    /// Measure so many times and show the medians
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..=100), conflicts_with_all = ["step", "with_floor"])]
    pub(crate) repeat: u32,
    /// Sending threads of the floor: as many as the server has workers [default: cores]
    #[arg(long, value_name = "T", value_parser = value_parser!(u64).range(1..=64))]
    pub(crate) floor_threads: Option<u64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How a push names its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// POST /goim/push/mids
    Mids,
    /// POST /goim/push/keys
    Keys,
    /// POST /v1/messages
    V1,
}

/// `push`
#[derive(Args, Clone, Debug)]
pub(crate) struct Push {
    /// Pushes a second, dealt to the users in turn
    #[arg(long, value_name = "R", default_value = "1000", value_parser = rate)]
    pub(crate) rate: f64,
    /// Which API
    #[arg(long, value_enum, default_value = "mids")]
    pub(crate) by: By,
    /// Keep-alive connections to the API
    #[arg(long, value_name = "C", default_value = "8", value_parser = value_parser!(u64).range(1..=512))]
    pub(crate) connections: u64,
    /// Bytes of a message's body
    #[arg(long, value_name = "BYTES", default_value = "24", value_parser = value_parser!(u32).range(24..=1 << 20))]
    pub(crate) size: u32,
    /// Measure so many times and show the medians
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) repeat: u32,
    /// At the same time a room of N sessions receives R messages a second
    #[arg(long, value_name = "N,R", value_parser = beside)]
    pub(crate) beside_room: Option<(u64, f64)>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `floor`
#[derive(Args, Clone, Debug)]
pub(crate) struct Floor {
    /// Sending threads [default: cores]
    #[arg(long, value_name = "T", value_parser = value_parser!(u64).range(1..=64))]
    pub(crate) threads: Option<u64>,
    /// Bytes of the frame that each socket gets in a round
    #[arg(long, value_name = "BYTES", default_value = "40", value_parser = value_parser!(u32).range(40..=1 << 20))]
    pub(crate) frame_bytes: u32,
    /// Rounds a second
    #[arg(long, value_name = "R", default_value = "4", value_parser = rate)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `all`
#[derive(Args, Clone, Debug)]
pub(crate) struct All {
    /// Small counts: shows that everything works, measures nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only rows whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

fn bounded(text: &str, max: f64, unit: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= max => Ok(value),
        Ok(_) => Err(format!("must be above 0 and at most {max} {unit}")),
        Err(error) => Err(error.to_string()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    if text == "0" { Ok(0.0) } else { bounded(text, SECONDS_MAX, "seconds") }
}

fn rate(text: &str) -> Result<f64, String> {
    bounded(text, RATE_MAX, "a second")
}

fn beside(text: &str) -> Result<(u64, f64), String> {
    let (sessions, speed) = text.split_once(',').ok_or("two numbers with a comma: N,R")?;
    let sessions: u64 = sessions.trim().parse().map_err(|error| format!("{error}"))?;
    if sessions == 0 || sessions > SESSIONS_MAX {
        return Err(format!("1 to {SESSIONS_MAX} sessions"));
    }
    Ok((sessions, rate(speed.trim())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read(line: &str) -> Result<Scenario, clap::Error> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines() {
        let Ok(Scenario::Push(push)) = read("push --beside-room 15000,40 --by v1 -q") else {
            panic!("not a push");
        };
        assert_eq!(push.beside_room, Some((15_000, 40.0)));
        assert_eq!((push.by, push.common.quiet), (By::V1, true));
        let spawn = read("idle --spawn-server --sessions 10 -- --set a.b=1").unwrap();
        assert_eq!(spawn.common().server_args, ["--set", "a.b=1"]);
        for wrong in [
            "",
            "rooom",
            "room --rate -1",
            "room --rate 1e9",
            "room --size 10",
            "idle --sessions 0",
            "idle --sessions 999999999",
            "idle --duration 1e6",
            "push --beside-room 5",
            "send --size 70000",
            "send --pipeline 0",
            "send --step --repeat 2",
            "send --group 10 --peers 3",
            "send --group 501",
            "sync --page 201",
            "storm --idle 0",
            "idle --spawn-server --target 127.0.0.1:1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

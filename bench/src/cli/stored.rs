//! Options of the scenarios of stored messages.

use super::{Common, SESSIONS_MAX, rate, seconds};
use clap::{Args, value_parser};

/// `send`
#[derive(Args, Clone, Debug)]
pub(crate) struct Send {
    /// Messages a second, all sessions together, whether the earlier are answered or not
    #[arg(long, value_name = "R", default_value = "1000", value_parser = rate)]
    pub(crate) rate: f64,
    /// Bytes of a message's body
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = value_parser!(u32).range(24..=64 << 10))]
    pub(crate) size: u32,
    /// Peers to whom a session writes, chosen at random; 0 = all others
    #[arg(long, value_name = "N", default_value = "10", value_parser = value_parser!(u64).range(0..=SESSIONS_MAX))]
    pub(crate) peers: u64,
    /// Write to groups of N sessions each instead, made through the push API
    #[arg(long, value_name = "N", conflicts_with = "peers", value_parser = value_parser!(u64).range(2..=500))]
    pub(crate) group: Option<u64>,
    /// Messages that a session writes at once, without waiting for replies; they share a due time
    #[arg(long, value_name = "P", default_value = "1", value_parser = value_parser!(u64).range(1..=1000))]
    pub(crate) pipeline: u64,
    /// Search for the most messages a second, each answered, delivered and echoed
    #[arg(long)]
    pub(crate) step: bool,
    /// Measure so many times and show the medians
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..=100), conflicts_with = "step")]
    pub(crate) repeat: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How messages come into the inboxes of users who are away.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Fill {
    /// Sessions that write the messages
    #[arg(long, value_name = "N", default_value = "100", value_parser = value_parser!(u64).range(1..=SESSIONS_MAX))]
    pub(crate) writers: u64,
    /// Messages written a second while preparing
    #[arg(long, value_name = "R", default_value = "10000", value_parser = rate)]
    pub(crate) fill_rate: f64,
    /// Bytes of a message's body
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = value_parser!(u32).range(24..=64 << 10))]
    pub(crate) size: u32,
    /// Messages asked for with each SYNC
    #[arg(long, value_name = "N", default_value = "200", value_parser = value_parser!(u32).range(1..=200))]
    pub(crate) page: u32,
}

/// `sync`
#[derive(Args, Clone, Debug)]
pub(crate) struct Sync {
    /// Messages that each session has missed
    #[arg(long, value_name = "K", default_value = "1000", value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) messages: u64,
    /// Sessions that come back a second, whether the earlier are done or not
    #[arg(long, value_name = "R", default_value = "20", value_parser = rate)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) fill: Fill,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `storm`
#[derive(Args, Clone, Debug)]
pub(crate) struct Storm {
    /// Messages that each session has missed
    #[arg(long, value_name = "K", default_value = "10", value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) messages: u64,
    /// Sessions that stay and send heartbeats meanwhile
    #[arg(long, value_name = "N", default_value = "1000", value_parser = value_parser!(u64).range(1..=SESSIONS_MAX))]
    pub(crate) idle: u64,
    /// Seconds between the heartbeats of one that stays
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    pub(crate) heartbeat: f64,
    #[command(flatten)]
    pub(crate) fill: Fill,
    #[command(flatten)]
    pub(crate) common: Common,
}

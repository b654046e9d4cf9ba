//! The WebSocket side of comet as an echo server: each message comes back as it is. For the public conformance suite.
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use perseid_comet::link::{Answer, Connect, Connected, LogicLink, Refused, Renew, Renewed, Ticket, Upstream};
use perseid_comet::{Comet, Config};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, Refusal, SessionKey};

/// Echoes WebSocket messages at the path /sub until it is ended.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Nobody logs in here.
struct NoLogic;

impl LogicLink for NoLogic {
    fn connect(&self, _: &Connect<'_>, _: Ticket) -> Answer<Result<Connected, Refused>> {
        Answer::Now(Err(only_echoes()))
    }

    fn renew(&self, _: &Renew<'_>, _: Ticket) -> Answer<Result<Renewed, Refused>> {
        Answer::Now(Err(only_echoes()))
    }

    fn disconnect(&self, _: &SessionKey, _: i64, _: SessionAddr, _: Option<CloseReason>) {}

    fn receive(&self, _: &Upstream<'_>, _: Ticket) -> Answer<Result<(), Refusal>> {
        Answer::Now(Ok(()))
    }
}

fn only_echoes() -> Refused {
    Refused { reason: CloseReason::Unsupported, message: "this node only echoes".into(), retry_after_ms: None }
}

fn main() -> ExitCode {
    let config = Config {
        echo: true,
        ws: vec![Args::parse().listen],
        message_bytes_max: 64 << 20,
        fragments_max: u32::MAX,
        session_bytes_max: 1 << 30,
        node_bytes_max: 2 << 30,
        ..Config::default()
    };
    let comet = match Comet::start(config, Arc::new(NoLogic)) {
        Ok(comet) => comet,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", serde_json::json!({ "ready": true, "ws": comet.ws() }));
    while comet.is_healthy() {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    ExitCode::FAILURE
}

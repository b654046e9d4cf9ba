//! `perseid send`: one frame as a user, and the reply.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::connection::{Connection, Happened};
use super::listen::Printer;
use crate::cli::SendArgs;

/// Sends one frame and waits for its reply.
///
/// # Errors
/// No connection, no reply in time, or a session that ended.
pub fn run(args: &SendArgs) -> Result<ExitCode> {
    let body = body(&args.body)?;
    let deadline = Instant::now() + Duration::from_millis(args.timeout_ms);
    let mut connection = Connection::open(&args.session)?;
    let seq = connection.request(args.op, &body)?;
    loop {
        match connection.next(Some(deadline))? {
            Some(Happened::Reply(header, body)) if header.seq == seq => {
                Printer::new(args.json).frame("reply", &header, &body)?;
                let refused = header.op == perseid_protocol::op::ERROR;
                return Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
            // A heartbeat's reply is an answer, too, when that was asked.
            Some(Happened::Online(online)) if args.op == perseid_protocol::op::HEARTBEAT => {
                let json = serde_json::json!({ "event": "reply", "online": online });
                Printer::new(args.json).note(&json, &format!("{online} online in the room"))?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(Happened::Disconnect(json)) => bail!("the session ended: {}", String::from_utf8_lossy(&json)),
            Some(Happened::Closed(why)) => bail!("the session ended: {why}"),
            Some(_) => {}
            None => bail!("no reply within {} ms", args.timeout_ms),
        }
    }
}

/// The body of an argument: `-` is stdin.
pub(super) fn body(arg: &str) -> Result<Vec<u8>> {
    if arg != "-" {
        return Ok(arg.as_bytes().to_vec());
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    Ok(body)
}

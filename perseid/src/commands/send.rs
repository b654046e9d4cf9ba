//! `perseid send`: one frame as a user, and the reply.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use perseid_protocol::frame::{Extension, kind};
use perseid_protocol::op;

use super::connection::{Connection, Happened};
use super::printer::Printer;
use crate::cli::SendArgs;

/// Sends one frame and waits for its reply.
///
/// # Errors
/// No connection, no reply in time, or a session that ended.
pub fn run(args: &SendArgs) -> Result<ExitCode> {
    let body = body(&args.body)?;
    let deadline = Instant::now() + Duration::from_millis(args.timeout_ms);
    let ext = message(args)?;
    let mut session = args.session.clone();
    session.extended |= ext.is_some();
    let mut connection = Connection::open(&session)?;
    let seq = connection.request(args.op, ext.unwrap_or_default(), &body)?;
    loop {
        match connection.next(Some(deadline))? {
            Some(Happened::Reply(header, body)) if header.seq == seq => {
                Printer::new(args.json).frame("reply", &header, &body)?;
                let refused = header.op == op::ERROR;
                return Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
            // A heartbeat's reply is an answer, too, when that was asked.
            Some(Happened::Online(online)) if args.op == op::HEARTBEAT => {
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

/// The header of a message that is stored; `None`: it is another frame.
fn message(args: &SendArgs) -> Result<Option<Extension>> {
    let (kind, conv) = match (args.to, args.group) {
        (Some(mid), _) => (kind::DIRECT, mid),
        (None, Some(group)) => (kind::GROUP, group),
        (None, None) if args.cid.is_some() => bail!("--cid is for a message: say to whom with --to or --group"),
        (None, None) => return Ok(None),
    };
    let cid = args.cid.map_or_else(random, Ok)?;
    Ok(Some(Extension { kind, conv, cid, ..Extension::default() }))
}

/// Never 0, which is none.
fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the system has no random numbers")?;
    Ok(u64::from_be_bytes(bytes).max(1))
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

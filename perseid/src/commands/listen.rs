//! `perseid listen`: be a client and show what arrives.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use perseid_protocol::frame::Header;
use perseid_protocol::operation;
use serde_json::{Value, json};

use super::connection::{Connection, Happened};
use crate::cli::ListenArgs;

/// Listens until it has seen enough, until time is up, or until the session ends.
///
/// # Errors
/// No connection, or a session that was refused.
pub fn run(args: &ListenArgs) -> Result<ExitCode> {
    let deadline = args.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let mut connection = Connection::open(&args.session)?;
    let out = Printer::new(args.json);
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        match connection.next(deadline)? {
            None => return Ok(if args.count.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
            Some(Happened::Push(header, body)) => {
                seen += 1;
                out.frame("push", &header, &body)?;
            }
            Some(Happened::Reply(header, body)) => out.frame("reply", &header, &body)?,
            Some(Happened::Ready(reply)) => {
                let reply = serde_json::to_value(reply)?;
                out.note(&json!({ "event": "ready", "session": reply }), "connected; Ctrl-C ends")?;
            }
            Some(Happened::Online(online)) => {
                out.note(&json!({ "event": "online", "online": online }), &format!("heartbeat; {online} online in the room"))?;
            }
            Some(Happened::Disconnect(body)) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let detail = serde_json::from_slice(&body).unwrap_or(Value::String(text.clone()));
                out.note(&json!({ "event": "disconnect", "detail": detail }), &format!("told to leave: {text}"))?;
            }
            Some(Happened::Closed(why)) => {
                out.note(&json!({ "event": "closed", "reason": why }), &why)?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what happens: lines for people, or one JSON object a line.
pub(super) struct Printer {
    json: bool,
    colour: bool,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour }
    }

    /// A frame with its body.
    pub(super) fn frame(&self, event: &str, header: &Header, body: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(body).ok();
        if self.json {
            let mut line = json!({ "event": event, "op": header.op, "ver": header.ver, "seq": header.seq });
            if header.ext.id != 0 {
                line["id"] = header.ext.id.to_string().into();
                line["kind"] = header.ext.kind.into();
                line["from"] = header.ext.from.into();
            }
            match text {
                Some(text) => line["body"] = text.into(),
                None => line["body_base64"] = STANDARD.encode(body).into(),
            }
            return self.line(&line.to_string());
        }
        let (bold, dim, plain) = if self.colour { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let name = operation::name(header.op);
        let body = text.map_or_else(|| format!("{} bytes: {}", body.len(), hex(body)), printable);
        self.line(&format!("{dim}{} {event}{plain} {name} {} {bold}{body}{plain}", clock(), header.op))
    }

    /// Something that is no frame of the business; for people it goes to stderr.
    pub(super) fn note(&self, json: &Value, text: &str) -> Result<()> {
        if self.json {
            return self.line(&json.to_string());
        }
        eprintln!("{} {text}", clock());
        Ok(())
    }

    fn line(&self, line: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
        Ok(())
    }
}

/// A body can't play with the terminal.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() && c != '\t' { c.escape_default().collect() } else { vec![c] }).collect()
}

fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 64;
    let mut text: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN {
        text.push('…');
    }
    text
}

/// Time of day, UTC.
fn clock() -> String {
    let seconds = crate::clock::unix_ms() / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

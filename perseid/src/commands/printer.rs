//! What `listen` and `send` print.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use perseid_protocol::frame::{Extension, Header};
use perseid_protocol::operation;
use serde_json::{Value, json};

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
            put_fields(&mut line, &header.ext);
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

/// The extended fields that say something; ids are texts, as in all JSON.
fn put_fields(line: &mut Value, ext: &Extension) {
    if ext.id != 0 {
        line["id"] = ext.id.to_string().into();
        line["kind"] = ext.kind.into();
        line["from"] = ext.from.into();
    }
    for (name, value) in [("pos", ext.pos), ("conv", ext.conv), ("conv_pos", ext.conv_pos), ("flags", ext.flags.into())] {
        if value != 0 {
            line[name] = value.into();
        }
    }
    if ext.cid != 0 {
        line["cid"] = ext.cid.to_string().into();
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

//! `perseid listen`: be a client and show what arrives.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use perseid_protocol::frame::{Extension, Header, flag};
use perseid_protocol::op;
use serde_json::{Value, json};

use super::connection::{Connection, Happened};
use super::inbox::{Inbox, Page, Rule};
use super::printer::Printer;
use crate::cli::ListenArgs;

/// Listens until it has seen enough, until time is up, or until the session ends.
///
/// # Errors
/// No connection, or a session that was refused.
pub fn run(args: &ListenArgs) -> Result<ExitCode> {
    let deadline = args.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let connection = Connection::open(&args.session)?;
    let out = Printer::new(args.json);
    let mut listening = Listening { connection, out, inbox: None, seen: 0, count: args.count.unwrap_or(u64::MAX) };
    while !listening.is_enough() {
        match listening.connection.next(deadline)? {
            None if args.count.is_some() => return Ok(ExitCode::FAILURE),
            None => break,
            Some(Happened::Closed(why)) => {
                listening.out.note(&json!({ "event": "closed", "reason": why }), &why)?;
                return Ok(ExitCode::FAILURE);
            }
            Some(happened) => listening.take(happened)?,
        }
    }
    listening.take_leave()?;
    Ok(ExitCode::SUCCESS)
}

/// How long the last acknowledgement is waited for.
const LAST_ACK: Duration = Duration::from_secs(2);

/// A session, and what was seen of it.
struct Listening {
    connection: Connection,
    out: Printer,
    /// Of an extended session of a user.
    inbox: Option<Inbox>,
    seen: u64,
    count: u64,
}

impl Listening {
    const fn is_enough(&self) -> bool {
        self.seen >= self.count
    }

    fn take(&mut self, happened: Happened) -> Result<()> {
        match happened {
            Happened::Push(header, body) => self.pushed(&header, &body),
            Happened::Reply(header, body) => self.replied(&header, &body),
            Happened::Ready(reply) => {
                // A guest has no inbox.
                self.inbox = reply.as_ref().filter(|reply| reply.mid > 0).map(|reply| Inbox::at(reply.cursor));
                let reply = serde_json::to_value(reply)?;
                self.out.note(&json!({ "event": "ready", "session": reply }), "connected; Ctrl-C ends")?;
                if self.inbox.is_some() { self.sync() } else { Ok(()) }
            }
            Happened::Online(online) => {
                let text = format!("heartbeat; {online} online in the room");
                self.out.note(&json!({ "event": "online", "online": online }), &text)
            }
            Happened::Disconnect(body) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let detail = serde_json::from_slice(&body).unwrap_or(Value::String(text.clone()));
                self.out.note(&json!({ "event": "disconnect", "detail": detail }), &format!("told to leave: {text}"))
            }
            Happened::Closed(_) => Ok(()),
        }
    }

    fn pushed(&mut self, header: &Header, body: &[u8]) -> Result<()> {
        match self.inbox.as_mut().map_or(Rule::Show, |inbox| inbox.pushed(header)) {
            Rule::Show => self.show(header, body)?,
            Rule::Drop => return Ok(()),
            Rule::Ask => return self.sync(),
        }
        // A page is acknowledged as a whole.
        if header.ext.flags & flag::STORED != 0 { self.acknowledge().map(drop) } else { Ok(()) }
    }

    fn replied(&mut self, header: &Header, body: &[u8]) -> Result<()> {
        let Some(inbox) = self.inbox.as_mut().filter(|inbox| inbox.is_answer(header)) else {
            return if header.op == op::ACK_REPLY { Ok(()) } else { self.out.frame("reply", header, body) };
        };
        match inbox.answered(header, body)? {
            Page::Again => self.sync(),
            Page::None => {
                self.inbox = None;
                self.out.frame("reply", header, body)
            }
            Page::Messages { messages, more } => {
                for frame in &messages {
                    if self.is_enough() {
                        return Ok(());
                    }
                    self.show(&frame.header, frame.body)?;
                }
                if !messages.is_empty() {
                    self.acknowledge()?;
                }
                if more { self.sync() } else { Ok(()) }
            }
        }
    }

    /// Shows a message, and takes note of its place in the inbox. What is gone only has that.
    fn show(&mut self, header: &Header, body: &[u8]) -> Result<()> {
        let flags = header.ext.flags;
        if let Some(inbox) = self.inbox.as_mut().filter(|_| flags & flag::STORED != 0) {
            inbox.shown(header.ext.pos);
            if flags & flag::GONE != 0 {
                return Ok(());
            }
        }
        self.seen += 1;
        self.out.frame("push", header, body)
    }

    fn sync(&mut self) -> Result<()> {
        let Some(inbox) = &mut self.inbox else { return Ok(()) };
        let from = Extension { pos: inbox.cursor(), ..Extension::default() };
        inbox.asked(self.connection.request(op::SYNC, from, &[])?);
        Ok(())
    }

    /// What was shown is stored as far as this client is concerned.
    fn acknowledge(&mut self) -> Result<i32> {
        let pos = self.inbox.as_ref().map_or(0, Inbox::cursor);
        self.connection.request(op::ACK, Extension { pos, ..Extension::default() }, &[])
    }

    /// What was shown is not to be shown again: waits until the server knows it.
    fn take_leave(&mut self) -> Result<()> {
        if self.inbox.as_ref().is_none_or(|inbox| inbox.cursor() == 0) {
            return Ok(());
        }
        let (seq, deadline) = (self.acknowledge()?, Instant::now() + LAST_ACK);
        loop {
            match self.connection.next(Some(deadline))? {
                Some(Happened::Reply(header, _)) if header.seq == seq => return Ok(()),
                Some(Happened::Closed(_)) | None => return Ok(()),
                Some(_) => {}
            }
        }
    }
}

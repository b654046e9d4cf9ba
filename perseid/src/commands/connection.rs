//! A client's connection, blocking, over TCP or WebSocket, with TLS or without: for trying things by hand.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use perseid_protocol::CloseReason;
use perseid_protocol::auth::{AuthReply, AuthRequest};
use perseid_protocol::frame::{Extension, Header};
use perseid_protocol::session::client::{Event, Session};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use super::stream::Stream;
use crate::cli::SessionArgs;

/// How often a session on a terminal sends HEARTBEAT, ms: often enough for any proxy in between.
const HEARTBEAT_MS: u64 = 30_000;
/// How long connecting and AUTH may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Something that happened on a connection, owned.
#[derive(Debug)]
pub(super) enum Happened {
    Ready(Option<Box<AuthReply>>),
    Online(i32),
    Reply(Header, Vec<u8>),
    Push(Header, Vec<u8>),
    Disconnect(Vec<u8>),
    /// The connection has ended; why, as far as it is known.
    Closed(String),
}

enum Wire {
    Tcp { stream: Stream, input: Vec<u8> },
    WebSocket(Box<WebSocket<Stream>>),
}

/// A session with a server.
pub(super) struct Connection {
    wire: Wire,
    session: Session,
    started: Instant,
    happened: std::collections::VecDeque<Happened>,
}

impl Connection {
    /// Connects and sends AUTH; the first thing that happens then is [`Happened::Ready`], or the end.
    pub(super) fn open(args: &SessionArgs) -> Result<Self> {
        let ca = args.ca.as_deref();
        let wire = match (&args.ws, &args.tls) {
            (Some(target), _) => open_websocket(target, ca)?,
            (None, Some(addr)) => Wire::Tcp { stream: Stream::secure(addr, ca, CONNECT)?, input: Vec::new() },
            (None, None) => {
                let addr = args.tcp.as_deref().unwrap_or(SessionArgs::TCP_DEFAULT);
                Wire::Tcp { stream: Stream::plain(addr)?, input: Vec::new() }
            }
        };
        let session = Session::new(args.extended).with_heartbeat_ms(HEARTBEAT_MS);
        let mut connection = Self { wire, session, started: Instant::now(), happened: std::collections::VecDeque::new() };
        let request = AuthRequest {
            mid: args.mid,
            key: args.key.clone(),
            room_id: args.room.clone(),
            platform: args.platform.clone(),
            accepts: args.accepts.clone(),
            token: token(&args.token)?,
            device_id: args.device.clone(),
            ..AuthRequest::default()
        };
        let mut auth = Vec::new();
        connection.session.put_auth(&mut auth, &request);
        connection.write(&auth)?;
        match connection.next(Some(Instant::now() + CONNECT))? {
            Some(Happened::Ready(reply)) => connection.happened.push_front(Happened::Ready(reply)),
            Some(Happened::Disconnect(json)) => bail!("the server refused the session: {}", String::from_utf8_lossy(&json)),
            Some(Happened::Closed(why)) => bail!("the server refused the session: {why}"),
            Some(_) => bail!("the server answered AUTH with something else: is this the right port?"),
            None => bail!("the server did not answer AUTH within {} s", CONNECT.as_secs()),
        }
        Ok(connection)
    }

    /// Sends a request; gives the `seq` of its reply.
    pub(super) fn request(&mut self, op: i32, ext: Extension, body: &[u8]) -> Result<i32> {
        let mut frame = Vec::new();
        let seq = self.session.put_request(&mut frame, op, ext, body);
        self.write(&frame)?;
        Ok(seq)
    }

    /// The next thing that happens, heartbeats sent meanwhile; `None` when time is up.
    pub(super) fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Happened>> {
        loop {
            if let Some(happened) = self.happened.pop_front() {
                return Ok(Some(happened));
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(None);
            }
            let mut heartbeat = Vec::new();
            if !self.session.handle_timeout(self.now_ms(), &mut heartbeat) {
                return Ok(Some(Happened::Closed("the server has been silent for two heartbeats".to_owned())));
            }
            self.write(&heartbeat)?;
            let until_timeout = self.session.poll_timeout().saturating_sub(self.now_ms());
            let until_deadline = deadline.map_or(u64::MAX, |deadline| (deadline - now).as_millis() as u64);
            self.read(Duration::from_millis(until_timeout.min(until_deadline).clamp(1, 1000)))?;
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        if frame.is_empty() {
            return Ok(());
        }
        match &mut self.wire {
            Wire::Tcp { stream, .. } => stream.write_all(frame).context("the connection broke"),
            Wire::WebSocket(socket) => socket.send(Message::Binary(frame.to_vec().into())).context("the connection broke"),
        }
    }

    fn read(&mut self, timeout: Duration) -> Result<()> {
        let now_ms = self.now_ms();
        let (session, happened) = (&mut self.session, &mut self.happened);
        match &mut self.wire {
            Wire::Tcp { stream, input } => {
                stream.set_read_timeout(timeout)?;
                let mut buffer = [0; 64 * 1024];
                match stream.read(&mut buffer) {
                    Ok(0) => happened.push_back(Happened::Closed("the server closed the connection".to_owned())),
                    Ok(count) => {
                        input.extend_from_slice(&buffer[..count]);
                        let used = take_frames(session, input, now_ms, happened)?;
                        input.drain(..used);
                    }
                    Err(error) if is_timeout(&error) => {}
                    Err(error) => happened.push_back(Happened::Closed(error.to_string())),
                }
            }
            Wire::WebSocket(socket) => {
                socket.get_ref().set_read_timeout(timeout)?;
                match socket.read() {
                    Ok(Message::Binary(payload)) => {
                        take_frames(session, &payload, now_ms, happened)?;
                    }
                    Ok(Message::Close(frame)) => happened.push_back(Happened::Closed(match frame {
                        Some(frame) => describe_close(frame.code, &frame.reason),
                        None => "the server closed the WebSocket".to_owned(),
                    })),
                    Ok(_) => {}
                    Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {}
                    Err(error) => happened.push_back(Happened::Closed(error.to_string())),
                }
            }
        }
        Ok(())
    }
}

/// A token as it stands in the options: itself, or the file that it is in.
fn token(option: &str) -> Result<String> {
    let Some(path) = option.strip_prefix('@') else { return Ok(option.to_owned()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read the token in {path}"))?;
    Ok(text.trim().to_owned())
}

fn take_frames(
    session: &mut Session,
    input: &[u8],
    now_ms: u64,
    happened: &mut std::collections::VecDeque<Happened>,
) -> Result<usize> {
    let mut used = 0;
    while let Some(frame) =
        Session::decode(&input[used..]).context("the server sent what is no frame: is this the right port?")?
    {
        used += frame.len;
        session.handle_frame(&frame, now_ms, &mut |event| {
            happened.push_back(match event {
                Event::Ready(reply) => Happened::Ready(reply),
                Event::Online(online) => Happened::Online(online),
                Event::Reply { header, body } => Happened::Reply(header, body.to_vec()),
                Event::Push { header, body } => Happened::Push(header, body.to_vec()),
                Event::Disconnect(json) => Happened::Disconnect(json.to_vec()),
            });
        })?;
    }
    Ok(used)
}

fn describe_close(code: CloseCode, reason: &str) -> String {
    let code = u16::from(code);
    match CloseReason::from_code(code) {
        Some(known) => format!("closed by the server: {code} {} ({})", known.word(), known.advice()),
        None => format!("closed by the server: {code} {reason}"),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// `target` is an address, or a URL of which the path may be left out.
fn open_websocket(target: &str, ca: Option<&Path>) -> Result<Wire> {
    let (secure, rest) = match target.strip_prefix("wss://") {
        Some(rest) => (true, rest),
        None => (false, target.strip_prefix("ws://").unwrap_or(target)),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, "sub"));
    let path = if path.is_empty() { "sub" } else { path };
    let stream = if secure {
        // A URL may leave the port out.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let addr = if has_port { host.to_owned() } else { format!("{host}:443") };
        Stream::secure(&addr, ca, CONNECT)?
    } else {
        Stream::plain(host)?
    };
    stream.set_read_timeout(CONNECT)?;
    // Encrypted or not is the stream's affair.
    let (socket, _) = tungstenite::client(format!("ws://{host}/{path}"), stream)
        .map_err(|error| anyhow!("{host} did not accept the WebSocket: {error}"))?;
    Ok(Wire::WebSocket(Box::new(socket)))
}

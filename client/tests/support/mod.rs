//! A server of one log: everything that anybody sends stands in everybody's inbox. Over real sockets, and with the faults
//! that a test wants.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its own part

mod session;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use perseid_client::{Client, Config, Event, Events, Trusted};
use perseid_protocol::frame::{Extension, Header, put_extended};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

pub(crate) use wire::{ALL, Transport};

/// How long anything may take before a test gives up: far above what it takes, because machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A message as the log holds it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) from: u64,
    pub(crate) cid: u64,
    pub(crate) kind: u16,
    pub(crate) conv: u64,
    pub(crate) body: Bytes,
}

/// What the server holds and what it shall do wrong.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) log: Mutex<Vec<Stored>>,
    cids: Mutex<HashMap<(u64, u64), u64>>,
    live: Mutex<HashMap<u64, mpsc::UnboundedSender<Vec<u8>>>>,
    next_session: AtomicU64,
    /// Sends so many requests into each session, then cuts it; 0: never.
    pub(crate) requests_max: AtomicU64,
    /// Takes messages in, and neither answers nor pushes them.
    pub(crate) mute: AtomicBool,
    /// Ends each session after AUTH with this JSON, if it is not empty.
    pub(crate) farewell: Mutex<String>,
    /// What AUTH said, and the frames that came, by operation.
    pub(crate) auths: Mutex<Vec<serde_json::Value>>,
    pub(crate) requests: Mutex<Vec<(Header, Bytes)>>,
    /// Answers instead of the server's own, by the operation of the request.
    answers: Mutex<HashMap<i32, Answer>>,
}

/// Operation, fields and body of a reply.
type Answer = (i32, Extension, Vec<u8>);

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) state: Arc<State>,
    transport: Transport,
    cut: watch::Sender<u64>,
}

impl Server {
    pub(crate) async fn start(transport: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (cut, cuts) = watch::channel(0);
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (state, cuts) = (Arc::clone(&shared), cuts.clone());
                tokio::spawn(async move {
                    if let Some(wire) = wire::accept(tcp, transport).await {
                        session::serve(wire, state, cuts).await;
                    }
                });
            }
        });
        Self { addr, state, transport, cut }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", self.transport.scheme(), self.addr.port())
    }

    /// A client's configuration for this server.
    pub(crate) fn config(&self, mid: i64) -> Config {
        Config::new(&self.url(), mid).unwrap().device("test").trusted(Trusted::Pem(wire::certificate()))
    }

    /// Cuts all connections without a word.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.state.log.lock().unwrap()
    }

    /// Writes messages of the user 9 into the log, and pushes them.
    pub(crate) fn write(&self, bodies: impl IntoIterator<Item = String>) {
        for body in bodies {
            self.state.append(Stored { from: 9, cid: 0, kind: 2, conv: 77, body: body.into() });
        }
    }

    /// Pushes a frame to every session.
    pub(crate) fn push(&self, op: i32, ext: Extension, body: &[u8]) {
        self.state.push(&frame(op, 0, ext, body));
    }

    /// Whether a session is there.
    pub(crate) fn sessions(&self) -> usize {
        self.state.live.lock().unwrap().len()
    }

    /// What came with this operation.
    pub(crate) fn requests(&self, op: i32) -> Vec<(Header, Bytes)> {
        self.state.requests.lock().unwrap().iter().filter(|(header, _)| header.op == op).cloned().collect()
    }

    /// From now on requests with `op` are answered like this.
    pub(crate) fn answer(&self, op: i32, with: i32, ext: Extension, body: &[u8]) {
        self.state.answers.lock().unwrap().insert(op, (with, ext, body.to_vec()));
    }

    pub(crate) fn set_requests_max(&self, requests_max: u64) {
        self.state.requests_max.store(requests_max, Ordering::SeqCst);
    }
}

pub(crate) fn frame(op: i32, seq: i32, ext: Extension, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_extended(&mut out, &Header { ver: 2, op, seq, ext }, body);
    out
}

/// Starts a client.
pub(crate) async fn connect(config: Config) -> (Client, Events) {
    Client::connect(config).await.unwrap()
}

/// The next event for which `pick` gives something; the others are passed over.
pub(crate) async fn until<T>(events: &mut Events, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let mut seen = Vec::new();
    let waiting = async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("the events ended before: {what}"));
            if let Some(found) = pick(&event) {
                return found;
            }
            seen.push(event);
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("after {PATIENCE:?} still not: {what}; the last events were {:?}", seen.last()),
    }
}

/// The bodies of the next `count` messages, whose positions have to follow one another from `first`.
pub(crate) async fn messages(events: &mut Events, first: u64, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let message = until(events, "a message", |event| match event {
            Event::Message(message) => Some(message.clone()),
            Event::Skipped(skipped) => panic!("{skipped:?}"),
            _ => None,
        })
        .await;
        assert_eq!(message.at.pos, first + bodies.len() as u64, "each once and in order");
        bodies.push(String::from_utf8(message.body.to_vec()).unwrap());
    }
    bodies
}

/// Waits until `look` says so.
pub(crate) async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let waiting = async {
        while !look() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "after {PATIENCE:?} still not: {what}");
}

//! An HTTP server that receives events, and answers as it is told. Blocking, a thread for each connection.
#![allow(clippy::unwrap_used, dead_code, reason = "only tests use it, and each a part")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// So long that only a hang exceeds it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// A redirect to there.
    Redirect(String),
    /// Nothing, until the other side gives up.
    Hang,
    /// 200, and a body of so many bytes.
    Long(usize),
    /// Closes the connection.
    Close,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) signature: String,
    pub(crate) body: String,
    /// What was answered.
    pub(crate) reply: Reply,
}

impl Got {
    pub(crate) fn events(&self) -> Vec<Value> {
        serde_json::from_str::<Value>(&self.body).unwrap()["events"].as_array().unwrap().clone()
    }
}

type Rule = Box<dyn Fn(&Got) -> Reply + Send + Sync>;

struct Shared {
    rule: Mutex<Arc<Rule>>,
    got: Mutex<Vec<Got>>,
    more: Condvar,
    stop: AtomicBool,
}

pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn start(rule: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), rule)
    }

    /// Starts it at an address where another one may just have been.
    pub(crate) fn start_at(addr: SocketAddr, rule: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            rule: Mutex::new(Arc::new(Box::new(rule))),
            got: Mutex::default(),
            more: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(SeqCst) {
                    return;
                }
                let (stream, serving) = (stream.unwrap(), serving.clone());
                std::thread::spawn(move || serve(&stream, &serving));
            }
        });
        Self { addr, shared, thread: Some(thread) }
    }

    /// One that takes everything.
    pub(crate) fn taking() -> Self {
        Self::start(|_| Reply::Status(200))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub(crate) fn set(&self, rule: impl Fn(&Got) -> Reply + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(Box::new(rule));
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    /// Events that it took, without those that came before, in the order of their first coming.
    pub(crate) fn events(&self) -> Vec<Value> {
        taken(&self.shared.got.lock().unwrap())
    }

    /// Waits for requests.
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        let got = self.shared.got.lock().unwrap();
        let (got, timeout) = self.shared.more.wait_timeout_while(got, PATIENCE, |got| !enough(got)).unwrap();
        assert!(!timeout.timed_out(), "never: {what}; it got {got:#?}");
        got.clone()
    }

    /// Waits for so many different events that it took.
    pub(crate) fn wait_events(&self, count: usize) -> Vec<Value> {
        taken(&self.wait(&format!("{count} events"), |got| taken(got).len() >= count))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn taken(got: &[Got]) -> Vec<Value> {
    let mut seen = HashSet::new();
    let taken = got.iter().filter(|got| matches!(got.reply, Reply::Status(200..=299) | Reply::Long(_)));
    taken.flat_map(Got::events).filter(|event| seen.insert(event["id"].as_str().unwrap().to_owned())).collect()
}

fn serve(stream: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(mut got) = read(&mut reader) {
        if shared.stop.load(SeqCst) {
            return;
        }
        let rule = shared.rule.lock().unwrap().clone();
        got.reply = rule(&got);
        let reply = got.reply.clone();
        shared.got.lock().unwrap().push(got);
        let mut stream = stream;
        let written = match reply {
            Reply::Status(status) => write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\nsaid"),
            Reply::Redirect(to) => write!(stream, "HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"),
            Reply::Hang => {
                let _ = reader.read(&mut [0]);
                shared.more.notify_all();
                return;
            }
            Reply::Long(bytes) => write!(stream, "HTTP/1.1 200 X\r\nContent-Length: {bytes}\r\n\r\n")
                .and_then(|()| std::io::copy(&mut std::io::repeat(b'x').take(bytes as u64), &mut stream).map(drop)),
            Reply::Close => {
                shared.more.notify_all();
                return;
            }
        };
        shared.more.notify_all();
        if written.is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Got> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut signature) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "perseid-signature" => signature = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Got { path, signature, body: String::from_utf8(body).ok()?, reply: Reply::Close })
}

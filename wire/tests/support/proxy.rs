//! A TCP proxy between two parts: it can cut what is connected, stall it, and refuse what comes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::listen;

pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    connections: Mutex<Vec<TcpStream>>,
    stalled: AtomicBool,
    refusing: AtomicBool,
}

impl Proxy {
    /// To `target`, or to what [`Proxy::lead_to`] says later.
    pub(crate) fn start(target: Option<SocketAddr>) -> Self {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            connections: Mutex::default(),
            stalled: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let target = *accepting.target.lock().unwrap();
                let server = target.filter(|_| !accepting.refusing.load(SeqCst)).and_then(|at| TcpStream::connect(at).ok());
                let Some(server) = server else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                    accepting.connections.lock().unwrap().push(stream.try_clone().unwrap());
                }
                pump(client.try_clone().unwrap(), server.try_clone().unwrap(), accepting.clone());
                pump(server, client, accepting.clone());
            }
        });
        Self { addr, shared }
    }

    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = Some(target);
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether bytes are held back, both ways.
    pub(crate) fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, SeqCst);
    }

    /// Whether new connections are dropped at once.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            while shared.stalled.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

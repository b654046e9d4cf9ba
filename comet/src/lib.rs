//! Comet: holds client connections and writes pushes to them.
//!
//! ```text
//! lib        Comet: starts the workers, takes deliveries, answers what a node knows of itself
//! link       what a comet asks of logic (a trait that the standalone and a cluster implement)
//! worker/    one thread: commands · rooms · pushes to all · timers · accepting · reading · writing · ending
//! session slab wheel outbox gather     a session's slot, and what it has only while it needs it
//! unanswered                           requests about stored messages whose answers come later
//! room ring broadcast                  what many sessions get
//! net/       listeners, TLS, WebSocket codec, PROXY and X-Forwarded-For, whose pages may, three system calls
//! node       what the workers share: room directory, byte budget, mailboxes
//! admission bucket guest users         who is let in, how fast; what is known of those it is counted for
//! ```
//!
//! Invariant: a worker's sessions, rooms and timers are touched by that worker only. Other threads post commands.
//! Not here: who a user is, which sessions a push is for, what is stored.

mod accepts;
mod admission;
mod broadcast;
mod bucket;
mod budget;
pub mod config;
mod directory;
mod encoding;
mod gather;
mod guest;
pub mod link;
mod mailbox;
pub mod metrics;
pub mod net;
mod node;
mod outbox;
mod ring;
mod room;
mod session;
mod slab;
mod terms;
mod traced;
mod unanswered;
mod users;
mod wheel;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use perseid_protocol::CloseReason;
use perseid_protocol::push::{Delivery, Drop, SessionAddr, Target};
use perseid_protocol::trace::Spans;
use thiserror::Error;

pub use bucket::Rate;
pub use config::{Config, DoorConfig, LimitConfig, RoomConfig};
use link::LogicLink;
use mailbox::{Command, Mailbox};
use metrics::{Cell, WorkerMetrics};
pub use net::pages::{ForeignPages, Pages};
pub use net::tls::{CertificateFile, Certificates, CertificatesError, CertificatesOptions, MinVersion};
use node::Node;
use slab::Key;
use traced::Tracing;
use worker::{Listener, Worker};

/// Why a comet could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("can't listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There are TLS listeners, and nothing to show.
    #[error("can't listen for TLS on {0}: no certificate is given")]
    NoCertificate(SocketAddr),
    /// The system refused a thread or a poll.
    #[error("can't start a worker: {0}")]
    Worker(#[from] io::Error),
}

/// A running comet. Dropping it stops it.
#[derive(Debug)]
pub struct Comet {
    node: Arc<Node>,
    config: Arc<Config>,
    tcp: Vec<SocketAddr>,
    ws: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    wss: Vec<SocketAddr>,
    /// In use now: a reload changes them.
    certificates: Mutex<Option<Certificates>>,
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
    spans: OnceLock<Arc<dyn Spans>>,
}

impl Comet {
    /// Binds the listeners and starts the workers; when it returns, clients are served.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub fn start(config: Config, link: Arc<dyn LogicLink>) -> Result<Self, StartError> {
        let workers = config.workers.clamp(1, config::WORKERS_MAX);
        let config = Arc::new(config);
        let node = Arc::new(Node::new(config.node_bytes_max));
        let mut listeners: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        if let (None, Some(addr)) = (&config.certificates, config.tls.iter().chain(&config.wss).next()) {
            return Err(StartError::NoCertificate(*addr));
        }
        let mut bind = |addrs: &[SocketAddr], websocket, tls| -> Result<Vec<SocketAddr>, StartError> {
            let mut bound = Vec::new();
            for &addr in addrs {
                let (at, sockets) = net::listener::bind(addr, workers).map_err(|source| StartError::Bind { addr, source })?;
                bound.push(at);
                for (worker, socket) in listeners.iter_mut().zip(sockets) {
                    worker.push(Listener { socket, websocket, tls });
                }
            }
            Ok(bound)
        };
        let tcp = bind(&config.tcp, false, false)?;
        let ws = bind(&config.ws, true, false)?;
        let tls = bind(&config.tls, false, true)?;
        let wss = bind(&config.wss, true, true)?;
        let workers: Vec<Worker> = listeners
            .into_iter()
            .zip(0..)
            .map(|(listeners, index)| Worker::new(index, node.clone(), config.clone(), link.clone(), listeners))
            .collect::<io::Result<_>>()?;
        // Set once, here; nobody else has the node yet.
        let _ = node.mailboxes.set(workers.iter().map(Worker::mailbox).collect());
        let _ = node.workers.set(workers.iter().map(Worker::metrics).collect());
        // From here on an error drops the comet, which stops the workers that run already.
        let certificates = Mutex::new(config.certificates.clone());
        let (threads, spans) = (Mutex::default(), OnceLock::new());
        let comet = Self { node, config, tcp, ws, tls, wss, certificates, threads, spans };
        for (index, worker) in workers.into_iter().enumerate() {
            let thread = std::thread::Builder::new().name(format!("comet-{index}")).spawn(move || worker.run())?;
            comet.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(comet)
    }

    /// Tells `spans` what is done for pushes that are sampled, from now on. The first call counts.
    pub fn trace(&self, spans: Arc<dyn Spans>) {
        let _ = self.spans.set(spans);
    }

    /// TCP addresses as bound.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// WebSocket addresses as bound.
    pub fn ws(&self) -> &[SocketAddr] {
        &self.ws
    }

    /// TLS addresses as bound.
    pub fn tls(&self) -> &[SocketAddr] {
        &self.tls
    }

    /// WebSocket-over-TLS addresses as bound.
    pub fn wss(&self) -> &[SocketAddr] {
        &self.wss
    }

    /// The certificates that new connections are shown.
    pub fn certificates(&self) -> Vec<CertificateFile> {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.as_ref().map(|certificates| certificates.files().to_vec()).unwrap_or_default()
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn mailboxes(&self) -> &[Mailbox] {
        self.node.mailboxes.get().map_or(&[], Vec::as_slice)
    }

    /// Hands pushes to the workers, in order, with one wake-up for each worker. Never waits. What can't be handed over is
    /// counted.
    pub fn deliver(&self, batch: Vec<Delivery>) {
        let mailboxes = self.mailboxes();
        let mut commands: Vec<Vec<Command>> = mailboxes.iter().map(|_| Vec::new()).collect();
        let mut tracing = Tracing::new(self.spans.get());
        for Delivery { target, push } in batch {
            let traced = tracing.of(&push);
            match target {
                Target::Session(addr) => {
                    match self.place_of(addr).and_then(|key| Some((key, commands.get_mut(usize::from(addr.worker))?))) {
                        Some((session, commands)) => commands.push(Command::Direct { session, push, traced }),
                        None => self.node.drop_pushes(Drop::Offline, 1),
                    }
                }
                Target::Inbox { session: addr, pos, conv } => {
                    match self.place_of(addr).and_then(|key| Some((key, commands.get_mut(usize::from(addr.worker))?))) {
                        Some((session, commands)) => commands.push(Command::Inbox { session, push, pos, conv, traced }),
                        None => self.node.drop_pushes(Drop::Offline, 1),
                    }
                }
                Target::End(addr, reason) => {
                    if let Some(session) = self.place_of(addr)
                        && let Some(commands) = commands.get_mut(usize::from(addr.worker))
                    {
                        commands.push(Command::End { session, reason, message: None });
                    }
                }
                Target::Room(room) => {
                    let holders = self.node.rooms.workers(&room);
                    for (index, commands) in commands.iter_mut().enumerate() {
                        if holders >> index & 1 == 1 {
                            commands.push(Command::Room { room: room.clone(), push: push.clone(), traced: traced.clone() });
                        }
                    }
                }
                Target::All { speed } => {
                    let share = speed.div_ceil(u32::try_from(mailboxes.len()).unwrap_or(1).max(1));
                    for commands in &mut commands {
                        commands.push(Command::All { push: push.clone(), speed: share, traced: traced.clone() });
                    }
                }
            }
        }
        for (mailbox, mut commands) in mailboxes.iter().zip(commands) {
            if !commands.is_empty() {
                let refused = mailbox.post_pushes(&mut commands);
                self.node.drop_pushes(Drop::Slow, refused as u64);
            }
        }
    }

    /// Wakes the workers for which something was posted quietly.
    pub fn wake(&self) {
        self.mailboxes().iter().for_each(Mailbox::wake);
    }

    /// The slot of an address, if it is of this node in this life.
    fn place_of(&self, addr: SessionAddr) -> Option<Key> {
        let here = (addr.node, addr.incarnation) == (self.config.node, self.config.incarnation);
        here.then_some(Key { slot: addr.slot, generation: addr.generation })
    }

    /// Ends a session.
    pub fn end_session(&self, addr: SessionAddr, reason: CloseReason, message: Option<&str>) {
        if let Some(session) = self.place_of(addr)
            && let Some(mailbox) = self.mailboxes().get(usize::from(addr.worker))
        {
            mailbox.post(Command::End { session, reason, message: message.map(Into::into) });
        }
    }

    /// Goes on with another configuration: timeouts and limits count from now on, certificates for new connections;
    /// listeners, workers and what a node may hold in all stay as they were started.
    pub fn reload(&self, config: Config) {
        let config = Arc::new(config);
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = config.certificates.clone();
        for mailbox in self.mailboxes() {
            mailbox.post(Command::Reload(config.clone()));
        }
    }

    /// Takes no new sessions and tells those that are there to leave, `per_second` of them a second.
    pub fn drain(&self, per_second: u32, retry_after_ms: u64) {
        let share = per_second.div_ceil(u32::try_from(self.mailboxes().len()).unwrap_or(1).max(1));
        for mailbox in self.mailboxes() {
            mailbox.post(Command::Drain { per_second: share.max(1), retry_after_ms });
        }
    }

    /// Ends every connection and the workers; returns when they have ended.
    pub fn stop(&self) {
        for mailbox in self.mailboxes() {
            mailbox.post(Command::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a worker failed"),
                Err(_) => tracing::error!("a worker panicked"),
            }
        }
    }

    /// Whether every worker runs.
    pub fn is_healthy(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        !threads.is_empty() && threads.iter().all(|thread| !thread.is_finished())
    }

    /// What each worker counts.
    pub fn workers(&self) -> &[Arc<WorkerMetrics>] {
        self.node.workers.get().map_or(&[], Vec::as_slice)
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.node.connections()
    }

    /// Sessions past AUTH now.
    pub fn sessions(&self) -> u64 {
        self.workers().iter().flat_map(|metrics| metrics.sessions.iter()).map(Cell::get).sum()
    }

    /// Pushes dropped before a worker had them, by [`Drop`].
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.node.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// Bytes that wait for sessions, or are half read.
    pub fn queued_bytes(&self) -> u64 {
        self.node.budget.used() as u64
    }

    /// People online in a room.
    pub fn room_online(&self, room: &str) -> u64 {
        self.node.rooms.online(room)
    }

    /// Rooms with somebody in them.
    pub fn room_count(&self) -> usize {
        self.node.rooms.len()
    }

    /// Every room with the people online in it, in no order.
    pub fn rooms(&self) -> Vec<(Arc<str>, u64)> {
        self.node.rooms.all()
    }

    /// Whether somebody is in a room.
    pub fn holds_room(&self, room: &str) -> bool {
        self.node.rooms.workers(room) != 0
    }

    /// Notes how many people are in a room on other nodes: HEARTBEAT's answer counts them. Forgotten when the room empties.
    pub fn set_online_elsewhere(&self, room: &str, count: u64) {
        self.node.rooms.set_elsewhere(room, count);
    }

    /// The fullest rooms (id, people online), fullest first; of one type, or of all.
    pub fn top_rooms(&self, kind: Option<&str>, limit: usize) -> Vec<(String, u64)> {
        self.node.rooms.top(kind, limit)
    }
}

impl std::ops::Drop for Comet {
    fn drop(&mut self) {
        self.stop();
    }
}

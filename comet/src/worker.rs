//! A worker: one thread, one poll, its own sessions, rooms and timers, no lock on the way of a push.
//!
//! ```text
//! loop: commands from other threads, in order (what they have for one session is written at their end, at once)
//!       one slice of one room's pass · one slice of a push to all
//!       deadlines that came round
//!       poll: 0 while something is runnable, else until the next deadline
//!       accept · read · write on
//! ```
//!
//! Invariants:
//! - a session's socket is full (or ciphertext waits for it) ⇔ its slot has an outbox ⇔ its member entry (if it is in a room) says `blocked`;
//! - while an outbox holds bytes, its session's cursor in the room's ring stands between two frames;
//! - whatever is written to a session is written in order of arrival: frames of its room, pushes to all, its own.

mod auth;
mod broadcasts;
mod commands;
mod ending;
mod entering;
mod frames;
mod gathered;
mod inbox;
mod joining;
mod lagging;
mod queueing;
mod rates;
mod reading;
mod rooms;
mod secure;
mod stored;
mod timers;
mod writing;

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use perseid_protocol::push::SessionAddr;

use crate::accepts::Interner;
use crate::broadcast::Broadcasts;
use crate::config::Config;
use crate::gather::{Gather, Gathers};
use crate::link::LogicLink;
use crate::mailbox::{Command, Mailbox};
use crate::metrics::WorkerMetrics;
use crate::node::Node;
use crate::room::Room;
use crate::session::Slot;
use crate::slab::{Key, Slab};
use crate::wheel::Wheel;

/// Token of the waker; listeners follow. Sessions' tokens are larger: their generation is never 0.
const WAKER: Token = Token(0);
const FIRST_LISTENER: usize = 1;

/// Bytes read from a socket at a time, into a buffer that all sessions of the worker share.
const READ_BYTES: usize = 64 * 1024;
/// Reads of one session before others get their turn.
const READS_PER_TURN: usize = 4;
/// Connections accepted before others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Pause of a listener after an error, ms.
const ACCEPT_PAUSE_MS: u64 = 100;

/// One listening socket of a worker.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: mio::net::TcpListener,
    pub(crate) websocket: bool,
    pub(crate) tls: bool,
}

/// What everything in a worker needs and nothing changes, and the time of this turn.
pub(crate) struct Env {
    pub(crate) node: Arc<Node>,
    pub(crate) config: Arc<Config>,
    pub(crate) link: Arc<dyn LogicLink>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) worker: u16,
    /// Worker time: ms since it started.
    pub(crate) now_ms: u64,
}

impl Env {
    pub(crate) fn addr(&self, key: Key) -> SessionAddr {
        SessionAddr {
            node: self.config.node,
            incarnation: self.config.incarnation,
            worker: self.worker,
            slot: key.slot,
            generation: key.generation,
        }
    }
}

/// What names a session in the poll.
fn token(key: Key) -> Token {
    Token((key.generation as usize) << 32 | key.slot as usize)
}

pub(crate) struct Worker {
    env: Env,
    started: Instant,
    poll: Poll,
    mailbox: Mailbox,
    listeners: Vec<Listener>,
    /// Listeners that may have more connections, or that wait out an error until a time (ms).
    accept_more: Vec<(usize, u64)>,
    sessions: Slab<Slot>,
    accepts: Interner,
    rooms: Vec<Option<Room>>,
    rooms_free: Vec<u32>,
    rooms_by_name: HashMap<Arc<str>, u32>,
    /// Rooms with something to write, in turn.
    rooms_ready: VecDeque<u32>,
    /// Rooms that rest: (due µs, room), nearest first.
    rooms_resting: BinaryHeap<std::cmp::Reverse<(u64, u32)>>,
    broadcasts: Broadcasts,
    wheel: Wheel,
    due: Vec<(u64, Key)>,
    /// Counts pushes as they arrive.
    arrivals: u64,
    read_buffer: Vec<u8>,
    /// Plaintext of what was just read, and ciphertext of what is being written: of one session after the other.
    plain: Vec<u8>,
    scratch: Vec<u8>,
    read_more: Vec<Key>,
    replies: Gather,
    gather: Gather,
    /// Empty but while a batch of commands is taken.
    gathers: Gathers,
    catch_up: inbox::CatchUp,
    /// Counts requests about stored messages.
    requests_asked: u32,
    /// Sessions whose connection failed while their room was being written to.
    broken: Vec<Key>,
    /// The same, and those whose socket was found full (`true`), until the slice has ended.
    broken_or_full: Vec<(Key, bool)>,
    /// Sessions too far behind in their rooms, whose outboxes are to decide what goes.
    lagging: Vec<Key>,
    drain: Option<ending::Drain>,
    stopping: bool,
    /// Most sessions since memory was last given back.
    peak_sessions: usize,
    /// Looked at once a second: giving back is dear.
    memory_looked_at_s: u64,
}

impl Worker {
    pub(crate) fn new(
        worker: u16,
        node: Arc<Node>,
        config: Arc<Config>,
        link: Arc<dyn LogicLink>,
        listeners: Vec<Listener>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mailbox = Mailbox::new(waker, config.mailbox_bytes_max);
        let metrics = Arc::new(WorkerMetrics::default());
        Ok(Self {
            env: Env { node, config, link, metrics, worker, now_ms: 0 },
            started: Instant::now(),
            poll,
            mailbox,
            listeners,
            accept_more: Vec::new(),
            sessions: Slab::default(),
            accepts: Interner::default(),
            rooms: Vec::new(),
            rooms_free: Vec::new(),
            rooms_by_name: HashMap::new(),
            rooms_ready: VecDeque::new(),
            rooms_resting: BinaryHeap::new(),
            broadcasts: Broadcasts::default(),
            wheel: Wheel::new(),
            due: Vec::new(),
            arrivals: 0,
            read_buffer: vec![0; READ_BYTES],
            plain: Vec::new(),
            scratch: Vec::new(),
            read_more: Vec::new(),
            replies: Gather::default(),
            gather: Gather::default(),
            gathers: Gathers::default(),
            catch_up: inbox::CatchUp::default(),
            requests_asked: 0,
            broken: Vec::new(),
            broken_or_full: Vec::new(),
            lagging: Vec::new(),
            drain: None,
            stopping: false,
            peak_sessions: 0,
            memory_looked_at_s: 0,
        })
    }

    pub(crate) fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    pub(crate) fn metrics(&self) -> Arc<WorkerMetrics> {
        Arc::clone(&self.env.metrics)
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            self.poll.registry().register(&mut listener.socket, Token(FIRST_LISTENER + index), Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(1024);
        let mut commands = Vec::new();
        loop {
            self.look_at_clock();
            self.take_commands(&mut commands);
            if self.stopping {
                break; // before the poll, which nothing may ever end
            }
            let busy = self.run_room_slice() | self.run_broadcast_slice() | self.run_catch_up_slice();
            self.run_timers();
            self.end_broken();
            if busy {
                // The HTTP thread, the log and the clients want these cores, too; without this a push to one user
                // waits for the scheduler.
                std::thread::yield_now();
            }
            match self.poll.poll(&mut events, self.poll_timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.look_at_clock();
            for event in &events {
                self.handle_event(event);
            }
            self.go_on_accepting();
            self.go_on_reading();
        }
        self.remove_all();
        Ok(())
    }

    fn look_at_clock(&mut self) {
        self.env.now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn poll_timeout(&self) -> Option<Duration> {
        if !self.rooms_ready.is_empty() || !self.read_more.is_empty() || self.mailbox.is_pending() || self.catch_up.is_under_way()
        {
            return Some(Duration::ZERO);
        }
        let now_ms = self.env.now_ms;
        let resting = self.rooms_resting.peek().map(|rest| rest.0.0.saturating_sub(self.now_us()));
        let in_ms = [
            self.wheel.poll_timeout().map(|at| at.saturating_sub(now_ms)),
            self.broadcasts.poll_timeout(now_ms),
            self.accept_more.iter().map(|(_, at)| at.saturating_sub(now_ms)).min(),
            self.drain.as_ref().map(|_| ending::DRAIN_STEP_MS),
        ];
        let in_us = in_ms.into_iter().flatten().map(|ms| ms.saturating_mul(1000)).chain(resting);
        in_us.min().map(Duration::from_micros)
    }

    fn take_commands(&mut self, commands: &mut Vec<Command>) {
        if !self.mailbox.is_pending() {
            return;
        }
        self.mailbox.take(commands);
        if self.mailbox.take_lost_inbox() {
            self.catch_up.begin();
        }
        for command in commands.drain(..) {
            self.handle_command(command);
            if self.gathers.is_full() {
                self.flush_gathers();
            }
        }
        self.flush_gathers();
        if commands.capacity() > 4096 {
            *commands = Vec::new();
        }
    }

    fn handle_event(&mut self, event: &mio::event::Event) {
        let token = event.token();
        if token == WAKER {
            return;
        }
        let generation = (token.0 >> 32) as u32;
        if generation == 0 {
            let index = token.0 - FIRST_LISTENER;
            // One that waits out an error, or its turn, is not to be asked twice.
            if self.accept_more.iter().all(|(waiting, _)| *waiting != index) {
                self.accept(index);
            }
            return;
        }
        let key = Key { slot: token.0 as u32, generation };
        if event.is_writable() {
            self.handle_writable(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(key, event.is_read_closed());
        }
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(index) else { return };
            let (websocket, tls) = (listener.websocket, listener.tls);
            match listener.socket.accept() {
                Ok((stream, peer)) => self.open(stream, peer, websocket, tls),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The peer has gone before we looked: nothing to do with the listener.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of descriptors or memory: pause, never give up the listener.
                    self.env.metrics.accept_errors.inc();
                    if self.env.node.accept_log.allow() {
                        tracing::warn!(%error, "accepting failed; the listener pauses for {ACCEPT_PAUSE_MS} ms");
                    }
                    self.accept_more.push((index, self.env.now_ms + ACCEPT_PAUSE_MS));
                    return;
                }
            }
        }
        self.accept_more.push((index, self.env.now_ms));
    }

    fn go_on_accepting(&mut self) {
        if self.accept_more.is_empty() {
            return;
        }
        let now_ms = self.env.now_ms;
        let (due, later) = std::mem::take(&mut self.accept_more).into_iter().partition(|(_, at)| *at <= now_ms);
        self.accept_more = later;
        let due: Vec<(usize, u64)> = due;
        for (index, _) in due {
            self.accept(index);
        }
    }

    /// The session has work at `deadline_ms`, perhaps earlier than it is looked at anyway.
    fn arm(&mut self, key: Key, deadline_ms: u64) {
        let tick = self.wheel.tick_of(deadline_ms);
        if let Some(slot) = self.sessions.get_mut(key)
            && tick < u64::from(slot.wheel_tick)
        {
            slot.wheel_tick = tick as u32;
            self.wheel.insert(tick, key);
        }
    }
}

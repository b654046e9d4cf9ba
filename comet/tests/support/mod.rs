//! A comet on free ports with a fake logic, and small blocking clients for both transports.
#![allow(dead_code, unused_imports, clippy::unwrap_used)] // each test uses its part

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod logic;
pub(crate) mod stored;
pub(crate) mod stream;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use perseid_comet::metrics::{Cell, WorkerMetrics};
use perseid_comet::{Comet, Config};
use perseid_protocol::CloseReason;
use perseid_protocol::push::{Delivery, Drop, Push, SessionAddr, Target, room_push};

use socket2::Socket;

pub(crate) use client::{Client, Event, Got};
pub(crate) use logic::{Auth, FakeLogic};

/// Whether everything goes through TLS: `secure.rs` has the other tests once more, as modules of its own.
pub(crate) const SECURE: bool = {
    let (path, name) = (module_path!().as_bytes(), b"secure::");
    let mut at = 0;
    while at < name.len() && path[at] == name[at] {
        at += 1;
    }
    at == name.len()
};

/// Far more than anything takes; only a hang gets here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) websocket: bool,
    pub(crate) extended: bool,
}

pub(crate) const TCP: Wire = Wire { websocket: false, extended: false };
pub(crate) const WS: Wire = Wire { websocket: true, extended: false };
pub(crate) const TCP_EXTENDED: Wire = Wire { websocket: false, extended: true };
pub(crate) const WS_EXTENDED: Wire = Wire { websocket: true, extended: true };
pub(crate) const WIRES: [Wire; 4] = [TCP, WS, TCP_EXTENDED, WS_EXTENDED];
pub(crate) const CLASSIC: [Wire; 2] = [TCP, WS];
pub(crate) const EXTENDED: [Wire; 2] = [TCP_EXTENDED, WS_EXTENDED];

/// A comet and the logic behind it.
pub(crate) struct TestComet {
    pub(crate) comet: Comet,
    pub(crate) logic: Arc<FakeLogic>,
}

/// Makes the send buffers of all sessions to come as small as they get, so that sockets fill, and frames are torn, all the
/// time. A comet has no such setting: its listening sockets are looked up among this process's own.
fn narrow_listeners(addrs: &[SocketAddr]) {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let fd = entry.unwrap().file_name().to_string_lossy().parse().unwrap();
        // Other tests open and close theirs meanwhile.
        let Ok(copy) = pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()) else { continue };
        let socket = Socket::from(copy);
        let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        if socket.is_listener().unwrap_or(false) && addr.is_some_and(|addr| addrs.contains(&addr)) {
            socket.set_send_buffer_size(4096).unwrap();
        }
    }
}

/// One worker, loopback, free ports.
pub(crate) fn config() -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = Config { node_id: "test".into(), node: 3, incarnation: 7, ..Config::default() };
    if SECURE {
        Config { tls: vec![any], wss: vec![any], certificates: Some(certificates::localhost()), ..config }
    } else {
        Config { tcp: vec![any], ws: vec![any], ..config }
    }
}

impl TestComet {
    pub(crate) fn start(config: Config) -> Self {
        let logic = Arc::new(FakeLogic::default());
        Self { comet: Comet::start(config, logic.clone()).unwrap(), logic }
    }

    /// The same with the smallest send buffers.
    pub(crate) fn start_narrow(config: Config) -> Self {
        let test = Self::start(config);
        narrow_listeners(&[test.comet.tcp(), test.comet.ws(), test.comet.tls(), test.comet.wss()].concat());
        test
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        if SECURE { self.comet.tls()[0] } else { self.comet.tcp()[0] }
    }

    pub(crate) fn ws(&self) -> SocketAddr {
        if SECURE { self.comet.wss()[0] } else { self.comet.ws()[0] }
    }

    /// Connected (and upgraded), AUTH not sent.
    pub(crate) fn connect(&self, wire: Wire) -> Client {
        Client::connect(if wire.websocket { self.ws() } else { self.tcp() }, wire, None)
    }

    /// A session in service.
    pub(crate) fn login(&self, wire: Wire, auth: &Auth) -> Client {
        let mut client = self.connect(wire);
        client.login(auth);
        client
    }

    /// The same with a receive buffer of few bytes.
    pub(crate) fn login_narrow(&self, wire: Wire, auth: &Auth) -> Client {
        let mut client = Client::connect(if wire.websocket { self.ws() } else { self.tcp() }, wire, Some(4096));
        client.login(auth);
        client
    }

    pub(crate) fn addr(&self, key: &str) -> SessionAddr {
        self.logic.addr(key).unwrap_or_else(|| panic!("{key} is not registered"))
    }

    pub(crate) fn push_key(&self, key: &str, push: Push) {
        self.deliver(vec![to_session(self.addr(key), push)]);
    }

    pub(crate) fn push_room(&self, room: &str, push: Push) {
        self.deliver(vec![to_room(room, push)]);
    }

    pub(crate) fn push_all(&self, speed: u32, push: Push) {
        self.deliver(vec![to_all(speed, push)]);
    }

    pub(crate) fn deliver(&self, batch: Vec<Delivery>) {
        self.comet.deliver(batch);
    }

    /// Waits until the worker of a session has counted everything that it did.
    pub(crate) fn settle(&self, addr: SessionAddr) {
        let before = self.dropped(Drop::Offline);
        let nobody = SessionAddr { generation: addr.generation.wrapping_add(1 << 31), ..addr };
        self.deliver(vec![to_session(nobody, Push::default())]);
        eventually("the worker has come round", || self.dropped(Drop::Offline) == before + 1);
    }

    pub(crate) fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Cell) -> u64 {
        self.comet.workers().iter().map(|metrics| counter(metrics).get()).sum()
    }

    pub(crate) fn ended(&self, reason: CloseReason) -> u64 {
        let index = CloseReason::ALL.iter().position(|candidate| *candidate == reason).unwrap();
        self.sum(|metrics| &metrics.ended[index])
    }

    pub(crate) fn dropped(&self, reason: Drop) -> u64 {
        self.comet.dropped(reason) + self.sum(|metrics| &metrics.dropped[reason as usize])
    }

    /// Pushes delivered by any way, and dropped for any reason.
    pub(crate) fn accounted(&self) -> u64 {
        let delivered: u64 = (0..4).map(|way| self.sum(|metrics| &metrics.delivered[way])).sum();
        delivered + Drop::ALL.into_iter().map(|reason| self.dropped(reason)).sum::<u64>()
    }

    /// Nobody is there, nothing is kept, and logic was told of each end once.
    pub(crate) fn assert_empty(&self) {
        let comet = &self.comet;
        eventually("all connections gone", || comet.connections() == 0);
        eventually("no bytes kept", || comet.queued_bytes() == 0);
        assert_eq!((comet.sessions(), comet.room_count()), (0, 0));
        assert_eq!(self.sum(|metrics| &metrics.blocked), 0, "blocked sessions");
        assert_eq!(self.sum(|metrics| &metrics.rooms), 0, "rooms");
        self.logic.assert_all_disconnected_once();
        assert!(comet.is_healthy());
    }
}

pub(crate) fn push(op: i32, body: impl Into<Bytes>) -> Push {
    Push { op, body: body.into(), ..Push::default() }
}

pub(crate) fn to_session(addr: SessionAddr, push: Push) -> Delivery {
    Delivery { target: Target::Session(addr), push: Arc::new(push) }
}

/// What the user of a session has at `pos` of the inbox.
pub(crate) fn to_inbox(session: SessionAddr, pos: u64, conv: u64, push: Push) -> Delivery {
    Delivery { target: Target::Inbox { session, pos, conv }, push: Arc::new(push) }
}

pub(crate) fn to_room(room: &str, push: Push) -> Delivery {
    Delivery { target: Target::Room(room.into()), push: Arc::new(room_push(room, push)) }
}

pub(crate) fn to_all(speed: u32, push: Push) -> Delivery {
    Delivery { target: Target::All { speed }, push: Arc::new(push) }
}

/// Waits until it holds; only a hang makes it fail.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A small generator of repeatable randomness (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Seeds of a randomized test: three that differ from run to run, or the one in `COMET_SEED`.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    if let Ok(seed) = std::env::var("COMET_SEED") {
        return vec![seed.parse().unwrap()];
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (0..count).map(|nth| (now.as_nanos() as u64).wrapping_add(nth * 7919)).collect()
}

/// Pushes these to a session that does not read until its socket is full and stays so.
pub(crate) fn fill(test: &TestComet, key: &str, mut one: impl FnMut() -> Push) {
    let before = test.sum(|metrics| &metrics.blocked);
    let mut looks = 0;
    eventually("its socket is full", || {
        looks += 1;
        if test.sum(|metrics| &metrics.blocked) <= before {
            looks = 0;
            test.push_key(key, one());
        }
        // The kernel moves things about for a while.
        looks > 20
    });
}

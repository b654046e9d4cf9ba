//! goim's comets, whose sessions are registered here: by name, because that is all that they say of themselves.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use perseid_job::{BreakerState, LaneConfig, Lanes, QueuedLane};
use perseid_logic::Logic;
use perseid_protocol::SessionKey;
use perseid_protocol::push::SessionAddr;
use perseid_store::NewSession;
use tokio::runtime::Handle;

use super::lane::{GoimTransport, LeftOut};
use crate::client::Dial;
use crate::limits::{GOIM_COMETS_MAX, GOIM_NAME_BYTES_MAX, GOIM_ROOMS_MAX, GOIM_ROOMS_MS, GOIM_SESSION_MS, GOIM_SESSIONS_MAX};
use crate::logic::CometLaneInfo;
use crate::node_number;

/// How often sessions are looked for that sent no heartbeat.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Where goim's comets are.
#[derive(Clone, Debug, Default)]
pub struct GoimConfig {
    /// The address of each comet's gRPC, `host:port`, by its name. What is for a comet that is not named here is dropped.
    pub addrs: HashMap<String, String>,
    /// Bounds of the lanes to them.
    pub lane: LaneConfig,
    /// How they are called.
    pub dial: Dial,
}

/// See the module.
pub struct GoimComets {
    config: GoimConfig,
    logic: Arc<Logic>,
    lanes: Lanes,
    runtime: Handle,
    state: Mutex<HashMap<String, Server>>,
    refused: Refused,
}

/// What found no place.
#[derive(Default)]
struct Refused {
    comets: AtomicU64,
    sessions: AtomicU64,
    rooms: AtomicU64,
}

/// A goim comet.
struct Server {
    node: u32,
    /// The next address: each is used once.
    next: u64,
    sessions: HashMap<SessionKey, Session>,
    /// What its lane needs.
    keys: Keys,
    rooms: HashMap<Box<str>, u64>,
    rooms_ms: u64,
    lane: Option<(Arc<QueuedLane>, Arc<LeftOut>)>,
}

struct Session {
    addr: SessionAddr,
    mid: i64,
    seen_ms: u64,
    /// Connections with this key: goim's comet says goodbye for the older one after it has said hello for the newer.
    count: u32,
}

fn lane_info(name: &str, lane: &QueuedLane, left_out: &LeftOut) -> CometLaneInfo {
    let (deliveries, bytes) = lane.waiting();
    CometLaneInfo {
        name: format!("goim/{name}"),
        connected: None,
        broken: matches!(lane.breaker(), BreakerState::Open { .. }),
        counters: lane.counters(),
        waiting: (deliveries as u64, bytes as u64),
        streams: 0,
        offline: left_out.offline.load(Relaxed),
        expired: left_out.expired.load(Relaxed),
    }
}

/// Keys by address.
pub(super) type Keys = Arc<RwLock<HashMap<(u32, u32), String>>>;

/// No more can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl GoimComets {
    /// None yet. Lanes to those with an address are added to `lanes`.
    pub fn new(config: GoimConfig, logic: Arc<Logic>, lanes: Lanes, runtime: Handle) -> Arc<Self> {
        let comets = Arc::new(Self {
            config,
            logic,
            lanes,
            runtime: runtime.clone(),
            state: Mutex::default(),
            refused: Refused::default(),
        });
        runtime.spawn(sweep(Arc::downgrade(&comets)));
        comets
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Server>> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An address for a session that wants in.
    pub(super) fn next_addr(&self, server: &str) -> Result<SessionAddr, Full> {
        let mut state = self.lock();
        let server = self.server(&mut state, server)?;
        if server.sessions.len() >= GOIM_SESSIONS_MAX {
            self.refused.sessions.fetch_add(1, Relaxed);
            return Err(Full);
        }
        server.next += 1;
        Ok(SessionAddr {
            node: server.node,
            incarnation: 0,
            worker: 0,
            slot: (server.next & 0xffff_ffff) as u32,
            generation: (server.next >> 32) as u32,
        })
    }

    fn server<'a>(&self, state: &'a mut HashMap<String, Server>, name: &str) -> Result<&'a mut Server, Full> {
        if !state.contains_key(name) {
            if state.len() >= GOIM_COMETS_MAX || name.len() > GOIM_NAME_BYTES_MAX {
                self.refused.comets.fetch_add(1, Relaxed);
                return Err(Full);
            }
            let mut server = Server {
                node: node_number(&format!("goim/{name}")),
                next: 0,
                sessions: HashMap::new(),
                keys: Keys::default(),
                rooms: HashMap::new(),
                rooms_ms: 0,
                lane: None,
            };
            server.lane = self.open_lane(name, &server);
            state.insert(name.to_owned(), server);
        }
        state.get_mut(name).ok_or(Full)
    }

    fn open_lane(&self, name: &str, server: &Server) -> Option<(Arc<QueuedLane>, Arc<LeftOut>)> {
        let Some(addr) = self.config.addrs.get(name) else {
            tracing::warn!(
                comet = name,
                "a goim comet without an address in cluster.goim_comets: pushes to its sessions are dropped"
            );
            return None;
        };
        let channel = self.config.dial.connect_lazy(addr);
        let channel = channel.inspect_err(|error| tracing::error!(comet = name, %addr, %error, "no address")).ok()?;
        let left_out: Arc<LeftOut> = Arc::default();
        let transport = GoimTransport::new(channel, self.runtime.clone(), server.keys.clone(), left_out.clone());
        let lane = QueuedLane::start(server.node, self.config.lane.clone(), transport);
        let lane = lane.inspect_err(|error| tracing::error!(comet = name, %error, "no thread for a lane")).ok()?;
        let lane = Arc::new(lane);
        self.lanes.add(lane.clone());
        Some((lane, left_out))
    }

    /// The lanes to those with an address, by name.
    pub fn lane_infos(&self) -> Vec<CometLaneInfo> {
        let state = self.lock();
        let lanes = state.iter().filter_map(|(name, server)| Some((name, server.lane.as_ref()?)));
        let mut infos: Vec<CometLaneInfo> = lanes.map(|(name, (lane, left_out))| lane_info(name, lane, left_out)).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// A session was let in.
    pub(super) fn open(&self, server: &str, key: &SessionKey, mid: i64, addr: SessionAddr, now_ms: u64) {
        let mut state = self.lock();
        let Some(server) = state.get_mut(server) else { return };
        let mut keys = server.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert((addr.slot, addr.generation), key.to_string());
        let count = match server.sessions.get(key) {
            Some(old) => {
                keys.remove(&(old.addr.slot, old.addr.generation));
                old.count.saturating_add(1)
            }
            None => 1,
        };
        server.sessions.insert(key.clone(), Session { addr, mid, seen_ms: now_ms, count });
    }

    /// A session has ended; whether it was the one that is registered.
    pub(super) fn close(&self, server: &str, key: &SessionKey, mid: i64) -> bool {
        let addr = {
            let mut state = self.lock();
            let Some(server) = state.get_mut(server) else { return false };
            let Some(session) = server.sessions.get_mut(key).filter(|session| session.mid == mid) else { return false };
            session.count -= 1;
            if session.count > 0 {
                return false; // of an older connection with this key
            }
            let addr = session.addr;
            server.forget(key);
            addr
        };
        self.logic.disconnect(key, mid, addr, None)
    }

    /// A session lives. One that was forgotten is registered again.
    pub(super) fn touch(&self, server: &str, key: &SessionKey, mid: i64, now_ms: u64) -> Result<(), Full> {
        {
            let mut state = self.lock();
            let server = self.server(&mut state, server)?;
            if let Some(session) = server.sessions.get_mut(key).filter(|session| session.mid == mid) {
                session.seen_ms = now_ms;
                return Ok(());
            }
        }
        let addr = self.next_addr(server)?;
        let session = NewSession {
            key: key.clone(),
            mid,
            addr,
            platform: "",
            device_id: "",
            peer: None,
            since_ms: now_ms,
            extended: false,
        };
        self.logic.restore(session);
        self.open(server, key, mid, addr, now_ms);
        Ok(())
    }

    /// A comet tells how many are in its rooms.
    pub(super) fn set_rooms(&self, server: &str, rooms: HashMap<String, i32>, now_ms: u64) -> Result<(), Full> {
        let mut state = self.lock();
        let server = self.server(&mut state, server)?;
        let counts = rooms.into_iter().filter_map(|(room, count)| Some((room, u64::try_from(count).ok()?)));
        let mut counts = counts.filter(|(_, count)| *count > 0);
        server.rooms = counts.by_ref().take(GOIM_ROOMS_MAX).map(|(room, count)| (room.into(), count)).collect();
        self.refused.rooms.fetch_add(counts.count() as u64, Relaxed);
        server.rooms_ms = now_ms;
        Ok(())
    }

    /// What found no place here, by what it was: calls of comets, sessions, and rooms left out.
    pub fn refused(&self) -> [(&'static str, u64); 3] {
        let Refused { comets, sessions, rooms } = &self.refused;
        [("comets", comets.load(Relaxed)), ("sessions", sessions.load(Relaxed)), ("rooms", rooms.load(Relaxed))]
    }

    /// People in a room on goim's comets.
    pub fn room_online(&self, room: &str) -> u64 {
        self.lock().values().filter_map(|server| server.rooms.get(room)).sum()
    }

    /// Adds the rooms of goim's comets.
    pub(crate) fn add_rooms(&self, rooms: &mut HashMap<String, u64>) {
        for server in self.lock().values() {
            for (room, online) in &server.rooms {
                *rooms.entry(room.to_string()).or_default() += online;
            }
        }
    }

    /// Sessions on goim's comets.
    pub fn sessions(&self) -> u64 {
        self.lock().values().map(|server| server.sessions.len() as u64).sum()
    }

    /// Forgets who sent no heartbeat for goim's 30 minutes, and counts that are five minutes old.
    fn sweep(&self, now_ms: u64) {
        let mut gone = Vec::new();
        for server in self.lock().values_mut() {
            if now_ms.saturating_sub(server.rooms_ms) > GOIM_ROOMS_MS {
                server.rooms = HashMap::new();
            }
            let old = |session: &Session| now_ms.saturating_sub(session.seen_ms) > GOIM_SESSION_MS;
            let keys: Vec<SessionKey> =
                server.sessions.iter().filter(|(_, session)| old(session)).map(|(key, _)| key.clone()).collect();
            for key in keys {
                if let Some(session) = server.forget(&key) {
                    gone.push((key, session.mid, session.addr));
                }
            }
        }
        for (key, mid, addr) in gone {
            self.logic.disconnect(&key, mid, addr, None);
        }
    }
}

impl Server {
    fn forget(&mut self, key: &SessionKey) -> Option<Session> {
        let session = self.sessions.remove(key)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&(session.addr.slot, session.addr.generation));
        Some(session)
    }
}

async fn sweep(comets: Weak<GoimComets>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        let Some(comets) = comets.upgrade() else { return };
        comets.sweep(crate::logic::unix_ms());
    }
}

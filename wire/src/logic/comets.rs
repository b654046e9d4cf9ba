//! The comets that are there: each has a stream, a lane, a lease on its sessions, and what it reported last.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use perseid_job::{LaneConfig, LaneCounters, Lanes};
use perseid_logic::{DrainProgress, Logic, NodeInfo};
use perseid_protocol::CloseReason;
use perseid_protocol::push::SessionAddr;
use perseid_rpc::cluster as rpc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::client::Dial;
use crate::codec::{Life, place};
use crate::job::{CometLane, LaneSettings};
use crate::limits::COMMANDS_QUEUED_MAX;

/// How comets are kept.
#[derive(Clone, Debug)]
pub struct CometsConfig {
    /// How long sessions of a comet whose stream is gone stay registered, ms.
    pub lease_ms: u64,
    /// Bounds of the lanes to them.
    pub lane: LaneConfig,
    /// How they are called.
    pub dial: Dial,
    /// The number of the comet in this process, which no other may have.
    pub own_node: Option<u32>,
}

/// See the module.
pub struct Comets {
    config: CometsConfig,
    logic: Arc<Logic>,
    lanes: Lanes,
    runtime: Handle,
    state: Mutex<HashMap<u32, Known>>,
    /// Deliveries that waited for comets which are gone for good.
    abandoned: AtomicU64,
}

/// A comet.
struct Known {
    hello: rpc::Hello,
    /// Where its push service is reached from here.
    push_addr: String,
    lane: Arc<CometLane>,
    /// While its stream is open.
    stream: Option<Seat>,
    /// Grows with each stream: whoever says that one is gone says which.
    generation: u64,
    report: Reported,
}

/// What a comet reported.
#[derive(Default)]
struct Reported {
    sessions: u64,
    ips: u64,
    draining: bool,
    drain: Option<rpc::Drain>,
    rooms: HashMap<Box<str>, u64>,
    /// What it was last told of rooms elsewhere.
    told: HashMap<Box<str>, u64>,
}

/// Where a comet's open stream is reached.
#[derive(Clone)]
struct Seat {
    commands: mpsc::Sender<rpc::LogicMessage>,
    /// Ends the stream.
    stop: CancellationToken,
    /// It has ended.
    ended: CancellationToken,
}

/// An open stream's side of its [`Seat`]; dropping it says that the stream has ended.
pub(super) struct Admitted {
    comets: Arc<Comets>,
    pub(super) life: Life,
    generation: u64,
    pub(super) commands: mpsc::Receiver<rpc::LogicMessage>,
    pub(super) stop: CancellationToken,
    ended: CancellationToken,
    /// It has said goodbye: no lease.
    pub(super) leaving: bool,
}

/// A lane, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CometLaneInfo {
    /// The comet's name; that of a goim comet after `goim/`.
    pub name: String,
    /// Whether its stream to logic is open; goim's comets have none.
    pub connected: Option<bool>,
    /// Whether the lane's breaker is open.
    pub broken: bool,
    /// What became of what was offered.
    pub counters: LaneCounters,
    /// Deliveries and bytes that wait.
    pub waiting: (u64, u64),
    /// Streams to the comet's push service opened; none to goim's comets.
    pub streams: u64,
    /// Deliveries for sessions that have ended (of an earlier life of the comet): dropped, though the lane has `sent` them.
    pub offline: u64,
    /// Deliveries dropped because their time was over while they waited (goim's comets don't look).
    pub expired: u64,
}

impl Comets {
    /// None yet. Their lanes are added to `lanes`. Must be given the runtime that their streams run on.
    pub fn new(config: CometsConfig, logic: Arc<Logic>, lanes: Lanes, runtime: Handle) -> Arc<Self> {
        Arc::new(Self { config, logic, lanes, runtime, state: Mutex::default(), abandoned: AtomicU64::new(0) })
    }

    /// How long sessions of a comet whose stream is gone stay registered, ms.
    pub fn lease_ms(&self) -> u64 {
        self.config.lease_ms
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Known>> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A comet has said hello: lets it in, in place of an older stream or life of it, whose end is waited for.
    pub(super) async fn admit(self: &Arc<Self>, hello: rpc::Hello, peer: Option<SocketAddr>) -> Result<Admitted, Status> {
        let life = Life { node: hello.node, incarnation: hello.incarnation };
        if Some(life.node) == self.config.own_node {
            return Err(Status::already_exists(format!("the number {} is this node's own: name the comet otherwise", life.node)));
        }
        let push_addr = reachable(&hello.push_addr, peer)
            .ok_or_else(|| Status::invalid_argument(format!("{:?} is no address for pushes", hello.push_addr)))?;
        loop {
            let before = match self.seat(&hello, life, &push_addr)? {
                Ok(admitted) => return Ok(admitted),
                Err(before) => before,
            };
            before.stop.cancel();
            before.ended.cancelled().await;
        }
    }

    /// A seat, or the one that has to end first.
    fn seat(self: &Arc<Self>, hello: &rpc::Hello, life: Life, push_addr: &str) -> Result<Result<Admitted, Seat>, Status> {
        let mut state = self.lock();
        let known = state.get(&life.node);
        if let Some(known) = known {
            if known.hello.name != hello.name {
                let other = &known.hello.name;
                return Err(Status::already_exists(format!("{:?} has the number of {other:?}: rename one", hello.name)));
            }
            if known.hello.started_ms > hello.started_ms && known.stream.is_some() {
                let message = format!("another comet named {:?}, started later, is connected: name each its own", hello.name);
                return Err(Status::failed_precondition(message));
            }
            if let Some(seat) = &known.stream {
                return Ok(Err(seat.clone()));
            }
        }
        let generation = known.map_or(0, |known| known.generation) + 1;
        let same_life = known.is_some_and(|known| known.hello.incarnation == life.incarnation && known.push_addr == push_addr);
        let lane = match known {
            Some(known) if same_life => known.lane.clone(),
            _ => self.open_lane(life, push_addr)?,
        };
        let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let seat = Seat { commands, stop: CancellationToken::new(), ended: CancellationToken::new() };
        let admitted = Admitted {
            comets: self.clone(),
            life,
            generation,
            commands: receiver,
            stop: seat.stop.clone(),
            ended: seat.ended.clone(),
            leaving: false,
        };
        let comet = Known {
            hello: hello.clone(),
            push_addr: push_addr.to_owned(),
            lane,
            stream: Some(seat),
            generation,
            report: Reported::default(),
        };
        let before = state.insert(life.node, comet);
        drop(state);
        if let Some(before) = before.filter(|before| before.hello.incarnation != life.incarnation) {
            self.abandon(&before.lane);
            self.forget_life(Life { node: life.node, incarnation: before.hello.incarnation });
        }
        Ok(Ok(admitted))
    }

    fn open_lane(&self, life: Life, addr: &str) -> Result<Arc<CometLane>, Status> {
        let settings = LaneSettings {
            node: life.node,
            incarnation: life.incarnation,
            addr: addr.to_owned(),
            dial: self.config.dial.clone(),
            queue: self.config.lane.clone(),
        };
        let lane = CometLane::start(settings, &self.runtime);
        let lane = Arc::new(lane.map_err(|error| Status::resource_exhausted(format!("no thread for its lane: {error}")))?);
        self.lanes.add(lane.clone());
        Ok(lane)
    }

    /// The stream of `generation` has ended: its sessions stay for the time of the lease, unless it said goodbye.
    fn lost(self: &Arc<Self>, life: Life, generation: u64, leaving: bool) {
        {
            let mut state = self.lock();
            let Some(known) = state.get_mut(&life.node).filter(|known| known.generation == generation) else { return };
            known.stream = None;
        }
        if leaving {
            return self.end_lease(life, generation);
        }
        let comets = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(comets.config.lease_ms)).await;
            comets.end_lease(life, generation);
        });
    }

    fn end_lease(&self, life: Life, generation: u64) {
        let removed = {
            let mut state = self.lock();
            let is_over = state.get(&life.node).is_some_and(|known| known.generation == generation && known.stream.is_none());
            if is_over { state.remove(&life.node) } else { None }
        };
        if let Some(known) = removed {
            tracing::info!(comet = known.hello.name, "a comet has left, or did not come back: its sessions have ended");
            self.lanes.remove(life.node);
            self.abandon(&known.lane);
            self.forget_life(life);
        }
    }

    /// Ends the registration of every session of a life that is over.
    fn forget_life(&self, life: Life) {
        let logic = self.logic.clone();
        self.runtime.spawn_blocking(move || {
            logic.each_of_node(life.node, life.incarnation, &mut |row| {
                logic.disconnect(&row.key, row.mid, row.addr, None);
            });
        });
    }

    /// What a comet holds has changed.
    pub(super) fn report(&self, life: Life, report: rpc::Report) {
        let mut state = self.lock();
        let Some(known) = state.get_mut(&life.node) else { return };
        let reported = &mut known.report;
        (reported.sessions, reported.ips) = (report.sessions, report.ips);
        (reported.draining, reported.drain) = (report.draining, report.drain);
        for count in report.rooms {
            if count.online == 0 {
                reported.rooms.remove(count.room.as_str());
            } else {
                reported.rooms.insert(count.room.into(), count.online);
            }
        }
    }

    /// Ends sessions on other comets; those of no comet that is there have ended.
    pub fn end_sessions(&self, sessions: &[SessionAddr], reason: CloseReason, message: Option<&str>) {
        let mut by_life: HashMap<u32, Vec<rpc::Place>> = HashMap::new();
        for addr in sessions {
            by_life.entry(addr.node).or_default().push(place(*addr));
        }
        let state = self.lock();
        for (node, places) in by_life {
            let Some(known) = state.get(&node) else { continue };
            let alive = sessions.iter().filter(|addr| addr.node == node && addr.incarnation == known.hello.incarnation);
            if alive.count() != places.len() {
                // Of an earlier life: over. Only what is left is told.
                let left: Vec<_> = sessions
                    .iter()
                    .filter(|addr| addr.node == node && addr.incarnation == known.hello.incarnation)
                    .map(|addr| place(*addr))
                    .collect();
                known.tell_end(left, reason, message);
            } else {
                known.tell_end(places, reason, message);
            }
        }
    }

    /// People in `room` on other comets.
    pub fn room_online(&self, room: &str) -> u64 {
        self.lock().values().filter_map(|known| known.report.rooms.get(room)).sum()
    }

    /// Adds the rooms of other comets.
    pub(super) fn add_rooms(&self, rooms: &mut HashMap<String, u64>) {
        for known in self.lock().values() {
            for (room, online) in &known.report.rooms {
                *rooms.entry(room.to_string()).or_default() += online;
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Sessions on other comets.
    pub fn sessions(&self) -> u64 {
        self.lock().values().map(|known| known.report.sessions).sum()
    }

    /// The other comets, by name.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let mut nodes: Vec<NodeInfo> = self.lock().values().map(Known::info).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    /// Tells a comet to leave; false: there is none of that name.
    pub fn drain(&self, name: &str, per_second: Option<u32>) -> bool {
        let state = self.lock();
        let Some(known) = state.values().find(|known| known.hello.name == name) else { return false };
        let leave = rpc::Leave { per_second: per_second.unwrap_or(0) };
        known.tell(rpc::logic_message::Message::Leave(leave));
        true
    }

    /// How far a comet's drain has come.
    pub fn drain_progress(&self, name: &str) -> Option<DrainProgress> {
        let state = self.lock();
        let known = state.values().find(|known| known.hello.name == name)?;
        let drain = known.report.drain?;
        Some(DrainProgress {
            sessions_at_start: drain.sessions_at_start,
            sessions: known.report.sessions,
            per_second: drain.per_second,
            since_ms: drain.since_ms,
        })
    }

    /// Counts what waits in a lane that nobody will empty.
    fn abandon(&self, lane: &CometLane) {
        let (waiting, _) = lane.waiting();
        self.abandoned.fetch_add(waiting as u64, Relaxed);
    }

    /// Deliveries that waited for comets, or lives of them, which are gone for good: dropped.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Relaxed)
    }

    /// Their lanes, by name.
    pub fn lane_infos(&self) -> Vec<CometLaneInfo> {
        let mut infos: Vec<CometLaneInfo> = self.lock().values().map(Known::lane_info).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// Waits until what is queued for comets has been taken, at most `timeout`; must not run on the runtime's thread.
    pub fn drain_lanes(&self, timeout: Duration) -> bool {
        let lanes: Vec<_> = self.lock().values().map(|known| known.lane.clone()).collect();
        let deadline = std::time::Instant::now() + timeout;
        lanes.iter().all(|lane| lane.drain(deadline.saturating_duration_since(std::time::Instant::now())))
    }

    /// Ends every stream: this process leaves.
    pub fn stop(&self) {
        for known in self.lock().values() {
            if let Some(seat) = &known.stream {
                seat.stop.cancel();
            }
        }
    }

    /// Tells each comet how many people are on other nodes in the rooms that it holds, where that changed; gives the same for
    /// the comet of this process, whose rooms are `own`.
    pub fn spread_rooms(&self, own: &HashMap<Arc<str>, u64>) -> Vec<(Arc<str>, u64)> {
        let mut state = self.lock();
        let mut totals: HashMap<Box<str>, u64> = HashMap::new();
        for known in state.values() {
            for (room, online) in &known.report.rooms {
                *totals.entry(room.clone()).or_default() += online;
            }
        }
        let elsewhere_of_own = own.keys().map(|room| (room.clone(), totals.get(&**room).copied().unwrap_or(0))).collect();
        for (room, online) in own {
            if let Some(total) = totals.get_mut(&**room) {
                *total += online;
            }
        }
        for known in state.values_mut() {
            known.tell_of_rooms(&totals);
        }
        elsewhere_of_own
    }
}

impl Known {
    fn info(&self) -> NodeInfo {
        NodeInfo {
            id: self.hello.name.clone(),
            tcp: self.hello.tcp.clone(),
            ws: self.hello.ws.clone(),
            sessions: self.report.sessions,
            ips: self.report.ips,
            draining: self.report.draining || self.stream.is_none(),
            version: self.hello.program_version.clone(),
            started_ms: self.hello.started_ms,
            ..NodeInfo::default()
        }
    }

    fn lane_info(&self) -> CometLaneInfo {
        let (deliveries, bytes) = self.lane.waiting();
        CometLaneInfo {
            name: self.hello.name.clone(),
            connected: Some(self.stream.is_some()),
            broken: self.lane.is_broken(),
            counters: self.lane.counters(),
            waiting: (deliveries as u64, bytes as u64),
            streams: self.lane.streams(),
            offline: self.lane.stale(),
            expired: 0,
        }
    }

    fn tell(&self, message: rpc::logic_message::Message) {
        if let Some(seat) = &self.stream
            && seat.commands.try_send(rpc::LogicMessage { message: Some(message) }).is_err()
        {
            // It takes nothing: cut off, it says everything again when it is back.
            seat.stop.cancel();
        }
    }

    fn tell_end(&self, places: Vec<rpc::Place>, reason: CloseReason, message: Option<&str>) {
        if !places.is_empty() {
            let (reason, message) = (reason.code().into(), message.unwrap_or_default().to_owned());
            self.tell(rpc::logic_message::Message::EndSessions(rpc::EndSessions { places, reason, message }));
        }
    }

    fn tell_of_rooms(&mut self, totals: &HashMap<Box<str>, u64>) {
        let Reported { rooms, told, .. } = &mut self.report;
        told.retain(|room, _| rooms.contains_key(room));
        let mut changed = Vec::new();
        for (room, online) in rooms.iter() {
            let elsewhere = totals.get(room).copied().unwrap_or(0).saturating_sub(*online);
            if told.get(room).copied().unwrap_or(0) != elsewhere {
                told.insert(room.clone(), elsewhere);
                changed.push(rpc::RoomCount { room: room.to_string(), online: elsewhere });
            }
        }
        for rooms in changed.chunks(crate::limits::ITEMS_PER_MESSAGE) {
            let rooms = rooms.to_vec();
            self.tell(rpc::logic_message::Message::OnlineElsewhere(rpc::OnlineElsewhere { rooms }));
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.comets.lost(self.life, self.generation, self.leaving);
        self.ended.cancel();
    }
}

/// The address as it is reached from here: a comet that listens everywhere is where it calls from.
fn reachable(push_addr: &str, peer: Option<SocketAddr>) -> Option<String> {
    match push_addr.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_unspecified() => Some(SocketAddr::new(peer?.ip(), addr.port()).to_string()),
        Ok(_) => Some(push_addr.to_owned()),
        // A host name.
        Err(_) => {
            let (host, port) = push_addr.rsplit_once(':')?;
            (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| push_addr.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_comet_is_reached() {
        let peer = Some("10.1.2.3:50000".parse().unwrap());
        for (said, reached) in [
            ("127.0.0.1:3109", Some("127.0.0.1:3109")),
            ("0.0.0.0:3109", Some("10.1.2.3:3109")),
            ("[::]:3109", Some("10.1.2.3:3109")),
            ("comet-1.internal:3109", Some("comet-1.internal:3109")),
            ("comet-1", None),
            (":1", None),
            ("", None),
        ] {
            assert_eq!(reachable(said, peer).as_deref(), reached, "{said}");
        }
        assert_eq!(reachable("0.0.0.0:1", None), None);
    }
}

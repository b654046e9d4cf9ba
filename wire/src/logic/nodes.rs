//! All comets as logic sees them: the one in this process, and the others.

use std::collections::HashMap;
use std::sync::Arc;

use perseid_logic::{DrainProgress, NodeInfo, Nodes, Totals, UnknownNode};
use perseid_protocol::CloseReason;
use perseid_protocol::push::SessionAddr;

use super::comets::Comets;
use crate::goim::GoimComets;

/// See the module.
pub struct AllNodes {
    own: Arc<dyn Nodes>,
    comets: Arc<Comets>,
    goim: Arc<GoimComets>,
}

impl AllNodes {
    /// The comet of this process, the others, and goim's.
    pub fn new(own: Arc<dyn Nodes>, comets: Arc<Comets>, goim: Arc<GoimComets>) -> Self {
        Self { own, comets, goim }
    }
}

impl Nodes for AllNodes {
    fn room_online(&self, room: &str) -> u64 {
        self.own.room_online(room) + self.comets.room_online(room) + self.goim.room_online(room)
    }

    fn rooms(&self, kind: Option<&str>, limit: usize) -> Vec<(String, u64)> {
        let mut others = HashMap::new();
        self.comets.add_rooms(&mut others);
        self.goim.add_rooms(&mut others);
        if others.is_empty() {
            return self.own.rooms(kind, limit);
        }
        for (room, online) in self.own.rooms(None, usize::MAX) {
            *others.entry(room).or_default() += online;
        }
        let is_kind = |room: &str| kind.is_none_or(|kind| room.split_once("://").is_some_and(|(of, _)| of == kind));
        let mut rooms: Vec<(String, u64)> = others.into_iter().filter(|(room, _)| is_kind(room)).collect();
        rooms.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        rooms.truncate(limit);
        rooms
    }

    fn totals(&self) -> Totals {
        let own = self.own.totals();
        // The registry knows the addresses of all.
        Totals { sessions: own.sessions + self.comets.sessions() + self.goim.sessions(), ips: own.ips }
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = self.own.nodes();
        nodes.extend(self.comets.nodes());
        nodes
    }

    fn other_nodes(&self) -> Vec<NodeInfo> {
        self.own.other_nodes()
    }

    fn end_sessions(&self, sessions: &[SessionAddr], reason: CloseReason, message: Option<&str>) {
        self.own.end_sessions(sessions, reason, message);
        self.comets.end_sessions(sessions, reason, message);
    }

    fn drain(&self, node: &str, per_second: Option<u32>) -> Result<(), UnknownNode> {
        if self.comets.drain(node, per_second) { Ok(()) } else { self.own.drain(node, per_second) }
    }

    fn drain_progress(&self, node: &str) -> Option<DrainProgress> {
        self.comets.drain_progress(node).or_else(|| self.own.drain_progress(node))
    }

    fn is_ready(&self) -> Result<(), String> {
        self.own.is_ready()
    }
}

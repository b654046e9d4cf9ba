//! In one process the parts meet by calls: each adapter implements what one part asks for over what another offers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use perseid_comet::Comet;
use perseid_comet::link::{Answer, Connect, Connected, LogicLink, Refused, Renew, Renewed, Ticket, Upstream};
use perseid_job::{Lane, LaneError, Routes};
use perseid_logic::{ConnectError, ConnectRequest, Logic, NodeInfo, Nodes, Totals};
use perseid_protocol::push::{Delivery, SessionAddr};
use perseid_protocol::{CloseReason, Refusal, SessionKey};
use perseid_store::SessionRegistry;

use crate::clock::unix_ms;

/// comet → logic: a call.
pub(super) struct Link(pub(super) Arc<Logic>);

impl LogicLink for Link {
    fn connect(&self, request: &Connect<'_>, _ticket: Ticket) -> Answer<Result<Connected, Refused>> {
        let request = ConnectRequest {
            body: request.body,
            addr: request.addr,
            peer: request.peer,
            extended: request.extended,
            cookie: request.cookie,
            now_ms: unix_ms(),
        };
        Answer::Now(match self.0.connect(&request) {
            Ok(accepted) => Ok(Connected {
                mid: accepted.mid,
                key: accepted.key,
                room: accepted.room,
                accepts: accepted.accepts,
                replaced: accepted.replaced,
                expires_at_ms: 0,
            }),
            Err(error) => Err(refused(error)),
        })
    }

    fn renew(&self, request: &Renew<'_>, _ticket: Ticket) -> Answer<Result<Renewed, Refused>> {
        let renewed = self.0.renew(request.mid, request.body, request.peer, unix_ms());
        Answer::Now(renewed.map(|()| Renewed { expires_at_ms: 0 }).map_err(refused))
    }

    fn disconnect(&self, session: &SessionKey, mid: i64, addr: SessionAddr, _reason: Option<CloseReason>) {
        self.0.disconnect(session, mid, addr);
    }

    fn receive(&self, frame: &Upstream<'_>, _ticket: Ticket) -> Answer<Result<(), Refusal>> {
        self.0.receive(frame.mid, frame.key, frame.op, frame.body);
        Answer::Now(Ok(()))
    }
}

fn refused(error: ConnectError) -> Refused {
    Refused { reason: error.reason, message: error.message, retry_after_ms: None }
}

/// job → comet: a call.
pub(super) struct CallLane(pub(super) Arc<Comet>);

impl Lane for CallLane {
    fn node(&self) -> u32 {
        self.0.config().node
    }

    fn deliver(&self, batch: Vec<Delivery>) -> Result<(), LaneError> {
        // What its workers can't take the comet counts itself.
        self.0.deliver(batch);
        Ok(())
    }
}

/// job → registry: who is where.
pub(super) struct RegistryRoutes(pub(super) Arc<dyn SessionRegistry>);

impl Routes for RegistryRoutes {
    fn by_key(&self, key: &str, out: &mut Vec<SessionAddr>) {
        out.extend(self.0.by_key(&SessionKey::parse(key)));
    }

    fn by_mid(&self, mid: i64, out: &mut Vec<SessionAddr>) {
        out.extend(self.0.by_mid(mid));
    }
}

/// logic → comet: the only node there is.
pub(super) struct OneNode {
    pub(super) comet: Arc<Comet>,
    pub(super) registry: Arc<dyn SessionRegistry>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) started_ms: u64,
    pub(super) addresses: Addresses,
}

/// How many addresses sessions come from: counted at most once in ten seconds, as in goim.
#[derive(Default)]
pub(super) struct Addresses {
    count: AtomicU64,
    counted_ms: AtomicU64,
}

const ADDRESSES_KEPT_MS: u64 = 10_000;
/// So few sessions are counted each time.
const FEW_SESSIONS: u64 = 1000;

impl Addresses {
    fn get(&self, registry: &dyn SessionRegistry) -> u64 {
        let now_ms = unix_ms();
        let old = now_ms.saturating_sub(self.counted_ms.load(Ordering::Relaxed)) > ADDRESSES_KEPT_MS;
        if old || registry.counts().sessions <= FEW_SESSIONS {
            self.count.store(registry.addresses(), Ordering::Relaxed);
            self.counted_ms.store(now_ms, Ordering::Relaxed);
        }
        self.count.load(Ordering::Relaxed)
    }
}

impl Nodes for OneNode {
    fn room_online(&self, room: &str) -> u64 {
        self.comet.room_online(room)
    }

    fn rooms(&self, kind: Option<&str>, limit: usize) -> Vec<(String, u64)> {
        self.comet.top_rooms(kind, limit)
    }

    fn totals(&self) -> Totals {
        Totals { sessions: self.comet.sessions(), ips: self.addresses.get(&*self.registry) }
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        let text = |addrs: &[std::net::SocketAddr]| addrs.iter().map(ToString::to_string).collect();
        let totals = self.totals();
        vec![NodeInfo {
            id: self.comet.config().node_id.clone(),
            tcp: text(self.comet.tcp()),
            ws: text(self.comet.ws()),
            sessions: totals.sessions,
            ips: totals.ips,
            draining: self.draining.load(Ordering::Relaxed),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
        }]
    }

    fn is_ready(&self) -> Result<(), String> {
        if !self.comet.is_healthy() {
            return Err("a worker of the comet has ended; restart this process".to_owned());
        }
        Ok(())
    }
}

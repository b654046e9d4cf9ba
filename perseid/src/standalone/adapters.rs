//! In one process the parts meet by calls: each adapter implements what one part asks for over what another offers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use perseid_comet::Comet;
use perseid_comet::link::{
    Answer, Connect, Connected, LogicLink, Refused, Renew, Renewed, RoomTail, RoomTicket, Stored, StoredOutcome, StoredTicket,
    Ticket, Upstream,
};
use perseid_job::{DropReason, Lane, LaneError, Routes, Unheard};
use perseid_logic::{
    ConnectError, ConnectRequest, DrainProgress, Greeting, Inbox, Logic, NodeInfo, NodeRole, Nodes, RenewRequest, SentBook,
    Totals, Undelivered, UnknownNode, Verdict,
};
use perseid_protocol::push::{Delivery, SessionAddr};
use perseid_protocol::{CloseReason, Refusal, SessionKey};
use perseid_store::SessionRegistry;
use perseid_wire::logic::Comets;
use tokio::runtime::Handle;

use super::drain::Drain;
use super::inbox_link;
use crate::clock::unix_ms;
use crate::gate::Gate;

/// comet → logic: a call.
pub(super) struct Link {
    pub(super) logic: Arc<Logic>,
    /// Runs what logic has to wait for.
    pub(super) runtime: Handle,
    /// The comets in other processes.
    pub(super) comets: Arc<Comets>,
    /// Stored messages.
    pub(super) inbox: Arc<Inbox>,
}

impl LogicLink for Link {
    fn connect(&self, request: &Connect<'_>, ticket: Ticket) -> Answer<Result<Connected, Refused>> {
        let request = ConnectRequest {
            body: request.body,
            addr: request.addr,
            peer: request.peer,
            extended: request.extended,
            cookie: request.cookie,
            now_ms: unix_ms(),
        };
        let (comets, own) = (self.comets.clone(), request.addr.node);
        let translate = move |outcome: Result<perseid_logic::Connected, ConnectError>| {
            if let Ok(Some(addr)) = outcome.as_ref().map(|accepted| accepted.replaced)
                && addr.node != own
            {
                comets.end_sessions(&[addr], CloseReason::Replaced, None);
            }
            outcome.map(connected).map_err(refused)
        };
        self.answer(self.logic.connect(&request), translate, ticket, Ticket::connected)
    }

    fn renew(&self, request: &Renew<'_>, ticket: Ticket) -> Answer<Result<Renewed, Refused>> {
        let Renew { body, mid, key, peer } = *request;
        let request = RenewRequest { body, mid, key, peer, now_ms: unix_ms() };
        let (logic, key, now_ms) = (self.logic.clone(), key.clone(), request.now_ms);
        let verdict = self.logic.renew(&request).and_then(move |outcome| match outcome {
            Ok(expires_at_ms) => logic.greet_again(&key, mid, now_ms).then(move |inbox| Ok((expires_at_ms, inbox))),
            Err(error) => Verdict::Now(Err(error)),
        });
        let renewed = |outcome: Result<(u64, Option<Greeting>), ConnectError>| {
            let renewed = |(expires_at_ms, inbox): (u64, Option<Greeting>)| Renewed {
                expires_at_ms,
                inbox: inbox.map(inbox_link::greeting),
            };
            outcome.map(renewed).map_err(refused)
        };
        self.answer(verdict, renewed, ticket, Ticket::renewed)
    }

    fn stored(&self, request: &Stored<'_>, ticket: StoredTicket) -> Answer<StoredOutcome> {
        self.ask_stored(request, ticket)
    }

    fn inbox_head(&self, mid: i64) -> u64 {
        inbox_link::head(&self.inbox, mid)
    }

    fn recover_room(&self, room: &str, pos: u64, ticket: RoomTicket) -> Answer<RoomTail> {
        self.room_tail(room, pos, ticket)
    }

    fn disconnect(&self, session: &SessionKey, mid: i64, addr: SessionAddr, reason: Option<CloseReason>) {
        self.logic.disconnect(session, mid, addr, reason);
    }

    fn receive(&self, frame: &Upstream<'_>, ticket: Ticket) -> Answer<Result<(), Refusal>> {
        let Upstream { mid, key, addr, op, body } = *frame;
        let frame = perseid_logic::Upstream { mid, key, addr, op, body, now_ms: unix_ms() };
        self.answer(self.logic.receive(&frame), |outcome| outcome, ticket, Ticket::received)
    }
}

impl Link {
    /// An answer that is there is given at once; one that has to be waited for comes through the ticket.
    fn answer<T: Send + 'static, A: Send + 'static>(
        &self,
        verdict: Verdict<T>,
        translate: impl FnOnce(T) -> A + Send + 'static,
        ticket: Ticket,
        give: impl FnOnce(Ticket, A) + Send + 'static,
    ) -> Answer<A> {
        match verdict {
            Verdict::Now(answer) => Answer::Now(translate(answer)),
            Verdict::Later(coming) => {
                self.runtime.spawn(async move { give(ticket, translate(coming.await)) });
                Answer::Later
            }
        }
    }
}

fn connected(accepted: perseid_logic::Connected) -> Connected {
    Connected {
        mid: accepted.mid,
        key: accepted.key,
        room: accepted.room,
        accepts: accepted.accepts,
        replaced: accepted.replaced,
        expires_at_ms: accepted.expires_at_ms,
        inbox: accepted.inbox.map(inbox_link::greeting),
    }
}

fn refused(error: ConnectError) -> Refused {
    Refused { reason: error.reason, message: error.message, retry_after_ms: error.retry_after_ms }
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

/// job → logic: what nobody got.
pub(super) struct UnheardBook(pub(super) Arc<SentBook>);

impl Unheard for UnheardBook {
    fn undelivered(&self, id: u64, why: DropReason) {
        let why = match why {
            DropReason::Offline => Undelivered::Offline,
            DropReason::Expired => Undelivered::Expired,
            // Said of comets, where others may have got it.
            DropReason::NoLane | DropReason::LaneFull | DropReason::LaneBroken => return,
        };
        self.0.undelivered(id, why);
    }
}

/// logic → comet: the only node there is.
pub(super) struct OneNode {
    pub(super) comet: Arc<Comet>,
    pub(super) registry: Arc<dyn SessionRegistry>,
    pub(super) drain: Arc<Drain>,
    pub(super) gate: Arc<Gate>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) started_ms: u64,
    pub(super) addresses: Addresses,
    pub(super) listens: Listens,
}

/// Where the parts of this process are reached, besides its clients.
pub(super) struct Listens {
    pub(super) http: Vec<SocketAddr>,
    pub(super) comet_grpc: Vec<SocketAddr>,
    pub(super) logic_grpc: Vec<SocketAddr>,
}

impl OneNode {
    /// A node of this process.
    fn node(&self, role: NodeRole) -> NodeInfo {
        let name = &self.comet.config().node_id;
        NodeInfo {
            id: if role == NodeRole::Comet { name.clone() } else { format!("{name}:{}", role.word()) },
            role,
            draining: self.draining.load(Ordering::Relaxed),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            ..NodeInfo::default()
        }
    }

    /// One process leaves as a whole, whichever of its parts is named.
    fn is_here(&self, id: &str) -> bool {
        [NodeRole::Comet, NodeRole::Logic, NodeRole::Job].into_iter().any(|role| self.node(role).id == id)
    }
}

fn texts(addrs: &[SocketAddr]) -> Vec<String> {
    addrs.iter().map(ToString::to_string).collect()
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
        let totals = self.totals();
        vec![NodeInfo {
            tcp: texts(self.comet.tcp()),
            ws: texts(self.comet.ws()),
            grpc: texts(&self.listens.comet_grpc),
            sessions: totals.sessions,
            ips: totals.ips,
            ..self.node(NodeRole::Comet)
        }]
    }

    fn other_nodes(&self) -> Vec<NodeInfo> {
        let Listens { http, logic_grpc, .. } = &self.listens;
        let logic = NodeInfo { http: texts(http), grpc: texts(logic_grpc), ..self.node(NodeRole::Logic) };
        vec![logic, self.node(NodeRole::Job)]
    }

    fn end_sessions(&self, sessions: &[SessionAddr], reason: CloseReason, message: Option<&str>) {
        for session in sessions {
            self.comet.end_session(*session, reason, message);
        }
    }

    fn drain(&self, node: &str, per_second: Option<u32>) -> Result<(), UnknownNode> {
        if !self.is_here(node) {
            return Err(UnknownNode);
        }
        self.drain.begin(per_second);
        Ok(())
    }

    fn drain_progress(&self, node: &str) -> Option<DrainProgress> {
        self.is_here(node).then(|| self.drain.progress()).flatten()
    }

    fn is_ready(&self) -> Result<(), String> {
        if !self.comet.is_healthy() {
            return Err("a worker of the comet has ended; restart this process".to_owned());
        }
        self.gate.is_ready()
    }
}

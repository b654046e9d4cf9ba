//! The standalone's gRPC: comets in other processes, and goim's parts.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use perseid_comet::Comet;
use perseid_job::{LaneConfig, Lanes};
use perseid_logic::{Api, Logic, Nodes, grpc_services};
use perseid_store::SessionRegistry;
use perseid_wire::goim::{CometService, GoimComets, GoimConfig, LogicService as GoimLogic};
use perseid_wire::logic::{AllNodes, Comets, CometsConfig, LogicService};
use perseid_wire::server::merge;
use perseid_wire::{Dial, GrpcServer, WireTls};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::adapters::Listens;
use crate::config::Settings;
use crate::grpc::{bind, tls};
use crate::parts::WireParts;

/// A batch for a comet in another process is tried for this long while its connection comes and goes.
const RETRY_MS: u64 = 15_000;
/// How often rooms on other nodes are counted for this one.
const SPREAD_EVERY: Duration = Duration::from_secs(1);

/// What is bound, and serves nothing yet.
pub(super) struct Wiring {
    comet_listeners: Vec<TcpListener>,
    logic_listeners: Vec<TcpListener>,
    tls: Option<WireTls>,
    logic: Arc<Logic>,
    pub(super) comets: Arc<Comets>,
    goim: Arc<GoimComets>,
}

/// What serves.
pub(super) struct Wire {
    comet: Option<GrpcServer>,
    logic: Option<GrpcServer>,
    comets: Arc<Comets>,
    goim: Arc<GoimComets>,
    spreading: JoinHandle<()>,
}

impl Wiring {
    pub(super) fn bind(settings: &Settings, logic: &Arc<Logic>, lanes: &Lanes) -> Result<Self> {
        let tls = tls(settings)?;
        let dial = Dial { tls: tls.clone() };
        let lane = LaneConfig { bytes_max: settings.cluster.lane_bytes_max, retry_ms: RETRY_MS, ..LaneConfig::default() };
        let config = CometsConfig {
            lease_ms: settings.cluster.lease_ms,
            lane: lane.clone(),
            dial: dial.clone(),
            own_node: Some(OWN_NODE),
        };
        let addrs = settings.cluster.goim_comets.iter().filter_map(|pair| pair.split_once('='));
        let addrs: HashMap<String, String> = addrs.map(|(name, addr)| (name.to_owned(), addr.to_owned())).collect();
        let goim = GoimConfig { addrs, lane, dial };
        Ok(Self {
            comet_listeners: bind(&settings.comet.grpc, "gRPC of the comet")?,
            logic_listeners: bind(&settings.logic.grpc, "gRPC of logic")?,
            tls,
            logic: logic.clone(),
            comets: Comets::new(config, logic.clone(), lanes.clone(), Handle::current()),
            goim: GoimComets::new(goim, logic.clone(), lanes.clone(), Handle::current()),
        })
    }

    /// Where the parts are reached, and the HTTP APIs at `http`.
    pub(super) fn listens(&self, http: &[SocketAddr]) -> Listens {
        let bound = |listeners: &[TcpListener]| listeners.iter().filter_map(|one| one.local_addr().ok()).collect();
        Listens { http: http.to_vec(), comet_grpc: bound(&self.comet_listeners), logic_grpc: bound(&self.logic_listeners) }
    }

    /// All comets, of which `own` is the one in this process.
    pub(super) fn all_nodes(&self, own: impl Nodes) -> Arc<AllNodes> {
        Arc::new(AllNodes::new(Arc::new(own), self.comets.clone(), self.goim.clone()))
    }

    pub(super) fn serve(
        self,
        settings: &Settings,
        comet: &Arc<Comet>,
        registry: &Arc<dyn SessionRegistry>,
        nodes: Arc<dyn Nodes>,
        api: &Arc<Api>,
    ) -> Result<Wire> {
        let goim_comet = CometService::new(comet.clone(), registry.clone(), settings.logic.push_bytes_max);
        let for_comets = LogicService::new(self.logic.clone(), self.comets.clone(), nodes.clone());
        let for_goim = GoimLogic::new(self.logic.clone(), self.goim.clone(), nodes, api.clone());
        let for_parts = Routes::new(for_goim.server()).add_service(for_comets.server());
        // What the parts say to one another is named too: it is no secret, and a tool that lists the port shows it.
        let for_callers = grpc_services(api.clone(), &["goim.logic.Logic", "perseid.cluster.v1.Logic"])
            .context("the descriptions of the gRPC services can't be read: the program was not built whole")?;
        let logic_routes = merge(for_parts, for_callers);
        let start = |listeners: Vec<TcpListener>, routes| -> Result<Option<GrpcServer>> {
            if listeners.is_empty() {
                return Ok(None);
            }
            GrpcServer::start(listeners, routes, self.tls.as_ref()).map(Some).context("can't serve gRPC")
        };
        Ok(Wire {
            comet: start(self.comet_listeners, Routes::new(goim_comet.server()))?,
            logic: start(self.logic_listeners, logic_routes)?,
            spreading: tokio::spawn(spread(self.comets.clone(), comet.clone())),
            comets: self.comets,
            goim: self.goim,
        })
    }
}

/// The number of a standalone's own comet.
const OWN_NODE: u32 = 0;

impl Wire {
    pub(super) fn comets(&self) -> &Arc<Comets> {
        &self.comets
    }

    /// For those who look at it.
    pub(super) fn parts(&self) -> WireParts {
        let listeners = [("comet", &self.comet), ("logic", &self.logic)].into_iter();
        let listeners = listeners.filter_map(|(of, server)| Some((of, server.as_ref()?.counters().clone())));
        let comets = Some((self.comets.clone(), self.goim.clone()));
        WireParts { listeners: listeners.collect(), comets, comet: None }
    }

    /// The first address of the comet's gRPC, as bound.
    pub(super) fn comet_grpc(&self) -> Option<SocketAddr> {
        self.comet.as_ref().and_then(|server| server.addrs().first().copied())
    }

    /// The first address of logic's gRPC, as bound.
    pub(super) fn logic_grpc(&self) -> Option<SocketAddr> {
        self.logic.as_ref().and_then(|server| server.addrs().first().copied())
    }

    /// Ends the streams and the listeners.
    pub(super) async fn stop(self) {
        self.spreading.abort();
        self.comets.stop();
        for server in [self.logic, self.comet].into_iter().flatten() {
            server.stop().await;
        }
    }
}

/// HEARTBEAT's answer counts the people of a room on all nodes.
async fn spread(comets: Arc<Comets>, comet: Arc<Comet>) {
    let mut ticks = tokio::time::interval(SPREAD_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if comets.is_empty() {
            continue;
        }
        let own: HashMap<Arc<str>, u64> = comet.rooms().into_iter().collect();
        for (room, online) in comets.spread_rooms(&own) {
            comet.set_online_elsewhere(&room, online);
        }
    }
}

//! What goim's comet asks of a logic.

use std::collections::HashMap;
use std::sync::Arc;

use perseid_logic::{Api, ConnectRequest, Logic, Nodes, Upstream};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, Refusal, SessionKey};
use perseid_rpc::goim::logic as rpc;
use perseid_rpc::goim::logic::logic_server::{Logic as LogicRpc, LogicServer};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use super::comets::{Full, GoimComets};
use crate::limits::{GOIM_MESSAGE_BYTES_MAX, GOIM_ROOMS_MAX};
use crate::logic::unix_ms;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct LogicService {
    logic: Arc<Logic>,
    comets: Arc<GoimComets>,
    nodes: Arc<dyn Nodes>,
    api: Arc<Api>,
}

impl LogicService {
    /// The service over `logic`. Sessions that lost their key are ended through `nodes`; `api` knows what clients are told.
    pub fn new(logic: Arc<Logic>, comets: Arc<GoimComets>, nodes: Arc<dyn Nodes>, api: Arc<Api>) -> Self {
        Self { logic, comets, nodes, api }
    }

    /// For a listener.
    pub fn server(&self) -> LogicServer<Self> {
        LogicServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(GOIM_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GOIM_MESSAGE_BYTES_MAX)
    }
}

impl From<Full> for Status {
    fn from(_: Full) -> Self {
        Self::resource_exhausted("no more goim comets or sessions can be kept here")
    }
}

#[tonic::async_trait]
impl LogicRpc for LogicService {
    async fn connect(&self, request: Request<rpc::ConnectReq>) -> Result<Response<rpc::ConnectReply>, Status> {
        let request = request.into_inner();
        let addr = self.comets.next_addr(&request.server)?;
        let now_ms = unix_ms();
        let asked = ConnectRequest { body: &request.token, addr, peer: None, extended: false, cookie: &request.cookie, now_ms };
        let connected = self.logic.connect(&asked).get().await.map_err(|error| {
            let message = error.message;
            match error.reason {
                CloseReason::Unauthenticated | CloseReason::TokenExpired => Status::unauthenticated(message),
                CloseReason::PermissionDenied => Status::permission_denied(message),
                _ => Status::unavailable(message),
            }
        })?;
        self.comets.open(&request.server, &connected.key, connected.mid, addr, now_ms);
        if let Some(replaced) = connected.replaced {
            self.nodes.end_sessions(&[replaced], CloseReason::Replaced, None);
        }
        let config = self.api.config();
        let silence_ms = config.heartbeat_ms.saturating_mul(config.heartbeat_max.into());
        Ok(Response::new(rpc::ConnectReply {
            mid: connected.mid,
            key: connected.key.to_string(),
            room_id: connected.room.unwrap_or_default(),
            accepts: connected.accepts,
            heartbeat: i64::try_from(silence_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
        }))
    }

    async fn disconnect(&self, request: Request<rpc::DisconnectReq>) -> Result<Response<rpc::DisconnectReply>, Status> {
        let request = request.into_inner();
        let has = self.comets.close(&request.server, &SessionKey::parse(&request.key), request.mid);
        Ok(Response::new(rpc::DisconnectReply { has }))
    }

    async fn heartbeat(&self, request: Request<rpc::HeartbeatReq>) -> Result<Response<rpc::HeartbeatReply>, Status> {
        let request = request.into_inner();
        self.comets.touch(&request.server, &SessionKey::parse(&request.key), request.mid, unix_ms())?;
        Ok(Response::new(rpc::HeartbeatReply {}))
    }

    async fn renew_online(&self, request: Request<rpc::OnlineReq>) -> Result<Response<rpc::OnlineReply>, Status> {
        let request = request.into_inner();
        let asked: Vec<String> = request.room_count.keys().take(GOIM_ROOMS_MAX).cloned().collect();
        self.comets.set_rooms(&request.server, request.room_count, unix_ms())?;
        let count = |online: u64| i32::try_from(online).unwrap_or(i32::MAX);
        let all = self.nodes.rooms(None, GOIM_ROOMS_MAX);
        let mut all: HashMap<String, i32> = all.into_iter().map(|(room, online)| (room, count(online))).collect();
        for room in asked {
            let online = self.nodes.room_online(&room);
            all.insert(room, count(online));
        }
        Ok(Response::new(rpc::OnlineReply { all_room_count: all }))
    }

    async fn receive(&self, request: Request<rpc::ReceiveReq>) -> Result<Response<rpc::ReceiveReply>, Status> {
        let request = request.into_inner();
        let proto = request.proto.ok_or_else(|| Status::unknown("rpc receive arg error: proto is needed"))?;
        // goim does not say which session it was.
        let (key, addr) = (SessionKey::parse(""), SessionAddr::default());
        let frame = Upstream { mid: request.mid, key: &key, addr, op: proto.op, body: &proto.body, now_ms: unix_ms() };
        match self.logic.receive(&frame).get().await {
            Ok(()) => Ok(Response::new(rpc::ReceiveReply {})),
            Err(Refusal::Unknown) => Err(Status::deadline_exceeded("it is unknown whether the frame was written")),
            Err(refusal) => Err(Status::unavailable(format!("the frame was not taken: {}", refusal.word()))),
        }
    }

    async fn nodes(&self, request: Request<rpc::NodesReq>) -> Result<Response<rpc::NodesReply>, Status> {
        let platform = request.into_inner().platform;
        let config = self.api.config();
        let nodes = self.nodes.nodes();
        let told = perseid_logic::api::weighted(&config, &nodes, &platform);
        Ok(Response::new(rpc::NodesReply {
            domain: told.domain.to_owned(),
            tcp_port: told.tcp_port,
            ws_port: told.ws_port,
            wss_port: told.wss_port,
            heartbeat: told.heartbeat,
            nodes: told.nodes,
            backoff: Some(rpc::Backoff {
                max_delay: told.backoff.max_delay,
                base_delay: told.backoff.base_delay,
                factor: told.backoff.factor,
                jitter: told.backoff.jitter,
            }),
            heartbeat_max: told.heartbeat_max,
        }))
    }
}

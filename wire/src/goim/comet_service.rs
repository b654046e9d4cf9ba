//! What goim's job asks of a comet. Errors of arguments have the code Unknown, as a plain Go error has.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use perseid_comet::Comet;
use perseid_protocol::SessionKey;
use perseid_protocol::frame;
use perseid_protocol::frame::kind;
use perseid_protocol::operation::op;
use perseid_protocol::push::{Delivery, Push, Target, room_push};
use perseid_rpc::goim::comet as rpc;
use perseid_rpc::goim::comet::comet_server::{Comet as CometRpc, CometServer};
use perseid_rpc::goim::protocol::Proto;
use perseid_store::SessionRegistry;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::limits::GOIM_MESSAGE_BYTES_MAX;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct CometService {
    comet: Arc<Comet>,
    /// Finds the sessions of keys; those of other comets are passed over.
    sessions: Arc<dyn SessionRegistry>,
    /// The largest body of one frame, bytes.
    body_bytes_max: usize,
}

impl CometService {
    /// The service of `comet`, whose sessions `sessions` knows by key. A frame's body has at most `body_bytes_max`.
    pub fn new(comet: Arc<Comet>, sessions: Arc<dyn SessionRegistry>, body_bytes_max: usize) -> Self {
        Self { comet, sessions, body_bytes_max }
    }

    /// For a listener.
    pub fn server(&self) -> CometServer<Self> {
        CometServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(GOIM_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GOIM_MESSAGE_BYTES_MAX)
    }

    /// The pushes that a `Proto` stands for: itself, or the frames that it wraps (op 9).
    fn pushes(&self, proto: Proto, filter_op: i32) -> Result<Vec<Push>, Status> {
        let filter_op = if filter_op == proto.op { 0 } else { filter_op };
        if proto.op != op::RAW {
            self.check(proto.body.len())?;
            return Ok(vec![Push { op: proto.op, filter_op, kind: kind::NOTICE, body: proto.body, ..Push::default() }]);
        }
        let mut pushes = Vec::new();
        let mut at = 0;
        while at < proto.body.len() {
            let frame = frame::decode(&proto.body[at..], self.body_bytes_max)
                .map_err(|error| Status::invalid_argument(format!("the body of op 9 holds no whole frames: {error}")))?
                .ok_or_else(|| Status::invalid_argument("the last frame in the body of op 9 is cut off"))?;
            let end = at + frame.len;
            let op = frame.header.op;
            let body = proto.body.slice(end - frame.body.len()..end);
            // An op 9 is filtered as a whole: by what the caller says, else by what its frames say.
            let filter_op = if filter_op == op { 0 } else { filter_op };
            pushes.push(Push { op, filter_op, kind: kind::NOTICE, body, ..Push::default() });
            at = end;
        }
        Ok(pushes)
    }

    fn check(&self, len: usize) -> Result<(), Status> {
        let max = self.body_bytes_max;
        if len <= max { Ok(()) } else { Err(Status::resource_exhausted(format!("a body has at most {max} bytes, not {len}"))) }
    }
}

/// As goim's plain errors arrive.
fn argument(message: &str) -> Status {
    Status::unknown(message)
}

#[tonic::async_trait]
impl CometRpc for CometService {
    async fn push_msg(&self, request: Request<rpc::PushMsgReq>) -> Result<Response<rpc::PushMsgReply>, Status> {
        let request = request.into_inner();
        let (false, Some(proto)) = (request.keys.is_empty(), request.proto) else {
            return Err(argument("rpc pushmsg arg error: keys and proto are needed"));
        };
        let pushes: Vec<Arc<Push>> = self.pushes(proto, request.proto_op)?.into_iter().map(Arc::new).collect();
        let mut batch = Vec::new();
        for key in &request.keys {
            // Who is not here has gone, as in goim.
            let Some(addr) = self.sessions.by_key(&SessionKey::parse(key)) else { continue };
            batch.extend(pushes.iter().map(|push| Delivery { target: Target::Session(addr), push: push.clone() }));
        }
        self.comet.deliver(batch);
        Ok(Response::new(rpc::PushMsgReply {}))
    }

    async fn broadcast(&self, request: Request<rpc::BroadcastReq>) -> Result<Response<rpc::BroadcastReply>, Status> {
        let request = request.into_inner();
        let proto = request.proto.ok_or_else(|| argument("rpc broadcast arg error: proto is needed"))?;
        // Of nothing but the empty body: goim ignores a speed below 1.
        let speed = u32::try_from(request.speed).unwrap_or(0);
        let pushes = self.pushes(proto, request.proto_op)?;
        let to_all = |push| Delivery { target: Target::All { speed }, push: Arc::new(push) };
        self.comet.deliver(pushes.into_iter().map(to_all).collect());
        Ok(Response::new(rpc::BroadcastReply {}))
    }

    async fn broadcast_room(&self, request: Request<rpc::BroadcastRoomReq>) -> Result<Response<rpc::BroadcastRoomReply>, Status> {
        let request = request.into_inner();
        let (false, Some(proto)) = (request.room_id.is_empty(), request.proto) else {
            return Err(argument("rpc broadcast room arg error: roomID and proto are needed"));
        };
        let room: Arc<str> = request.room_id.into();
        let pushes = self.pushes(proto, 0)?;
        let to_room = |push| Delivery { target: Target::Room(room.clone()), push: Arc::new(room_push(&room, push)) };
        self.comet.deliver(pushes.into_iter().map(to_room).collect());
        Ok(Response::new(rpc::BroadcastRoomReply {}))
    }

    async fn rooms(&self, _request: Request<rpc::RoomsReq>) -> Result<Response<rpc::RoomsReply>, Status> {
        let rooms: HashMap<String, bool> = self.comet.rooms().into_iter().map(|(room, _)| (room.to_string(), true)).collect();
        Ok(Response::new(rpc::RoomsReply { rooms }))
    }
}

/// The body of op 9 for one push, as goim's job makes it.
pub(super) fn raw_proto(pushes: &[Arc<Push>]) -> Proto {
    let mut body = Vec::with_capacity(pushes.iter().map(|push| push.frame_len(false)).sum());
    for push in pushes {
        push.put_frame(&mut body, false);
    }
    Proto { ver: 1, op: op::RAW, seq: 0, body: Bytes::from(body) }
}

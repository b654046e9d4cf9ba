//! What carries a batch to a goim comet: goim's own unary calls, as its job makes them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use perseid_job::{Transport, TransportError};
use perseid_protocol::frame::kind;
use perseid_protocol::operation::op;
use perseid_protocol::push::{Delivery, Push, SessionAddr, Target};
use perseid_rpc::goim::comet::comet_client::CometClient;
use perseid_rpc::goim::comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq};
use tokio::runtime::Handle;
use tonic::Status;
use tonic::transport::Channel;

use super::comet_service::raw_proto;
use super::comets::Keys;
use crate::limits::GOIM_MESSAGE_BYTES_MAX;
use crate::logic::unix_ms;

/// See the module. Runs on a lane's thread.
pub(super) struct GoimTransport {
    client: CometClient<Channel>,
    runtime: Handle,
    keys: Keys,
    left_out: Arc<LeftOut>,
}

/// Deliveries that no call was made for.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// The session has ended.
    pub(super) offline: AtomicU64,
    /// Its time was over.
    pub(super) expired: AtomicU64,
}

/// One call.
enum Call {
    Push(PushMsgReq),
    Room(BroadcastRoomReq),
    All(BroadcastReq),
}

impl GoimTransport {
    pub(super) fn new(channel: Channel, runtime: Handle, keys: Keys, left_out: Arc<LeftOut>) -> Self {
        let client = CometClient::new(channel)
            .max_decoding_message_size(GOIM_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GOIM_MESSAGE_BYTES_MAX);
        Self { client, runtime, keys, left_out }
    }

    /// The calls for a batch: one for each push, whatever number of sessions it goes to.
    fn calls(&self, batch: &[Delivery], now_ms: u64) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut last: Option<&Arc<Push>> = None;
        for Delivery { target, push } in batch {
            if push.is_expired(now_ms) {
                self.left_out.expired.fetch_add(1, Relaxed);
                continue;
            }
            let same = last.is_some_and(|last| Arc::ptr_eq(last, push));
            last = Some(push);
            let proto = || Some(raw_proto(std::slice::from_ref(push)));
            match target {
                // goim's comets know neither hints nor ends; its sessions sync nothing.
                Target::End(..) => {}
                Target::Inbox { .. } if push.op == op::HEAD || push.kind == kind::EVENT => {}
                Target::Session(addr) | Target::Inbox { session: addr, .. } => {
                    let Some(key) = self.key(*addr) else {
                        self.left_out.offline.fetch_add(1, Relaxed);
                        continue;
                    };
                    if let (true, Some(Call::Push(call))) = (same, calls.last_mut()) {
                        call.keys.push(key);
                        continue;
                    }
                    calls.push(Call::Push(PushMsgReq { keys: vec![key], proto: proto(), proto_op: push.accepted_as() }));
                }
                Target::Room(room) => {
                    calls.push(Call::Room(BroadcastRoomReq { room_id: room.to_string(), proto: proto() }));
                }
                Target::All { speed } => {
                    let speed = i32::try_from(*speed).unwrap_or(i32::MAX);
                    calls.push(Call::All(BroadcastReq { proto_op: push.accepted_as(), proto: proto(), speed }));
                }
            }
        }
        calls
    }

    fn key(&self, addr: SessionAddr) -> Option<String> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&(addr.slot, addr.generation)).cloned()
    }

    async fn call(&mut self, call: Call) -> Result<(), Status> {
        match call {
            Call::Push(request) => self.client.push_msg(request).await.map(drop),
            Call::Room(request) => self.client.broadcast_room(request).await.map(drop),
            Call::All(request) => self.client.broadcast(request).await.map(drop),
        }
    }
}

impl Transport for GoimTransport {
    fn send(&mut self, _sequence: u64, batch: &[Delivery], deadline: Instant) -> Result<(), TransportError> {
        let calls = self.calls(batch, unix_ms());
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let mut sent = 0;
            for call in calls {
                match tokio::time::timeout_at(deadline.into(), self.call(call)).await {
                    Ok(Ok(())) => sent += 1,
                    // goim's comet says so of a slow session, and goes on.
                    Ok(Err(status)) if status.code() == tonic::Code::Unknown => sent += 1,
                    // Nobody was there to take it.
                    Ok(Err(status)) if sent == 0 && is_unreachable(&status) => return Err(TransportError::NotSent),
                    Ok(Err(_)) | Err(_) => return Err(TransportError::Unknown),
                }
            }
            Ok(())
        })
    }

    /// goim's comets know of nothing that could be missed.
    fn resync(&mut self, _deadline: Instant) -> Result<(), TransportError> {
        Ok(())
    }
}

/// Whether a call failed before there was a connection.
fn is_unreachable(status: &Status) -> bool {
    status.code() == tonic::Code::Unavailable
        && std::error::Error::source(status).and_then(|source| source.downcast_ref::<tonic::transport::Error>()).is_some_and(
            |error| {
                let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
                std::iter::from_fn(move || {
                    let this = cause?;
                    cause = this.source();
                    Some(this)
                })
                .any(|cause| {
                    cause
                        .downcast_ref::<std::io::Error>()
                        .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
                })
            },
        )
}

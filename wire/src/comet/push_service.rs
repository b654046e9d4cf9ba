//! Takes what jobs send: each lane's batches once, in order, however often they are sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use perseid_comet::Comet;
use perseid_rpc::cluster as rpc;
use perseid_rpc::cluster::comet_server::{Comet as CometRpc, CometServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::interest::{Interest, Reader};
use super::stream::VERSION;
use crate::codec::{Life, deliveries};
use crate::limits::{HELLO_WAIT, LANES_MAX, MESSAGES_QUEUED_MAX, OWN_MESSAGE_BYTES_MAX};

/// What the service counts.
#[derive(Debug, Default)]
pub struct PushCounters {
    streams: AtomicU64,
    batches: AtomicU64,
    deliveries: AtomicU64,
    repeated: AtomicU64,
    resyncs: AtomicU64,
    malformed: AtomicU64,
}

/// What the service has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushSnapshot {
    /// Streams that jobs opened.
    pub streams: u64,
    /// Batches taken.
    pub batches: u64,
    /// Deliveries in them.
    pub deliveries: u64,
    /// Batches that came again, and were not delivered again.
    pub repeated: u64,
    /// Resyncs.
    pub resyncs: u64,
    /// Deliveries that name nobody or say nothing: dropped.
    pub malformed: u64,
}

impl PushCounters {
    /// As they stand.
    pub fn snapshot(&self) -> PushSnapshot {
        PushSnapshot {
            streams: self.streams.load(Relaxed),
            batches: self.batches.load(Relaxed),
            deliveries: self.deliveries.load(Relaxed),
            repeated: self.repeated.load(Relaxed),
            resyncs: self.resyncs.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
        }
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct PushService {
    inner: Arc<Inner>,
}

struct Inner {
    comet: Arc<Comet>,
    life: Life,
    interest: Arc<Interest>,
    lanes: Mutex<Lanes>,
    counters: Arc<PushCounters>,
    stop: CancellationToken,
}

/// The last sequence taken of each lane. Of too many the one that was silent longest is forgotten.
#[derive(Default)]
struct Lanes {
    lanes: HashMap<u64, Arc<Mutex<Taken>>>,
    clock: u64,
}

#[derive(Default)]
struct Taken {
    sequence: u64,
    used: u64,
}

impl Lanes {
    fn get(&mut self, lane: u64) -> Arc<Mutex<Taken>> {
        if !self.lanes.contains_key(&lane) && self.lanes.len() >= LANES_MAX {
            let used = |taken: &Arc<Mutex<Taken>>| taken.lock().unwrap_or_else(PoisonError::into_inner).used;
            let oldest = self.lanes.iter().min_by_key(|(_, taken)| used(taken)).map(|(lane, _)| *lane);
            oldest.map(|oldest| self.lanes.remove(&oldest));
        }
        self.clock += 1;
        let taken = self.lanes.entry(lane).or_default().clone();
        taken.lock().unwrap_or_else(PoisonError::into_inner).used = self.clock;
        taken
    }
}

impl PushService {
    /// The service of `comet`, which announces the rooms of `interest`.
    pub fn new(comet: Arc<Comet>, interest: Arc<Interest>) -> Self {
        let life = Life { node: comet.config().node, incarnation: comet.config().incarnation };
        let (lanes, counters, stop) = (Mutex::default(), Arc::default(), CancellationToken::new());
        Self { inner: Arc::new(Inner { comet, life, interest, lanes, counters, stop }) }
    }

    /// For a listener.
    pub fn server(&self) -> CometServer<Self> {
        CometServer::new(self.clone())
            .max_decoding_message_size(OWN_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(OWN_MESSAGE_BYTES_MAX)
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<PushCounters> {
        &self.inner.counters
    }

    /// Ends every stream.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }
}

type Replies = mpsc::Sender<Result<rpc::PushReply, Status>>;

#[tonic::async_trait]
impl CometRpc for PushService {
    type PushStream = ReceiverStream<Result<rpc::PushReply, Status>>;

    async fn push(&self, request: Request<Streaming<rpc::JobMessage>>) -> Result<Response<Self::PushStream>, Status> {
        let (out, replies) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let (inner, mut messages) = (self.inner.clone(), request.into_inner());
        tokio::spawn(async move {
            let stop = inner.stop.clone();
            let ended = tokio::select! {
                ended = inner.serve(&mut messages, &out) => ended,
                () = stop.cancelled() => Err(Status::unavailable("this comet is leaving")),
                () = out.closed() => Ok(()),
            };
            if let Err(status) = ended {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}

impl Inner {
    async fn serve(&self, messages: &mut Streaming<rpc::JobMessage>, out: &Replies) -> Result<(), Status> {
        let first = tokio::time::timeout(HELLO_WAIT, messages.message());
        let first = first.await.map_err(|_| Status::deadline_exceeded("the first word of a job is Open, at once"))??;
        let Some(rpc::job_message::Message::Open(open)) = first.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("the first word of a job is Open"));
        };
        self.check(&open)?;
        let taken = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(open.lane);
        let last_sequence = taken.lock().unwrap_or_else(PoisonError::into_inner).sequence;
        self.counters.streams.fetch_add(1, Relaxed);
        reply(out, rpc::push_reply::Reply::Opened(rpc::Opened { last_sequence })).await?;
        let mut reader = self.interest.reader();
        let acked = reader.acked();
        let telling = tell(&mut reader, out);
        let taking = async {
            let mut resync = 0;
            while let Some(message) = messages.message().await? {
                match message.message {
                    Some(rpc::job_message::Message::InterestAck(ack)) => acked.up_to(ack.version),
                    Some(rpc::job_message::Message::Batch(batch)) => {
                        let sequence = self.take(&taken, batch);
                        reply(out, rpc::push_reply::Reply::Ack(rpc::Ack { sequence, resync })).await?;
                    }
                    Some(rpc::job_message::Message::Resync(again)) => {
                        // Nothing is stored yet that a session could look for.
                        self.counters.resyncs.fetch_add(1, Relaxed);
                        resync = again.number;
                        let sequence = taken.lock().unwrap_or_else(PoisonError::into_inner).sequence;
                        reply(out, rpc::push_reply::Reply::Ack(rpc::Ack { sequence, resync })).await?;
                    }
                    Some(rpc::job_message::Message::Open(_)) => return Err(Status::invalid_argument("Open comes once")),
                    // What a later version says is nothing to this one.
                    None => {}
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = taking => ended,
            ended = telling => ended,
        }
    }

    fn check(&self, open: &rpc::Open) -> Result<(), Status> {
        if open.version != VERSION {
            return Err(Status::failed_precondition(format!("this comet speaks version {VERSION}")));
        }
        if (open.node, open.incarnation) != (self.life.node, self.life.incarnation) {
            return Err(Status::failed_precondition("another comet, or another life of this one, was meant"));
        }
        Ok(())
    }

    /// Delivers a batch that is new; gives the last sequence taken. The lock is held meanwhile: two streams of one lane, of
    /// which one is about to end, are one order.
    fn take(&self, taken: &Mutex<Taken>, batch: rpc::Batch) -> u64 {
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.sequence <= taken.sequence {
            self.counters.repeated.fetch_add(1, Relaxed);
            return taken.sequence;
        }
        taken.sequence = batch.sequence;
        let (deliveries, malformed) = deliveries(batch.items, self.life);
        self.counters.malformed.fetch_add(malformed as u64, Relaxed);
        self.counters.batches.fetch_add(1, Relaxed);
        self.counters.deliveries.fetch_add(deliveries.len() as u64, Relaxed);
        self.comet.deliver(deliveries);
        taken.sequence
    }
}

/// Tells of rooms until the job has gone.
async fn tell(reader: &mut Reader, out: &Replies) -> Result<(), Status> {
    loop {
        let interest = reader.next().await;
        reply(out, rpc::push_reply::Reply::Interest(interest)).await?;
    }
}

async fn reply(out: &Replies, reply: rpc::push_reply::Reply) -> Result<(), Status> {
    let reply = rpc::PushReply { reply: Some(reply) };
    out.send(Ok(reply)).await.map_err(|_| Status::cancelled("the job has gone"))
}

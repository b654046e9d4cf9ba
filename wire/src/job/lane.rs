//! A lane to a comet in another process: a queue with a thread, and one stream that is opened again whenever it is lost.
//!
//! A batch whose stream broke is sent again on the next one under the same number, and the comet delivers it once. So a
//! connection may come and go, and nothing is lost that the queue can hold for as long as its deadlines allow.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perseid_job::{BreakerState, Lane, LaneConfig, LaneCounters, LaneError, QueuedLane, RoomInterest, Transport, TransportError};
use perseid_protocol::push::Delivery;
use perseid_rpc::cluster as rpc;
use perseid_rpc::cluster::comet_client::CometClient;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::rooms::HeldRooms;
use crate::backoff::{Backoff, random};
use crate::client::Dial;
use crate::codec::{Life, items};
use crate::comet::{VERSION, unreachable_because};
use crate::limits::{HELLO_WAIT, MESSAGES_QUEUED_MAX, OWN_MESSAGE_BYTES_MAX};

/// Which comet, and how it is reached.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// Its number and life.
    pub node: u32,
    /// See `node`.
    pub incarnation: u32,
    /// Where its push service listens, `host:port`.
    pub addr: String,
    /// How it is called.
    pub dial: Dial,
    /// Bounds of the queue.
    pub queue: LaneConfig,
}

/// See the module. Dropping it ends its stream and its thread.
pub struct CometLane {
    queue: QueuedLane,
    rooms: Arc<HeldRooms>,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// What the lane's thread and its stream share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    streams: AtomicU64,
    /// Deliveries for an earlier life of the comet.
    stale: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The stream that is open; grows with each.
    stream: Option<(u64, mpsc::Sender<rpc::JobMessage>)>,
    opened: u64,
    /// The last sequence and resync that the comet has taken.
    acked: u64,
    resynced: u64,
    /// Nothing will ever be sent again.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CometLane {
    /// Starts a lane. Its stream runs on `runtime`.
    ///
    /// # Errors
    /// Its thread could not be started.
    pub fn start(settings: LaneSettings, runtime: &Handle) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            streams: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        });
        let life = Life { node: settings.node, incarnation: settings.incarnation };
        let transport = StreamTransport { shared: shared.clone(), life, resyncs: 0 };
        let queue = QueuedLane::start(settings.node, settings.queue.clone(), transport)?;
        let (rooms, stop) = (Arc::new(HeldRooms::default()), CancellationToken::new());
        let stream = Stream { settings, lane: random(), shared: shared.clone(), rooms: rooms.clone() };
        let stopped = stop.clone();
        runtime.spawn(async move {
            let shared = stream.shared.clone();
            stopped.run_until_cancelled(stream.run()).await;
            let mut state = shared.lock();
            state.stream = None;
            state.closed = true;
            drop(state);
            shared.changed.notify_all();
        });
        Ok(Self { queue, rooms, shared, stop })
    }

    /// What became of what was offered.
    pub fn counters(&self) -> LaneCounters {
        self.queue.counters()
    }

    /// Deliveries and bytes that wait.
    pub fn waiting(&self) -> (usize, usize) {
        self.queue.waiting()
    }

    /// Whether its breaker is open.
    pub fn is_broken(&self) -> bool {
        matches!(self.queue.breaker(), BreakerState::Open { .. })
    }

    /// Streams opened.
    pub fn streams(&self) -> u64 {
        self.shared.streams.load(Relaxed)
    }

    /// Deliveries for sessions of an earlier life of the comet: they have ended.
    pub fn stale(&self) -> u64 {
        self.shared.stale.load(Relaxed)
    }

    /// Waits until nothing waits any more, at most `timeout`; whether that is so.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.queue.drain(timeout)
    }
}

impl Drop for CometLane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Lane for CometLane {
    fn node(&self) -> u32 {
        self.queue.node()
    }

    fn room_interest(&self) -> Option<Arc<dyn RoomInterest>> {
        Some(self.rooms.clone())
    }

    fn deliver(&self, batch: Vec<Delivery>) -> Result<(), LaneError> {
        self.queue.deliver(batch)
    }

    fn resync(&self) {
        self.queue.resync();
    }
}

/// Hands batches to the stream that is open, on the lane's thread.
struct StreamTransport {
    shared: Arc<Shared>,
    life: Life,
    resyncs: u64,
}

impl Transport for StreamTransport {
    fn send(&mut self, sequence: u64, batch: &[Delivery], deadline: Instant) -> Result<(), TransportError> {
        let (items, left_out) = items(batch, self.life);
        self.shared.stale.fetch_add(left_out as u64, Relaxed);
        if items.is_empty() {
            return Ok(());
        }
        let message = rpc::job_message::Message::Batch(rpc::Batch { sequence, items });
        self.send_until(message, |state| state.acked >= sequence, deadline)
    }

    fn resync(&mut self, deadline: Instant) -> Result<(), TransportError> {
        self.resyncs += 1;
        let number = self.resyncs;
        let message = rpc::job_message::Message::Resync(rpc::Resync { number });
        self.send_until(message, |state| state.resynced >= number, deadline)
    }
}

impl StreamTransport {
    /// Sends `message` on each stream that opens, until it is acknowledged.
    fn send_until(
        &self,
        message: rpc::job_message::Message,
        is_acked: impl Fn(&State) -> bool,
        deadline: Instant,
    ) -> Result<(), TransportError> {
        let message = rpc::JobMessage { message: Some(message) };
        let (mut sent_on, mut state) = (0, self.shared.lock());
        loop {
            if is_acked(&state) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return Err(if sent_on == 0 { TransportError::NotSent } else { TransportError::Again });
            }
            if let Some((stream, out)) = &state.stream
                && *stream != sent_on
                // Full: it holds acknowledgements that nobody takes. The stream ends by its keepalive, or goes on.
                && out.try_send(message.clone()).is_ok()
            {
                sent_on = *stream;
            }
            let wait = if state.stream.is_some() && sent_on == 0 { left.min(Duration::from_millis(20)) } else { left };
            state = self.shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Keeps a stream to the comet.
struct Stream {
    settings: LaneSettings,
    /// Names the lane to the comet.
    lane: u64,
    shared: Arc<Shared>,
    rooms: Arc<HeldRooms>,
}

impl Stream {
    async fn run(&self) {
        let mut backoff = Backoff::default();
        let addr = &self.settings.addr;
        loop {
            let mut opened = false;
            let why = self.stream(&mut opened).await;
            self.shared.lock().stream = None;
            self.shared.changed.notify_all();
            self.rooms.forget();
            if opened {
                backoff.succeed();
                tracing::warn!(%addr, %why, "the stream to a comet was lost: what is for it waits");
            } else {
                tracing::debug!(%addr, %why, "a comet can't be reached");
            }
            tokio::time::sleep(backoff.fail(random())).await;
        }
    }

    async fn stream(&self, opened: &mut bool) -> Status {
        match self.try_stream(opened).await {
            Ok(()) => Status::unavailable("the comet has ended the stream"),
            Err(status) => status,
        }
    }

    async fn try_stream(&self, opened: &mut bool) -> Result<(), Status> {
        let LaneSettings { node, incarnation, addr, dial, .. } = &self.settings;
        let channel = dial.connect(addr).await.map_err(|error| unreachable_because(&error))?;
        let mut client = CometClient::new(channel)
            .max_decoding_message_size(OWN_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(OWN_MESSAGE_BYTES_MAX);
        let (out, messages) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let open = rpc::Open { version: VERSION, lane: self.lane, node: *node, incarnation: *incarnation };
        let open = rpc::JobMessage { message: Some(rpc::job_message::Message::Open(open)) };
        out.send(open).await.map_err(|_| Status::internal("the stream has no end to write to"))?;
        let opening = async {
            let mut replies = client.push(ReceiverStream::new(messages)).await?.into_inner();
            match replies.message().await?.and_then(|reply| reply.reply) {
                Some(rpc::push_reply::Reply::Opened(opened)) => Ok((replies, opened)),
                _ => Err(Status::failed_precondition("the first word of a comet is Opened")),
            }
        };
        let (mut replies, first) =
            tokio::time::timeout(HELLO_WAIT, opening).await.map_err(|_| Status::deadline_exceeded("no Opened"))??;
        *opened = true;
        self.shared.streams.fetch_add(1, Relaxed);
        {
            let mut state = self.shared.lock();
            state.opened += 1;
            state.acked = state.acked.max(first.last_sequence);
            state.stream = Some((state.opened, out.clone()));
        }
        self.shared.changed.notify_all();
        while let Some(reply) = replies.message().await? {
            match reply.reply {
                Some(rpc::push_reply::Reply::Ack(ack)) => {
                    let mut state = self.shared.lock();
                    state.acked = state.acked.max(ack.sequence);
                    state.resynced = state.resynced.max(ack.resync);
                    drop(state);
                    self.shared.changed.notify_all();
                }
                Some(rpc::push_reply::Reply::Interest(interest)) => {
                    let version = interest.version;
                    self.rooms.update(interest);
                    if version > 0 {
                        let ack = rpc::job_message::Message::InterestAck(rpc::InterestAck { version });
                        let ack = rpc::JobMessage { message: Some(ack) };
                        out.send(ack).await.map_err(|_| Status::unavailable("the stream takes nothing any more"))?;
                    }
                }
                // Said once; and what a later version says is nothing to this one.
                Some(rpc::push_reply::Reply::Opened(_)) | None => {}
            }
        }
        Ok(())
    }
}

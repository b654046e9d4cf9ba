//! The stream to a logic: opened again whenever it is lost, and everything that lives here said anew each time.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perseid_comet::Comet;
use perseid_protocol::CloseReason;
use perseid_rpc::cluster as rpc;
use perseid_rpc::cluster::logic_client::LogicClient;
use perseid_store::{SessionRegistry, SessionRow};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::link::RemoteLink;
use crate::backoff::{Backoff, random};
use crate::codec::place;
use crate::limits::{HELLO_WAIT, ITEMS_PER_MESSAGE, MESSAGES_QUEUED_MAX, OWN_MESSAGE_BYTES_MAX, REPORT_EVERY};

/// How often questions are looked at whose time may be over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often different addresses of sessions are counted, in reports.
const ADDRESSES_EVERY: u64 = 10;

/// How long a goodbye may take.
const FINISH_WAIT: Duration = Duration::from_secs(2);

/// The version of the streams.
pub(crate) const VERSION: u32 = 1;

/// A comet and its link: what keeps the stream to logic. Dropping it ends that.
pub struct CometNode {
    stop: CancellationToken,
    finish: CancellationToken,
    talking: Mutex<Option<JoinHandle<()>>>,
}

/// What a comet says of itself.
struct Talk {
    link: Arc<RemoteLink>,
    comet: Arc<Comet>,
    started_ms: u64,
    push_addr: String,
    finish: CancellationToken,
}

impl CometNode {
    /// Connects `comet`'s link. `push_addr` is where jobs reach its push service, `host:port`. Must run inside a tokio runtime.
    pub fn start(link: &Arc<RemoteLink>, comet: &Arc<Comet>, started_ms: u64, push_addr: String) -> Self {
        let (stop, finish) = (CancellationToken::new(), CancellationToken::new());
        let (link, comet) = (link.clone(), comet.clone());
        let talk = Arc::new(Talk { link, comet, started_ms, push_addr, finish: finish.clone() });
        let chores = talk.clone();
        let (stopped, ended) = (stop.clone(), stop.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(chores.chores()).await });
        let talking = tokio::spawn(async move {
            let _ = ended.run_until_cancelled(talk.run()).await;
        });
        Self { stop, finish, talking: Mutex::new(Some(talking)) }
    }

    /// Says goodbye to logic, after everything that sessions still had to say; ends the stream. Takes a second or two at most.
    pub async fn finish(&self) {
        self.finish.cancel();
        let talking = self.talking.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(talking) = talking {
            let _ = tokio::time::timeout(FINISH_WAIT, talking).await;
        }
        self.stop.cancel();
    }

    /// Ends the stream; nobody is asked any more.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for CometNode {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Talk {
    /// What has to be looked at whether a logic is there or not.
    async fn chores(&self) {
        let (mut look, mut sweep) = (tokio::time::interval(LOOK_EVERY), tokio::time::interval(REPORT_EVERY));
        for ticks in [&mut look, &mut sweep] {
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                _ = look.tick() => self.link.expire(),
                _ = sweep.tick() => {
                    let held: Vec<Arc<str>> = self.comet.rooms().into_iter().map(|(room, _)| room).collect();
                    self.link.interest.sweep(&held, |room| self.comet.holds_room(room), self.link.now_ms());
                }
            }
        }
    }

    async fn run(&self) {
        let (mut backoff, mut at) = (Backoff::default(), 0);
        let logics = &self.link.config.logics;
        while let Some(logic) = logics.get(at % logics.len().max(1)) {
            let mut welcomed = false;
            let why = self.stream(logic, &mut welcomed).await;
            self.link.go_down();
            if self.finish.is_cancelled() {
                return;
            }
            if welcomed {
                backoff.succeed();
                tracing::warn!(%logic, %why, "the stream to logic was lost: sessions stay, nobody is let in");
            } else {
                tracing::debug!(%logic, %why, "logic can't be reached");
            }
            at += 1;
            tokio::select! {
                () = tokio::time::sleep(backoff.fail(random())) => {}
                () = self.finish.cancelled() => return,
            }
        }
    }

    /// One stream, from its beginning to its end; gives why it ended.
    async fn stream(&self, logic: &str, welcomed: &mut bool) -> Status {
        let channel = match self.link.config.dial.connect(logic).await {
            Ok(channel) => channel,
            Err(error) => return unreachable_because(&error),
        };
        let mut client = LogicClient::new(channel)
            .max_decoding_message_size(OWN_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(OWN_MESSAGE_BYTES_MAX);
        let (out, messages) = mpsc::channel(MESSAGES_QUEUED_MAX);
        if out.send(message(rpc::comet_message::Message::Hello(self.hello()))).await.is_err() {
            return Status::internal("the stream has no end to write to");
        }
        let opening = async {
            let mut stream = client.sessions(ReceiverStream::new(messages)).await?.into_inner();
            match stream.message().await?.and_then(|message| message.message) {
                Some(rpc::logic_message::Message::Welcome(welcome)) => Ok((stream, welcome)),
                _ => Err(Status::failed_precondition("the first word of a logic is Welcome")),
            }
        };
        let (stream, welcome) = match tokio::time::timeout(HELLO_WAIT, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => {
                if matches!(status.code(), tonic::Code::AlreadyExists | tonic::Code::FailedPrecondition) {
                    tracing::error!(%logic, why = status.message(), "logic does not want this comet");
                }
                return status;
            }
            Err(_) => return Status::deadline_exceeded("no Welcome"),
        };
        *welcomed = true;
        self.link.counters.streams.fetch_add(1, Relaxed);
        tracing::info!(%logic, lease_ms = welcome.lease_ms, "connected to logic");
        // From now on questions are taken; they go out when logic knows who lives here.
        self.link.lock().come_up();
        let reading = self.read(stream);
        tokio::pin!(reading);
        let full = || Status::unavailable("the stream takes nothing any more");
        tokio::select! {
            ended = &mut reading => return ended.err().unwrap_or_else(|| Status::unavailable("logic has ended the stream")),
            () = self.write(&out) => return full(),
            () = self.report(&out) => return full(),
            () = self.finish.cancelled() => {}
        }
        self.say_goodbye(out).await;
        let _ = tokio::time::timeout(FINISH_WAIT / 2, reading).await;
        Status::cancelled("this comet has left")
    }

    /// What sessions still had to say, and the last word.
    async fn say_goodbye(&self, out: mpsc::Sender<rpc::CometMessage>) {
        loop {
            let requests = self.link.lock().take();
            if requests.is_empty() {
                break;
            }
            let requests = rpc::Requests { requests };
            if out.send(message(rpc::comet_message::Message::Requests(requests))).await.is_err() {
                return;
            }
        }
        let _ = out.send(message(rpc::comet_message::Message::Goodbye(rpc::Goodbye {}))).await;
    }

    fn hello(&self) -> rpc::Hello {
        let text = |addrs: &[std::net::SocketAddr]| addrs.iter().map(ToString::to_string).collect();
        rpc::Hello {
            version: VERSION,
            name: self.comet.config().node_id.clone(),
            node: self.link.life.node,
            incarnation: self.link.life.incarnation,
            started_ms: self.started_ms,
            tcp: text(self.comet.tcp()),
            ws: text(self.comet.ws()),
            push_addr: self.push_addr.clone(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn read(&self, mut stream: Streaming<rpc::LogicMessage>) -> Result<(), Status> {
        use rpc::logic_message::Message;
        while let Some(message) = stream.message().await? {
            match message.message {
                Some(Message::Answers(answers)) => {
                    for answer in answers.answers {
                        self.link.answered(answer);
                    }
                }
                Some(Message::EndSessions(end)) => self.end_sessions(&end),
                Some(Message::Leave(leave)) => {
                    self.link.leave.send_if_modified(|told| told.replace(leave.per_second).is_none());
                }
                Some(Message::OnlineElsewhere(online)) => {
                    for count in online.rooms {
                        self.comet.set_online_elsewhere(&count.room, count.online);
                    }
                }
                // Said once; and what a later version says is nothing to this one.
                Some(Message::Welcome(_)) | None => {}
            }
        }
        Ok(())
    }

    fn end_sessions(&self, end: &rpc::EndSessions) {
        let reason = u16::try_from(end.reason).ok().and_then(CloseReason::from_code).unwrap_or(CloseReason::Kicked);
        let message = Some(end.message.as_str()).filter(|message| !message.is_empty());
        for addr in end.places.iter().filter_map(|place| self.link.life.addr(*place)) {
            self.comet.end_session(addr, reason, message);
        }
    }

    /// Who lives, then what they ask. Returns when the stream takes nothing any more.
    async fn write(&self, out: &mpsc::Sender<rpc::CometMessage>) {
        if !self.say_who_lives(out).await {
            return;
        }
        loop {
            let asked = self.link.asked.notified();
            let requests = self.link.lock().take();
            if requests.is_empty() {
                asked.await;
                continue;
            }
            let requests = rpc::Requests { requests };
            if out.send(message(rpc::comet_message::Message::Requests(requests))).await.is_err() {
                return;
            }
        }
    }

    async fn say_who_lives(&self, out: &mpsc::Sender<rpc::CometMessage>) -> bool {
        let (link, out) = (self.link.clone(), out.clone());
        // It looks at every session.
        let saying = tokio::task::spawn_blocking(move || {
            let mut living = rpc::Living::default();
            let mut broken = false;
            link.sessions.each_of_node(link.life.node, link.life.incarnation, &mut |row| {
                if broken {
                    return;
                }
                living.sessions.push(session_message(&row));
                if living.sessions.len() >= ITEMS_PER_MESSAGE {
                    let part = std::mem::take(&mut living);
                    broken = out.blocking_send(message(rpc::comet_message::Message::Living(part))).is_err();
                }
            });
            living.last = true;
            !broken && out.blocking_send(message(rpc::comet_message::Message::Living(living))).is_ok()
        });
        saying.await.unwrap_or(false)
    }

    /// What this comet holds, once a second. Returns when the stream takes nothing any more.
    async fn report(&self, out: &mpsc::Sender<rpc::CometMessage>) {
        let mut told: HashMap<Arc<str>, u64> = HashMap::new();
        let (mut ips, mut round) = (0, 0);
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if round % ADDRESSES_EVERY == 0 || self.comet.sessions() < 1000 {
                ips = self.link.sessions.addresses();
            }
            round += 1;
            let rooms: HashMap<Arc<str>, u64> = self.comet.rooms().into_iter().collect();
            let gone = told.keys().filter(|room| !rooms.contains_key(*room)).map(|room| (room.clone(), 0));
            let changed = rooms.iter().filter(|(room, online)| told.get(*room) != Some(online));
            let mut changed: Vec<(Arc<str>, u64)> = changed.map(|(room, online)| (room.clone(), *online)).chain(gone).collect();
            loop {
                let rest = changed.split_off(changed.len().min(ITEMS_PER_MESSAGE));
                let report = self.report_of(&changed, ips);
                if out.send(message(rpc::comet_message::Message::Report(report))).await.is_err() {
                    return;
                }
                if rest.is_empty() {
                    break;
                }
                changed = rest;
            }
            told = rooms;
        }
    }

    fn report_of(&self, changed: &[(Arc<str>, u64)], ips: u64) -> rpc::Report {
        let drain = *self.link.drain.lock().unwrap_or_else(PoisonError::into_inner);
        rpc::Report {
            sessions: self.comet.sessions(),
            ips,
            draining: drain.is_some(),
            drain,
            rooms: changed.iter().map(|(room, online)| rpc::RoomCount { room: room.to_string(), online: *online }).collect(),
        }
    }
}

fn message(message: rpc::comet_message::Message) -> rpc::CometMessage {
    rpc::CometMessage { message: Some(message) }
}

fn session_message(row: &SessionRow) -> rpc::Session {
    rpc::Session {
        key: row.key.to_string(),
        mid: row.mid,
        place: Some(place(row.addr)),
        platform: row.platform.to_string(),
        device_id: row.device_id.to_string(),
        peer: row.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        since_ms: row.since_ms,
        extended: row.extended,
    }
}

/// The error with its causes: tonic's own text says only "transport error".
pub(crate) fn unreachable_because(error: &tonic::transport::Error) -> Status {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Status::unavailable(text)
}

//! What comets ask of logic, one stream for each.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use perseid_logic::{ConnectError, ConnectRequest, Logic, Nodes, RenewRequest, Upstream, Verdict};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::{CloseReason, Refusal, SessionKey};
use perseid_rpc::cluster as rpc;
use perseid_rpc::cluster::logic_server::{Logic as LogicRpc, LogicServer};
use perseid_store::{NewSession, Restored, SessionRow};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::comets::{Admitted, Comets};
use crate::codec::{Life, place};
use crate::comet::VERSION;
use crate::limits::{HELLO_WAIT, LATE_ANSWERS_MAX, MESSAGES_QUEUED_MAX, OWN_MESSAGE_BYTES_MAX};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct LogicService {
    inner: Arc<Inner>,
}

struct Inner {
    logic: Arc<Logic>,
    comets: Arc<Comets>,
    nodes: Arc<dyn Nodes>,
}

impl LogicService {
    /// The service over `logic`. Sessions that lost their key to a newer one are ended through `nodes`.
    pub fn new(logic: Arc<Logic>, comets: Arc<Comets>, nodes: Arc<dyn Nodes>) -> Self {
        Self { inner: Arc::new(Inner { logic, comets, nodes }) }
    }

    /// For a listener.
    pub fn server(&self) -> LogicServer<Self> {
        LogicServer::new(self.clone())
            .max_decoding_message_size(OWN_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(OWN_MESSAGE_BYTES_MAX)
    }
}

type Out = mpsc::Sender<Result<rpc::LogicMessage, Status>>;

#[tonic::async_trait]
impl LogicRpc for LogicService {
    type SessionsStream = ReceiverStream<Result<rpc::LogicMessage, Status>>;

    async fn sessions(&self, request: Request<Streaming<rpc::CometMessage>>) -> Result<Response<Self::SessionsStream>, Status> {
        let peer = request.remote_addr();
        let (out, messages) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let (inner, mut stream) = (self.inner.clone(), request.into_inner());
        tokio::spawn(async move {
            if let Err(status) = inner.serve(&mut stream, &out, peer).await {
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Inner {
    async fn serve(
        self: &Arc<Self>,
        stream: &mut Streaming<rpc::CometMessage>,
        out: &Out,
        peer: Option<SocketAddr>,
    ) -> Result<(), Status> {
        let first = tokio::time::timeout(HELLO_WAIT, stream.message());
        let first = first.await.map_err(|_| Status::deadline_exceeded("the first word of a comet is Hello, at once"))??;
        let Some(rpc::comet_message::Message::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("the first word of a comet is Hello"));
        };
        if hello.version != VERSION {
            return Err(Status::failed_precondition(format!("this logic speaks version {VERSION}")));
        }
        let name = hello.name.clone();
        let mut admitted = self.comets.admit(hello, peer).await?;
        tracing::info!(comet = name, "a comet is there");
        let welcome = rpc::Welcome { lease_ms: self.comets.lease_ms() };
        say(out, rpc::logic_message::Message::Welcome(welcome)).await?;
        let mut talk = Talk {
            inner: self.clone(),
            life: admitted.life,
            leaving: false,
            living: Some(HashSet::new()),
            late: JoinSet::new(),
            permits: Arc::new(Semaphore::new(LATE_ANSWERS_MAX)),
        };
        let ended = talk.run(stream, &mut admitted, out).await;
        // Nothing of this stream is registered after the next one has begun.
        talk.late.shutdown().await;
        admitted.leaving = talk.leaving;
        drop(admitted);
        tracing::warn!(comet = name, "a comet's stream has ended");
        ended
    }
}

/// One stream.
struct Talk {
    inner: Arc<Inner>,
    life: Life,
    /// It has said goodbye.
    leaving: bool,
    /// The sessions that it named so far, until it has named them all.
    living: Option<HashSet<SessionAddr>>,
    /// Answers that somebody else has to be asked for.
    late: JoinSet<()>,
    permits: Arc<Semaphore>,
}

impl Talk {
    async fn run(&mut self, stream: &mut Streaming<rpc::CometMessage>, admitted: &mut Admitted, out: &Out) -> Result<(), Status> {
        loop {
            tokio::select! {
                message = stream.message() => match message? {
                    Some(message) => self.take(message, out).await?,
                    None => return Ok(()),
                },
                command = admitted.commands.recv() => match command {
                    Some(command) => send(out, command).await?,
                    None => return Ok(()),
                },
                () = admitted.stop.cancelled() => {
                    return Err(Status::unavailable("logic has ended the stream: connect again"));
                }
                () = out.closed() => return Ok(()),
                Some(_) = self.late.join_next() => {}
            }
        }
    }

    async fn take(&mut self, message: rpc::CometMessage, out: &Out) -> Result<(), Status> {
        use rpc::comet_message::Message;
        match message.message {
            Some(Message::Living(living)) => self.restore(living).await,
            Some(Message::Requests(requests)) => self.answer_all(requests.requests, out).await,
            Some(Message::Report(report)) => {
                self.inner.comets.report(self.life, report);
                Ok(())
            }
            Some(Message::Goodbye(_)) => {
                self.leaving = true;
                Ok(())
            }
            Some(Message::Hello(_)) => Err(Status::invalid_argument("Hello comes once")),
            // What a later version says is nothing to this one.
            None => Ok(()),
        }
    }

    /// Registers again who lives; when all are named, whoever was not among them has ended.
    async fn restore(&mut self, part: rpc::Living) -> Result<(), Status> {
        let Some(living) = &mut self.living else {
            return Err(Status::invalid_argument("the living are named once, before any request"));
        };
        let mut replaced = Vec::new();
        for session in &part.sessions {
            let Some(addr) = session.place.and_then(|place| self.life.addr(place)) else { continue };
            living.insert(addr);
            match self.inner.logic.restore(new_session(session, addr)) {
                Restored::Replaced(old) => replaced.push(old),
                Restored::Outlived => replaced.push(addr),
                Restored::Known | Restored::Added => {}
            }
        }
        if !replaced.is_empty() {
            self.inner.nodes.end_sessions(&replaced, CloseReason::Replaced, None);
        }
        if part.last {
            let living = self.living.take().unwrap_or_default();
            let (logic, life) = (self.inner.logic.clone(), self.life);
            // It looks at every session there is.
            let closing = tokio::task::spawn_blocking(move || {
                let mut gone: Vec<SessionRow> = Vec::new();
                logic.each_of_node(life.node, life.incarnation, &mut |row| {
                    if !living.contains(&row.addr) {
                        gone.push(row);
                    }
                });
                for row in &gone {
                    logic.disconnect(&row.key, row.mid, row.addr, None);
                }
                gone.len()
            });
            let gone = closing.await.unwrap_or_default();
            tracing::debug!(gone, "a comet has named its sessions");
        }
        Ok(())
    }

    /// Answers in the order of the questions, but for answers that somebody else has to be asked for.
    async fn answer_all(&mut self, requests: Vec<rpc::Request>, out: &Out) -> Result<(), Status> {
        let mut answers = Vec::new();
        for request in requests {
            let Some(asked) = request.request else { continue };
            match self.answer(request.id, asked, out).await {
                Some(answer) if request.id != 0 => answers.push(rpc::Answer { id: request.id, answer: Some(answer) }),
                _ => {}
            }
        }
        if answers.is_empty() { Ok(()) } else { say_answers(out, answers).await }
    }

    async fn answer(&mut self, id: u64, asked: rpc::request::Request, out: &Out) -> Option<rpc::answer::Answer> {
        use rpc::request::Request as Asked;
        match asked {
            Asked::Connect(connect) => {
                let Some(addr) = connect.place.and_then(|place| self.life.addr(place)) else {
                    return Some(refused(no_place()));
                };
                let request = ConnectRequest {
                    body: &connect.body,
                    addr,
                    peer: connect.peer.parse().ok(),
                    extended: connect.extended,
                    cookie: &connect.cookie,
                    now_ms: unix_ms(),
                };
                let verdict = self.inner.logic.connect(&request);
                let (nodes, life) = (self.inner.nodes.clone(), self.life);
                self.give(id, verdict, move |outcome| connected(outcome, life, &*nodes), out).await
            }
            Asked::Renew(renew) => {
                let key = SessionKey::parse(&renew.key);
                let (body, mid, peer) = (&renew.body[..], renew.mid, renew.peer.parse().ok());
                let verdict = self.inner.logic.renew(&RenewRequest { body, mid, key: &key, peer, now_ms: unix_ms() });
                let renewed = |outcome: Result<u64, ConnectError>| match outcome {
                    Ok(expires_at_ms) => rpc::answer::Answer::Renewed(rpc::Renewed { expires_at_ms }),
                    Err(error) => refused(error),
                };
                self.give(id, verdict, renewed, out).await
            }
            Asked::Disconnect(end) => {
                if let Some(addr) = end.place.and_then(|place| self.life.addr(place)) {
                    let reason = u16::try_from(end.reason).ok().and_then(CloseReason::from_code);
                    self.inner.logic.disconnect(&SessionKey::parse(&end.key), end.mid, addr, reason);
                }
                None
            }
            Asked::Receive(frame) => {
                let key = SessionKey::parse(&frame.key);
                let addr = frame.place.and_then(|place| self.life.addr(place)).unwrap_or_default();
                let (mid, op, body) = (frame.mid, frame.op, &frame.body[..]);
                let verdict = self.inner.logic.receive(&Upstream { mid, key: &key, addr, op, body, now_ms: unix_ms() });
                let received = |outcome: Result<(), Refusal>| {
                    let refusal = outcome.err().map_or(0, |refusal| refusal.code().into());
                    rpc::answer::Answer::Received(rpc::Received { refusal })
                };
                self.give(id, verdict, received, out).await
            }
        }
    }

    /// An answer that is there is given now; one that has to be waited for goes out when it is there.
    async fn give<T: Send + 'static>(
        &mut self,
        id: u64,
        verdict: Verdict<T>,
        translate: impl FnOnce(T) -> rpc::answer::Answer + Send + 'static,
        out: &Out,
    ) -> Option<rpc::answer::Answer> {
        let coming = match verdict {
            Verdict::Now(outcome) => return Some(translate(outcome)),
            Verdict::Later(coming) => coming,
        };
        // So many wait that this stream has to: the comet's deadlines hold.
        let permit: Option<OwnedSemaphorePermit> = self.permits.clone().acquire_owned().await.ok();
        let out = out.clone();
        self.late.spawn(async move {
            let answer = translate(coming.await);
            let _ = say_answers(&out, vec![rpc::Answer { id, answer: Some(answer) }]).await;
            drop(permit);
        });
        None
    }
}

/// Tells the comet; a session that lost its key on another comet is ended there.
fn connected(outcome: Result<perseid_logic::Connected, ConnectError>, life: Life, nodes: &dyn Nodes) -> rpc::answer::Answer {
    let connected = match outcome {
        Ok(connected) => connected,
        Err(error) => return refused(error),
    };
    let here = connected.replaced.filter(|addr| life.holds(*addr));
    if let Some(addr) = connected.replaced.filter(|_| here.is_none()) {
        nodes.end_sessions(&[addr], CloseReason::Replaced, None);
    }
    rpc::answer::Answer::Connected(rpc::Connected {
        mid: connected.mid,
        key: connected.key.to_string(),
        room: connected.room.unwrap_or_default(),
        accepts: connected.accepts,
        platform: connected.platform,
        replaced: here.map(place),
        expires_at_ms: connected.expires_at_ms,
    })
}

fn refused(error: ConnectError) -> rpc::answer::Answer {
    rpc::answer::Answer::Refused(rpc::Refused {
        reason: error.reason.code().into(),
        message: error.message,
        retry_after_ms: error.retry_after_ms.unwrap_or(0),
    })
}

fn no_place() -> ConnectError {
    let message = "the comet did not say where the session is: its version does not fit this logic's".to_owned();
    ConnectError { reason: CloseReason::Internal, message, retry_after_ms: None }
}

fn new_session(session: &rpc::Session, addr: SessionAddr) -> NewSession<'_> {
    NewSession {
        key: SessionKey::parse(&session.key),
        mid: session.mid,
        addr,
        platform: &session.platform,
        device_id: &session.device_id,
        peer: session.peer.parse().ok(),
        since_ms: session.since_ms,
        extended: session.extended,
    }
}

async fn say(out: &Out, message: rpc::logic_message::Message) -> Result<(), Status> {
    send(out, rpc::LogicMessage { message: Some(message) }).await
}

async fn say_answers(out: &Out, answers: Vec<rpc::Answer>) -> Result<(), Status> {
    say(out, rpc::logic_message::Message::Answers(rpc::Answers { answers })).await
}

async fn send(out: &Out, message: rpc::LogicMessage) -> Result<(), Status> {
    out.send(Ok(message)).await.map_err(|_| Status::cancelled("the comet has gone"))
}

/// Wall clock, unix ms.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

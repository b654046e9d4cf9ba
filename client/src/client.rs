//! What an application calls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::op;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::core::{Ask, Core, Counts, Draft, Joined, Reply};
use crate::driver::{Clock, Driver, Links, Waiting};
use crate::error::Error;
use crate::event::{ConversationHead, Position, Sent};
use crate::events::{self, Events};
use crate::page::{self, From, HeadsPage, Page};

/// Calls that may wait for the driver.
const CALLS_MAX: usize = 64;

pub(crate) enum Call {
    Send(Draft, Waiting),
    Ask(Ask, Waiting),
    ChangeRoom(String, Waiting),
    SetToken(String, Waiting),
    Cast(Extension, Bytes),
    ConnectAgain,
    Counts(oneshot::Sender<(Counts, usize)>),
    Close(Option<oneshot::Sender<()>>),
}

/// A client. Clones are the same client; it lives until [`Client::close`], or until all clones and its [`Events`] are gone.
#[derive(Clone, Debug)]
pub struct Client {
    calls: mpsc::Sender<Call>,
    processed: watch::Sender<Option<Position>>,
}

impl Client {
    /// Starts a client: reads its storage, and connects in the background, again and again until it is closed. Messages may be
    /// sent at once; they wait in the outbox.
    ///
    /// # Errors
    /// [`Error::Storage`]: what is kept can't be read.
    pub async fn connect(config: Config) -> Result<(Self, Events), Error> {
        let mut storage = config.storage;
        let loading = spawn_blocking(move || {
            let stored = storage.load();
            (storage, stored)
        });
        let (storage, stored) = loading.await.map_err(|error| Error::Storage(error.to_string()))?;
        let stored = stored.map_err(|error| Error::Storage(error.to_string()))?;
        let seed = getrandom::u64().map_err(|error| Error::Storage(format!("no randomness: {error}")))?;
        let clock = Clock::start();
        let (calls, call_receiver) = mpsc::channel(CALLS_MAX);
        let (processed, processed_receiver) = watch::channel(None);
        let client = Self { calls, processed: processed.clone() };
        let (teller, events) = events::queue(config.events_bytes_max, config.acks_itself, processed, client.clone());
        let driver = Driver {
            core: Core::new(config.core, stored, seed, clock.now_ms()),
            clock,
            storage: Some(storage),
            calls: call_receiver,
            processed: processed_receiver,
            teller,
            endpoints: config.endpoints,
            trusted: config.trusted,
            connect_ms: config.connect_ms,
            links: Links::default(),
        };
        tokio::spawn(driver.run());
        Ok((client, events))
    }

    /// Sends a message to a user. When this returns the message is in the storage and will be sent, whatever happens to the
    /// network or to the program; the [`Sending`] says what became of it.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`], [`Error::Invalid`], [`Error::Storage`], [`Error::Closed`]: it is not sent.
    pub async fn send_direct(&self, mid: u64, body: impl Into<Bytes>) -> Result<Sending, Error> {
        self.send(Draft { kind: kind::DIRECT, conv: mid, quiet: false, body: body.into() }).await
    }

    /// Sends a message to a group or a channel; otherwise as [`Client::send_direct`].
    ///
    /// # Errors
    /// As for [`Client::send_direct`].
    pub async fn send_group(&self, group: u64, body: impl Into<Bytes>) -> Result<Sending, Error> {
        self.send(Draft { kind: kind::GROUP, conv: group, quiet: false, body: body.into() }).await
    }

    /// Sends a message that does not count as unread; `kind` is DIRECT, GROUP or CHANNEL.
    ///
    /// # Errors
    /// As for [`Client::send_direct`].
    pub async fn send_quiet(&self, kind: u16, conv: u64, body: impl Into<Bytes>) -> Result<Sending, Error> {
        self.send(Draft { kind, conv, quiet: true, body: body.into() }).await
    }

    async fn send(&self, draft: Draft) -> Result<Sending, Error> {
        let (queued, stored) = oneshot::channel();
        let (done, answer) = oneshot::channel();
        self.call(Call::Send(draft, Waiting { queued: Some(queued), done })).await?;
        let cid = stored.await.map_err(|_| Error::Closed)??;
        Ok(Sending { cid, answer })
    }

    /// Reads a conversation's timeline: at most `limit` of its messages and events (0: as many as the server likes).
    ///
    /// # Errors
    /// [`Error::Refused`] (NOT_MEMBER, TOO_OLD, …), [`Error::TimedOut`], [`Error::Closed`].
    pub async fn pull(&self, kind: u16, conv: u64, from: From, limit: u32) -> Result<Page, Error> {
        let (conv_pos, flags) = match from {
            From::After(conv_pos) => (conv_pos, 0),
            From::Before(conv_pos) => (conv_pos, flag::MORE),
        };
        let ext = Extension { kind, conv, conv_pos, flags, ..Extension::default() };
        let (header, body) = self.ask(op::PULL, ext, page::limit(limit)).await?;
        Page::parse(&header, &body)
    }

    /// Lists the user's conversations, after the one that `after` names: with it a new device builds its list.
    ///
    /// # Errors
    /// As for [`Client::pull`].
    pub async fn heads(&self, after: Option<ConversationHead>, limit: u32) -> Result<HeadsPage, Error> {
        let after = after.unwrap_or_default();
        self.list_heads(after.kind, after.conv, limit).await
    }

    /// Lists the user's channels, after the one that `after` names.
    ///
    /// # Errors
    /// As for [`Client::pull`].
    pub async fn channels(&self, after: Option<u64>, limit: u32) -> Result<HeadsPage, Error> {
        self.list_heads(kind::CHANNEL, after.unwrap_or(0), limit).await
    }

    async fn list_heads(&self, kind: u16, conv: u64, limit: u32) -> Result<HeadsPage, Error> {
        let ext = Extension { kind, conv, ..Extension::default() };
        let (header, body) = self.ask(op::HEADS, ext, page::limit(limit)).await?;
        HeadsPage::parse(&header, &body)
    }

    /// Says that the user has read a conversation up to `conv_pos`; gives the position that holds.
    ///
    /// # Errors
    /// As for [`Client::pull`].
    pub async fn read(&self, kind: u16, conv: u64, conv_pos: u64) -> Result<u64, Error> {
        let ext = Extension { kind, conv, conv_pos, ..Extension::default() };
        let (header, _) = self.ask(op::READ, ext, Bytes::new()).await?;
        Ok(header.ext.conv_pos)
    }

    /// Takes back the message at `conv_pos`.
    ///
    /// # Errors
    /// As for [`Client::pull`]; PERMISSION_DENIED when it is too late, or another's.
    pub async fn recall(&self, kind: u16, conv: u64, conv_pos: u64) -> Result<(), Error> {
        let ext = Extension { kind, conv, conv_pos, ..Extension::default() };
        self.ask(op::RECALL, ext, Bytes::new()).await.map(drop)
    }

    /// Tells the others of a direct chat or a group something that is not stored, such as typing. Nobody answers, and without
    /// a session it is gone.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn ephemeral(&self, kind: u16, conv: u64, body: impl Into<Bytes>) -> Result<(), Error> {
        let ext = Extension { kind, conv, flags: flag::EPHEMERAL, ..Extension::default() };
        self.call(Call::Cast(ext, body.into())).await
    }

    /// Goes to the room `room`, `type://id`; an empty id leaves. The client joins it again after each lost connection, and
    /// gets what was missed or says so ([`Event::RoomGap`](crate::Event::RoomGap)).
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Refused`], [`Error::Closed`]. Without a session it waits for one.
    pub async fn change_room(&self, room: &str) -> Result<Joined, Error> {
        let (done, answer) = oneshot::channel();
        self.call(Call::ChangeRoom(room.to_owned(), Waiting { queued: None, done })).await?;
        match answer.await.map_err(|_| Error::Closed)?? {
            Reply::Joined(joined) => Ok(joined),
            Reply::Sent(_) | Reply::Frame(..) => Err(Error::Invalid("the answer belongs to another request")),
        }
    }

    /// Takes pushes with these operations from now on, in this session and those that follow.
    ///
    /// # Errors
    /// As for [`Client::pull`].
    pub async fn subscribe(&self, operations: &[i32]) -> Result<(), Error> {
        self.ask(op::SUB, Extension::default(), list(operations)).await.map(drop)
    }

    /// Takes pushes with these operations no more.
    ///
    /// # Errors
    /// As for [`Client::pull`].
    pub async fn unsubscribe(&self, operations: &[i32]) -> Result<(), Error> {
        self.ask(op::UNSUB, Extension::default(), list(operations)).await.map(drop)
    }

    /// Hands a body to the business under its operation (33 or more). It is not repeated when the connection ends.
    ///
    /// # Errors
    /// [`Error::Disconnected`]: it may have arrived. And as for [`Client::pull`].
    pub async fn upstream(&self, operation: i32, body: impl Into<Bytes>) -> Result<(), Error> {
        if operation < op::UPSTREAM_MIN {
            return Err(Error::Invalid("operations below 33 are the protocol's"));
        }
        let ask = Ask { op: operation, ext: Extension::default(), body: body.into(), again: false };
        self.answer_to(ask).await.map(drop)
    }

    /// Says that the application is done with all up to `position`: after a restart messages come from there. Does nothing
    /// for positions that were not given yet. Only needed with [`Config::acks_by_hand`].
    pub fn ack(&self, position: Position) {
        self.processed.send_replace(Some(position));
    }

    /// Uses this token from now on. A living session is renewed with it; a client that was closed because of the old one
    /// connects again.
    ///
    /// # Errors
    /// [`Error::Disconnected`]: the session ended meanwhile, perhaps because of the token; see the events.
    pub async fn set_token(&self, token: &str) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.call(Call::SetToken(token.to_owned(), Waiting { queued: None, done })).await?;
        answer.await.map_err(|_| Error::Closed)?.map(drop)
    }

    /// Connects again after [`Event::Closed`](crate::Event::Closed), because what stood in the way has changed.
    ///
    /// # Errors
    /// [`Error::Closed`]: the application has closed this client.
    pub async fn connect_again(&self) -> Result<(), Error> {
        self.call(Call::ConnectAgain).await
    }

    /// What the client has counted, and how many messages wait in its outbox.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn counts(&self) -> Result<(Counts, usize), Error> {
        let (sender, answer) = oneshot::channel();
        self.call(Call::Counts(sender)).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    /// Ends the client: what was processed is stored and acknowledged; what was not sent waits in the storage for the next
    /// client. Returns when all that is done.
    pub async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        if self.call(Call::Close(Some(sender))).await.is_ok() {
            // An error means that it was closed already.
            let _ = closed.await;
        }
    }

    async fn ask(&self, op: i32, ext: Extension, body: Bytes) -> Result<(perseid_protocol::Header, Bytes), Error> {
        self.answer_to(Ask { op, ext, body, again: true }).await
    }

    async fn answer_to(&self, ask: Ask) -> Result<(perseid_protocol::Header, Bytes), Error> {
        let (done, answer) = oneshot::channel();
        self.call(Call::Ask(ask, Waiting { queued: None, done })).await?;
        match answer.await.map_err(|_| Error::Closed)?? {
            Reply::Frame(header, body) => Ok((header, body)),
            Reply::Sent(_) | Reply::Joined(_) => Err(Error::Invalid("the answer belongs to another request")),
        }
    }

    async fn call(&self, call: Call) -> Result<(), Error> {
        self.calls.send(call).await.map_err(|_| Error::Closed)
    }
}

/// A message on its way. Resolves when the server has it, or has refused it; dropping this changes nothing for the message.
#[derive(Debug)]
#[must_use = "only this says whether the message was accepted"]
pub struct Sending {
    cid: u64,
    answer: oneshot::Receiver<Result<Reply, Error>>,
}

impl Sending {
    /// The id that this client gave the message: its echo and all tries carry it.
    pub const fn cid(&self) -> u64 {
        self.cid
    }
}

impl Future for Sending {
    type Output = Result<Sent, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| match answer {
            Ok(Ok(Reply::Sent(sent))) => Ok(sent),
            Ok(Ok(_)) => Err(Error::Invalid("the answer belongs to another request")),
            Ok(Err(error)) => Err(error),
            // The client is gone; the message is in its storage.
            Err(_) => Err(Error::Closed),
        })
    }
}

fn list(operations: &[i32]) -> Bytes {
    let text: Vec<String> = operations.iter().map(i32::to_string).collect();
    text.join(",").into()
}

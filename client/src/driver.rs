//! Carries out what the machine says: one task, one closed list of what can wake it.

use std::collections::HashMap;
use std::future::pending;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use crate::client::Call;
use crate::config::Trusted;
use crate::connect::Endpoint;
use crate::core::{Action, Core, Reply, Token};
use crate::error::{Disconnect, Error};
use crate::event::Position;
use crate::events::Teller;
use crate::storage::{Record, Storage};
use crate::transport::{Connection, Heard};

/// Calls that are taken in one go: what they store is synced together.
const CALLS_AT_ONCE: usize = 64;
/// A network that takes nothing while this much waits is lost, bytes.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Unix ms that never go back.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX / 2) }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        self.started_ms.saturating_add(elapsed_ms)
    }
}

/// Who waits for an answer.
pub(crate) struct Waiting {
    /// To be told that a message is stored; only for messages.
    pub(crate) queued: Option<oneshot::Sender<Result<u64, Error>>>,
    pub(crate) done: oneshot::Sender<Result<Reply, Error>>,
}

pub(crate) struct Driver {
    pub(crate) core: Core,
    pub(crate) clock: Clock,
    /// Away only while it saves.
    pub(crate) storage: Option<Box<dyn Storage>>,
    pub(crate) calls: mpsc::Receiver<Call>,
    pub(crate) processed: watch::Receiver<Option<Position>>,
    pub(crate) teller: Teller,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) trusted: Trusted,
    pub(crate) connect_ms: u64,
    pub(crate) links: Links,
}

/// What changes while a driver runs.
#[derive(Default)]
pub(crate) struct Links {
    waiting: HashMap<Token, Waiting>,
    /// Messages of which the storage is not known to have them yet.
    queued: Vec<(Token, u64)>,
    next_token: Token,
    connection: Option<Connection>,
    connecting: Option<JoinHandle<Result<Connection, Disconnect>>>,
    tries: usize,
    closed: Option<oneshot::Sender<()>>,
    ending: bool,
    /// Whether too much waits for the application.
    full: bool,
}

enum Woken {
    Calls(Vec<Call>),
    Heard(Heard),
    Connected(Result<Connection, Disconnect>),
    Processed,
    Time,
}

impl Driver {
    pub(crate) async fn run(mut self) {
        loop {
            let now_ms = self.clock.now_ms();
            self.links.full = self.teller.is_full(self.links.full);
            self.core.set_full(self.links.full, now_ms);
            if now_ms >= self.core.poll_timeout() {
                self.core.handle_timeout(now_ms);
            }
            self.carry_out().await;
            if self.links.ending {
                break;
            }
            let woken = self.sleep().await;
            self.wake(woken);
        }
        for (_, waiting) in self.links.waiting.drain() {
            waiting.fail(&Error::Closed);
        }
        if let Some(closed) = self.links.closed.take() {
            let _ = closed.send(());
        }
    }

    async fn sleep(&mut self) -> Woken {
        let wait = Duration::from_millis(self.core.poll_timeout().saturating_sub(self.clock.now_ms()).min(3_600_000));
        let mut calls = Vec::new();
        tokio::select! {
            count = self.calls.recv_many(&mut calls, CALLS_AT_ONCE) => {
                if count == 0 { Woken::Calls(vec![Call::Close(None)]) } else { Woken::Calls(calls) }
            }
            heard = hear(&mut self.links.connection) => Woken::Heard(heard),
            outcome = connected(&mut self.links.connecting) => Woken::Connected(outcome),
            Ok(()) = self.processed.changed() => Woken::Processed,
            () = self.teller.freed(), if self.links.full => Woken::Time,
            () = sleep(wait) => Woken::Time,
        }
    }

    fn wake(&mut self, woken: Woken) {
        let now_ms = self.clock.now_ms();
        match woken {
            Woken::Calls(calls) => calls.into_iter().for_each(|call| self.call(call, now_ms)),
            Woken::Heard(heard) => self.hear(heard, now_ms),
            Woken::Connected(outcome) => {
                self.links.connecting = None;
                match outcome {
                    Ok(connection) => {
                        self.links.connection = Some(connection);
                        self.core.handle_connected(now_ms);
                    }
                    Err(why) => self.core.handle_lost(why, now_ms),
                }
            }
            Woken::Processed => {
                let position = *self.processed.borrow_and_update();
                if let Some(position) = position {
                    self.core.handle_processed(position, now_ms);
                }
            }
            Woken::Time => {}
        }
    }

    fn hear(&mut self, heard: Heard, now_ms: u64) {
        if let Heard::Ended(why) = heard {
            self.core.handle_lost(why, now_ms);
            return;
        }
        let Some(connection) = &mut self.links.connection else { return };
        if let Err(error) = connection.frames(heard, |frame| self.core.handle_frame(frame, now_ms)) {
            self.core.handle_breach(error.to_string(), now_ms);
        }
    }

    fn call(&mut self, call: Call, now_ms: u64) {
        match call {
            Call::Send(draft, waiting) => {
                let token = self.wait_for(waiting);
                if let Some(cid) = self.core.send(draft, token, now_ms) {
                    self.links.queued.push((token, cid));
                }
            }
            Call::Ask(ask, waiting) => {
                let token = self.wait_for(waiting);
                self.core.ask(ask, token, now_ms);
            }
            Call::ChangeRoom(room, waiting) => {
                let token = self.wait_for(waiting);
                self.core.change_room(&room, token, now_ms);
            }
            Call::SetToken(text, waiting) => {
                let token = self.wait_for(waiting);
                self.core.set_token(text, token, now_ms);
            }
            Call::Cast(ext, body) => self.core.cast(ext, &body),
            Call::ConnectAgain => self.core.connect_again(now_ms),
            Call::Counts(answer) => {
                let _ = answer.send((self.core.counts(), self.core.outbox_len()));
            }
            Call::Close(closed) => {
                self.links.closed = closed;
                // The last acknowledgement of what was processed may not have been taken in yet.
                if let Some(position) = *self.processed.borrow_and_update() {
                    self.core.handle_processed(position, now_ms);
                }
                self.core.close(Disconnect::Asked);
                self.links.ending = true;
            }
        }
    }

    fn wait_for(&mut self, waiting: Waiting) -> Token {
        self.links.next_token += 1;
        self.links.waiting.insert(self.links.next_token, waiting);
        self.links.next_token
    }

    /// Everything that the machine wants by now. What has to be stored is stored first and together: nothing of the rest
    /// is done before, and nothing of it makes storing wrong.
    async fn carry_out(&mut self) {
        let mut actions = Vec::new();
        let mut records = Vec::new();
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Store(record) => records.push(record),
                other => actions.push(other),
            }
        }
        if let Err(what) = self.save(records).await {
            self.fail(&what);
            return;
        }
        for (token, cid) in std::mem::take(&mut self.links.queued) {
            if let Some(queued) = self.links.waiting.get_mut(&token).and_then(|waiting| waiting.queued.take()) {
                let _ = queued.send(Ok(cid));
            }
        }
        for action in actions {
            self.act(action);
        }
    }

    async fn save(&mut self, records: Vec<Record>) -> Result<(), String> {
        if records.is_empty() {
            return Ok(());
        }
        let Some(mut storage) = self.storage.take() else { return Err("it failed before".to_owned()) };
        let saving = spawn_blocking(move || {
            let outcome = storage.save(&records);
            (storage, outcome)
        });
        let (storage, outcome) = saving.await.map_err(|error| error.to_string())?;
        self.storage = Some(storage);
        outcome.map_err(|error| error.to_string())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect(),
            Action::Write(frames) => self.write(frames),
            Action::Close => self.links.connection = None,
            Action::Tell(event) => self.teller.tell(event),
            Action::Answer(token, answer) => {
                if let Some(waiting) = self.links.waiting.remove(&token) {
                    waiting.answer(answer);
                }
            }
            Action::Store(_) => {} // saved already
        }
    }

    fn connect(&mut self) {
        let at = self.links.tries % self.endpoints.len().max(1);
        self.links.tries = self.links.tries.wrapping_add(1);
        let Some(endpoint) = self.endpoints.get(at).cloned() else { return };
        let (trusted, connect_ms) = (self.trusted.clone(), self.connect_ms);
        self.links.connecting = Some(tokio::spawn(async move { endpoint.connect(&trusted, connect_ms).await }));
    }

    fn write(&mut self, frames: Vec<u8>) {
        let Some(connection) = &self.links.connection else { return };
        connection.write(frames);
        if connection.waiting_bytes() > WRITE_BYTES_MAX {
            self.links.connection = None;
            self.core.handle_lost(Disconnect::Lost("the network takes nothing".to_owned()), self.clock.now_ms());
        }
    }

    /// Without storage no promise can be kept: nothing more is done.
    fn fail(&mut self, what: &str) {
        self.links.connection = None;
        self.links.ending = true;
        for (_, waiting) in self.links.waiting.drain() {
            waiting.fail(&Error::Storage(what.to_owned()));
        }
        self.core.close(Disconnect::Storage(what.to_owned()));
        while let Some(action) = self.core.poll_action() {
            if let Action::Tell(event) = action {
                self.teller.tell(event);
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(connecting) = self.links.connecting.take() {
            connecting.abort();
        }
    }
}

impl Waiting {
    fn answer(self, answer: Result<Reply, Error>) {
        if let (Some(queued), Err(error)) = (self.queued, &answer) {
            let _ = queued.send(Err(error.clone()));
        }
        let _ = self.done.send(answer);
    }

    fn fail(self, error: &Error) {
        self.answer(Err(error.clone()));
    }
}

async fn hear(connection: &mut Option<Connection>) -> Heard {
    match connection {
        Some(connection) => connection.hear().await,
        None => pending().await,
    }
}

async fn connected(connecting: &mut Option<JoinHandle<Result<Connection, Disconnect>>>) -> Result<Connection, Disconnect> {
    match connecting {
        Some(handle) => match handle.await {
            Ok(outcome) => outcome,
            Err(error) => Err(Disconnect::Lost(format!("connecting failed: {error}"))),
        },
        None => pending().await,
    }
}

//! Clients, server and network together; faults until a certain time, then peace.

mod check;
mod faults;

use bytes::Bytes;
use perseid_protocol::auth::AuthRequest;
use perseid_protocol::frame::kind;
use perseid_protocol::session::client::Session as Codec;

use super::client::{Client, config};
use super::network::Connection;
use super::server::{GROUP, Server};
use crate::core::calls::Draft;
use crate::core::random::Random;
use crate::core::{Action, Core};
use crate::error::Disconnect;
use crate::storage::Record;

const USERS: u64 = 3;
pub(super) const PEACE_MS: u64 = 800_000;
const END_MS: u64 = PEACE_MS + 4_000_000;

/// How bad it gets; different seeds have different weather, so that rare faults are not always hidden by frequent ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    rough: bool,
    cuts: bool,
    kills: bool,
    long_outages: bool,
    trouble: bool,
    epochs: bool,
    trims: bool,
}

impl Weather {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut one_in = |n: u64| random.up_to(n - 1) == 0;
        Self {
            rough: !one_in(3),
            cuts: !one_in(3),
            kills: one_in(2),
            long_outages: one_in(2),
            trouble: one_in(2),
            epochs: one_in(4),
            trims: one_in(4),
        }
    }
}

pub(super) struct World {
    now_ms: u64,
    weather: Weather,
    random: Random,
    server: Server,
    clients: Vec<Client>,
    /// Connections that the clients have given up, and the server still reads from.
    zombies: Vec<Connection>,
    next_fault_ms: u64,
    /// Whom the next fault hits, if it is not chance.
    next_victim: Option<usize>,
}

impl World {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        let mut random = Random::new(seed);
        let mut server = Server::new(USERS, Random::new(random.next()));
        server.trouble = if weather.trouble { 12 } else { 0 };
        let clients = (1..=USERS).map(|mid| Client::new(mid, random.up_to(5_000))).collect();
        Self { now_ms: 1_000, weather, random, server, clients, zombies: Vec::new(), next_fault_ms: 2_000, next_victim: None }
    }

    /// Runs to the end; how many messages the applications were given.
    pub(super) fn run(mut self) -> Result<u64, String> {
        while self.now_ms < END_MS {
            let next_ms = self.next_ms();
            if self.now_ms > PEACE_MS && self.is_quiet() {
                break;
            }
            self.now_ms = next_ms.clamp(self.now_ms + 1, self.now_ms + 10_000);
            self.turn()?;
        }
        self.check()
    }

    fn next_ms(&self) -> u64 {
        let clients = self.clients.iter().map(|client| client.next_ms(self.now_ms));
        clients.min().unwrap_or(u64::MAX).min(self.server.next_due_ms()).min(self.next_fault_ms)
    }

    fn turn(&mut self) -> Result<(), String> {
        if self.now_ms < PEACE_MS && self.now_ms >= self.next_fault_ms {
            self.fault()?;
            self.next_fault_ms = self.now_ms + 1_000 + self.random.up_to(30_000);
        } else if self.now_ms >= PEACE_MS {
            self.server.trouble = 0;
            self.next_fault_ms = u64::MAX;
        }
        self.project();
        self.hear_zombies()?;
        for at in 0..self.clients.len() {
            self.client_turn(at)?;
        }
        Ok(())
    }

    fn project(&mut self) {
        let rough = self.weather.rough && self.now_ms < PEACE_MS;
        for (mid, pos) in self.server.project(self.now_ms) {
            let bytes = self.server.stored(mid, pos);
            let Some(client) = self.clients.iter_mut().find(|client| client.mid == mid) else { continue };
            let live = |connection: &&mut Connection| connection.session.as_ref().is_some_and(|session| session.live);
            if let Some(connection) = client.connection.as_mut().filter(live) {
                connection.push(&bytes, self.now_ms, rough, &mut self.random);
            }
        }
    }

    fn client_turn(&mut self, at: usize) -> Result<(), String> {
        self.wake(at)?;
        self.server_reads(at)?;
        let now_ms = self.now_ms;
        while let Some(one) = self.clients[at].connection.as_mut().and_then(|connection| connection.take_down(now_ms)) {
            let client = &mut self.clients[at];
            if let (Some(core), Ok(Some(frame))) = (client.core.as_mut(), Codec::decode(&one.bytes)) {
                core.handle_frame(&frame, now_ms);
            }
            self.carry_out(at)?;
        }
        if let Some(core) = self.clients[at].core.as_mut()
            && now_ms >= core.poll_timeout()
        {
            core.handle_timeout(now_ms);
            if core.poll_timeout() <= now_ms {
                return Err(format!("at {now_ms} it wants to be woken at once, and again"));
            }
        }
        self.carry_out(at)?;
        self.application_turn(at)?;
        self.carry_out(at)
    }

    /// Programs start again, connections come about.
    fn wake(&mut self, at: usize) -> Result<(), String> {
        let (now_ms, seed) = (self.now_ms, self.random.next());
        let client = &mut self.clients[at];
        if client.core.is_none() && now_ms >= client.away_until_ms {
            client.app.restart(client.stored.cursor)?;
            client.core = Some(Core::new(config(client.mid), client.stored.clone(), seed, now_ms));
        }
        if now_ms >= client.connected_at_ms {
            client.connected_at_ms = u64::MAX;
            let away = now_ms < client.away_until_ms;
            if let Some(core) = client.core.as_mut() {
                if away {
                    core.handle_lost(Disconnect::Lost("no network".into()), now_ms);
                } else {
                    client.connection = Some(Connection::new());
                    core.handle_connected(now_ms);
                }
            }
        }
        self.carry_out(at)
    }

    fn server_reads(&mut self, at: usize) -> Result<(), String> {
        let now_ms = self.now_ms;
        let Some(mut connection) = self.clients[at].connection.take() else { return Ok(()) };
        let outcome = serve(&mut self.server, &mut connection, now_ms, &mut self.random);
        self.clients[at].connection = Some(connection);
        outcome
    }

    fn hear_zombies(&mut self) -> Result<(), String> {
        for connection in &mut self.zombies {
            serve(&mut self.server, connection, self.now_ms, &mut self.random)?;
        }
        self.zombies.retain(|connection| !connection.up.is_empty());
        Ok(())
    }

    /// Does what the core asks for, one after the other; the program may be killed between any two.
    fn carry_out(&mut self, at: usize) -> Result<(), String> {
        let now_ms = self.now_ms;
        loop {
            let Some(action) = self.clients[at].core.as_mut().and_then(Core::poll_action) else { return Ok(()) };
            if self.weather.kills && now_ms < PEACE_MS && self.random.up_to(2_000) == 0 {
                self.kill(at);
                return Ok(());
            }
            self.act(at, action)?;
        }
    }

    fn act(&mut self, at: usize, action: Action) -> Result<(), String> {
        let (now_ms, random, server) = (self.now_ms, &mut self.random, &self.server);
        let client = &mut self.clients[at];
        match action {
            Action::Connect => client.connected_at_ms = now_ms + 1 + random.up_to(100),
            Action::Write(bytes) => client.write(bytes, now_ms, random)?,
            Action::Close => self.close(at),
            Action::Store(record) => {
                if let Record::Queued(entry) = &record {
                    client.app.sent.push(entry.body.clone());
                    client.app.cids.insert(entry.cid, entry.body.clone());
                }
                if let Record::Done { cid } = &record
                    && let Some(body) = client.app.cids.get(cid)
                {
                    client.app.settled.insert(body.clone());
                }
                client.stored.apply(&record);
            }
            Action::Tell(event) => {
                let mid = client.mid;
                let truth = |at: crate::event::Position| server.history.get(&(mid, at.epoch, at.pos)).cloned();
                let at_ms = now_ms + random.up_to(300);
                client.app.tell(&event, at_ms, truth).map_err(|what| format!("user {mid} at {now_ms}: {what}"))?;
            }
            Action::Answer(token, answer) => client.app.answer(token, answer)?,
        }
        Ok(())
    }

    fn application_turn(&mut self, at: usize) -> Result<(), String> {
        let now_ms = self.now_ms;
        let client = &mut self.clients[at];
        let Some(core) = client.core.as_mut() else { return Ok(()) };
        if let Some(position) = client.app.process(now_ms) {
            core.handle_processed(position, now_ms);
        }
        if now_ms < client.next_send_ms || now_ms >= PEACE_MS {
            return Ok(());
        }
        // Now and then a burst.
        client.next_send_ms = now_ms + if self.random.up_to(3) == 0 { 1 } else { self.random.up_to(40_000) };
        client.token += 1;
        let (kind, conv) = match self.random.up_to(2) {
            0 => (kind::GROUP, GROUP),
            _ => (kind::DIRECT, 1 + (client.mid + self.random.up_to(1)) % USERS),
        };
        let bad = if self.random.up_to(15) == 0 { "bad" } else { "" };
        let body = Bytes::from(format!("{bad}{kind}:{}:{conv}:{}", client.mid, client.token));
        client.app.calls.insert(client.token, body.clone());
        core.send(Draft { kind, conv, quiet: false, body }, client.token, now_ms);
        // Faults are worst where something is on its way.
        if self.random.up_to(5) == 0 {
            self.next_fault_ms = self.next_fault_ms.min(now_ms + self.random.up_to(200));
            self.next_victim = Some(at);
        }
        Ok(())
    }
}

/// The server reads what has arrived on a connection.
fn serve(server: &mut Server, connection: &mut Connection, now_ms: u64, random: &mut Random) -> Result<(), String> {
    while let Some(one) = connection.take_up(now_ms) {
        let Ok(Some(frame)) = Codec::decode(&one.bytes) else { return Err("no frame".into()) };
        let Some(session) = connection.session.as_mut() else {
            let request = AuthRequest::parse(frame.body)?;
            let (session, reply) = server.auth(&request, frame.header.seq);
            connection.session = Some(session);
            connection.reply(reply, now_ms, random);
            continue;
        };
        let reply = server.request(session, &frame.header, frame.body, one.sent_ms, now_ms)?;
        let failed = session.refuse_until_ms == u64::MAX;
        if let Some(reply) = reply {
            let at_ms = connection.reply(reply, now_ms, random);
            // From the moment at which the client reads of the failure its sends count again.
            if failed && let Some(session) = connection.session.as_mut() {
                session.refuse_until_ms = at_ms;
            }
        }
    }
    Ok(())
}

//! The way in: which connections get a slot, whom they come from, and what an upgrade has to say before it is one.

use std::net::{IpAddr, SocketAddr};

use mio::Interest;
use perseid_protocol::CloseReason;
use perseid_protocol::session::server::Session as Rules;

use super::{Worker, token};
use crate::guest::Guest;
use crate::metrics::{Limit, Unwelcome};
use crate::net::forwarded;
use crate::net::pages::{self, Foreign};
use crate::net::proxy::{self, Header};
use crate::net::tls::Tls;
use crate::net::websocket::handshake::{ClientHeaders, Denial};
use crate::session::{Slot, Wire, transport};
use crate::slab::Key;

impl Worker {
    /// TLS for a new connection; `None` (and counted) if there is nothing to show.
    fn new_tls(&self, websocket: bool) -> Option<Box<Tls>> {
        let certificates = self.env.config.certificates.as_ref();
        let tls = certificates.and_then(|certificates| Tls::new(certificates.server_config(websocket)).ok());
        if tls.is_none() {
            self.env.metrics.turned_away.inc();
        }
        tls.map(Box::new)
    }

    /// Takes a connection in, or closes it: nothing but counting was done for it then.
    pub(super) fn open(&mut self, mut stream: mio::net::TcpStream, peer: SocketAddr, websocket: bool, tls: bool) {
        let transport = transport(websocket, tls);
        let Some(guest) = self.greet(peer.ip(), transport, websocket && !tls) else { return };
        let tls = match tls.then(|| self.new_tls(websocket)) {
            Some(None) => return self.send_off(guest),
            tls => tls.flatten(),
        };
        let env = &self.env;
        let registry = self.poll.registry();
        let wheel_tick = self.wheel.tick_of(env.now_ms + env.config.limits.handshake_ms);
        let mut registered = Ok(());
        let broadcasts_seen = self.broadcasts.last_number();
        let key = self.sessions.insert(|key| {
            // Only reading: a new socket is writable, and being told so would cost a turn for each connection.
            registered = registry.register(&mut stream, token(key), Interest::READABLE);
            Slot {
                stream,
                wheel_tick: wheel_tick as u32,
                rules: Rules::new(env.now_ms, &env.config.limits),
                mid: 0,
                key: None,
                membership: None,
                accepts: None,
                broadcasts_seen,
                input: None,
                inbox_pos: 0,
                tls,
                outbox: None,
                guest,
                until_s: 0,
                wire: if websocket { Wire::Upgrading } else { Wire::Tcp },
                shut: false,
                unread: false,
                watches_writing: false,
            }
        });
        env.metrics.accepted[transport].inc();
        env.metrics.connections[transport].inc();
        self.peak_sessions = self.peak_sessions.max(self.sessions.len());
        if registered.is_err() {
            self.leave(key);
            return;
        }
        self.wheel.insert(wheel_tick, key);
    }

    /// Whether a connection may come in at all, and what has to be remembered of it; `None` (and counted): it may not.
    /// `may_tell`: if there is no room, it can be told so at little cost.
    #[allow(clippy::option_option)] // let in with nothing to remember is the rule
    fn greet(&self, ip: IpAddr, transport: usize, may_tell: bool) -> Option<Option<Box<Guest>>> {
        let (metrics, config, node) = (&self.env.metrics, &self.env.config, &self.env.node);
        let ip = ip.to_canonical();
        let is_proxy = config.door.is_proxy(ip);
        let wants_header = config.door.proxy_protocol[transport];
        if self.drain.is_some() {
            metrics.turned_away.inc();
            return None;
        }
        if wants_header && !is_proxy {
            metrics.turned_away.inc();
            metrics.refuse(Unwelcome::NotAProxy);
            return None;
        }
        let mut guest = Guest::default();
        if wants_header {
            guest.proxy_header = Some(Vec::new());
        }
        let max = config.sessions_max as u64;
        if max > 0 && node.connections().saturating_sub(node.admission.being_told()) >= max {
            metrics.turned_away.inc();
            metrics.limit(Limit::Sessions);
            guest.over = may_tell && node.admission.may_tell();
            return guest.over.then(|| Some(Box::new(guest)));
        }
        // Whom a proxy speaks for is known later: by its header, or by the upgrade.
        guest.behind_proxy = is_proxy && Self::upgrades(transport);
        if !wants_header && !guest.behind_proxy {
            match node.admission.enter(&config.limit, ip, !is_proxy) {
                Ok(greeting) => guest.greeting = greeting,
                Err(limit) => {
                    metrics.turned_away.inc();
                    metrics.limit(limit);
                    return None;
                }
            }
        }
        let remembers = guest.greeting || guest.behind_proxy || wants_header;
        Some(remembers.then(|| Box::new(guest)))
    }

    /// Whether connections of a transport begin with an upgrade.
    const fn upgrades(transport: usize) -> bool {
        transport & 1 == 1
    }

    fn send_off(&self, guest: Option<Box<Guest>>) {
        if let Some(mut guest) = guest {
            guest.give_back(&self.env.node.admission);
        }
    }

    /// The client of a connection, as far as is known: the other end of its socket, or whom a proxy named.
    pub(super) fn client(slot: &Slot) -> Option<SocketAddr> {
        let named = slot.guest.as_ref().and_then(|guest| guest.client);
        named.or_else(|| slot.stream.peer_addr().ok())
    }

    /// Takes what came from the socket of a connection that has to begin with a PROXY header.
    pub(super) fn take_proxy_header(&mut self, key: Key, bytes: &[u8]) {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| !slot.is_ended()) else { return };
        let Some(guest) = slot.guest.as_deref_mut() else { return };
        let Some(held) = &mut guest.proxy_header else { return };
        // Never more than a header and one read: what is longer is no header.
        held.extend_from_slice(bytes);
        self.env.node.budget.add(bytes.len());
        match proxy::parse(held) {
            Header::NeedMore => {}
            Header::Bad => {
                self.env.metrics.turned_away.inc();
                self.env.metrics.refuse(Unwelcome::ProxyHeader);
                self.leave(key);
            }
            Header::Whole { consumed, client } => {
                let mut header = guest.proxy_header.take().unwrap_or_default();
                self.env.node.budget.sub(header.len());
                let mut rest = header.split_off(consumed);
                guest.client = client;
                if self.is_let_in(key) && !rest.is_empty() {
                    self.take_received(key, &mut rest);
                }
            }
        }
    }

    /// The PROXY header is there: whether its client may come in. If not, the connection is closed.
    fn is_let_in(&mut self, key: Key) -> bool {
        let Some(slot) = self.sessions.get_mut(key) else { return false };
        let upgrades = slot.wire != Wire::Tcp;
        let client = Self::client(slot);
        let config = &self.env.config;
        let Some(guest) = slot.guest.as_deref_mut() else { return true };
        let Some(ip) = client.map(|client| client.ip()) else { return true };
        let is_proxy = config.door.is_proxy(ip);
        guest.behind_proxy = is_proxy && upgrades;
        if guest.behind_proxy || guest.over {
            return true;
        }
        match self.env.node.admission.enter(&config.limit, ip, !is_proxy) {
            Ok(greeting) => guest.greeting = greeting,
            Err(limit) => {
                self.env.metrics.turned_away.inc();
                self.env.metrics.limit(limit);
                self.leave(key);
                return false;
            }
        }
        true
    }

    /// Looks at what an upgrade says of the client.
    ///
    /// # Errors
    /// Why it is none; counted.
    pub(super) fn welcome(&mut self, key: Key, headers: &ClientHeaders<'_>) -> Result<(), Denial> {
        let (config, metrics) = (&self.env.config, &self.env.metrics);
        let Some(slot) = self.sessions.get_mut(key) else { return Ok(()) };
        if slot.guest.as_ref().is_some_and(|guest| guest.over) {
            return Err(Denial::Full);
        }
        pages::judge(&config.door.pages, headers.host.unwrap_or_default(), headers.origin).map_err(|foreign| match foreign {
            Foreign::Host => {
                metrics.refuse(Unwelcome::ForeignHost);
                Denial::ForeignHost
            }
            Foreign::Origin => {
                metrics.refuse(Unwelcome::ForeignOrigin);
                Denial::ForeignOrigin
            }
        })?;
        let proxy = Self::client(slot);
        if let Some(guest) = slot.guest.as_deref_mut().filter(|guest| guest.behind_proxy) {
            guest.behind_proxy = false;
            let lines = headers.x_forwarded_for.lines().iter().copied();
            guest.client = forwarded::client(lines, |ip| config.door.is_proxy(ip)).or(guest.client);
            if let Some(ip) = guest.client.or(proxy).map(|client| client.ip()) {
                let entered = self.env.node.admission.enter(&config.limit, ip, !config.door.is_proxy(ip));
                guest.greeting = entered.map_err(|limit| {
                    metrics.limit(limit);
                    Denial::TooMany
                })?;
            }
        }
        if let Some(cookie) = headers.cookie.filter(|cookie| !cookie.is_empty()) {
            slot.guest.get_or_insert_default().cookie = cookie.into();
            self.env.node.budget.add(cookie.len());
        }
        Ok(())
    }

    /// AUTH has come: counts the session by its address. If there are too many, it is ended, and `false`.
    pub(super) fn take_place(&mut self, key: Key, client: Option<SocketAddr>) -> bool {
        let limit = &self.env.config.limit;
        if limit.address_sessions_max == 0 {
            return true;
        }
        let Some(ip) = client.map(|client| client.ip()).filter(|ip| !self.env.config.door.is_proxy(*ip)) else { return true };
        match self.env.node.admission.take_session(limit, ip) {
            Ok(None) => true,
            Ok(Some(place)) => {
                match self.sessions.get_mut(key) {
                    Some(slot) => slot.guest.get_or_insert_default().place = Some(place),
                    None => self.env.node.admission.give_back(place),
                }
                true
            }
            Err(reached) => {
                self.env.metrics.limit(reached);
                let message = "there are as many sessions from this address as there may be: end one of them first";
                self.end(key, CloseReason::ConnectionLimit, Some(message), None);
                false
            }
        }
    }

    /// AUTH is through: what was only known for its sake is forgotten.
    pub(super) fn settle(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if let Some(guest) = slot.guest.as_deref_mut()
            && !guest.settle(&self.env.node.admission)
        {
            slot.guest = None;
        }
    }
}

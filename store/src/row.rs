//! One session in memory: small, because a node has one for each connection.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use perseid_protocol::SessionKey;
use perseid_protocol::push::SessionAddr;

use crate::platform::{PlatformId, Platforms};
use crate::sessions::{NewSession, SessionRow};

/// A session. Both indexes point to it, so that its key is kept once. Never changed.
pub(crate) struct Row {
    pub(crate) key: SessionKey,
    pub(crate) mid: i64,
    pub(crate) since_ms: u64,
    /// What is not in the table of platforms, or has a device id of its own: rare, or long anyway.
    names: Option<Box<Names>>,
    pub(crate) addr: SessionAddr,
    peer: Peer,
    platform: PlatformId,
    extended: bool,
}

struct Names {
    platform: Box<str>,
    device_id: Box<str>,
}

impl Row {
    /// Where it comes from.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.peer.unpack().map(|peer| peer.ip())
    }

    pub(crate) fn new(session: NewSession<'_>, platforms: &Platforms) -> Self {
        let platform = platforms.intern(session.platform);
        let own_device = !session.device_id.is_empty() && session.device_id != session.platform;
        let names = (own_device || platform.is_none()).then(|| {
            let device_id = if own_device { session.device_id } else { session.platform };
            Box::new(Names { platform: session.platform.into(), device_id: device_id.into() })
        });
        Self {
            key: session.key,
            mid: session.mid,
            since_ms: session.since_ms,
            names,
            addr: session.addr,
            peer: Peer::pack(session.peer),
            platform: platform.unwrap_or_default(),
            extended: session.extended,
        }
    }

    pub(crate) fn describe(&self, platforms: &Platforms) -> SessionRow {
        let (platform, device_id) = match &self.names {
            Some(names) => (&*names.platform, &*names.device_id),
            None => (platforms.name(self.platform), platforms.name(self.platform)),
        };
        SessionRow {
            key: self.key.clone(),
            mid: self.mid,
            addr: self.addr,
            platform: platform.into(),
            device_id: device_id.into(),
            peer: self.peer.unpack(),
            since_ms: self.since_ms,
            extended: self.extended,
        }
    }
}

/// An `Option<SocketAddr>` in 18 bytes instead of 32. An IPv4 address stands as the IPv6 address that it maps to; none is
/// the address `::`, which no peer has. Port 0 is one that nobody told (`X-Forwarded-For`).
#[derive(Default)]
struct Peer {
    port: [u8; 2],
    ip: [u8; 16],
}

impl Peer {
    fn pack(peer: Option<SocketAddr>) -> Self {
        let Some(peer) = peer else { return Self::default() };
        let ip = match peer.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { port: peer.port().to_ne_bytes(), ip: ip.octets() }
    }

    fn unpack(&self) -> Option<SocketAddr> {
        let port = u16::from_ne_bytes(self.port);
        (self.ip != [0; 16]).then(|| SocketAddr::new(Ipv6Addr::from(self.ip).to_canonical(), port))
    }
}

/// A row as the key of a map, equal to its session key.
#[derive(Clone)]
pub(crate) struct ByKey(pub(crate) Arc<Row>);

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl Borrow<SessionKey> for ByKey {
    fn borrow(&self) -> &SessionKey {
        &self.0.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 88, "{}", size_of::<Row>());
    }

    #[test]
    fn peers_come_back() {
        for peer in [None, Some("10.1.2.3:65535"), Some("[2001:db8::7]:1"), Some("0.0.0.0:7")] {
            let peer: Option<SocketAddr> = peer.map(|peer| peer.parse().unwrap());
            assert_eq!(Peer::pack(peer).unpack(), peer);
        }
    }
}

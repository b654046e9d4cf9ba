//! Who is let in at the door: what the workers of a node count together. Counted by address are only those that are not
//! exempt, and only where a limit is set.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::bucket::Rate;
use crate::config::LimitConfig;
use crate::metrics::Limit;

/// Addresses that are remembered. Beyond it new ones are not counted by address: the limits of the node hold all the same.
const ADDRESSES_MAX: usize = 1 << 18;
/// Connections over `sessions_max` that are kept for as long as it takes to tell them so.
const TOLD_MAX: u64 = 16;

/// Where connections come from: an IPv4 address, or the /64 that one IPv6 customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place(IpAddr);

impl Place {
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
            ip @ IpAddr::V4(_) => ip,
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sessions: u32,
    /// The bucket of its connections: when it is full again, ns.
    connects_ns: u64,
}

/// What is counted at the door.
#[derive(Debug)]
pub(crate) struct Admission {
    started: Instant,
    /// The bucket of all handshakes: when it is full again, ns.
    handshakes_ns: AtomicU64,
    /// Connections that have not got through AUTH yet.
    greeting: AtomicU64,
    /// Connections that only wait to be told that there is no room.
    told: AtomicU64,
    places: DashMap<Place, Counts>,
    swept_s: AtomicU64,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            handshakes_ns: AtomicU64::new(0),
            greeting: AtomicU64::new(0),
            told: AtomicU64::new(0),
            places: DashMap::new(),
            swept_s: AtomicU64::new(0),
        }
    }
}

impl Admission {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Lets a connection begin its handshake; `alone` says that its address stands for one client, as a proxy's does not.
    /// Gives whether it counts as greeting: then [`Admission::greeted`] has to be called once.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter(&self, limits: &LimitConfig, ip: IpAddr, alone: bool) -> Result<bool, Limit> {
        if !limits.at_the_door() || limits.is_exempt(ip) {
            return Ok(false);
        }
        let now_ns = self.now_ns();
        if limits.handshakes_max > 0 {
            let below = |count: u64| (count < limits.handshakes_max as u64).then_some(count + 1);
            self.greeting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).map_err(|_| Limit::Handshakes)?;
        }
        let within = if alone { self.take_connect(limits.address_connects, ip, now_ns) } else { Ok(()) };
        let within = within.and_then(|()| self.take_handshake(limits.handshakes, now_ns));
        match within {
            Ok(()) => Ok(limits.handshakes_max > 0),
            Err(limit) => {
                if limits.handshakes_max > 0 {
                    self.greeted();
                }
                Err(limit)
            }
        }
    }

    fn take_handshake(&self, rate: Rate, now_ns: u64) -> Result<(), Limit> {
        if !rate.is_on() {
            return Ok(());
        }
        let take = |full_ns| rate.take(full_ns, now_ns, 1).ok();
        let taken = self.handshakes_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| ()).map_err(|_| Limit::HandshakeRate)
    }

    fn take_connect(&self, rate: Rate, ip: IpAddr, now_ns: u64) -> Result<(), Limit> {
        if !rate.is_on() {
            return Ok(());
        }
        let place = Place::of(ip);
        if !self.has_space(&place, now_ns) {
            return Ok(());
        }
        let mut counts = self.places.entry(place).or_default();
        counts.connects_ns = rate.take(counts.connects_ns, now_ns, 1).map_err(|_| Limit::AddressConnects)?;
        Ok(())
    }

    /// A connection has got through AUTH, or has gone.
    pub(crate) fn greeted(&self) {
        self.greeting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a session by its address; what it gives has to be given to [`Admission::give_back`].
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(crate) fn take_session(&self, limits: &LimitConfig, ip: IpAddr) -> Result<Option<Place>, Limit> {
        if limits.address_sessions_max == 0 || limits.is_exempt(ip) {
            return Ok(None);
        }
        let place = Place::of(ip);
        if !self.has_space(&place, self.now_ns()) {
            return Ok(None);
        }
        let mut counts = self.places.entry(place).or_default();
        if counts.sessions >= limits.address_sessions_max {
            return Err(Limit::AddressSessions);
        }
        counts.sessions += 1;
        Ok(Some(place))
    }

    /// A session of this place has ended.
    pub(crate) fn give_back(&self, place: Place) {
        let now_ns = self.now_ns();
        if let Entry::Occupied(mut entry) = self.places.entry(place) {
            let counts = entry.get_mut();
            counts.sessions = counts.sessions.saturating_sub(1);
            if counts.sessions == 0 && counts.connects_ns <= now_ns {
                entry.remove();
            }
        }
    }

    /// Whether an address can be remembered. Those that count for nothing any more are forgotten when it is full, once a second.
    fn has_space(&self, place: &Place, now_ns: u64) -> bool {
        if self.places.len() < ADDRESSES_MAX || self.places.contains_key(place) {
            return true;
        }
        let second = now_ns / 1_000_000_000;
        if self.swept_s.swap(second, Ordering::Relaxed) == second {
            return false;
        }
        self.places.retain(|_, counts| counts.sessions > 0 || counts.connects_ns > now_ns);
        self.places.len() < ADDRESSES_MAX
    }

    /// Whether one more may be told that there is no room; then [`Admission::was_told`] has to be called once.
    pub(crate) fn may_tell(&self) -> bool {
        let below = |count: u64| (count < TOLD_MAX).then_some(count + 1);
        self.told.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }

    /// It has gone.
    pub(crate) fn was_told(&self) {
        self.told.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections that count for nothing: they wait to be told so.
    pub(crate) fn being_told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Addresses remembered.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_customer_is_one_place() {
        assert_eq!(Place::of(ip("2001:db8:1:2::1")), Place::of(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(Place::of(ip("2001:db8:1:2::1")), Place::of(ip("2001:db8:1:3::1")));
        assert_eq!(Place::of(ip("::ffff:192.0.2.1")), Place::of(ip("192.0.2.1")));
        assert_ne!(Place::of(ip("192.0.2.1")), Place::of(ip("192.0.2.2")));
    }

    #[test]
    fn without_limits_nothing_is_remembered() {
        let admission = Admission::default();
        let limits = LimitConfig::default();
        for _ in 0..1000 {
            assert_eq!(admission.enter(&limits, ip("192.0.2.1"), true), Ok(false));
            assert_eq!(admission.take_session(&limits, ip("192.0.2.1")), Ok(None));
        }
        assert_eq!(admission.remembered(), 0);
    }

    #[test]
    fn handshakes_of_the_node() {
        let admission = Admission::default();
        let limits = LimitConfig { handshakes_max: 2, ..LimitConfig::default() };
        let enter = |from: &str| admission.enter(&limits, ip(from), true);
        assert_eq!([enter("192.0.2.1"), enter("192.0.2.2"), enter("192.0.2.3")], [Ok(true), Ok(true), Err(Limit::Handshakes)]);
        admission.greeted();
        assert_eq!(enter("192.0.2.3"), Ok(true));

        let admission = Admission::default();
        let limits = LimitConfig { handshakes: Rate::new(1, 2), handshakes_max: 9, ..LimitConfig::default() };
        let enter = |from: &str| admission.enter(&limits, ip(from), true);
        assert_eq!([enter("192.0.2.1"), enter("192.0.2.2"), enter("192.0.2.3")], [Ok(true), Ok(true), Err(Limit::HandshakeRate)]);
        assert_eq!(admission.greeting.load(Ordering::Relaxed), 2, "who is refused does not stay in the count");
    }

    #[test]
    fn by_address_and_not_by_proxy() {
        let admission = Admission::default();
        let limits = LimitConfig {
            address_connects: Rate::new(1, 1),
            exempt: vec!["127.0.0.0/8".parse().unwrap()],
            ..LimitConfig::default()
        };
        let enter = |from: &str, alone| admission.enter(&limits, ip(from), alone);
        assert_eq!([enter("192.0.2.1", true), enter("192.0.2.1", true)], [Ok(false), Err(Limit::AddressConnects)]);
        assert_eq!(enter("192.0.2.2", true), Ok(false));
        assert_eq!([enter("192.0.2.1", false), enter("127.0.0.1", true), enter("127.0.0.1", true)], [Ok(false); 3]);
        assert_eq!(enter("::ffff:127.0.0.1", true), Ok(false), "the same address in another form");
    }

    #[test]
    fn sessions_of_an_address() {
        let admission = Admission::default();
        let limits = LimitConfig { address_sessions_max: 2, ..LimitConfig::default() };
        let take = |from: &str| admission.take_session(&limits, ip(from));
        let place = take("192.0.2.1").unwrap().unwrap();
        assert_eq!(take("192.0.2.1"), Ok(Some(place)));
        assert_eq!(take("192.0.2.1"), Err(Limit::AddressSessions));
        assert!(take("192.0.2.2").unwrap().is_some());
        admission.give_back(place);
        assert_eq!(take("192.0.2.1"), Ok(Some(place)));
        admission.give_back(place);
        admission.give_back(place);
        assert_eq!(admission.remembered(), 1, "an address without sessions is forgotten");
        admission.give_back(place); // once too often harms nobody
        assert_eq!(take("192.0.2.1"), Ok(Some(place)));
    }

    #[test]
    fn addresses_are_bounded() {
        let admission = Admission::default();
        // Full again after a day: nothing can be forgotten.
        let limits = LimitConfig { address_connects: Rate::new(1, 86_400), ..LimitConfig::default() };
        for number in 0..ADDRESSES_MAX as u32 + 1000 {
            let ip = IpAddr::from(number.to_be_bytes());
            assert_eq!(admission.enter(&limits, ip, true), Ok(false));
        }
        assert!(admission.remembered() <= ADDRESSES_MAX);
    }

    #[test]
    fn so_many_are_told_and_no_more() {
        let admission = Admission::default();
        let told = (0..100).filter(|_| admission.may_tell()).count();
        assert_eq!((told as u64, admission.being_told()), (TOLD_MAX, TOLD_MAX));
        admission.was_told();
        assert!(admission.may_tell() && !admission.may_tell());
    }
}

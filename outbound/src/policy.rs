//! Which servers may be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::Url;

use crate::address::{carried, special};
use crate::error::OutboundError;

/// Which servers may be called: those with a public address over `https`, and those in networks that were named, over
/// `http` too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetPolicy {
    allowed: Vec<IpNet>,
}

impl TargetPolicy {
    /// Public addresses, and these networks. An IPv4 network holds the `::ffff:` form of its addresses too.
    #[must_use]
    pub fn new(allowed: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    /// What a node may call where nothing is named: a node that can be reached from its own machine only (the default of
    /// the standalone) may call that machine, so that a developer can try it; one that listens to the network may not.
    #[must_use]
    pub fn for_node(named: &[IpNet], on_loopback_only: bool) -> Self {
        if !named.is_empty() || !on_loopback_only {
            return Self::new(named.iter().copied());
        }
        // 8 and 128 bits are lengths that a prefix can have.
        let own_machine =
            [IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8), IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128)];
        Self::new(own_machine)
    }

    fn is_named(&self, address: IpAddr) -> bool {
        let address = carried(address);
        self.allowed.iter().any(|network| network.contains(&address))
    }

    /// Whether this address may be connected to; `plain`: without TLS.
    ///
    /// # Errors
    /// Why not, in a few words.
    pub fn check_address(&self, address: IpAddr, plain: bool) -> Result<(), &'static str> {
        if self.is_named(address) {
            Ok(())
        } else if let Some(special) = special(address) {
            Err(special.text())
        } else if plain {
            Err("public, and http is for named networks only: use https")
        } else {
            Ok(())
        }
    }

    /// Whether a URL may be called, as far as it can be told before its name is resolved: what a configuration is checked
    /// with. Numbers of any notation (`2130706433`, `0x7f.1`, `0177.0.0.1`) are read as the addresses they are.
    ///
    /// # Errors
    /// [`OutboundError::BadRequest`] and [`OutboundError::Refused`].
    pub fn check_url(&self, url: &str) -> Result<(), OutboundError> {
        self.parse(url).map(|_| ())
    }

    /// The URL, checked, and whether it goes without TLS.
    pub(crate) fn parse(&self, url: &str) -> Result<(Url, bool), OutboundError> {
        let parsed = Url::parse(url).map_err(|error| OutboundError::BadRequest(format!("not a URL: {error}")))?;
        let plain = match parsed.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(OutboundError::BadRequest("the URL has to begin with https:// or http://".to_owned())),
        };
        let Some(host) = parsed.host_str().filter(|host| !host.is_empty()) else {
            return Err(OutboundError::BadRequest("the URL names no host".to_owned()));
        };
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            self.check_address(address, plain).map_err(|why| OutboundError::refused(host, address, why))?;
        } else if plain && self.allowed.is_empty() {
            return Err(OutboundError::BadRequest("http is for named networks only: use https, or name its network".to_owned()));
        }
        Ok((parsed, plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(networks: &[&str]) -> TargetPolicy {
        TargetPolicy::new(networks.iter().map(|network| network.parse().unwrap()))
    }

    #[test]
    fn numbers_in_any_notation_are_the_addresses_they_are() {
        let strict = TargetPolicy::default();
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "0.0.0.0",
            "0",
            "[::]",
            "１２７.0.0.1",
            "user:secret@10.0.0.1",
        ] {
            let url = format!("https://{host}/latest/meta-data");
            assert!(matches!(strict.check_url(&url), Err(OutboundError::Refused { .. })), "{url}");
        }
        for url in ["https://8.8.8.8/", "https://example.com/hook", "https://[2606:4700::1]:8443/"] {
            strict.check_url(url).unwrap();
        }
    }

    #[test]
    fn what_is_no_url_to_call() {
        for url in [
            "",
            "hook",
            "/hook",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://example.com/",
            "https://",
            "https://256.1.1.1/",
        ] {
            assert!(matches!(TargetPolicy::default().check_url(url), Err(OutboundError::BadRequest(_))), "{url}");
        }
    }

    #[test]
    fn named_networks_are_open_and_nothing_beside_them() {
        let policy = allowing(&["10.1.0.0/16", "fd12::/16"]);
        for (address, plain, may) in [
            ("10.1.2.3", true, true),
            ("10.1.2.3", false, true),
            ("::ffff:10.1.2.3", true, true),
            ("10.2.0.1", false, false),
            ("::ffff:10.2.0.1", false, false),
            ("127.0.0.1", false, false),
            ("fd12::1", true, true),
            ("fd13::1", true, false),
            ("8.8.8.8", false, true),
            ("8.8.8.8", true, false),
        ] {
            assert_eq!(policy.check_address(address.parse().unwrap(), plain).is_ok(), may, "{address}, plain: {plain}");
        }
        policy.check_url("http://hooks.internal/").unwrap();
    }

    #[test]
    fn a_node_on_loopback_may_call_its_own_machine_only_while_nothing_is_named() {
        let may = |policy: &TargetPolicy, address: &str| policy.check_address(address.parse().unwrap(), true).is_ok();
        let named: IpNet = "10.0.0.0/8".parse().unwrap();
        let developer = TargetPolicy::for_node(&[], true);
        assert!(may(&developer, "127.0.0.1") && may(&developer, "127.8.8.8") && may(&developer, "::1"));
        assert!(!may(&developer, "10.0.0.1") && !may(&developer, "169.254.169.254"));
        let named_one = TargetPolicy::for_node(&[named], true);
        assert!(may(&named_one, "10.0.0.1") && !may(&named_one, "127.0.0.1"));
        let open = TargetPolicy::for_node(&[], false);
        assert!(!may(&open, "127.0.0.1") && !may(&open, "10.0.0.1"));
    }
}

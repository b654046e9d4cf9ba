//! Which addresses are not the public internet. From the IANA registries of special-purpose addresses, and the addresses
//! at which clouds keep the credentials of their machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is no public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// This host or "any".
    Unspecified,
    /// This machine.
    Loopback,
    /// A network of somebody's own (RFC 1918, RFC 4193).
    Private,
    /// Behind a carrier's NAT (RFC 6598).
    CarrierNat,
    /// This link only; most clouds' metadata service is there.
    LinkLocal,
    /// A cloud's metadata or agent, at an address that looks public.
    Metadata,
    /// To many.
    Multicast,
    /// For documents and for benchmarks.
    Documentation,
    /// A form that carries another address through a relay (6to4, Teredo, a local NAT64).
    Tunnel,
    /// Set aside, or not given to anybody.
    Reserved,
}

impl Special {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::CarrierNat => "carrier-grade NAT",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Multicast => "multicast",
            Self::Documentation => "for documentation or benchmarks",
            Self::Tunnel => "a tunnel to another address",
            Self::Reserved => "reserved",
        }
    }
}

/// What is special about an address; `None`: it is a public one. An address that carries another (`::ffff:a.b.c.d`, NAT64
/// with the well-known prefix) is judged by the one it carries.
#[must_use]
pub fn special(address: IpAddr) -> Option<Special> {
    match carried(address) {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

/// The address that packets arrive at: IPv4 out of its IPv6 forms, all others as they are.
pub(crate) fn carried(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let mapped = [a, b, c, d, e] == [0; 5] && f == 0xffff;
    let compatible = [a, b, c, d, e, f] == [0; 6] && high != 0;
    let translated = [a, b, c, d, e, f] == [0, 0, 0, 0, 0xffff, 0];
    let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    if mapped || compatible || translated || nat64 {
        Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into()
    } else {
        address
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let kind = match address.octets() {
        [0, ..] => Special::Unspecified,
        [127, ..] => Special::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Special::Private,
        // Alibaba's metadata service stands in the carriers' network.
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => Special::Metadata,
        [100, 64..=127, ..] => Special::CarrierNat,
        [169, 254, ..] => Special::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => Special::Documentation,
        [192, 88, 99, _] => Special::Tunnel,
        [192, 0, 0, _] => Special::Reserved,
        [224..=239, ..] => Special::Multicast,
        [240..=255, ..] => Special::Reserved,
        _ => return None,
    };
    Some(kind)
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    if address.is_unspecified() {
        return Some(Special::Unspecified);
    }
    if address.is_loopback() {
        return Some(Special::Loopback);
    }
    let [a, b, c, ..] = address.segments();
    let kind = match (a, b, c) {
        // AWS, over IPv6.
        (0xfd00, 0x0ec2, _) => Special::Metadata,
        (0xfc00..=0xfdff, ..) => Special::Private,
        (0xfe80..=0xfebf, ..) => Special::LinkLocal,
        // Site-local: given up, and still routed in places.
        (0xfec0..=0xfeff, ..) => Special::Private,
        (0xff00..=0xffff, ..) => Special::Multicast,
        (0x64, 0xff9b, 1) => Special::Tunnel,
        (0x2001, 0, _) | (0x2002, ..) => Special::Tunnel,
        (0x2001, 0x0db8, _) | (0x3fff, 0..=0x0fff, _) => Special::Documentation,
        (0x2001, 0x0001..=0x01ff, _) => Special::Reserved,
        (0x2000..=0x3fff, ..) => return isatap(address),
        _ => Special::Reserved,
    };
    Some(kind)
}

/// ISATAP: a public prefix, and an IPv4 address in the interface id that a host's own tunnel would send to.
fn isatap(address: Ipv6Addr) -> Option<Special> {
    let [.., flags, marker, _, _] = address.segments();
    (marker == 0x5efe && matches!(flags, 0 | 0x0200)).then_some(Special::Tunnel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Special> {
        special(text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
    }

    #[test]
    fn first_and_last_of_every_special_network_of_ipv4() {
        use Special::*;
        for (first, last, kind) in [
            ("0.0.0.0", "0.255.255.255", Unspecified),
            ("10.0.0.0", "10.255.255.255", Private),
            ("100.64.0.0", "100.127.255.255", CarrierNat),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("169.254.0.0", "169.254.255.255", LinkLocal),
            ("172.16.0.0", "172.31.255.255", Private),
            ("192.0.0.0", "192.0.0.255", Reserved),
            ("192.0.2.0", "192.0.2.255", Documentation),
            ("192.88.99.0", "192.88.99.255", Tunnel),
            ("192.168.0.0", "192.168.255.255", Private),
            ("198.18.0.0", "198.19.255.255", Documentation),
            ("198.51.100.0", "198.51.100.255", Documentation),
            ("203.0.113.0", "203.0.113.255", Documentation),
            ("224.0.0.0", "239.255.255.255", Multicast),
            ("240.0.0.0", "255.255.255.255", Reserved),
        ] {
            assert_eq!((of(first), of(last)), (Some(kind), Some(kind)), "{first} to {last}");
            // One below and one above are of another kind, or public.
            let (first, last) = (first.parse::<Ipv4Addr>().unwrap(), last.parse::<Ipv4Addr>().unwrap());
            for beside in [u32::from(first).checked_sub(1), u32::from(last).checked_add(1)].into_iter().flatten() {
                let beside = Ipv4Addr::from(beside);
                assert_ne!(special(beside.into()), Some(kind), "{beside} is beside the network");
            }
        }
    }

    #[test]
    fn where_clouds_keep_credentials() {
        assert_eq!(of("169.254.169.254"), Some(Special::LinkLocal));
        for address in ["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "::ffff:168.63.129.16"] {
            assert_eq!(of(address), Some(Special::Metadata), "{address}");
        }
    }

    #[test]
    fn public_addresses() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2003::1",
            "2606:4700:4700::1111",
            "2a00::1",
            "3ffe::1",
            "3fff:1000::1",
        ] {
            assert_eq!(of(address), None, "{address}");
        }
    }

    #[test]
    fn ipv6_that_is_not_public() {
        use Special::*;
        for (address, kind) in [
            ("::", Unspecified),
            ("::1", Loopback),
            ("fc00::1", Private),
            ("fdff:ffff::1", Private),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Private),
            ("ff02::1", Multicast),
            ("ff0e::1", Multicast),
            ("100::1", Reserved),
            ("2001:10::1", Reserved),
            ("2001:20::1", Reserved),
            ("2001:1ff::1", Reserved),
            ("2001:db8::1", Documentation),
            ("3fff::1", Documentation),
            ("3fff:fff::1", Documentation),
            ("4000::1", Reserved),
            ("5f00::1", Reserved),
            ("200::1", Reserved),
        ] {
            assert_eq!(of(address), Some(kind), "{address}");
        }
    }

    #[test]
    fn ipv4_in_the_clothes_of_ipv6() {
        use Special::*;
        for (address, kind) in [
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:7f00:1", Some(Loopback)),
            ("::ffff:169.254.169.254", Some(LinkLocal)),
            ("::ffff:a9fe:a9fe", Some(LinkLocal)),
            ("::ffff:10.1.2.3", Some(Private)),
            ("::ffff:0:10.1.2.3", Some(Private)),
            ("::127.0.0.1", Some(Loopback)),
            ("::10.0.0.1", Some(Private)),
            ("64:ff9b::127.0.0.1", Some(Loopback)),
            ("64:ff9b::169.254.169.254", Some(LinkLocal)),
            ("64:ff9b::8.8.8.8", None),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", Some(Tunnel)),
            ("2002:7f00:1::1", Some(Tunnel)),
            ("2002:808:808::1", Some(Tunnel)),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Some(Tunnel)),
            ("2606:4700::5efe:7f00:1", Some(Tunnel)),
            ("2606:4700::200:5efe:7f00:1", Some(Tunnel)),
        ] {
            assert_eq!(of(address), kind, "{address}");
        }
    }
}

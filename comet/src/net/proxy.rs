//! The PROXY protocol, versions 1 and 2, as HAProxy specifies them (doc/proxy-protocol.txt): a header in front of
//! everything else, by which a proxy says whom it speaks for. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes that a header may have: the addresses take at most 232, the rest is what a proxy likes to add.
pub(crate) const HEADER_BYTES_MAX: usize = 2048;
/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the bytes that came first are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A header that is not all there. Happens only below [`HEADER_BYTES_MAX`].
    NeedMore,
    /// A whole one.
    Whole {
        /// Its bytes; what follows is the client's.
        consumed: usize,
        /// The client; `None` if the proxy speaks for itself (health checks), or does not know.
        client: Option<SocketAddr>,
    },
    /// None, or one that breaks a rule.
    Bad,
}

/// Judges the bytes that came since the connection began.
pub(crate) fn parse(bytes: &[u8]) -> Header {
    if starts_alike(bytes, SIGNATURE) {
        version_2(bytes)
    } else if starts_alike(bytes, LINE_START) {
        version_1(bytes)
    } else {
        Header::Bad
    }
}

/// Whether one begins with the other.
fn starts_alike(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, expected)| byte == expected)
}

fn version_1(bytes: &[u8]) -> Header {
    let head = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX { Header::NeedMore } else { Header::Bad };
    };
    let consumed = end + 2;
    let Ok(line) = std::str::from_utf8(&head[..end]) else { return Header::Bad };
    let mut fields = line.split(' ').skip(1);
    let (Some(family), rest) = (fields.next(), fields.collect::<Vec<_>>()) else { return Header::Bad };
    match (family, &rest[..]) {
        // What follows is to be passed over.
        ("UNKNOWN", _) => Header::Whole { consumed, client: None },
        ("TCP4", [source, target, source_port, target_port]) => {
            let is_right = target.parse::<Ipv4Addr>().is_ok() && port(target_port).is_some();
            with_client(consumed, source.parse::<Ipv4Addr>().ok().map(IpAddr::V4), port(source_port), is_right)
        }
        ("TCP6", [source, target, source_port, target_port]) => {
            let is_right = target.parse::<Ipv6Addr>().is_ok() && port(target_port).is_some();
            with_client(consumed, source.parse::<Ipv6Addr>().ok().map(IpAddr::V6), port(source_port), is_right)
        }
        _ => Header::Bad,
    }
}

fn with_client(consumed: usize, ip: Option<IpAddr>, port: Option<u16>, is_right: bool) -> Header {
    match (ip, port) {
        (Some(ip), Some(port)) if is_right => Header::Whole { consumed, client: Some(SocketAddr::new(ip.to_canonical(), port)) },
        _ => Header::Bad,
    }
}

/// Digits and nothing else, none too many in front.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn version_2(bytes: &[u8]) -> Header {
    // What is wrong is refused where it shows, not at the end.
    let (command, family) = (bytes.get(12), bytes.get(13));
    if command.is_some_and(|command| !matches!(command, 0x20 | 0x21)) {
        return Header::Bad;
    }
    let Some(len) = bytes.get(14..16).and_then(|len| len.first_chunk()) else { return Header::NeedMore };
    let consumed = 16 + usize::from(u16::from_be_bytes(*len));
    if consumed > HEADER_BYTES_MAX {
        return Header::Bad;
    }
    let Some(rest) = bytes.get(16..consumed) else { return Header::NeedMore };
    if command == Some(&0x20) {
        return Header::Whole { consumed, client: None }; // LOCAL: addresses, if there are any, mean nothing
    }
    match family {
        Some(0x11) => with_client(consumed, v4(rest), number(rest, 8), rest.len() >= 12),
        Some(0x21) => with_client(consumed, v6(rest), number(rest, 32), rest.len() >= 36),
        // Unspecified, or a socket of the proxy's own machine.
        Some(0x00 | 0x31) => Header::Whole { consumed, client: None },
        _ => Header::Bad,
    }
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets))
}

fn v6(bytes: &[u8]) -> Option<IpAddr> {
    bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|number| u16::from_be_bytes(*number))
}

#[cfg(test)]
mod tests;

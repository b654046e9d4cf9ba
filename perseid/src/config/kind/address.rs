//! Lists of listening addresses.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::{Parsed, Wrong, short};
use crate::config::value::Value;

/// More listeners of one kind than this are a mistake.
const ADDRESSES_MAX: usize = 64;

/// All addresses of a list, or everything that is wrong with it.
pub(super) fn list<'a>(texts: impl Iterator<Item = (&'a str, Option<Range<usize>>)>) -> Parsed {
    let mut list = Vec::new();
    let mut wrongs = Vec::new();
    for (text, span) in texts {
        match text.parse::<SocketAddr>() {
            Ok(address) => list.push(address),
            Err(_) => wrongs.push(Wrong {
                span,
                hint: hint(text),
                ..Wrong::new(format!("`{}` is not an address (IP:PORT)", short(text)))
            }),
        }
    }
    if list.len() + wrongs.len() > ADDRESSES_MAX {
        wrongs.push(Wrong::new(format!("more than {ADDRESSES_MAX} addresses")));
    }
    if wrongs.is_empty() { Ok(Value::Addresses(list)) } else { Err(wrongs) }
}

fn hint(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(match text.parse::<u16>() {
        Ok(_) => ("", text),
        Err(_) => (text, ""),
    });
    let Ok(port) = port.parse::<u16>() else {
        return Some("a port from 0 to 65535 follows the address: 127.0.0.1:3101".to_owned());
    };
    match host {
        "" | "*" => Some(format!("name the interface: 127.0.0.1:{port} for this machine, 0.0.0.0:{port} for all")),
        "localhost" => Some(format!("write 127.0.0.1:{port} or [::1]:{port}")),
        _ if host.parse::<Ipv6Addr>().is_ok() => Some(format!("an IPv6 address stands in brackets: [{host}]:{port}")),
        _ => Some("names are not looked up: write the IP address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kind::Kind;

    #[test]
    fn addresses_are_lists_with_one_report_each() {
        let parsed = Kind::Addresses.parse_text(" 127.0.0.1:0, [::1]:3101,");
        assert!(matches!(parsed, Ok(Value::Addresses(list)) if list.len() == 2));
        assert_eq!(Kind::Addresses.parse_text(""), Ok(Value::Addresses(vec![])));
        let wrongs = Kind::Addresses.parse_text("localhost:1,:2,3,::1:4,a.example:5,1.2.3.4,x:70000");
        let hints: Vec<_> = wrongs.unwrap_err().into_iter().filter_map(|w| w.hint).collect();
        assert_eq!(hints.len(), 7);
        for (hint, part) in hints.iter().zip(["127.0.0.1:1", "0.0.0.0:2", "0.0.0.0:3", "[::1]:4", "looked up", "port", "port"]) {
            assert!(hint.contains(part), "{hint}");
        }
        let many = vec!["127.0.0.1:0"; ADDRESSES_MAX + 1].join(",");
        assert!(Kind::Addresses.parse_text(&many).is_err());
    }
}

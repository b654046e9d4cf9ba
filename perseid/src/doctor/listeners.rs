//! Addresses to listen on: whether they can be had.

use std::net::SocketAddr;

use super::Finding;

/// An address that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The key that names it.
    pub key: String,
    /// The address.
    pub addr: SocketAddr,
    /// Whether it could be bound a moment ago.
    pub state: Bind,
}

/// What came of binding an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// It is free.
    Free,
    /// Somebody listens there: this server perhaps.
    InUse,
    /// The system refuses it: not an address of this machine, or a port for root only.
    Refused(String),
}

const CHECK: &str = "listeners";

pub(super) fn judge(listeners: &[Listener], port_range: Option<(u16, u16)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut free = Vec::new();
    for Listener { key, addr, state } in listeners {
        match state {
            Bind::Free => free.push(addr.to_string()),
            Bind::InUse => findings.push(Finding::warn(
                CHECK,
                format!("somebody listens on {addr} ({key}) already"),
                "right if this server runs now; otherwise `ss -ltnp` says who it is",
            )),
            Bind::Refused(error) => findings.push(Finding::fail(
                CHECK,
                format!("can't listen on {addr} ({key}): {error}"),
                "give an address of this machine, and a port above 1023 or CAP_NET_BIND_SERVICE",
            )),
        }
        if port_range.is_some_and(|(low, high)| (low..=high).contains(&addr.port())) {
            findings.push(Finding::warn(
                CHECK,
                format!(
                    "the port of {addr} ({key}) is one of those that outgoing connections take: after a restart it may be gone"
                ),
                "take a port outside of net.ipv4.ip_local_port_range, or name it in net.ipv4.ip_local_reserved_ports",
            ));
        }
    }
    if !free.is_empty() {
        findings.push(Finding::ok(CHECK, format!("free: {}", free.join(", "))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Ok, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;

    #[test]
    fn each_state() {
        let refused = Bind::Refused("permission denied".to_owned());
        let cases: [(u16, Bind, &[Verdict]); 5] = [
            (3101, Bind::Free, &[Ok]),
            (3101, Bind::InUse, &[Warn]),
            (80, refused, &[Fail]),
            (40_000, Bind::Free, &[Warn, Ok]),
            (0, Bind::Free, &[Ok]),
        ];
        for (port, state, expected) in cases {
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            let findings = judge(&[Listener { key: "comet.tcp".to_owned(), addr, state }], Some((32_768, 60_999)));
            assert_eq!(verdicts(&findings), expected, "{port}");
            advice_where_needed(&findings);
        }
    }
}

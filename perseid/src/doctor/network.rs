//! The kernel's network settings.

use super::{Finding, Wanted, grouped, rounded_up, size};

/// What /proc/sys says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// `net.core.somaxconn`: the longest accept queue.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub syn_backlog: Option<u64>,
    /// The second number of `net.ipv4.tcp_mem` (from there on the kernel saves memory), bytes.
    pub tcp_pressure_bytes: Option<u64>,
    /// The third number of `net.ipv4.tcp_wmem`: what the kernel buffers for one socket, bytes.
    pub tcp_wmem_max: Option<u64>,
    /// `net.ipv4.ip_local_port_range`: source ports of outgoing connections.
    pub port_range: Option<(u16, u16)>,
    /// `net.netfilter.nf_conntrack_max`, where connections are tracked.
    pub conntrack_max: Option<u64>,
    /// Connections tracked now.
    pub conntrack_count: Option<u64>,
}

/// What each worker's listener asks for.
const BACKLOG: u64 = 4096;
/// What a session that is written to may need of the kernel's TCP memory for a moment, bytes.
const TCP_BYTES_EACH: u64 = 4096;
/// Fewer source ports are too few for a proxy on the same machine.
const SOURCE_PORTS_FEW: u64 = 16_000;

pub(super) fn judge(network: &Network, wanted: Wanted) -> Vec<Finding> {
    let findings = [
        backlog("accept queue", "net.core.somaxconn", network.somaxconn),
        backlog("accept queue", "net.ipv4.tcp_max_syn_backlog", network.syn_backlog),
        tcp_memory(network, wanted),
        source_ports(network),
        conntrack(network, wanted),
    ];
    findings.into_iter().flatten().collect()
}

fn backlog(check: &'static str, name: &str, value: Option<u64>) -> Option<Finding> {
    let value = value?;
    let what = format!("{name} is {}", grouped(value));
    Some(if value >= BACKLOG {
        Finding::ok(check, what)
    } else {
        let what = format!("{what}: when everybody comes back at once, some are turned away by the kernel");
        Finding::warn(check, what, format!("sysctl {name}={BACKLOG}"))
    })
}

fn tcp_memory(network: &Network, wanted: Wanted) -> Option<Finding> {
    let pressure = network.tcp_pressure_bytes?;
    let needed = wanted.sessions.saturating_mul(TCP_BYTES_EACH);
    let sessions = grouped(wanted.sessions);
    let buffers = network.tcp_wmem_max.map(|bytes| format!("; one slow client may hold {} of it", size(bytes)));
    let what = format!("net.ipv4.tcp_mem: buffers are squeezed above {}{}", size(pressure), buffers.unwrap_or_default());
    Some(if pressure >= needed {
        Finding::ok("TCP memory", what)
    } else {
        let what = format!("{what}; {sessions} sessions may need {}", size(needed));
        Finding::warn("TCP memory", what, "raise the last two numbers of net.ipv4.tcp_mem (they count pages)")
    })
}

fn source_ports(network: &Network) -> Option<Finding> {
    let (low, high) = network.port_range?;
    let ports = u64::from(high.saturating_sub(low)) + 1;
    let what =
        format!("net.ipv4.ip_local_port_range is {low} to {high}: {} connections from here to one address", grouped(ports));
    Some(if ports >= SOURCE_PORTS_FEW {
        Finding::ok("source ports", what)
    } else {
        let advice = "sysctl net.ipv4.ip_local_port_range=\"10240 65535\", or listen on several addresses";
        Finding::warn("source ports", format!("{what}, which a proxy on this machine uses up soon"), advice)
    })
}

fn conntrack(network: &Network, wanted: Wanted) -> Option<Finding> {
    let (max, count) = (network.conntrack_max?, network.conntrack_count.unwrap_or(0));
    let what = format!("{} of {} connections are tracked (nf_conntrack)", grouped(count), grouped(max));
    // Closed ones stay for some minutes: room for as many again.
    let needed = wanted.sessions.saturating_mul(2).saturating_add(OTHERS_TRACKED);
    let advice = format!("sysctl net.netfilter.nf_conntrack_max={}, or do not track the client ports", rounded_up(needed));
    Some(if count >= max {
        Finding::fail("conntrack", format!("{what}: new connections are dropped"), advice)
    } else if max < needed {
        Finding::warn(
            "conntrack",
            format!("{what}; {} sessions that come back need about {}", grouped(wanted.sessions), grouped(needed)),
            advice,
        )
    } else {
        Finding::ok("conntrack", what)
    })
}

/// Connections of everything else.
const OTHERS_TRACKED: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Ok, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;

    const WANTED: Wanted = Wanted { sessions: 100_000, named: true };

    fn verdict_of(network: Network) -> Vec<Verdict> {
        let findings = judge(&network, WANTED);
        advice_where_needed(&findings);
        verdicts(&findings)
    }

    #[test]
    fn what_is_not_known_is_not_judged() {
        assert_eq!(verdict_of(Network::default()), []);
    }

    #[test]
    fn each_setting() {
        let none = Network::default();
        for (network, verdict) in [
            (Network { somaxconn: Some(4096), ..none }, Ok),
            (Network { somaxconn: Some(128), ..none }, Warn),
            (Network { syn_backlog: Some(512), ..none }, Warn),
            (Network { syn_backlog: Some(65_536), ..none }, Ok),
            (Network { tcp_pressure_bytes: Some(400_000_000 - 1), ..none }, Warn),
            (Network { tcp_pressure_bytes: Some(409_600_000), ..none }, Ok),
            (Network { port_range: Some((32_768, 60_999)), ..none }, Ok),
            (Network { port_range: Some((50_000, 60_000)), ..none }, Warn),
            (Network { port_range: Some((9, 1)), ..none }, Warn),
            (Network { conntrack_max: Some(262_144), conntrack_count: Some(9), ..none }, Ok),
            (Network { conntrack_max: Some(65_536), conntrack_count: None, ..none }, Warn),
            (Network { conntrack_max: Some(65_536), conntrack_count: Some(65_536), ..none }, Fail),
        ] {
            assert_eq!(verdict_of(network), [verdict], "{network:?}");
        }
    }
}

//! What goim tells of its nodes: to clients where to connect, to operators what discovery knows.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::config::Config;
use crate::nodes::NodeInfo;

/// Nodes that a client is told of.
const NODES_MAX: usize = 5;

/// The data of `/goim/nodes/weighted`. Zero values are left out, as Go's `omitempty` does.
#[derive(Serialize)]
pub struct Weighted<'a> {
    /// The domain that resolves to the comets.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub domain: &'a str,
    /// For TCP clients; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub tcp_port: i32,
    /// For WebSocket clients; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub ws_port: i32,
    /// For clients of WebSocket over TLS; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub wss_port: i32,
    /// How often a client is to send HEARTBEAT, s.
    #[serde(skip_serializing_if = "is_zero")]
    pub heartbeat: i32,
    /// Hosts, the least loaded first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// How to wait before the next attempt.
    pub backoff: Backoff,
    /// Heartbeats that may be missed.
    #[serde(skip_serializing_if = "is_zero")]
    pub heartbeat_max: i32,
}

/// How a client that lost its connection waits.
#[derive(Serialize)]
pub struct Backoff {
    /// The longest wait, s.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_delay: i32,
    /// The first wait, s.
    #[serde(skip_serializing_if = "is_zero")]
    pub base_delay: i32,
    /// Each wait is the one before times this.
    #[serde(skip_serializing_if = "is_zero_f32", serialize_with = "as_go")]
    pub factor: f32,
    /// The random share of each wait.
    #[serde(skip_serializing_if = "is_zero_f32", serialize_with = "as_go")]
    pub jitter: f32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero_f32(value: &f32) -> bool {
    *value == 0.0
}

/// Go writes 3, not 3.0.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn as_go<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f32(*value)
    }
}

/// Where clients are to connect: the least loaded nodes first. Browsers are told names, because a certificate has a name;
/// others addresses.
pub fn weighted<'a>(config: &'a Config, nodes: &[NodeInfo], platform: &str) -> Weighted<'a> {
    let goim = &config.goim;
    let mut staying: Vec<&NodeInfo> = nodes.iter().filter(|node| !node.draining).collect();
    staying.sort_by(|a, b| a.sessions.cmp(&b.sessions).then_with(|| a.id.cmp(&b.id)));
    staying.truncate(NODES_MAX);
    let mut told: Vec<String> = if platform == "web" {
        staying.iter().map(|node| format!("{}{}", node.id, goim.host_domain)).collect()
    } else {
        let mut hosts = Vec::new();
        for host in staying.iter().flat_map(|node| reachable_hosts(node)) {
            if !hosts.iter().any(|known| known == host) {
                hosts.push(host.to_owned());
            }
        }
        hosts
    };
    if told.is_empty() {
        told.push(goim.domain.clone());
    }
    Weighted {
        domain: &goim.domain,
        tcp_port: i32::from(goim.tcp_port),
        ws_port: i32::from(goim.ws_port),
        wss_port: i32::from(goim.wss_port),
        heartbeat: i32::try_from(config.heartbeat_ms / 1000).unwrap_or(i32::MAX),
        nodes: told,
        backoff: Backoff {
            max_delay: goim.backoff_max_delay,
            base_delay: goim.backoff_base_delay,
            factor: goim.backoff_factor,
            jitter: goim.backoff_jitter,
        },
        heartbeat_max: i32::try_from(config.heartbeat_max).unwrap_or(i32::MAX),
    }
}

/// An instance in the form of goim's discovery.
#[derive(Serialize)]
pub(super) struct Instance<'a> {
    region: &'static str,
    zone: &'static str,
    env: &'static str,
    appid: &'static str,
    hostname: &'a str,
    addrs: Vec<String>,
    version: &'a str,
    /// ns, as discovery counts.
    latest_timestamp: u64,
    metadata: Metadata,
}

/// Discovery's metadata are texts; in the order in which Go writes a map.
#[derive(Serialize)]
struct Metadata {
    addrs: String,
    conn_count: String,
    ip_count: String,
    offline: String,
    weight: String,
}

/// All comets, also those that are leaving.
pub(super) fn instances(nodes: &[NodeInfo]) -> Vec<Instance<'_>> {
    nodes.iter().map(instance).collect()
}

fn instance(node: &NodeInfo) -> Instance<'_> {
    let tcp = node.tcp.iter().map(|addr| format!("tcp://{addr}"));
    let ws = node.ws.iter().map(|addr| format!("ws://{addr}"));
    Instance {
        region: "",
        zone: "",
        env: "",
        appid: "goim.comet",
        hostname: &node.id,
        addrs: tcp.chain(ws).collect(),
        version: &node.version,
        latest_timestamp: node.started_ms.saturating_mul(1_000_000),
        metadata: Metadata {
            addrs: reachable_hosts(node).collect::<Vec<_>>().join(","),
            conn_count: node.sessions.to_string(),
            ip_count: node.ips.to_string(),
            offline: node.draining.to_string(),
            weight: "10".to_owned(),
        },
    }
}

/// The hosts of a node's addresses, without ports; not `0.0.0.0`, which nobody can reach.
fn reachable_hosts(node: &NodeInfo) -> impl Iterator<Item = &str> {
    let host = |addr: &'_ String| addr.rfind(':').map_or(addr.len(), |at| at);
    let bare = |host: &'_ str| host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let addrs: &[String] = if node.tcp.is_empty() { &node.ws } else { &node.tcp };
    addrs
        .iter()
        .map(move |addr| &addr[..host(addr)])
        .filter(move |host| !host.is_empty() && !bare(host).is_ok_and(|ip| ip.is_unspecified()))
}

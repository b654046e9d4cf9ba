//! `/console/stats.json`: what the page shows, once a second.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::http::header::CACHE_CONTROL;
use axum::routing::get;
use perseid_comet::metrics::{Cell, TRANSPORTS, WorkerMetrics};
use perseid_log::ConsumerState;
use perseid_log::HistogramSnapshot;
use perseid_protocol::CloseReason;
use perseid_protocol::push::Drop;
use serde_json::{Map, Value, json};

use crate::clock::unix_ms;
use crate::parts::Parts;
use crate::process;

const TOP_ROOMS: usize = 10;

/// The route.
pub fn router(parts: Arc<Parts>) -> Router {
    let answer = move || std::future::ready(([(CACHE_CONTROL, "no-store")], Json(stats(&parts))));
    Router::new().route("/console/stats.json", get(answer))
}

fn stats(parts: &Parts) -> Value {
    let comet = &parts.comet;
    let Some(log) = parts.log.as_ref().map(|log| log.status()) else { return json!({}) };
    // Both ways of each transport together, and how many of them are encrypted.
    let by_transport = |counter: fn(&WorkerMetrics) -> &[Cell; TRANSPORTS.len()]| {
        let [tcp, ws, tls, wss] = std::array::from_fn(|index| parts.sum(|metrics| &counter(metrics)[index]));
        json!({ "tcp": tcp + tls, "websocket": ws + wss, "tls": tls, "wss": wss })
    };
    let addrs = |addrs: &[std::net::SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
    let top_rooms: Vec<Value> =
        comet.top_rooms(None, TOP_ROOMS).into_iter().map(|(room, online)| json!({ "room": room, "online": online })).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": comet.config().node_id,
        "started_ms": parts.started_ms,
        "now_ms": unix_ms(),
        "draining": parts.is_draining(),
        "ready": !parts.is_draining() && comet.is_healthy() && log.poisoned.is_none() && log.refusing.is_none(),
        "listen": { "tcp": addrs(comet.tcp()), "ws": addrs(comet.ws()), "tls": addrs(comet.tls()), "wss": addrs(comet.wss()), "http": addrs(&parts.http) },
        "connections": by_transport(|metrics| &metrics.connections),
        "sessions": by_transport(|metrics| &metrics.sessions),
        "users": parts.registry.counts().users,
        "rooms": comet.room_count(),
        "top_rooms": top_rooms,
        "counters": {
            "accepted": by_transport(|metrics| &metrics.accepted),
            "left": parts.sum(|metrics| &metrics.left),
            "ended": ended(parts),
            "frames_received": parts.sum(|metrics| &metrics.frames_received),
            "bytes_received": parts.sum(|metrics| &metrics.bytes_received),
            "heartbeats": parts.sum(|metrics| &metrics.heartbeats),
            "upstream": parts.sum(|metrics| &metrics.upstream),
            "pushes": parts.logic.snapshot().pushes.into_iter().map(|(kind, count)| (kind.to_owned(), count.into())).collect::<Map<_, _>>(),
            "delivered": {
                "direct": parts.sum(|metrics| &metrics.delivered[0]),
                "room": parts.sum(|metrics| &metrics.delivered[1]),
                "all": parts.sum(|metrics| &metrics.delivered[2]),
            },
            "dropped": Drop::ALL.into_iter().map(|reason| (reason.word().to_owned(), parts.dropped(reason).into())).collect::<Map<_, _>>(),
            "writes": parts.sum(|metrics| &metrics.writes),
            "bytes_sent": parts.sum(|metrics| &metrics.bytes_sent),
        },
        "latency": latency(parts),
        "process": process(),
        "queued_bytes": comet.queued_bytes(),
        "blocked": parts.sum(|metrics| &metrics.blocked),
        "log": {
            "first": log.first,
            "end": log.end,
            "bytes": log.disk_bytes,
            "lag": log.consumers.iter().filter(|consumer| consumer.state != ConsumerState::Cursor).map(|consumer| consumer.lag).max().unwrap_or(0),
            "poisoned": log.poisoned,
        },
    })
}

/// Histograms since the start: the page takes quantiles of what came between two of its questions.
fn latency(parts: &Parts) -> Value {
    let Some(log) = parts.log.as_ref().map(|log| log.status()) else { return Value::Null };
    let requests = parts.logic.snapshot().requests;
    json!({
        "append": histogram(&[&log.append_seconds]),
        "sync": histogram(&[&log.sync_seconds]),
        "request": histogram(&requests.iter().map(|(_, histogram)| histogram).collect::<Vec<_>>()),
        "lag_ms": parts.job.snapshot().lag_ms,
    })
}

/// Histograms of equal bounds as one: bounds in ms, counts per bucket, the last of them above all bounds.
fn histogram(all: &[&HistogramSnapshot]) -> Value {
    let Some(first) = all.first() else { return Value::Null };
    let mut counts = vec![0; first.counts.len()];
    for one in all {
        for (sum, count) in counts.iter_mut().zip(&one.counts) {
            *sum += count;
        }
    }
    let bounds_ms: Vec<f64> = first.bounds_seconds.iter().map(|bound| bound * 1000.0).collect();
    json!({ "bounds_ms": bounds_ms, "counts": counts })
}

/// What this process takes; null where the system does not say.
fn process() -> Value {
    json!({
        "cpu_ms": process::cpu_ms(),
        "rss_bytes": process::rss_bytes(),
        "open_fds": process::open_fds(),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    })
}

fn ended(parts: &Parts) -> Map<String, Value> {
    CloseReason::ALL
        .into_iter()
        .enumerate()
        .map(|(index, reason)| (reason.word().to_owned(), parts.sum(|metrics| &metrics.ended[index]).into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_equal_bounds_add_up() {
        const BOUNDS: &[f64] = &[0.001, 0.5];
        let one = HistogramSnapshot { bounds_seconds: BOUNDS, counts: vec![1, 0, 2], sum_seconds: 3.0 };
        let two = HistogramSnapshot { bounds_seconds: BOUNDS, counts: vec![4, 1, 0], sum_seconds: 0.2 };
        assert_eq!(histogram(&[&one, &two]), json!({ "bounds_ms": [1.0, 500.0], "counts": [5, 1, 2] }));
        assert_eq!(histogram(&[]), Value::Null);
    }
}

//! `/console/stats.json`: what the page shows, once a second.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::routing::get;
use perseid_protocol::CloseReason;
use perseid_protocol::push::Drop;
use serde_json::{Map, Value, json};

use crate::clock::unix_ms;
use crate::parts::Parts;

const TOP_ROOMS: usize = 10;

/// The route.
pub fn router(parts: Arc<Parts>) -> Router {
    Router::new().route("/console/stats.json", get(move || std::future::ready(Json(stats(&parts)))))
}

fn stats(parts: &Parts) -> Value {
    let comet = &parts.comet;
    let log = parts.log.status();
    let by_transport = |counter: fn(&perseid_comet::metrics::WorkerMetrics) -> &[perseid_comet::metrics::Cell; 2]| json!({ "tcp": parts.sum(|metrics| &counter(metrics)[0]), "websocket": parts.sum(|metrics| &counter(metrics)[1]) });
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
        "listen": { "tcp": addrs(comet.tcp()), "ws": addrs(comet.ws()), "http": addrs(&parts.http) },
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
        "queued_bytes": comet.queued_bytes(),
        "blocked": parts.sum(|metrics| &metrics.blocked),
        "log": {
            "first": log.first,
            "end": log.end,
            "bytes": log.disk_bytes,
            "lag": log.consumers.iter().map(|consumer| consumer.lag).max().unwrap_or(0),
            "poisoned": log.poisoned,
        },
    })
}

fn ended(parts: &Parts) -> Map<String, Value> {
    CloseReason::ALL
        .into_iter()
        .enumerate()
        .map(|(index, reason)| (reason.word().to_owned(), parts.sum(|metrics| &metrics.ended[index]).into()))
        .collect()
}

//! The standalone's HTTP port: the API, what is looked at, the console.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use perseid_comet::ForeignPages;
use perseid_comet::net::{is_in_use, patiently};
use perseid_logic::{Access, Api, Metrics, Scope, ServeLimits};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;

use crate::parts::Parts;
use crate::telemetry::LogLevel;
use crate::{admin, chat, console, metrics, stats};

pub(crate) fn bind_http(addrs: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    addrs
        .iter()
        .map(|addr| {
            let listener =
                patiently(is_in_use, || TcpListener::bind(addr)).with_context(|| format!("can't listen on {addr} (HTTP)"))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect()
}

/// All routes, each behind what it asks of its callers. `stop` ends what takes long.
pub(super) fn routes(
    parts: &Arc<Parts>,
    api: &Arc<Api>,
    access: &Arc<Access>,
    level: LogLevel,
    stop: &CancellationToken,
) -> Router {
    let looked_at = metrics::router(parts.clone()).merge(stats::router(parts.clone()));
    let administered = admin::router(level, parts.logic.clone(), stop.clone());
    let extra = access.guard(Scope::Read, looked_at).merge(access.guard(Scope::Admin, administered));
    // A node that refuses foreign pages is one that believes its callers.
    let insecure = api.config().pages.foreign == ForeignPages::Refuse;
    let pages = console::router(parts.comet.ws()).merge(chat::router(parts.comet.ws(), insecure));
    let extra = extra.merge(pages);
    let described = perseid_logic::describe(admin::Description::openapi(), Scope::Admin);
    perseid_logic::router_with(api.clone(), extra, described)
}

/// Serves until `stop`.
pub(crate) fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let serving = perseid_logic::serve(listeners, router, ServeLimits::default(), metrics, stop);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the HTTP listener failed");
        }
    })
}

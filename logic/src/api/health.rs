//! Whether this process lives, and whether it can serve.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use perseid_log::ConsumerState;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, TEXT, json, respond};
use crate::metrics::Route;

/// Alive. Asks nobody.
#[utoipa::path(
    get, path = "/healthz", operation_id = "alive", tag = "health",
    responses((status = 200, description = "The process answers.", body = String, content_type = "text/plain", example = "ok\n")),
)]
pub(super) async fn alive(State(api): State<Arc<Api>>) -> Response {
    api.command(Route::Healthz, async { respond(StatusCode::OK, TEXT, "ok\n") }).await
}

/// Whether requests can be served.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// What is missing, for people.
    reasons: Vec<String>,
}

/// Ready: all that a request needs is there.
#[utoipa::path(
    get, path = "/readyz", operation_id = "ready", tag = "health",
    responses((status = 200, description = "Ready.", body = Readiness),
              (status = 503, description = "Leaving, or something is missing.", body = Readiness)),
)]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    let work = async {
        let reasons = api.unready();
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = json(&Readiness { ready: reasons.is_empty(), reasons });
        *response.status_mut() = status;
        response
    };
    api.command(Route::Readyz, work).await
}

impl Api {
    /// What is missing; nothing if requests can be served.
    pub(super) fn unready(&self) -> Vec<String> {
        let log = self.log.status();
        let mut reasons = Vec::new();
        reasons.extend(self.is_draining().then(|| "draining: this node is leaving".to_owned()));
        reasons.extend(log.poisoned.map(|why| format!("log: stopped until a restart: {why}")));
        reasons.extend(log.refusing.map(|why| format!("log: takes nothing now: {why}")));
        reasons.extend(log.consumers.into_iter().filter_map(|consumer| match consumer.state {
            ConsumerState::Stopped(why) => Some(format!("log: {} reads nothing any more: {why}", consumer.name)),
            _ => None,
        }));
        let store = self.inbox.as_ref().and_then(|inbox| inbox.store().trouble());
        reasons.extend(store.map(|why| format!("store: {why}")));
        reasons.extend(self.nodes.is_ready().err().map(|why| format!("nodes: {why}")));
        reasons
    }
}

//! What only admins may do to a running process, over HTTP: the level of the log, profiles.
//!
//! Who is an admin is decided around these routes, not in them.

mod log_level;
mod problem;
mod profile;

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;
use perseid_logic::Metrics;
use tokio_util::sync::CancellationToken;

use crate::telemetry::LogLevel;

/// What the routes are, for the OpenAPI document.
#[derive(utoipa::OpenApi)]
#[openapi(paths(log_level::show, log_level::change, profile::threads, profile::cpu, profile::heap), tags((name = "process", description = "The process itself.")))]
pub struct Description;

/// The routes, whose refusals `metrics` counts. `stop` ends what takes long: the process leaves.
pub fn router(level: LogLevel, metrics: Arc<Metrics>, stop: CancellationToken) -> Router {
    let log_level = get(log_level::show).put(log_level::change).fallback(problem::wrong_method);
    let profiles = Router::new()
        .route("/v1/profile/threads", get(profile::threads).fallback(problem::only_get))
        .route("/v1/profile/cpu", get(profile::cpu).fallback(problem::only_get))
        .route("/v1/profile/heap", get(profile::heap).fallback(problem::only_get))
        .with_state(profile::Profiles::new(stop));
    let routes = Router::new().route("/v1/log-level", log_level).with_state(log_level::Levels::new(level)).merge(profiles);
    routes.layer(map_response(move |response| std::future::ready(problem::count(&metrics, response))))
}

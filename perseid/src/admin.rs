//! What only admins may do to a running process, over HTTP: the level of the log.
//!
//! Who is an admin is decided around these routes, not in them.

mod log_level;
mod problem;

use axum::Router;
use axum::routing::get;

use crate::telemetry::LogLevel;

/// What the routes are, for the OpenAPI document.
#[derive(utoipa::OpenApi)]
#[openapi(paths(log_level::show, log_level::change), tags((name = "process", description = "The process itself.")))]
pub struct Description;

/// The routes.
pub fn router(level: LogLevel) -> Router {
    let log_level = get(log_level::show).put(log_level::change).fallback(problem::wrong_method);
    Router::new().route("/v1/log-level", log_level).with_state(log_level::Levels::new(level))
}

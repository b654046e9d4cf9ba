//! v1: kick, and one node with its drain.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::manage::{Kick, NodeDrain};
use super::message::parse;
use super::problem::Problem;
use super::query::Query;
use super::read_http::{NodeJson, mid_of, node_json};
use super::{Api, json};
use crate::metrics::Route;
use crate::reason::Reason;

/// The end of the path of a node's drain; paths of this form are one pattern for the router.
const DRAIN: &str = ":drain";

/// What a kick did.
#[derive(Serialize, ToSchema)]
#[schema(as = Kicked)]
pub(super) struct KickedJson {
    mid: i64,
    /// So many sessions were told to end.
    ended: u64,
}

/// End sessions of a user.
///
/// They are told KICKED, and do not come back by themselves; whether they may is for your login to say. Without `key` and
/// `platform` all of them; other parameters and empty values are refused, because a mistake must not end all sessions.
#[utoipa::path(
    delete, path = "/v1/users/{mid}/sessions", operation_id = "kick", tag = "users",
    params(
        ("mid" = i64, Path, minimum = 1, description = "The user.", example = 7),
        ("key" = Option<String>, Query, description = "Only the session with this key."),
        ("platform" = Option<String>, Query, description = "Only the sessions of this platform."),
        ("reason" = Option<String>, Query, description = "What the clients are told, at most 256 bytes."),
    ),
    responses((status = 200, description = "So many sessions were told to end.", body = KickedJson,
               example = json!({ "mid": 7, "ended": 2 }))),
)]
pub(super) async fn kick(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>, uri: Uri) -> Response {
    let work = async {
        let mid = mid_of(path)?;
        let query = Query::parse(uri.query()).map_err(Problem::bad)?;
        query.only(&["key", "platform", "reason"]).map_err(Problem::bad)?;
        let kick = Kick { key: query.get("key"), platform: query.get("platform"), reason: query.get("reason") };
        Ok(json(&KickedJson { mid, ended: api.kick(mid, &kick)? }))
    };
    api.answer(Route::Kick, work).await
}

/// One node.
#[utoipa::path(
    get, path = "/v1/nodes/{id}", operation_id = "getNode", tag = "nodes",
    params(("id" = String, Path, description = "The node's name.")),
    responses((status = 200, description = "The node.", body = NodeJson<'static>)),
)]
pub(super) async fn node(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>) -> Response {
    let id = path.map(|Path(id)| id).map_err(|_| wrong_path());
    match id {
        Ok(id) => match id.strip_suffix(DRAIN) {
            Some(id) => api.answer(Route::DrainProgress, async { Ok(json(&drain_json(&api.drain_progress(id)?))) }).await,
            None => api.answer(Route::Node, async { Ok(json(&node_json(&api.node(&id)?))) }).await,
        },
        Err(problem) => api.answer(Route::Node, async { Err(problem) }).await,
    }
}

/// How to drain.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainRequest {
    /// Sessions told to go each second; without it as configured.
    #[schema(minimum = 1, maximum = 1000000)]
    per_second: Option<u32>,
}

/// How far a drain has come; the last three only while the node drains.
#[derive(Serialize, ToSchema)]
#[schema(as = Drain)]
pub(super) struct DrainJson<'a> {
    node: &'a str,
    draining: bool,
    /// Sessions that are still there.
    sessions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions_at_start: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<u64>,
}

fn drain_json(drain: &NodeDrain) -> DrainJson<'_> {
    let progress = drain.progress;
    DrainJson {
        node: &drain.node.id,
        draining: progress.is_some(),
        sessions: progress.map_or(drain.node.sessions, |progress| progress.sessions),
        sessions_at_start: progress.map(|progress| progress.sessions_at_start),
        per_second: progress.map(|progress| progress.per_second),
        since_ms: progress.map(|progress| progress.since_ms),
    }
}

/// How far a node's drain has come.
///
/// The router has one pattern for this and for [`node`], which answers both; here stands only the description.
#[utoipa::path(
    get, path = "/v1/nodes/{id}:drain", operation_id = "getDrain", tag = "nodes",
    params(("id" = String, Path, description = "The node's name.")),
    responses((status = 200, description = "How far it has come.", body = DrainJson<'static>)),
)]
#[allow(dead_code)]
pub(super) const fn drain_progress() {}

/// Tell a node to leave.
///
/// No new sessions, those that are there told to go, then the end of the process. Once more changes nothing.
#[utoipa::path(
    post, path = "/v1/nodes/{id}:drain", operation_id = "drainNode", tag = "nodes",
    params(("id" = String, Path, description = "The node's name.")),
    request_body(content = Option<DrainRequest>, example = json!({ "per_second": 500 })),
    responses((status = 202, description = "It leaves, and takes its time.", body = DrainJson<'static>)),
)]
pub(super) async fn drain(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let work = async {
        let Path(path) = path.map_err(|_| wrong_path())?;
        let id = path.strip_suffix(DRAIN).ok_or_else(wrong_path)?;
        let text = api.body(request, api.deadline()).await?;
        let wanted = if text.is_empty() { DrainRequest::default() } else { parse(&text)? };
        let mut response = json(&drain_json(&api.drain_node(id, wanted.per_second)?));
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    };
    api.answer(Route::Drain, work).await
}

fn wrong_path() -> Problem {
    Problem::new(Reason::NotFound, "there is no such path; to drain a node: POST /v1/nodes/{id}:drain")
}

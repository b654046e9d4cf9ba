//! v1: kick, and one node with its drain.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::manage::{Kick, NodeDrain};
use super::message::parse;
use super::problem::Problem;
use super::query::Query;
use super::read_http::{mid_of, node_json};
use super::{Api, json};
use crate::metrics::Route;
use crate::reason::Reason;

/// The end of the path of a node's drain; paths of this form are one pattern for the router.
const DRAIN: &str = ":drain";

#[derive(Serialize)]
struct KickedJson {
    mid: i64,
    ended: u64,
}

/// `DELETE /v1/users/{mid}/sessions?key=&platform=&reason=`: ends sessions of a user.
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

/// `GET /v1/nodes/{id}`, and `GET /v1/nodes/{id}:drain`: how far its drain has come.
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainRequest {
    per_second: Option<u32>,
}

#[derive(Serialize)]
struct DrainJson<'a> {
    node: &'a str,
    draining: bool,
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

/// `POST /v1/nodes/{id}:drain`: tells a node to leave; 202, because it takes its time.
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

//! v1: who and what is there.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::Response;
use perseid_store::SessionRow;
use serde::{Deserialize, Serialize};

use super::look::{self, NODE_ROLE, RoomOnline, UserOnline};
use super::manage::user as user_mid;
use super::message::{Number, parse};
use super::problem::Problem;
use super::query::Query;
use super::{Api, json};
use crate::metrics::Route;
use crate::nodes::NodeInfo;

#[derive(Serialize)]
struct NodesJson<'a> {
    nodes: Vec<NodeJson<'a>>,
}

#[derive(Serialize)]
pub(super) struct NodeJson<'a> {
    id: &'a str,
    role: &'static str,
    tcp: &'a [String],
    ws: &'a [String],
    sessions: u64,
    ips: u64,
    draining: bool,
    version: &'a str,
    started_ms: u64,
}

/// `GET /v1/nodes`
pub(super) async fn nodes(State(api): State<Arc<Api>>) -> Response {
    let work = async {
        let nodes = api.all_nodes();
        Ok(json(&NodesJson { nodes: nodes.iter().map(node_json).collect() }))
    };
    api.answer(Route::Nodes, work).await
}

pub(super) fn node_json(node: &NodeInfo) -> NodeJson<'_> {
    NodeJson {
        id: &node.id,
        role: NODE_ROLE,
        tcp: &node.tcp,
        ws: &node.ws,
        sessions: node.sessions,
        ips: node.ips,
        draining: node.draining,
        version: &node.version,
        started_ms: node.started_ms,
    }
}

#[derive(Serialize)]
struct UserJson {
    mid: i64,
    sessions: Vec<SessionJson>,
}

#[derive(Serialize)]
struct SessionJson {
    key: String,
    node: u32,
    platform: Box<str>,
    device_id: Box<str>,
    address: Option<String>,
    since_ms: u64,
    extended: bool,
}

impl From<SessionRow> for SessionJson {
    fn from(row: SessionRow) -> Self {
        Self {
            key: row.key.to_string(),
            node: row.addr.node,
            platform: row.platform,
            device_id: row.device_id,
            address: row.peer.map(|peer| peer.to_string()),
            since_ms: row.since_ms,
            extended: row.extended,
        }
    }
}

/// `GET /v1/users/{mid}`: a user's sessions, oldest first.
pub(super) async fn user(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>) -> Response {
    let work = async {
        let mid = mid_of(path)?;
        let sessions = api.sessions_of(mid)?.into_iter().map(SessionJson::from).collect();
        Ok(json(&UserJson { mid, sessions }))
    };
    api.answer(Route::User, work).await
}

/// The user that a path names.
pub(super) fn mid_of(path: Result<Path<String>, PathRejection>) -> Result<i64, Problem> {
    let mid = path.ok().and_then(|Path(mid)| mid.parse::<i64>().ok());
    mid.ok_or_else(|| Problem::bad("the mid in the path must be a positive 64-bit integer")).and_then(user_mid)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    mids: Vec<Number<i64>>,
}

#[derive(Serialize)]
struct OnlineJson {
    users: Vec<UserOnlineJson>,
}

#[derive(Serialize)]
struct UserOnlineJson {
    mid: i64,
    online: bool,
    platforms: Vec<Box<str>>,
}

impl From<UserOnline> for UserOnlineJson {
    fn from(user: UserOnline) -> Self {
        let UserOnline { mid, online, platforms } = user;
        Self { mid, online, platforms }
    }
}

/// `POST /v1/users:online`: who of these is online, and on which platforms.
pub(super) async fn users_online(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = async {
        let question: Question = parse(&api.body(request, api.deadline()).await?)?;
        let mids: Vec<i64> = question.mids.into_iter().map(|mid| mid.0).collect();
        let users = api.users_online(&mids)?.into_iter().map(UserOnlineJson::from).collect();
        Ok(json(&OnlineJson { users }))
    };
    api.answer(Route::UsersOnline, work).await
}

#[derive(Serialize)]
struct RoomsJson<'a> {
    rooms: Vec<RoomJson<'a>>,
}

#[derive(Serialize)]
struct RoomJson<'a> {
    room: &'a str,
    r#type: &'a str,
    id: &'a str,
    online: u64,
}

fn room_json(room: &RoomOnline) -> RoomJson<'_> {
    RoomJson { room: &room.room, r#type: &room.kind, id: &room.id, online: room.online }
}

/// `GET /v1/rooms?type=&limit=`: the fullest rooms.
pub(super) async fn rooms(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work = async {
        let query = Query::parse(uri.query()).map_err(Problem::bad)?;
        let limit = match query.text("limit") {
            "" => None,
            text => Some(text.parse().map_err(|_| look::bad_limit())?),
        };
        let rooms = api.rooms(Some(query.text("type")).filter(|kind| !kind.is_empty()), limit)?;
        Ok(json(&RoomsJson { rooms: rooms.iter().map(room_json).collect() }))
    };
    api.answer(Route::Rooms, work).await
}

/// `GET /v1/rooms/{type}/{id}`: one room; a room that nobody is in has nobody online. The id may contain slashes.
pub(super) async fn room(State(api): State<Arc<Api>>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let work = async {
        let Path((kind, id)) = path.map_err(|_| look::bad_room())?;
        Ok(json(&room_json(&api.room(&kind, &id)?)))
    };
    api.answer(Route::Room, work).await
}

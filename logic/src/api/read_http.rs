//! v1: who and what is there. Reads only, from what this process knows.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::Response;
use perseid_protocol::limits::ROOM_ID_BYTES_MAX;
use perseid_protocol::room::RoomId;
use perseid_store::SessionRow;
use serde::{Deserialize, Serialize};

use super::manage::user as user_mid;
use super::message::{Number, parse};
use super::problem::Problem;
use super::query::Query;
use super::{Api, body, json};
use crate::metrics::Route;
use crate::nodes::NodeInfo;
use crate::reason::Reason;

const ROOMS_DEFAULT: usize = 100;
const ROOMS_MAX: usize = 10_000;

impl Api {
    pub(super) async fn read(&self, route: Route, work: impl Future<Output = Result<Response, Problem>>) -> Response {
        self.command(route, async { work.await.unwrap_or_else(|problem| self.refuse(problem)) }).await
    }
}

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
        let nodes = api.nodes.nodes();
        Ok(json(&NodesJson { nodes: nodes.iter().map(node_json).collect() }))
    };
    api.read(Route::Nodes, work).await
}

pub(super) fn node_json(node: &NodeInfo) -> NodeJson<'_> {
    NodeJson {
        id: &node.id,
        role: "comet",
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
        let sessions = api.registry.describe(mid).into_iter().map(SessionJson::from).collect();
        Ok(json(&UserJson { mid, sessions }))
    };
    api.read(Route::User, work).await
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

/// `POST /v1/users:online`: who of these is online, and on which platforms.
pub(super) async fn users_online(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = async {
        let text = body::read(request, api.config().request_bytes_max, api.deadline(), &api.arriving).await?;
        let question: Question = parse(&text)?;
        if question.mids.len() > api.config().targets_max {
            let message = format!("more mids than the {} allowed: ask for fewer at a time", api.config().targets_max);
            return Err(Problem::new(Reason::TooLarge, message));
        }
        let users = question.mids.into_iter().map(|mid| user_online(&api, mid.0)).collect();
        Ok(json(&OnlineJson { users }))
    };
    api.read(Route::UsersOnline, work).await
}

fn user_online(api: &Api, mid: i64) -> UserOnlineJson {
    let sessions = api.registry.describe(mid);
    let online = !sessions.is_empty();
    let mut platforms: Vec<_> =
        sessions.into_iter().map(|session| session.platform).filter(|platform| !platform.is_empty()).collect();
    platforms.sort_unstable();
    platforms.dedup();
    UserOnlineJson { mid, online, platforms }
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

fn room_json(room: &str, online: u64) -> Option<RoomJson<'_>> {
    let checked = RoomId::parse(room.as_bytes(), ROOM_ID_BYTES_MAX)?;
    Some(RoomJson { room, r#type: checked.kind(), id: checked.id(), online })
}

/// `GET /v1/rooms?type=&limit=`: the fullest rooms.
pub(super) async fn rooms(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work = async {
        let query = Query::parse(uri.query()).map_err(Problem::bad)?;
        let limit = match query.text("limit") {
            "" => ROOMS_DEFAULT,
            text => text
                .parse()
                .ok()
                .filter(|limit| (1..=ROOMS_MAX).contains(limit))
                .ok_or_else(|| Problem::bad(format!("limit must be a number from 1 to {ROOMS_MAX}")))?,
        };
        let kind = Some(query.text("type")).filter(|kind| !kind.is_empty());
        let rooms = api.nodes.rooms(kind, limit);
        let rooms = rooms.iter().filter_map(|(room, online)| room_json(room, *online)).collect();
        Ok(json(&RoomsJson { rooms }))
    };
    api.read(Route::Rooms, work).await
}

/// `GET /v1/rooms/{type}/{id}`: one room; a room that nobody is in has nobody online. The id may contain slashes.
pub(super) async fn room(State(api): State<Arc<Api>>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let work = async {
        let wrong = || Problem::bad("the path must be /v1/rooms/{type}/{id} of a valid room id");
        let Path((kind, id)) = path.map_err(|_| wrong())?;
        let room = format!("{kind}://{id}");
        let answer = room_json(&room, api.nodes.room_online(&room)).ok_or_else(wrong)?;
        Ok(json(&answer))
    };
    api.read(Route::Room, work).await
}

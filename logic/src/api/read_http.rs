//! v1: who and what is there.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::Response;
use perseid_store::SessionRow;
use perseid_store::stored::read::{DeviceCursor, InboxView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::look::{self, RoomOnline, UserOnline};
use super::manage::user as user_mid;
use super::message::{Integer64, Number, parse};
use super::problem::Problem;
use super::query::Query;
use super::{Api, json};
use crate::metrics::Route;
use crate::nodes::NodeInfo;

/// The nodes.
#[derive(Serialize, ToSchema)]
#[schema(as = Nodes)]
pub(super) struct NodesJson<'a> {
    nodes: Vec<NodeJson<'a>>,
}

/// A node.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(super) struct NodeJson<'a> {
    id: &'a str,
    /// `comet`, `logic` or `job`.
    role: &'static str,
    /// Where clients reach it by TCP, host:port.
    #[schema(value_type = Vec<String>)]
    tcp: &'a [String],
    /// Where clients reach it by WebSocket, host:port.
    #[schema(value_type = Vec<String>)]
    ws: &'a [String],
    /// Where businesses reach it by HTTP, host:port.
    #[schema(value_type = Vec<String>)]
    http: &'a [String],
    /// Where the other parts reach it, host:port.
    #[schema(value_type = Vec<String>)]
    grpc: &'a [String],
    sessions: u64,
    /// Different addresses that the sessions come from.
    ips: u64,
    /// It takes no new sessions.
    draining: bool,
    version: &'a str,
    /// Unix ms.
    started_ms: u64,
}

/// The nodes.
#[utoipa::path(
    get, path = "/v1/nodes", operation_id = "listNodes", tag = "nodes",
    responses((status = 200, description = "The nodes.", body = NodesJson<'static>)),
)]
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
        role: node.role.word(),
        tcp: &node.tcp,
        ws: &node.ws,
        http: &node.http,
        grpc: &node.grpc,
        sessions: node.sessions,
        ips: node.ips,
        draining: node.draining,
        version: &node.version,
        started_ms: node.started_ms,
    }
}

/// A user with his sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserJson {
    mid: i64,
    /// Oldest first; nobody online is an empty list.
    sessions: Vec<SessionJson>,
    /// Where the inbox stands; not there where no messages are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    inbox: Option<InboxStateJson>,
    /// What each device has acknowledged, the longest unused first.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<DeviceJson>>,
}

/// Where an inbox stands.
#[derive(Serialize, ToSchema)]
#[schema(as = InboxState)]
struct InboxStateJson {
    /// Newest position; 0: nothing ever came.
    head: u64,
    /// Oldest position still kept; head + 1 when none is.
    floor: u64,
    /// Changes only when positions were lost, unix ms.
    epoch: u64,
}

/// A device of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
struct DeviceJson {
    device_id: String,
    /// What it has acknowledged.
    cursor: u64,
    /// When it last said so, unix ms.
    seen_ms: u64,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionJson {
    key: String,
    /// Number of its node.
    node: u32,
    #[schema(value_type = String)]
    platform: Box<str>,
    #[schema(value_type = String)]
    device_id: Box<str>,
    /// ip:port of the client, where it is known.
    #[schema(required)]
    address: Option<String>,
    /// Unix ms.
    since_ms: u64,
    /// Whether the client speaks the extended protocol.
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

/// A user's sessions, oldest first, and where the inbox and its devices stand.
#[utoipa::path(
    get, path = "/v1/users/{mid}", operation_id = "getUser", tag = "users",
    params(("mid" = i64, Path, minimum = 1, description = "The user.", example = 7)),
    responses((status = 200, description = "The user.", body = UserJson)),
)]
pub(super) async fn user(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>) -> Response {
    let work = async {
        let mid = mid_of(path)?;
        let sessions = api.sessions_of(mid)?.into_iter().map(SessionJson::from).collect();
        let (inbox, devices) = api.inbox_of(mid).await?.map(|user| (user.inbox, user.devices)).unzip();
        let inbox = inbox.map(|InboxView { head, floor, epoch }| InboxStateJson { head, floor, epoch });
        let device = |DeviceCursor { device, pos, seen_ms }| DeviceJson { device_id: device.into(), cursor: pos, seen_ms };
        let devices = devices.map(|devices| devices.into_iter().map(device).collect());
        Ok(json(&UserJson { mid, sessions, inbox, devices }))
    };
    api.answer(Route::User, work).await
}

/// The user that a path names.
pub(super) fn mid_of(path: Result<Path<String>, PathRejection>) -> Result<i64, Problem> {
    let mid = path.ok().and_then(|Path(mid)| mid.parse::<i64>().ok());
    mid.ok_or_else(|| Problem::bad("the mid in the path must be a positive 64-bit integer")).and_then(user_mid)
}

/// Of whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsersOnlineQuestion)]
pub(super) struct Question {
    /// At most 10,000 (`logic.targets_max`).
    #[schema(value_type = Vec<Integer64>)]
    mids: Vec<Number<i64>>,
}

/// Who is online.
#[derive(Serialize, ToSchema)]
#[schema(as = UsersOnline)]
pub(super) struct OnlineJson {
    /// In the order asked.
    users: Vec<UserOnlineJson>,
}

/// Whether a user is online.
#[derive(Serialize, ToSchema)]
#[schema(as = UserOnline)]
struct UserOnlineJson {
    mid: i64,
    online: bool,
    #[schema(value_type = Vec<String>)]
    platforms: Vec<Box<str>>,
}

impl From<UserOnline> for UserOnlineJson {
    fn from(user: UserOnline) -> Self {
        let UserOnline { mid, online, platforms } = user;
        Self { mid, online, platforms }
    }
}

/// Who of these is online, and on which platforms.
#[utoipa::path(
    post, path = "/v1/users:online", operation_id = "usersOnline", tag = "users",
    request_body(content = Question, example = json!({ "mids": [7, 8] })),
    responses((status = 200, description = "Who is online.", body = OnlineJson,
               example = json!({ "users": [{ "mid": 7, "online": true, "platforms": ["web"] },
                                           { "mid": 8, "online": false, "platforms": [] }] }))),
)]
pub(super) async fn users_online(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = async {
        let question: Question = parse(&api.body(request, api.deadline()).await?)?;
        let mids: Vec<i64> = question.mids.into_iter().map(|mid| mid.0).collect();
        let users = api.users_online(&mids)?.into_iter().map(UserOnlineJson::from).collect();
        Ok(json(&OnlineJson { users }))
    };
    api.answer(Route::UsersOnline, work).await
}

/// Rooms.
#[derive(Serialize, ToSchema)]
#[schema(as = Rooms)]
pub(super) struct RoomsJson<'a> {
    rooms: Vec<RoomJson<'a>>,
}

/// A room.
#[derive(Serialize, ToSchema)]
#[schema(as = Room)]
pub(super) struct RoomJson<'a> {
    /// `type://id`
    room: &'a str,
    r#type: &'a str,
    id: &'a str,
    online: u64,
}

fn room_json(room: &RoomOnline) -> RoomJson<'_> {
    RoomJson { room: &room.room, r#type: &room.kind, id: &room.id, online: room.online }
}

/// The fullest rooms.
#[utoipa::path(
    get, path = "/v1/rooms", operation_id = "listRooms", tag = "rooms",
    params(
        ("type" = Option<String>, Query, description = "Only rooms of exactly this type."),
        ("limit" = Option<u64>, Query, minimum = 1, description = "At most so many, and never more than 10,000; default 100."),
    ),
    responses((status = 200, description = "Rooms, the fullest first.", body = RoomsJson<'static>)),
)]
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

/// One room; a room that nobody is in has nobody online.
#[utoipa::path(
    get, path = "/v1/rooms/{type}/{id}", operation_id = "getRoom", tag = "rooms",
    params(
        ("type" = String, Path, description = "What stands before `://`.", example = "live"),
        ("id" = String, Path, description = "What stands behind it; it may contain slashes.", example = "1"),
    ),
    responses((status = 200, description = "The room.", body = RoomJson<'static>,
               example = json!({ "room": "live://1", "type": "live", "id": "1", "online": 42 }))),
)]
pub(super) async fn room(State(api): State<Arc<Api>>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let work = async {
        let Path((kind, id)) = path.map_err(|_| look::bad_room())?;
        Ok(json(&room_json(&api.room(&kind, &id)?)))
    };
    api.answer(Route::Room, work).await
}

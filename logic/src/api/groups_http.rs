//! v1: groups, and who blocks whom.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use perseid_store::stored::read::GroupView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::draft::group_id;
use super::groups::{Changed, GroupKind, GroupPage, GroupPut};
use super::message::{Integer64, Number, parse};
use super::problem::Problem;
use super::read_http::mid_of;
use super::stored_http::page_from;
use super::{Api, json};
use crate::metrics::Route;
use crate::reason::Reason;

/// The end of the path that converts; paths of this form are one pattern for the router.
const CONVERT: &str = ":convert";
const BLOCK: &str = ":block";
const UNBLOCK: &str = ":unblock";

/// A group or channel.
#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
pub(super) struct GroupJson {
    id: u64,
    kind: GroupKind,
    /// 0: none.
    owner: u64,
    name: String,
    /// Ascending; 10,000 at most.
    members: Vec<u64>,
    /// How many members there are.
    members_total: u64,
    /// There are more members after the last of these: GET with `after`.
    more: bool,
    /// Position of the last change of the members.
    version: u64,
    /// Newest position of the timeline.
    head: u64,
}

fn group_json(id: u64, page: GroupPage) -> GroupJson {
    let GroupPage { group: GroupView { kind, owner, name, members, version, head }, members_total, more } = page;
    GroupJson { id, kind: GroupKind::of(kind), owner, name: name.into(), members, members_total, more, version, head }
}

/// What a change made of a group.
fn changed_group(id: u64, group: GroupView) -> GroupJson {
    group_json(id, GroupPage::of(group, 0, None))
}

/// A change that is accepted, and did not take effect in time: it will.
#[derive(Serialize, ToSchema)]
#[schema(as = Soon)]
pub(super) struct SoonJson {
    /// Id of the change.
    #[schema(pattern = "^[0-9]{1,20}$")]
    id: String,
    accepted: bool,
}

/// A change that took effect, as JSON; else 202.
fn changed<T, J: Serialize>(changed: Changed<T>, show: impl FnOnce(T) -> J) -> Response {
    match changed {
        Changed::Now(now) => json(&show(now)),
        Changed::Soon(id) => {
            let mut response = json(&SoonJson { id: id.to_string(), accepted: true });
            *response.status_mut() = StatusCode::ACCEPTED;
            response
        }
    }
}

fn id_of(path: Result<Path<String>, PathRejection>) -> Result<u64, Problem> {
    let path = path.map_err(|_| wrong_path())?;
    group_id(&path.0)
}

/// A group as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupPutJson {
    kind: GroupKind,
    /// Each > 0, at most 10,000 (`logic.targets_max`); the owner is one. Of a channel others can be added afterwards.
    #[schema(value_type = Vec<Integer64>)]
    members: Vec<Number<i64>>,
    /// Who may take back what others wrote, and write to a channel; default 0, nobody.
    #[schema(value_type = Option<Integer64>)]
    owner: Option<Number<i64>>,
    /// At most 256 bytes, no control characters.
    name: Option<String>,
}

/// Make a group, or describe it anew.
///
/// Members are those that are named, and no others. What changes they learn as an event. Answered when it can be read back.
#[utoipa::path(
    put, path = "/v1/groups/{id}", operation_id = "putGroup", tag = "groups",
    params(("id" = u64, Path, minimum = 1, description = "The group, a number below 2^53 of your choice.", example = 42)),
    request_body(content = GroupPutJson, examples(
        ("a group" = (value = json!({ "kind": "group", "members": [7, 8], "owner": 7, "name": "Lunch" }))),
        ("a channel" = (value = json!({ "kind": "channel", "members": [7], "owner": 7 }))))),
    responses((status = 200, description = "The group as it is now.", body = GroupJson),
              (status = 202, description = "Accepted; it takes effect soon.", body = SoonJson)),
)]
pub(super) async fn put(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let work = async {
        let id = id_of(path)?;
        api.inbox()?;
        let deadline = api.deadline();
        let put: GroupPutJson = parse(&api.body(request, deadline).await?)?;
        let put = GroupPut {
            kind: put.kind,
            owner: put.owner.map_or(0, |owner| owner.0),
            name: put.name.unwrap_or_default(),
            members: put.members.into_iter().map(|mid| mid.0).collect(),
        };
        Ok(changed(api.put_group(deadline, id, put).await?, |group| changed_group(id, group)))
    };
    api.answer(Route::GroupPut, work).await
}

/// A group.
#[utoipa::path(
    get, path = "/v1/groups/{id}", operation_id = "getGroup", tag = "groups",
    params(
        ("id" = u64, Path, minimum = 1, description = "The group.", example = 42),
        ("after" = Option<u64>, Query, description = "Only members with a mid above this; default 0: from the first."),
        ("limit" = Option<u64>, Query, minimum = 1, description = "At most so many members, and never more than 10,000."),
    ),
    responses((status = 200, description = "The group.", body = GroupJson)),
)]
pub(super) async fn get(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>, uri: Uri) -> Response {
    let work = async {
        let id = id_of(path)?;
        Ok(json(&group_json(id, api.group_page(id, page_from(&uri)?).await?)))
    };
    api.answer(Route::Group, work).await
}

/// A group that is no more.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupDeleted)]
pub(super) struct DeletedJson {
    id: u64,
    deleted: bool,
}

/// End a group.
///
/// Its members learn it as an event; what is sent to it afterwards is refused. Made anew, its positions go on.
#[utoipa::path(
    delete, path = "/v1/groups/{id}", operation_id = "deleteGroup", tag = "groups",
    params(("id" = u64, Path, minimum = 1, description = "The group.", example = 42)),
    responses((status = 200, description = "It is no more.", body = DeletedJson),
              (status = 202, description = "Accepted; it takes effect soon.", body = SoonJson)),
)]
pub(super) async fn delete(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>) -> Response {
    let work = async {
        let id = id_of(path)?;
        let deleted = api.delete_group(api.deadline(), id).await?;
        Ok(changed(deleted, |()| DeletedJson { id, deleted: true }))
    };
    api.answer(Route::GroupDelete, work).await
}

/// Make a group a channel.
///
/// At a definite position: what comes before it is in every inbox, what comes after it in the timeline only. A channel stays one.
#[utoipa::path(
    post, path = "/v1/groups/{id}:convert", operation_id = "convertGroup", tag = "groups",
    params(("id" = u64, Path, minimum = 1, description = "The group.", example = 42)),
    responses((status = 200, description = "The channel.", body = GroupJson),
              (status = 202, description = "Accepted; it takes effect soon.", body = SoonJson)),
)]
pub(super) async fn convert(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>) -> Response {
    let work = async {
        let Path(path) = path.map_err(|_| wrong_path())?;
        let id = group_id(path.strip_suffix(CONVERT).ok_or_else(wrong_path)?)?;
        Ok(changed(api.convert_group(api.deadline(), id).await?, |group| changed_group(id, group)))
    };
    api.answer(Route::GroupConvert, work).await
}

/// Who comes and goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MembersJson {
    /// Who comes.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Integer64>>)]
    add: Vec<Number<i64>>,
    /// Who goes; stronger than `add`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Integer64>>)]
    remove: Vec<Number<i64>>,
}

/// The version of a group's members.
#[derive(Serialize, ToSchema)]
#[schema(as = MembersVersion)]
pub(super) struct VersionJson {
    id: u64,
    /// Position of the last change of the members.
    version: u64,
}

/// Have members come and go.
///
/// They learn it as an event. A change that changes nothing has no event, and the version stays.
#[utoipa::path(
    post, path = "/v1/groups/{id}/members", operation_id = "changeMembers", tag = "groups",
    params(("id" = u64, Path, minimum = 1, description = "The group.", example = 42)),
    request_body(content = MembersJson, example = json!({ "add": [9], "remove": [8] })),
    responses((status = 200, description = "It took effect.", body = VersionJson, example = json!({ "id": 42, "version": 3 })),
              (status = 202, description = "Accepted; it takes effect soon.", body = SoonJson)),
)]
pub(super) async fn members(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let work = async {
        let id = id_of(path)?;
        api.inbox()?;
        let deadline = api.deadline();
        let change: MembersJson = parse(&api.body(request, deadline).await?)?;
        let numbers = |mids: Vec<Number<i64>>| mids.into_iter().map(|mid| mid.0).collect::<Vec<_>>();
        let (add, remove) = (numbers(change.add), numbers(change.remove));
        let group = api.change_members(deadline, id, (&add, &remove)).await?;
        Ok(changed(group, |group| VersionJson { id, version: group.version }))
    };
    api.answer(Route::GroupMembers, work).await
}

/// Whom a user blocks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockJson {
    #[schema(value_type = Integer64)]
    peer: Number<i64>,
}

/// Whether a user blocks another.
#[derive(Serialize, ToSchema)]
#[schema(as = Blocked)]
pub(super) struct BlockedJson {
    mid: i64,
    peer: i64,
    blocked: bool,
}

/// Have a user block another.
///
/// What that one sends him is refused with BLOCKED. His devices learn it as an event.
#[utoipa::path(
    post, path = "/v1/users/{mid}:block", operation_id = "block", tag = "users",
    params(("mid" = i64, Path, minimum = 1, description = "Who blocks.", example = 7)),
    request_body(content = BlockJson, example = json!({ "peer": 8 })),
    responses((status = 200, description = "It took effect.", body = BlockedJson),
              (status = 202, description = "Accepted; it takes effect soon.", body = SoonJson)),
)]
pub(super) async fn block(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let (route, blocked) = match &path {
        Ok(Path(path)) if path.ends_with(UNBLOCK) => (Route::Unblock, false),
        _ => (Route::Block, true),
    };
    let work = async {
        let Path(path) = path.map_err(|_| wrong_path())?;
        let mid = path.strip_suffix(if blocked { BLOCK } else { UNBLOCK }).ok_or_else(wrong_path)?;
        let mid = mid_of(Ok(Path(mid.to_owned())))?;
        api.inbox()?;
        let deadline = api.deadline();
        let BlockJson { peer: Number(peer) } = parse(&api.body(request, deadline).await?)?;
        let done = api.block(deadline, mid, peer, blocked).await?;
        Ok(changed(done, |()| BlockedJson { mid, peer, blocked }))
    };
    api.answer(route, work).await
}

/// Have a user block another no longer.
///
/// The router has one pattern for this and for [`block`], which answers both; here stands only the description.
#[utoipa::path(
    post, path = "/v1/users/{mid}:unblock", operation_id = "unblock", tag = "users",
    params(("mid" = i64, Path, minimum = 1, description = "Who blocks no longer.", example = 7)),
    request_body(content = BlockJson, example = json!({ "peer": 8 })),
    responses((status = 200, description = "It took effect.", body = BlockedJson),
              (status = 202, description = "Accepted; it takes effect soon.", body = SoonJson)),
)]
#[allow(dead_code)]
pub(super) const fn unblock() {}

fn wrong_path() -> Problem {
    Problem::new(Reason::NotFound, "there is no such path; see /openapi.json for those that there are")
}

//! v1: what is stored.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use perseid_store::stored::read::Message;
use serde::Serialize;
use utoipa::ToSchema;

use super::draft::group_id;
use super::groups::GroupKind;
use super::problem::Problem;
use super::query::Query;
use super::read_http::mid_of;
use super::stored::{Fate, PageFrom, Recipient, bad_after, bad_page_limit, flags};
use super::{Api, json};
use crate::accept::SentTo;
use crate::metrics::Route;
use crate::reason::Reason;

/// A stored message.
#[derive(Serialize, ToSchema)]
#[schema(as = StoredMessage)]
pub(super) struct EntryJson {
    #[schema(pattern = "^[0-9]{1,20}$")]
    id: String,
    /// Position in the inbox; 0 in a timeline.
    pos: u64,
    op: i32,
    /// 0 notice, 1 direct, 2 group, 3 channel, 5 event.
    kind: u16,
    /// The peer, or the group; 0: none.
    conv: u64,
    /// Position in the timeline; 0: none.
    conv_pos: u64,
    /// The sender's mid; 0 = the system.
    from: u64,
    /// The id that the sending client chose; "0": none.
    #[schema(pattern = "^[0-9]{1,20}$")]
    cid: String,
    /// As in frames: 1 STORED, 4 GONE, 32 QUIET.
    flags: u16,
    /// Empty when it is GONE.
    body_base64: String,
}

fn entry(message: &Message, reader: u64) -> EntryJson {
    EntryJson {
        id: message.id.to_string(),
        pos: message.pos,
        op: message.op,
        kind: message.kind,
        conv: message.conv.map_or(0, |conv| conv.seen_by(reader)),
        conv_pos: message.conv_pos,
        from: message.from,
        cid: message.cid.to_string(),
        flags: flags(message),
        body_base64: BASE64.encode(&message.body),
    }
}

/// A part of an inbox.
#[derive(Serialize, ToSchema)]
#[schema(as = Inbox)]
pub(super) struct InboxJson {
    /// Newest position; 0: nothing ever came.
    head: u64,
    /// Oldest position still kept; head + 1 when none is.
    floor: u64,
    /// Changes only when positions were lost, unix ms.
    epoch: u64,
    /// There are more after the last of these.
    more: bool,
    /// Ascending.
    messages: Vec<EntryJson>,
}

/// A part of a timeline.
#[derive(Serialize, ToSchema)]
#[schema(as = Timeline)]
pub(super) struct TimelineJson {
    kind: GroupKind,
    /// Newest position; 0: nothing ever came.
    head: u64,
    /// Oldest position still kept; head + 1 when none is.
    floor: u64,
    /// There are more after the last of these.
    more: bool,
    /// Ascending.
    messages: Vec<EntryJson>,
}

pub(super) fn page_from(uri: &Uri) -> Result<PageFrom, Problem> {
    let query = Query::parse(uri.query()).map_err(Problem::bad)?;
    query.only(&["after", "limit"]).map_err(Problem::bad)?;
    let after = query.get("after").map_or(Ok(0), |text| text.parse().map_err(|_| bad_after()))?;
    let limit = query.get("limit").map(|text| text.parse().map_err(|_| bad_page_limit())).transpose()?;
    Ok(PageFrom { after, limit })
}

/// A user's inbox.
#[utoipa::path(
    get, path = "/v1/users/{mid}/inbox", operation_id = "getInbox", tag = "users",
    params(
        ("mid" = i64, Path, minimum = 1, description = "The user.", example = 7),
        ("after" = Option<u64>, Query, description = "Only what follows this position; default 0: from the oldest that is kept."),
        ("limit" = Option<u64>, Query, minimum = 1, description = "At most so many, and never more than 200; default 100."),
    ),
    responses((status = 200, description = "A part of the inbox.", body = InboxJson)),
)]
pub(super) async fn inbox(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>, uri: Uri) -> Response {
    let work = async {
        let mid = mid_of(path)?;
        let page = api.inbox_page(mid, page_from(&uri)?).await?;
        let messages = page.messages.iter().map(|message| entry(message, mid.cast_unsigned())).collect();
        let (head, floor, epoch) = (page.inbox.head, page.inbox.floor, page.inbox.epoch);
        Ok(json(&InboxJson { head, floor, epoch, more: page.more, messages }))
    };
    api.answer(Route::Inbox, work).await
}

/// A group's timeline.
#[utoipa::path(
    get, path = "/v1/groups/{id}/messages", operation_id = "listGroupMessages", tag = "groups",
    params(
        ("id" = u64, Path, minimum = 1, description = "The group.", example = 42),
        ("after" = Option<u64>, Query, description = "Only what follows this position; default 0: from the oldest that is kept."),
        ("limit" = Option<u64>, Query, minimum = 1, description = "At most so many, and never more than 200; default 100."),
    ),
    responses((status = 200, description = "A part of the timeline.", body = TimelineJson)),
)]
pub(super) async fn timeline(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>, uri: Uri) -> Response {
    let work = async {
        let Path(path) = path.map_err(|_| Problem::new(Reason::NotFound, "there is no such path"))?;
        let page = api.timeline(group_id(&path)?, page_from(&uri)?).await?;
        let messages = page.messages.iter().map(|message| entry(message, 0)).collect();
        let (kind, head, floor) = (GroupKind::of(page.kind), page.head, page.floor);
        Ok(json(&TimelineJson { kind, head, floor, more: page.more, messages }))
    };
    api.answer(Route::GroupMessages, work).await
}

/// What became of a message.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageFate)]
pub(super) struct FateJson {
    #[schema(pattern = "^[0-9]{1,20}$")]
    id: String,
    accepted: bool,
    /// Unix ms.
    accepted_ms: u64,
    /// `online` (it is not stored), `inboxes`, `group` or `room`.
    to: &'static str,
    /// `accepted`: the event log has it; `stored`: it has its positions. Or why not: `offline`, nobody was there when its turn
    /// came; `expired`, it was too late (of what is stored: for some at least); `rejected`, its group was deleted before it.
    state: &'static str,
    /// Mids or keys addressed.
    recipients: u64,
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    conv: Option<u64>,
    /// Its position in the timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    conv_pos: Option<u64>,
    /// Who has it in the inbox, 1,000 at most.
    inboxes: Vec<RecipientJson>,
    /// There are more.
    more: bool,
}

/// One who has a message in the inbox.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageRecipient)]
struct RecipientJson {
    mid: u64,
    /// Position in the inbox.
    pos: u64,
    /// The devices that have acknowledged it.
    acknowledged: Vec<String>,
    /// Whether he has read it; not there for what belongs to no conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<bool>,
}

impl From<Recipient> for RecipientJson {
    fn from(recipient: Recipient) -> Self {
        let Recipient { mid, pos, acknowledged, read } = recipient;
        Self { mid, pos, acknowledged: acknowledged.into_iter().map(String::from).collect(), read }
    }
}

/// What a message was sent to.
pub(super) const fn sent_to(to: &SentTo) -> &'static str {
    match to {
        SentTo::Online => "online",
        SentTo::Inboxes(_) => "inboxes",
        SentTo::Group(_) => "group",
        SentTo::Room(_) => "room",
    }
}

fn fate_json(fate: Fate) -> FateJson {
    FateJson {
        id: fate.id.to_string(),
        accepted: true,
        accepted_ms: fate.sent.accepted_ms,
        to: sent_to(&fate.sent.to),
        state: fate.state,
        recipients: fate.sent.recipients,
        conv: fate.conv.map(|(conv, _)| conv),
        conv_pos: fate.conv.and_then(|(_, conv_pos)| conv_pos),
        inboxes: fate.recipients.into_iter().map(RecipientJson::from).collect(),
        more: fate.more,
    }
}

/// What became of a message that was sent through this API.
///
/// For 24 hours. Of what is stored: who has it in the inbox, which devices have acknowledged it, who has read it.
#[utoipa::path(
    get, path = "/v1/messages/{id}", operation_id = "getMessage", tag = "push",
    params(("id" = String, Path, description = "Message id, as its push was answered.", example = "382495516451143680")),
    responses((status = 200, description = "What became of it.", body = FateJson)),
)]
pub(super) async fn message(State(api): State<Arc<Api>>, path: Result<Path<String>, PathRejection>) -> Response {
    let work = async {
        let id = path.ok().and_then(|Path(id)| id.parse().ok());
        let id = id.ok_or_else(|| Problem::bad("the id in the path must be that of a message, a number"))?;
        Ok(json(&fate_json(api.fate(id).await?)))
    };
    api.answer(Route::Message, work).await
}

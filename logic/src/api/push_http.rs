//! v1: pushes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::message::{Message, parse};
use super::problem::{Document, Problem};
use super::push::Call;
use super::{Api, json};
use crate::accept::PushAnswer;
use crate::metrics::Route;

/// Push one message.
///
/// To users, sessions, a group, a room or all. Accepted means: the event log has it on disk; not, that somebody was there. What
/// is stored reaches those who were not there when they come back. With `id` the same request may be sent again, and is pushed
/// once. 504 UNKNOWN: it may be written; send it again only with an `id`.
#[utoipa::path(
    post, path = "/v1/messages", operation_id = "push", tag = "push",
    request_body(content = Message, examples(
        ("to a user" = (value = json!({ "to": { "mids": [7] }, "body": "hello" }))),
        ("to a session, bytes, for five seconds" = (value = json!({ "to": { "keys": ["web-1"] }, "body_base64": "AAH/", "ttl_ms": 5000 }))),
        ("to a room" = (value = json!({ "to": { "room": "live://1" }, "body": "goal" }))),
        ("to all, at a pace" = (value = json!({ "to": { "all": true }, "speed": 2000, "body": "maintenance at 4" }))),
        ("through inboxes" = (value = json!({ "to": { "mids": [7, 8] }, "store": true, "body": "on its way" }))),
        ("to a group" = (value = json!({ "to": { "group": 42 }, "body": "noon?" }))),
        ("once" = (value = json!({ "to": { "mids": ["7"] }, "body": "paid", "id": "order-17" }))),
    )),
    responses((status = 200, description = "Accepted: the event log has it.", body = Pushed,
               example = json!({ "id": "382495516451143680", "accepted": true, "recipients": 1, "duplicate": false }))),
)]
pub(super) async fn push(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = async {
        let traced = api.traces.enter(request.headers(), Route::Messages.word());
        let call = Call::of(&request, api.deadline(), traced.trace());
        let outcome = async {
            let text = api.body(request, call.deadline).await?;
            let draft = parse::<Message>(&text)?.into_draft()?;
            drop(text);
            api.push(&call, draft).await
        };
        let answer = traced.through(outcome).await?;
        Ok(json(&Pushed::from(&answer)))
    };
    api.answer(Route::Messages, work).await
}

/// What became of a push.
#[derive(Serialize, ToSchema)]
pub(super) struct Pushed {
    /// Message id; a text, because JavaScript's numbers can't hold it.
    #[schema(pattern = "^[0-9]{1,20}$")]
    id: String,
    accepted: bool,
    /// Mids, keys or members addressed; for a room the people in it now, for all the sessions now.
    recipients: u64,
    /// An earlier request with this `id` was answered so.
    duplicate: bool,
}

impl From<&PushAnswer> for Pushed {
    fn from(answer: &PushAnswer) -> Self {
        let PushAnswer { id, duplicate, recipients } = *answer;
        Self { id: id.to_string(), accepted: true, recipients, duplicate }
    }
}

/// Several messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// 1 to 1,000 (`logic.batch_max`).
    #[schema(value_type = Vec<Message>, min_items = 1)]
    messages: Vec<Box<RawValue>>,
}

/// What became of each, in order.
#[derive(Serialize, ToSchema)]
pub(super) struct Results<'a> {
    results: Vec<Outcome<'a>>,
}

/// What became of one message: its HTTP status as if it had come alone, and the answer or the problem.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Outcome<'a> {
    Accepted(PushedOne),
    Refused(Document<'a>),
}

/// A message of a batch that was accepted.
#[derive(Serialize, ToSchema)]
struct PushedOne {
    /// As if it had come alone: 200.
    status: u16,
    #[serde(flatten)]
    pushed: Pushed,
}

/// Push up to 1,000 messages.
///
/// Each message is judged by itself, and they reach the log in their order. Each counts for the quota.
#[utoipa::path(
    post, path = "/v1/messages:batch", operation_id = "pushBatch", tag = "push",
    request_body(content = Batch, example = json!({ "messages": [
        { "to": { "mids": [7] }, "body": "one" }, { "to": { "room": "live://1" }, "body": "two" } ] })),
    responses((status = 200, description = "What became of each.", body = Results<'static>)),
)]
pub(super) async fn push_batch(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = async {
        let traced = api.traces.enter(request.headers(), Route::MessagesBatch.word());
        let call = Call::of(&request, api.deadline(), traced.trace());
        let outcome = async {
            let text = api.body(request, call.deadline).await?;
            let batch: Batch = parse(&text)?;
            let drafts = batch.messages.iter().map(|message| parse::<Message>(message.get().as_bytes())?.into_draft());
            api.push_batch(&call, drafts).await
        };
        let outcomes = traced.through(outcome).await?;
        Ok(json(&Results { results: outcomes.iter().map(result).collect() }))
    };
    api.answer(Route::MessagesBatch, work).await
}

fn result(outcome: &Result<PushAnswer, Problem>) -> Outcome<'_> {
    match outcome {
        Ok(answer) => Outcome::Accepted(PushedOne { status: StatusCode::OK.as_u16(), pushed: answer.into() }),
        Err(problem) => Outcome::Refused(problem.document()),
    }
}

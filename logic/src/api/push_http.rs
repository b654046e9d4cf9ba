//! v1: pushes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::message::{Message, parse};
use super::problem::{Document, Problem};
use super::push::Call;
use super::{Api, JSON, json, respond};
use crate::accept::PushAnswer;
use crate::metrics::Route;

/// `POST /v1/messages`
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
        Ok(respond(StatusCode::OK, JSON, answer_json(&answer)))
    };
    api.answer(Route::Messages, work).await
}

fn answer_json(answer: &PushAnswer) -> String {
    format!(r#"{{"id":"{}","accepted":true,"recipients":{},"duplicate":{}}}"#, answer.id, answer.recipients, answer.duplicate)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    messages: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Outcome<'a>>,
}

/// What became of one message: its HTTP status as if it had come alone, and the answer or the problem.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Accepted { status: u16, id: String, accepted: bool, recipients: u64, duplicate: bool },
    Refused(Document<'a>),
}

/// `POST /v1/messages:batch`: each message is judged by itself, and they reach the log in their order.
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
        Ok(answer) => Outcome::Accepted {
            status: StatusCode::OK.as_u16(),
            id: answer.id.to_string(),
            accepted: true,
            recipients: answer.recipients,
            duplicate: answer.duplicate,
        },
        Err(problem) => Outcome::Refused(problem.document()),
    }
}

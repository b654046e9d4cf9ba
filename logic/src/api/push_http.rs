//! v1: pushes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access::Caller;
use super::message::{Message, parse};
use super::problem::{Document, Problem};
use super::{Api, JSON, body, json, now_ms, respond, trace};
use crate::accept::{Pending, PushAnswer, PushRequest};
use crate::metrics::Route;

/// `POST /v1/messages`
pub(super) async fn push(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = async {
        match api.push_one(request).await {
            Ok(answer) => respond(StatusCode::OK, JSON, answer_json(&answer)),
            // Counted where it was decided.
            Err(Refused::Counted(problem)) => problem.into_response(),
            Err(Refused::New(problem)) => api.refuse(problem),
        }
    };
    api.command(Route::Messages, work).await
}

enum Refused {
    Counted(Problem),
    New(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::New(problem)
    }
}

impl Api {
    async fn push_one(&self, request: Request) -> Result<PushAnswer, Refused> {
        let deadline = self.deadline();
        let trace = trace::of(request.headers());
        let caller = Caller::of(&request);
        let text = body::read(request, self.config().request_bytes_max, deadline, &self.arriving).await.map_err(Problem::from)?;
        let push = PushRequest { trace, ..parse::<Message>(&text)?.into_request(caller.account())? };
        drop(text);
        let pending = self.accept.submit(push, now_ms());
        self.settled(pending, deadline).await.map_err(|error| Refused::Counted(error.into()))
    }
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
        match api.push_many(request).await {
            Ok(outcomes) => json(&Results { results: outcomes.iter().map(result).collect() }),
            Err(problem) => api.refuse(problem),
        }
    };
    api.command(Route::MessagesBatch, work).await
}

impl Api {
    async fn push_many(&self, request: Request) -> Result<Vec<Result<PushAnswer, Problem>>, Problem> {
        let deadline = self.deadline();
        let trace = trace::of(request.headers());
        let caller = Caller::of(&request);
        let text = body::read(request, self.config().request_bytes_max, deadline, &self.arriving).await?;
        let batch: Batch = parse(&text)?;
        if batch.messages.is_empty() || batch.messages.len() > self.config().batch_max {
            return Err(Problem::bad(format!("messages must hold 1 to {} messages", self.config().batch_max)));
        }
        self.access.charge(&caller, batch.messages.len() - 1)?;
        let now_ms = now_ms();
        // All are on their way before the first is waited for.
        let pending: Vec<Result<Pending, Problem>> =
            batch.messages.iter().map(|message| self.submit_one(message, &caller, &trace, now_ms)).collect();
        let mut outcomes = Vec::with_capacity(pending.len());
        for pending in pending {
            outcomes.push(match pending {
                Ok(pending) => self.settled(pending, deadline).await.map_err(Problem::from),
                Err(problem) => Err(problem),
            });
        }
        Ok(outcomes)
    }

    fn submit_one(&self, message: &RawValue, caller: &Caller, trace: &str, now_ms: u64) -> Result<Pending, Problem> {
        let push = parse::<Message>(message.get().as_bytes()).and_then(|message| message.into_request(caller.account()));
        push.map(|push| self.accept.submit(PushRequest { trace: trace.to_owned(), ..push }, now_ms))
            .inspect_err(|problem| self.metrics.refused(problem.reason))
    }
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

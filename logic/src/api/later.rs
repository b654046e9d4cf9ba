//! Routes of v1 that need stored messages: there, so that callers learn that it is not their mistake.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::Api;
use super::access::Scope;
use super::problem::Problem;
use crate::metrics::Route;
use crate::reason::Reason;

/// Path, scope, and what may be asked there one day.
pub(super) fn routes() -> Vec<(&'static str, Scope, MethodRouter<Arc<Api>>)> {
    vec![
        ("/v1/messages/{id}", Scope::Read, get(stored)),
        ("/v1/groups/{id}", Scope::Read, get(stored)),
        ("/v1/groups/{id}", Scope::Push, put(stored).merge(delete(stored)).merge(post(stored))),
        ("/v1/groups/{id}/members", Scope::Push, post(stored)),
        ("/v1/groups/{id}/messages", Scope::Read, get(stored)),
        ("/v1/users/{mid}", Scope::Push, post(stored)),
        ("/v1/users/{mid}/inbox", Scope::Read, get(stored)),
    ]
}

async fn stored(State(api): State<Arc<Api>>) -> Response {
    let work = async { Err(Problem::new(Reason::Unsupported, "this comes with stored messages: this version keeps none")) };
    api.answer(Route::Later, work).await
}

//! The same decision in front of routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::{Access, Denied, Scope};
use crate::api::{envelope, now_ms};
use crate::reason::Reason;
use crate::serve::Peer;

impl Access {
    /// Puts all routes of a router behind a scope. Handlers find the [`Caller`](super::Caller) in the request's extensions.
    pub fn guard<S: Clone + Send + Sync + 'static>(self: &Arc<Self>, scope: Scope, routes: Router<S>) -> Router<S> {
        if !routes.has_routes() {
            return routes;
        }
        routes.route_layer(from_fn_with_state((self.clone(), scope), check))
    }
}

async fn check(State((access, scope)): State<(Arc<Access>, Scope)>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
    match access.authorize(request.headers(), scope, &peer, now_ms()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(denied) => answer(denied, request.uri().path().starts_with("/goim/")),
    }
}

/// goim's callers get goim's envelope, with a status that HTTP clients understand.
fn answer(denied: Denied, goim: bool) -> Response {
    let Denied { problem, challenge, .. } = denied;
    let mut response = if goim {
        let (status, code) = match problem.reason {
            Reason::PermissionDenied => (StatusCode::FORBIDDEN, -403),
            Reason::RateLimited => (StatusCode::TOO_MANY_REQUESTS, -429),
            _ => (StatusCode::UNAUTHORIZED, -401),
        };
        let mut response = envelope::error_with(status, code, &problem.detail);
        problem.add_retry_after(&mut response);
        response
    } else {
        problem.into_response()
    };
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

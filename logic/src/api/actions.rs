//! Which methods paths know that the router can't tell apart: it has one pattern for `/v1/groups/{id}` and
//! `/v1/groups/{id}:convert`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Api;
use super::problem::Problem;
use crate::metrics::Route;
use crate::reason::Reason;

/// Answers a method that the path does not know; all others go on.
pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let allowed = allowed(request.uri().path());
    let Some(methods) = allowed.filter(|methods| !methods.split(',').any(|known| known == request.method().as_str())) else {
        return next.run(request).await;
    };
    let refuse = async {
        let mut response = api.refuse(wrong_method());
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        response
    };
    api.command(Route::Other, refuse).await
}

/// The path knows other methods.
pub(super) fn wrong_method() -> Problem {
    Problem::new(Reason::MethodNotAllowed, "this path knows other methods: see Allow")
}

/// The methods of `/v1/{collection}/{id}` and of `/v1/{collection}/{id}:{action}`; `None`: of other paths the router knows them.
fn allowed(path: &str) -> Option<&'static str> {
    let (collection, id) = path.strip_prefix("/v1/")?.split_once('/')?;
    if id.is_empty() || id.contains('/') {
        return None;
    }
    let action = id.rsplit_once(':').map(|(_, action)| action);
    match (collection, action) {
        ("groups", Some("convert")) | ("users", Some("block" | "unblock")) => Some("POST"),
        ("nodes", Some("drain")) => Some("GET,HEAD,POST"),
        ("groups", None) => Some("GET,HEAD,PUT,DELETE"),
        // Names of nodes may hold anything.
        ("users", None) | ("nodes", _) => Some("GET,HEAD"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_paths() {
        for (path, methods) in [
            ("/v1/groups/42", Some("GET,HEAD,PUT,DELETE")),
            ("/v1/groups/42:convert", Some("POST")),
            ("/v1/groups/:convert", Some("POST")),
            ("/v1/groups/42:other", None),
            ("/v1/groups/42/members", None),
            ("/v1/groups/", None),
            ("/v1/groups", None),
            ("/v1/users/7", Some("GET,HEAD")),
            ("/v1/users/7:block", Some("POST")),
            ("/v1/users/7:unblock", Some("POST")),
            ("/v1/users/7:blok", None),
            ("/v1/users:online", None),
            ("/v1/users/7/inbox", None),
            ("/v1/nodes/a", Some("GET,HEAD")),
            ("/v1/nodes/[::1]:3101", Some("GET,HEAD")),
            ("/v1/nodes/a:b:drain", Some("GET,HEAD,POST")),
            ("/v1/messages/7", None),
            ("/v1/rooms/live/1:convert", None),
            ("/", None),
        ] {
            assert_eq!(allowed(path), methods, "{path}");
        }
    }
}

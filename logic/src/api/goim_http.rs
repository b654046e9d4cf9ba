//! goim's routes, unchanged in form.
//!
//! A parameter that is missing or no number is answered with HTTP 400 and plain text that is goim's envelope; everything else
//! that goes wrong with HTTP 200 and the envelope's code. Better than goim, where no caller can be hurt: a negative `limit` or
//! `speed` is a 400 instead of a panic or a surprise, a body has a bound (413), room types match whole, and ids are whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use serde::Serialize;

use super::access::Caller;
use super::body::{self, BodyError};
use super::envelope::{self, REQUEST_ERROR, SERVER_ERROR};
use super::query::{Query, required};
use super::{Api, TEXT, goim_nodes, now_ms, respond};
use crate::accept::{PushError, PushRequest, Target};
use crate::metrics::Route;
use crate::reason::Reason;

/// Rooms in one answer.
const TOP_MAX: usize = 10_000;

/// goim's paths and their methods: for the redirect of a trailing slash.
const ROUTES: [(&str, Method); 9] = [
    ("/goim/push/keys", Method::POST),
    ("/goim/push/mids", Method::POST),
    ("/goim/push/room", Method::POST),
    ("/goim/push/all", Method::POST),
    ("/goim/online/top", Method::GET),
    ("/goim/online/room", Method::GET),
    ("/goim/online/total", Method::GET),
    ("/goim/nodes/weighted", Method::GET),
    ("/goim/nodes/instances", Method::GET),
];

/// `POST /goim/push/keys?operation=&keys=&keys=`
pub(super) async fn push_keys(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = api.goim_push(Route::GoimPushKeys, request, |query| {
        let op = query.int32("operation")?;
        Ok((op, Target::Keys(query.texts("keys").map(str::to_owned).collect())))
    });
    api.command(Route::GoimPushKeys, work).await
}

/// `POST /goim/push/mids?operation=&mids=&mids=`
pub(super) async fn push_mids(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work =
        api.goim_push(Route::GoimPushMids, request, |query| Ok((query.int32("operation")?, Target::Mids(query.int64s("mids")?))));
    api.command(Route::GoimPushMids, work).await
}

/// `POST /goim/push/room?operation=&type=&room=`
pub(super) async fn push_room(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = api.goim_push(Route::GoimPushRoom, request, |query| {
        let (op, kind, room) = (query.int32("operation")?, query.text("type"), query.text("room"));
        required(&[("Op", op == 0), ("Type", kind.is_empty()), ("Room", room.is_empty())])?;
        Ok((op, Target::Room(format!("{kind}://{room}"))))
    });
    api.command(Route::GoimPushRoom, work).await
}

/// `POST /goim/push/all?operation=&speed=`
pub(super) async fn push_all(State(api): State<Arc<Api>>, request: Request) -> Response {
    let work = api.goim_push(Route::GoimPushAll, request, |query| {
        let (op, speed) = (query.int32("operation")?, query.int32("speed")?);
        required(&[("Op", op == 0)])?;
        let speed = u32::try_from(speed).map_err(|_| "speed must not be negative; 0 is as fast as it goes".to_owned())?;
        Ok((op, Target::All { speed }))
    });
    api.command(Route::GoimPushAll, work).await
}

impl Api {
    async fn goim_push(
        &self,
        route: Route,
        request: Request,
        bind: impl FnOnce(&Query<'_>) -> Result<(i32, Target), String>,
    ) -> Response {
        let deadline = self.deadline();
        let bound = Query::parse(request.uri().query()).and_then(|query| bind(&query));
        let (op, target) = match bound {
            Ok(bound) => bound,
            Err(message) => return self.goim_bind_error(&message),
        };
        let call = self.traces.enter(request.headers(), route.word());
        let account = Caller::of(&request).account().to_owned();
        let body = match body::read(request, self.config().request_bytes_max, deadline, &self.arriving).await {
            Ok(body) => body,
            Err(error) => {
                call.end(Some(body_refusal(error).0.word()));
                return self.goim_body_error(error);
            }
        };
        // Nobody to push to is no error for mids, as in goim.
        if target == Target::Mids(Vec::new()) {
            call.end(None);
            return envelope::ok();
        }
        let by_key = matches!(target, Target::Keys(_));
        let push = PushRequest { op, body, account, trace: call.trace(), ..PushRequest::to(target) };
        let outcome = self.settled(self.accept.submit(push, now_ms()), deadline).await;
        call.end_by(&outcome);
        match outcome {
            Ok(_) => envelope::ok(),
            Err(PushError::TooLarge(message)) => envelope::error_with(StatusCode::PAYLOAD_TOO_LARGE, REQUEST_ERROR, &message),
            // As in goim, where no keys are a mistake and other keys are not looked at.
            Err(PushError::BadRequest(_)) if by_key => envelope::error(REQUEST_ERROR, ""),
            Err(PushError::BadRequest(message)) => envelope::error(REQUEST_ERROR, &message),
            Err(error) => envelope::error(SERVER_ERROR, &error.to_string()),
        }
    }

    fn goim_bind_error(&self, message: &str) -> Response {
        self.metrics.refused(Reason::BadRequest);
        envelope::bind_error(message)
    }

    fn goim_body_error(&self, error: BodyError) -> Response {
        let (reason, status) = body_refusal(error);
        self.metrics.refused(reason);
        envelope::error_with(status, REQUEST_ERROR, &error.message())
    }
}

const fn body_refusal(error: BodyError) -> (Reason, StatusCode) {
    match error {
        BodyError::TooLarge(_) => (Reason::TooLarge, StatusCode::PAYLOAD_TOO_LARGE),
        BodyError::TooSlow | BodyError::Broken => (Reason::BadRequest, StatusCode::BAD_REQUEST),
        BodyError::Overloaded => (Reason::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// `GET /goim/online/top?type=&limit=`: the fullest rooms of a type.
pub(super) async fn online_top(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    #[derive(Serialize)]
    struct Top<'a> {
        room_id: &'a str,
        count: u64,
    }
    let work = api.goim_read(&uri, |query| {
        let (kind, limit) = (query.text("type"), query.int64("limit")?);
        required(&[("Type", kind.is_empty()), ("Limit", limit == 0)])?;
        let limit = usize::try_from(limit).map_err(|_| "limit must not be negative".to_owned())?;
        let rooms = api.nodes.rooms(Some(kind), limit.min(TOP_MAX));
        let top: Vec<_> =
            rooms.iter().filter_map(|(room, count)| Some(Top { room_id: room.split_once("://")?.1, count: *count })).collect();
        Ok(data(&top))
    });
    api.command(Route::GoimOnlineTop, work).await
}

/// `GET /goim/online/room?type=&rooms=&rooms=`: how many are in each.
pub(super) async fn online_room(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work = api.goim_read(&uri, |query| {
        let kind = query.text("type");
        required(&[("Type", kind.is_empty()), ("Rooms", query.texts("rooms").next().is_none())])?;
        let count = |room: &str| api.nodes.room_online(&format!("{kind}://{room}"));
        let rooms: BTreeMap<&str, u64> = query.texts("rooms").map(|room| (room, count(room))).collect();
        Ok(data(&rooms))
    });
    api.command(Route::GoimOnlineRoom, work).await
}

/// `GET /goim/online/total`
pub(super) async fn online_total(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work = api.goim_read(&uri, |_| {
        let totals = api.nodes.totals();
        Ok(envelope::data(&format!(r#"{{"conn_count":{},"ip_count":{}}}"#, totals.sessions, totals.ips)))
    });
    api.command(Route::GoimOnlineTotal, work).await
}

/// `GET /goim/nodes/weighted?platform=`: where a client is to connect.
pub(super) async fn nodes_weighted(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work =
        api.goim_read(&uri, |query| Ok(data(&goim_nodes::weighted(&api.config(), &api.nodes.nodes(), query.text("platform")))));
    api.command(Route::GoimNodesWeighted, work).await
}

/// `GET /goim/nodes/instances`: the comets as goim's discovery tells of them.
pub(super) async fn nodes_instances(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work = api.goim_read(&uri, |_| Ok(data(&goim_nodes::instances(&api.nodes.nodes()))));
    api.command(Route::GoimNodesInstances, work).await
}

impl Api {
    async fn goim_read(&self, uri: &Uri, answer: impl FnOnce(&Query<'_>) -> Result<Response, String>) -> Response {
        Query::parse(uri.query()).and_then(|query| answer(&query)).unwrap_or_else(|message| self.goim_bind_error(&message))
    }
}

fn data(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(json) => envelope::data(&json),
        // Only for maps whose keys are no strings and floats that are no numbers; there are none.
        Err(error) => envelope::error(SERVER_ERROR, &error.to_string()),
    }
}

/// gin's 404.
pub(super) fn page_not_found() -> Response {
    respond(StatusCode::NOT_FOUND, HeaderValue::from_static("text/plain"), Bytes::from_static(b"404 page not found"))
}

/// gin's redirect of one of goim's paths with a slash too many.
pub(super) fn redirect(method: &Method, uri: &Uri) -> Option<Response> {
    let path = uri.path().strip_suffix('/')?;
    ROUTES.iter().find(|(route, allowed)| *route == path && allowed == method)?;
    let location = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let (status, body) = if method == Method::GET {
        let html = location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        (StatusCode::MOVED_PERMANENTLY, format!("<a href=\"{html}\">Moved Permanently</a>.\n\n"))
    } else {
        (StatusCode::TEMPORARY_REDIRECT, String::new())
    };
    let content_type = if body.is_empty() { TEXT } else { HeaderValue::from_static("text/html; charset=utf-8") };
    let mut response = respond(status, content_type, body);
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&location).ok()?);
    Some(response)
}

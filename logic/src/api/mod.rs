//! The APIs. Over HTTP, on one port: goim's routes ([`goim_http`]), v1 ([`push_http`], [`read_http`], [`manage_http`]), and
//! health; over gRPC v1 again ([`grpc`]). What v1 does stands once, apart from how it is asked: `push`, `look`, `manage`.
//!
//! What a request passes: `guard` (is it meant for us, and from no foreign page), [`access`] (who calls, may he, and not too
//! often), the handler (reads it strictly), and what all APIs share.

pub mod access;
mod events_http;
pub mod goim_http;
mod groups;
mod groups_http;
pub mod grpc;
pub mod manage_http;
pub mod push_http;
pub mod read_http;

mod actions;
mod body;
mod docs;
mod draft;
mod envelope;
mod goim_nodes;
mod gostring;
mod guard;
mod health;
mod look;
mod manage;
mod message;
mod openapi;
mod problem;
mod push;
mod query;
mod stored;
mod stored_http;

pub use goim_nodes::{Backoff, Weighted, weighted};

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use perseid_log::EventLog;
use perseid_store::SessionRegistry;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accept::{Accept, Pending, PushAnswer, PushError};
use crate::config::Config;
use crate::inbox::Inbox;
use crate::metrics::{Metrics, Route};
use crate::nodes::Nodes;
use crate::reason::Reason;
use crate::traces::Traces;
use access::{Access, Scope};
use problem::Problem;

/// What the HTTP APIs work on.
pub struct Api {
    accept: Arc<Accept>,
    registry: Arc<dyn SessionRegistry>,
    log: Arc<dyn EventLog>,
    nodes: Arc<dyn Nodes>,
    metrics: Arc<Metrics>,
    access: Arc<Access>,
    config: RwLock<Arc<Config>>,
    arriving: body::Arriving,
    draining: AtomicBool,
    events: Option<Arc<crate::events::Feed>>,
    event_readers: tokio::sync::Semaphore,
    event_waiters: tokio::sync::Semaphore,
    traces: Traces,
    inbox: Option<Arc<Inbox>>,
}

impl Api {
    /// The APIs over what they need.
    pub fn new(
        accept: Arc<Accept>,
        registry: Arc<dyn SessionRegistry>,
        log: Arc<dyn EventLog>,
        nodes: Arc<dyn Nodes>,
        metrics: Arc<Metrics>,
        access: Arc<Access>,
        config: Config,
    ) -> Self {
        let (config, draining) = (RwLock::new(Arc::new(config)), AtomicBool::new(false));
        Self {
            accept,
            registry,
            log,
            nodes,
            metrics,
            access,
            config,
            arriving: body::Arriving::default(),
            draining,
            events: None,
            event_readers: tokio::sync::Semaphore::new(events_http::READERS_MAX),
            event_waiters: tokio::sync::Semaphore::new(events_http::WAITERS_MAX),
            traces: Traces::default(),
            inbox: None,
        }
    }

    /// Shows and changes what is stored.
    #[must_use]
    pub fn keeping(self, inbox: Arc<Inbox>) -> Self {
        Self { inbox: Some(inbox), ..self }
    }

    /// Gives events to those who ask for them, if there are any.
    #[must_use]
    pub fn with_events(self, events: Option<Arc<crate::events::Feed>>) -> Self {
        Self { events, ..self }
    }

    /// Makes spans for requests that are sampled.
    #[must_use]
    pub fn with_traces(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Goes on with other limits; what idempotency keys may take, and this node's number, stay as they were.
    pub fn reload(&self, config: Config) {
        self.accept.reload(&config);
        if let Some(inbox) = &self.inbox {
            inbox.reload(config.stored.clone());
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The configuration now.
    pub fn config(&self) -> Arc<Config> {
        // Replaced whole: a panic elsewhere can't leave half a configuration.
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on `/readyz` says that this node is leaving, so that balancers send nothing new. Requests are still served.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Runs a request and counts it.
    async fn command(&self, route: Route, work: impl Future<Output = Response>) -> Response {
        let started = Instant::now();
        let response = work.await;
        let took = started.elapsed();
        self.metrics.request(route, took);
        tracing::debug!(route = route.word(), status = response.status().as_u16(), us = took.as_micros() as u64, "api");
        response
    }

    /// The moment at which a request that begins now has taken too long.
    fn deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + std::time::Duration::from_millis(self.config().request_ms)
    }

    /// Waits for a push, but not for ever: it goes on by itself.
    async fn settled(&self, pending: Pending, deadline: tokio::time::Instant) -> Result<PushAnswer, PushError> {
        match tokio::time::timeout_at(deadline, pending.answer()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.metrics.refused(Reason::Unknown);
                Err(PushError::Unknown("no answer from the log in time: it is unknown whether the push was written".to_owned()))
            }
        }
    }
}

/// All routes. `extra` holds more of them (the caller's `/metrics`), behind the same check of `Host` and `Origin`; those that
/// need a token are put behind a scope with [`Access::guard`] before. What none has is answered with 404.
pub fn router(api: Arc<Api>, extra: Router) -> Router {
    router_with(api, extra, OpenApi::default())
}

/// The same, with a description of the routes in `extra` for `/openapi.json`; [`describe`] says of them what they need.
pub fn router_with(api: Arc<Api>, extra: Router, described: OpenApi) -> Router {
    let access = &api.access;
    let of_extra = api.clone();
    let extra = extra.method_not_allowed_fallback(move |uri: Uri| wrong_method(State(of_extra.clone()), uri));
    let (mut routes, mut document) = open_routes().split_for_parts();
    for (scope, group) in [(Scope::Push, push_routes()), (Scope::Read, read_routes()), (Scope::Admin, admin_routes())] {
        let (group, of_group) = group.split_for_parts();
        routes = routes.merge(access.guard(scope, group));
        document.merge(openapi::with_scope(of_group, scope));
    }
    let mut whole = openapi::base();
    whole.merge(document);
    whole.merge(described);
    routes
        .merge(openapi::route(&whole))
        .merge(docs::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api.clone())
        .merge(extra)
        .layer(from_fn_with_state(api.clone(), actions::check))
        .layer(from_fn_with_state(api, guard::check))
}

/// Says of routes that are described what scope they need, and how they refuse.
pub fn describe(routes: OpenApi, scope: Scope) -> OpenApi {
    openapi::with_scope(routes, scope)
}

/// What sends, goim's pushes and v1's, and what it is sent to.
fn push_routes() -> OpenApiRouter<Arc<Api>> {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(groups_http::convert, groups_http::block, groups_http::unblock))]
    struct Described;

    OpenApiRouter::with_openapi(Described::openapi())
        .route("/goim/push/keys", post(goim_http::push_keys))
        .route("/goim/push/mids", post(goim_http::push_mids))
        .route("/goim/push/room", post(goim_http::push_room))
        .route("/goim/push/all", post(goim_http::push_all))
        .routes(routes!(push_http::push))
        .routes(routes!(push_http::push_batch))
        .routes(routes!(groups_http::put))
        .routes(routes!(groups_http::delete))
        .routes(routes!(groups_http::members))
        // POST /v1/groups/{id}:convert, /v1/users/{mid}:block and :unblock
        .route("/v1/groups/{id}", post(groups_http::convert))
        .route("/v1/users/{mid}", post(groups_http::block))
}

/// What looks at users, rooms and nodes.
fn read_routes() -> OpenApiRouter<Arc<Api>> {
    // Paths that the router has other patterns for: it knows no parameter with something behind it, and calls one that may
    // contain slashes otherwise.
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(manage_http::drain_progress, read_http::room))]
    struct Described;

    OpenApiRouter::with_openapi(Described::openapi())
        .route("/goim/online/top", get(goim_http::online_top))
        .route("/goim/online/room", get(goim_http::online_room))
        .route("/goim/online/total", get(goim_http::online_total))
        .routes(routes!(read_http::nodes))
        .routes(routes!(manage_http::node))
        .routes(routes!(read_http::user))
        .routes(routes!(stored_http::inbox))
        .routes(routes!(stored_http::timeline))
        .routes(routes!(stored_http::message))
        .routes(routes!(groups_http::get))
        .routes(routes!(read_http::users_online))
        .routes(routes!(read_http::rooms))
        .routes(routes!(events_http::events))
        .route("/v1/rooms/{type}/{*id}", get(read_http::room))
}

/// What ends sessions and nodes.
fn admin_routes() -> OpenApiRouter<Arc<Api>> {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(manage_http::drain))]
    struct Described;

    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(manage_http::kick))
        // POST /v1/nodes/{id}:drain
        .route("/v1/nodes/{id}", post(manage_http::drain))
}

/// What clients and balancers ask, who have no token: where to connect, and whether this node lives.
fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .route("/goim/nodes/weighted", get(goim_http::nodes_weighted))
        .route("/goim/nodes/instances", get(goim_http::nodes_instances))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
}

async fn not_found(State(api): State<Arc<Api>>, method: Method, uri: Uri) -> Response {
    let work = async {
        if uri.path() == "/v1" || uri.path().starts_with("/v1/") {
            api.refuse(Problem::new(Reason::NotFound, "there is no such path"))
        } else {
            api.metrics.refused(Reason::NotFound);
            goim_http::redirect(&method, &uri).unwrap_or_else(goim_http::page_not_found)
        }
    };
    api.command(Route::Other, work).await
}

async fn wrong_method(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work = async {
        // As in goim, a method that does not fit is a path that does not exist; v1 says it better.
        if uri.path().starts_with("/goim/") {
            api.metrics.refused(Reason::NotFound);
            goim_http::page_not_found()
        } else {
            api.refuse(actions::wrong_method())
        }
    };
    api.command(Route::Other, work).await
}

impl Api {
    /// Runs a request of v1 over HTTP.
    async fn answer(&self, route: Route, work: impl Future<Output = Result<Response, Problem>>) -> Response {
        self.command(route, async { work.await.unwrap_or_else(|problem| self.refuse(problem)) }).await
    }

    /// Reads the body of a request.
    async fn body(&self, request: Request, deadline: tokio::time::Instant) -> Result<Bytes, Problem> {
        Ok(body::read(request, self.config().request_bytes_max, deadline, &self.arriving).await?)
    }

    /// Answers with a problem, and counts it.
    fn refuse(&self, problem: Problem) -> Response {
        self.count(&problem);
        problem.into_response()
    }

    /// Counts a problem, if it was not counted where it was decided.
    fn count(&self, problem: &Problem) {
        if !problem.is_counted {
            self.metrics.refused(problem.reason);
        }
    }
}

/// Now, unix ms: the only clock of the APIs, and of what is told a second later.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn respond(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(axum::body::Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A value as JSON, with status 200.
fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => respond(StatusCode::OK, JSON, body),
        // Only a map with keys that are no strings, or a float that is no number; there are none.
        Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, ""),
    }
}

//! `perseid.v1.Push`: v1 over gRPC, with the same access, limits and refusals as over HTTP; health and reflection beside it.
//!
//! A call passes what a request over HTTP passes: the guard, the token, the body within its bounds of bytes and time; then the
//! generated server reads the message from what was collected.

mod deadline;
mod health;
mod service;
mod status;
mod stored;

/// The descriptions, which are part of the program, can't be read.
pub use tonic_reflection::server::Error as ReflectionError;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::post;
use perseid_rpc::v1::push_server::{PushServer, SERVICE_NAME};
use tonic::body::Body as TonicBody;
use tonic::codegen::Service as _;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

use super::access::Scope;
use super::body::{self, BodyError};
use super::problem::Problem;
use super::push::Call;
use super::{Api, now_ms};
use crate::metrics::Route;
use crate::reason::Reason;

/// What stands before a message: a flag and its length, bytes.
const PREFIX_BYTES: usize = 5;

/// The push API over gRPC, with health and reflection. `others` are the services that the same port has beside these:
/// reflection names them too.
///
/// # Errors
/// [`ReflectionError`]: not with a program that was built whole.
pub fn grpc_services(api: Arc<Api>, others: &[&str]) -> Result<Routes, ReflectionError> {
    let health = HealthServer::new(health::HealthService::new(api.clone()));
    let open = Routes::new(health).add_service(reflection(others).build_v1()?).add_service(reflection(others).build_v1alpha()?);
    let push = Router::new().route("/perseid.v1.Push/{method}", post(call)).with_state(api.clone());
    let all = push.merge(open.into_axum_router().reset_fallback()).route_layer(from_fn_with_state(api, guard));
    // With the answer to what nobody has.
    Ok(Routes::from(Routes::default().into_axum_router().merge(all)))
}

fn reflection(others: &[&str]) -> Reflection<'static> {
    let own = [SERVICE_NAME, HealthServer::<health::HealthService>::NAME];
    let builder = Reflection::configure()
        .register_encoded_file_descriptor_set(perseid_rpc::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    own.iter().chain(others).fold(builder, |builder, name| builder.with_service_name(*name))
}

/// The route that counts a method, and the scope that it needs.
fn operation(method: &str) -> Option<(Route, Scope)> {
    Some(match method {
        "Push" => (Route::GrpcPush, Scope::Push),
        "PushBatch" => (Route::GrpcPushBatch, Scope::Push),
        "GetMessage" => (Route::GrpcGetMessage, Scope::Read),
        "PutGroup" => (Route::GrpcPutGroup, Scope::Push),
        "GetGroup" => (Route::GrpcGetGroup, Scope::Read),
        "DeleteGroup" => (Route::GrpcDeleteGroup, Scope::Push),
        "ConvertGroup" => (Route::GrpcConvertGroup, Scope::Push),
        "ChangeMembers" => (Route::GrpcChangeMembers, Scope::Push),
        "ListGroupMessages" => (Route::GrpcListGroupMessages, Scope::Read),
        "GetInbox" => (Route::GrpcGetInbox, Scope::Read),
        "Block" => (Route::GrpcBlock, Scope::Push),
        "Unblock" => (Route::GrpcUnblock, Scope::Push),
        "GetUser" => (Route::GrpcGetUser, Scope::Read),
        "UsersOnline" => (Route::GrpcUsersOnline, Scope::Read),
        "Kick" => (Route::GrpcKick, Scope::Admin),
        "ListRooms" => (Route::GrpcListRooms, Scope::Read),
        "GetRoom" => (Route::GrpcGetRoom, Scope::Read),
        "ListNodes" => (Route::GrpcListNodes, Scope::Read),
        "GetNode" => (Route::GrpcGetNode, Scope::Read),
        "DrainNode" => (Route::GrpcDrainNode, Scope::Admin),
        "GetDrain" => (Route::GrpcGetDrain, Scope::Read),
        _ => return None,
    })
}

async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match check(&api, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => api.refuse_grpc(&problem),
    }
}

fn check(api: &Api, request: &Request) -> Result<(), Problem> {
    api.meant_for_us(request.headers(), request.uri())?;
    // What a page may send without asking has another type.
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if content_type.starts_with(b"application/grpc") {
        return Ok(());
    }
    Err(Problem::bad("this port speaks gRPC: content-type must be application/grpc"))
}

async fn call(State(api): State<Arc<Api>>, Path(method): Path<String>, request: Request) -> Response {
    let (route, scope) = match operation(&method) {
        Some((route, scope)) => (route, Some(scope)),
        None => (Route::Other, None),
    };
    let work = async {
        let outcome = match scope {
            Some(scope) => api.run(route, scope, request).await,
            None => Err(Problem::new(Reason::Unsupported, "perseid.v1.Push has no such method")),
        };
        outcome.unwrap_or_else(|problem| api.refuse_grpc(&problem))
    };
    api.command(route, work).await
}

impl Api {
    fn refuse_grpc(&self, problem: &Problem) -> Response {
        self.count(problem);
        status::of(problem).into_http::<Body>()
    }

    async fn run(self: &Arc<Self>, route: Route, scope: Scope, request: Request) -> Result<Response, Problem> {
        let caller = self
            .access
            .authorize(request.headers(), scope, &peer(&request), now_ms())
            .map_err(|denied| Problem { is_counted: true, ..denied.problem })?;
        let deadline = deadline::of(request.headers(), self.deadline());
        if scope != Scope::Push {
            return self.serve(request, Call { caller, trace: None, deadline }).await;
        }
        let traced = self.traces.enter(request.headers(), route.word());
        let outcome = self.serve(request, Call { caller, trace: traced.trace(), deadline }).await;
        let refused = |response: &Response| response.headers().get("grpc-status").is_some_and(|status| status != "0");
        traced.end(match &outcome {
            Ok(response) => refused(response).then_some("REFUSED"),
            Err(problem) => Some(problem.reason.word()),
        });
        outcome
    }

    /// Reads the message and has the service answer it.
    async fn serve(self: &Arc<Self>, request: Request, call: Call) -> Result<Response, Problem> {
        let deadline = call.deadline;
        let message_bytes_max = self.config().request_bytes_max;
        let (mut parts, body) = request.into_parts();
        let message = body::all_of(body, message_bytes_max.saturating_add(PREFIX_BYTES), deadline, &self.arriving).await;
        let message = message.map_err(|error| match error {
            BodyError::TooLarge(_) => too_large(message_bytes_max),
            other => Problem::from(other),
        })?;
        parts.extensions.insert(call);
        let request = Request::from_parts(parts, TonicBody::new(http_body_util::Full::new(message)));
        let mut server = PushServer::new(service::PushService(self.clone())).max_decoding_message_size(message_bytes_max);
        match server.call(request).await {
            Ok(response) => match status::unreasoned(response.headers(), message_bytes_max) {
                Some(problem) => Err(problem),
                None => Ok(response.map(Body::new)),
            },
            Err(never) => match never {},
        }
    }
}

fn too_large(max: usize) -> Problem {
    Problem::new(Reason::TooLarge, format!("the message is larger than {max} bytes"))
}

/// Who calls, for the log.
fn peer(request: &Request) -> String {
    let extensions = request.extensions();
    let plain = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let tls = || extensions.get::<TlsConnectInfo<TcpConnectInfo>>().and_then(|info| info.get_ref().remote_addr());
    plain.or_else(tls).as_ref().map(SocketAddr::to_string).unwrap_or_default()
}

//! The OpenAPI document: made of the same descriptions that the router is made of, so that neither can have what the other
//! lacks.

use std::borrow::Cow;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::routing::get;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, Header, InfoBuilder, License, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Response,
    ResponseBuilder, Server, Tag,
};
use utoipa::{PartialSchema, ToSchema};

use super::access::Scope;
use super::problem::Document;
use super::{JSON, respond};
use crate::reason::Reason;

const PROBLEM_JSON: &str = "application/problem+json";
/// Name of the security scheme.
const BEARER: &str = "bearer";

const ABOUT: &str = "Push to users, sessions, groups, rooms and all; store what nobody may miss; see who is there; end sessions and drain nodes.\n\n\
    Where tokens are configured, callers show one: `Authorization: Bearer psd_…`, with the scope that each operation names. Refusals \
    are RFC 9457 problem documents with a stable `reason`. The same operations are there over gRPC as `perseid.v1.Push`.\n\n\
    A request has at most 1 MiB (`logic.request_bytes_max`) and 10 s (`logic.request_ms`).";

impl PartialSchema for Reason {
    fn schema() -> RefOr<Schema> {
        let words = Self::ALL.map(Self::word);
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
        schema.description(Some("Why; more words may come.")).into()
    }
}

impl ToSchema for Reason {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Reason")
    }
}

/// What all operations have in common.
pub(super) fn base() -> OpenApi {
    let license = License::builder().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let info = InfoBuilder::new().title("Perseid push API").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API token (psd_…) with scopes: push, read, admin. Not needed where the node has no tokens."));
    let mut schemas = Vec::new();
    Document::schemas(&mut schemas);
    let components = ComponentsBuilder::new()
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()))
        .schema("Problem", Document::schema())
        .schemas_from_iter(schemas);
    let tags = [
        ("push", "Messages to sessions, inboxes, groups and rooms."),
        ("users", "Who is online; inboxes; ending sessions; blocking."),
        ("groups", "Groups and channels, their members and timelines."),
        ("rooms", "How many are in a room."),
        ("nodes", "Nodes, and their drain."),
        ("events", "What happened."),
        ("health", "For balancers; without a token."),
    ];
    OpenApiBuilder::new()
        .info(info.license(Some(license)).build())
        .servers(Some([Server::new("/")]))
        .components(Some(components.build()))
        .tags(Some(tags.map(|(name, about)| {
            let mut tag = Tag::new(name);
            tag.description = Some(about.to_owned());
            tag
        })))
        .build()
}

/// Says of each operation what it needs, and how it refuses.
pub(super) fn with_scope(mut document: OpenApi, scope: Scope) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            operation.security = Some(vec![SecurityRequirement::new(BEARER, [scope.word()])]);
            let needs = format!("Scope `{}`.", scope.word());
            let about = operation.description.take().filter(|about| !about.is_empty());
            operation.description = Some(about.map_or_else(|| needs.clone(), |about| format!("{about}\n\n{needs}")));
            for (status, about, headers) in [
                ("401", "No token, or one that is not accepted.", &["WWW-Authenticate"][..]),
                ("403", "The token lacks the scope.", &["WWW-Authenticate"]),
                ("429", "The quota is used up. Not done.", &["Retry-After"]),
                ("default", "Refused; see `reason`.", &[]),
            ] {
                operation.responses.responses.insert(status.to_owned(), RefOr::T(refusal(about, headers)));
            }
        }
    }
    document
}

fn refusal(about: &str, headers: &[&str]) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(about).content(PROBLEM_JSON, content);
    headers.iter().fold(response, |response, name| response.header(*name, Header::default())).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// `/openapi.json`
pub(super) fn route<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    // Only a map with keys that are no strings can't be written; there is none.
    let text = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    Router::new().route(
        "/openapi.json",
        get(move || async move {
            let mut response = respond(StatusCode::OK, JSON, text.clone());
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }),
    )
}

//! `/docs`: Swagger UI, from memory, to read the OpenAPI document and to try it. It loads nothing from elsewhere.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// Scripts only from here. Swagger UI writes styles into elements, and has images of its own in its styles.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Served in place of Swagger UI's own.
const STYLE: &str = include_str!("docs/index.css");
const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");

/// `/docs` and what is below.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let config =
        Config::new(["/openapi.json"]).try_it_out_enabled(true).doc_expansion("list").validator_url("none").use_base_layout();
    let style = get(|| std::future::ready(([(header::CONTENT_TYPE, CSS)], STYLE)));
    Router::from(SwaggerUi::new("/docs").config(config)).route("/docs/index.css", style).layer(map_response(guarded))
}

async fn guarded(mut response: Response) -> Response {
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    response.headers_mut().extend(headers);
    response
}

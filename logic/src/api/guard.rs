//! No web page may reach this node through somebody's browser: foreign names and foreign origins are refused.
//!
//! A page reaches a developer's machine in two ways. It sends to `http://127.0.0.1` (a form needs no permission for that): its
//! browser adds `Origin`, which is not ours. Or its own name is made to point here (DNS rebinding): then `Host` is that name,
//! which is not ours either. Tools like curl send no `Origin` and name the address they were given.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use perseid_protocol::origin::{Origin, Pages, Place};

use super::problem::Problem;
use super::{Api, TEXT, respond};
use crate::metrics::AccessOutcome;
use crate::reason::Reason;

/// How long a browser may remember a preflight's answer.
const PREFLIGHT_S: HeaderValue = HeaderValue::from_static("600");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, traceparent, tracestate");
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, www-authenticate");

/// Whose page asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    /// No page, or one of ours.
    Here,
    /// A page of this origin, which the operator allows.
    Allowed(HeaderValue),
}

/// In front of everything that the port serves.
pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if is_ambiguous(request.headers()) {
        let mut response = api.refuse(Problem::bad("Transfer-Encoding must be chunked, once, and without Content-Length"));
        // What follows on the connection may be meant as anything.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    match decide(&api.config().pages, request.headers(), request.uri()) {
        Ok(From::Here) => next.run(request).await,
        Ok(From::Allowed(origin)) => {
            let mut response = if is_preflight(&request) { preflight() } else { next.run(request).await };
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            headers.append(header::VARY, HeaderValue::from_static("origin"));
            response
        }
        Err((outcome, problem)) => {
            api.metrics.access(outcome);
            api.refuse(problem)
        }
    }
}

/// Whether a reader in front of us may see the body end elsewhere than we do (request smuggling).
fn is_ambiguous(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => {
            !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || headers.contains_key(header::CONTENT_LENGTH)
        }
        _ => true,
    }
}

type Refused = (AccessOutcome, Problem);

/// Whether a request is meant for us, and from no foreign page.
fn decide(pages: &Pages, headers: &HeaderMap, uri: &Uri) -> Result<From, Refused> {
    host(pages, headers, uri).and_then(|host| origin(pages, headers, host.as_ref()))
}

impl Api {
    /// The same decision for gRPC: browsers can't speak it, but what they can send must not pass for it.
    pub(super) fn meant_for_us(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        decide(&self.config().pages, headers, uri).map(drop).map_err(|(outcome, problem)| {
            self.metrics.access(outcome);
            problem
        })
    }
}

/// The name that the client knows us by; `None` if it says none, which no browser does.
fn host(pages: &Pages, headers: &HeaderMap, uri: &Uri) -> Result<Option<Place>, Refused> {
    let bad = |detail: &str| (AccessOutcome::ForeignHost, Problem::bad(detail));
    let mut given = headers.get_all(header::HOST).iter();
    let named = match (given.next(), given.next()) {
        (None, _) => None,
        (Some(value), None) => {
            let host = value.to_str().ok().and_then(|text| Authority::from_str(text).ok());
            // A name in an address (`user@host`) has no place here.
            let host = host.filter(|host| !host.as_str().contains('@'));
            Some(host.ok_or_else(|| bad("Host makes no sense"))?)
        }
        _ => return Err(bad("Host must be given once")),
    };
    // What stands in the request line counts for more (RFC 9112 section 3.2.2); both have to be ours.
    for authority in [named.as_ref(), uri.authority()].into_iter().flatten() {
        if !pages.is_ours(Place::parse(authority.as_str()).as_ref()) {
            let detail = format!(
                "this node is not known as {:?}: use its address, or add the name to logic.hosts",
                clipped(authority.host())
            );
            return Err((AccessOutcome::ForeignHost, Problem::new(Reason::Misdirected, detail)));
        }
    }
    Ok(uri.authority().or(named.as_ref()).and_then(|authority| Place::parse(authority.as_str())))
}

fn origin(pages: &Pages, headers: &HeaderMap, host: Option<&Place>) -> Result<From, Refused> {
    let mut given = headers.get_all(header::ORIGIN).iter();
    let Some(value) = given.next() else { return Ok(From::Here) };
    let text = value.to_str().unwrap_or_default();
    let once = given.next().is_none();
    if once && host.zip(Origin::parse(text)).is_some_and(|(host, origin)| origin.is_served_by(host)) {
        return Ok(From::Here);
    }
    if once && pages.is_listed(text) {
        return Ok(From::Allowed(value.clone()));
    }
    let detail = format!("pages of {:?} may not call this node: an operator can add them to logic.origins", clipped(text));
    Err((AccessOutcome::ForeignOrigin, Problem::new(Reason::PermissionDenied, detail)))
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = respond(StatusCode::NO_CONTENT, TEXT, "");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S);
    response
}

/// No answer grows with what somebody sent.
fn clipped(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseid_protocol::origin::ForeignPages;
    use proptest::prelude::*;

    fn rule(insecure: bool, hosts: &[&str], origins: &[&str]) -> Pages {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let foreign = if insecure { ForeignPages::Refuse } else { ForeignPages::Allow };
        Pages { foreign, hosts: texts(hosts), origins: texts(origins) }
    }

    fn decide(pages: &Pages, uri: &str, headers: &[(&'static str, &str)]) -> Result<From, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        super::decide(pages, &map, &uri.parse().unwrap()).map_err(|(_, problem)| problem.reason.status())
    }

    #[test]
    fn bodies_have_one_end() {
        let ambiguous = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            is_ambiguous(&map)
        };
        for (headers, expected) in [
            (&[][..], false),
            (&[("content-length", "5")], false),
            (&[("transfer-encoding", "Chunked")], false),
            (&[("transfer-encoding", "chunked"), ("content-length", "5")], true),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], true),
            (&[("transfer-encoding", "chunked, chunked")], true),
            (&[("transfer-encoding", "gzip, chunked")], true),
            (&[("transfer-encoding", "")], true),
        ] {
            assert_eq!(ambiguous(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn names() {
        let insecure = rule(true, &["perseid.example.org", "*.internal"], &[]);
        for host in [
            "127.0.0.1:3111",
            "127.0.0.1",
            "10.1.2.3:80",
            "[::1]:3111",
            "[fe80::1]",
            "localhost",
            "LOCALHOST:3111",
            "localhost.:3111",
            "app.localhost:3111",
            "perseid.example.org",
            "Perseid.Example.ORG:443",
            "a.internal",
            "a.b.INTERNAL:1",
        ] {
            assert_eq!(decide(&insecure, "/", &[("host", host)]), Ok(From::Here), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:3111",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "perseid",
            "x.perseid.example.org",
            "internal",
            ".internal",
            "xinternal",
            "127.0.0.1.nip.io",
            "0x7f000001.x",
        ] {
            assert_eq!(decide(&insecure, "/", &[("host", host)]), Err(421), "{host}");
        }
        for host in ["", "a b", "user@localhost", "local\u{7f}host", "localhost/x", "[::1"] {
            assert!(HeaderValue::from_str(host).is_err() || decide(&insecure, "/", &[("host", host)]) == Err(400), "{host}");
        }
        assert_eq!(decide(&insecure, "/", &[]), Ok(From::Here), "HTTP/1.0");
        assert_eq!(decide(&insecure, "/", &[("host", "localhost"), ("host", "localhost")]), Err(400));
        // The request line counts, too.
        assert_eq!(decide(&insecure, "http://evil.example/", &[("host", "localhost")]), Err(421));
        assert_eq!(decide(&insecure, "http://localhost/", &[("host", "evil.example")]), Err(421));
        assert_eq!(decide(&insecure, "http://localhost/", &[("host", "localhost")]), Ok(From::Here));
        // Where callers have to prove who they are, a name is only checked if there is a list.
        assert_eq!(decide(&rule(false, &[], &[]), "/", &[("host", "any.example")]), Ok(From::Here));
        assert_eq!(decide(&rule(false, &["a.example"], &[]), "/", &[("host", "any.example")]), Err(421));
    }

    #[test]
    fn origins() {
        let listed = rule(true, &["perseid.example.org"], &["https://app.example", "https://*.apps.example", "*"]);
        let host = ("host", "127.0.0.1:3111");
        for (origin, host, expected) in [
            ("http://127.0.0.1:3111", host, Ok(From::Here)),
            ("https://127.0.0.1:3111", host, Ok(From::Here)),
            ("http://localhost:3111", host, Err(403)),
            ("http://127.0.0.1:8080", host, Err(403)),
            ("http://127.0.0.1", host, Err(403)),
            ("https://perseid.example.org", ("host", "perseid.example.org"), Ok(From::Here)),
            ("http://perseid.example.org", ("host", "perseid.example.org"), Ok(From::Here)),
            ("https://perseid.example.org:443", ("host", "perseid.example.org"), Ok(From::Here)),
            ("https://perseid.example.org:80", ("host", "perseid.example.org"), Err(403)),
            ("https://app.example", host, Ok(From::Allowed(HeaderValue::from_static("https://app.example")))),
            ("https://app.example:443", host, Ok(From::Allowed(HeaderValue::from_static("https://app.example:443")))),
            ("https://a.apps.example", host, Ok(From::Allowed(HeaderValue::from_static("https://a.apps.example")))),
            ("https://apps.example", host, Err(403)),
            ("http://app.example", host, Err(403)),
            ("https://evil.example", host, Err(403)),
            ("null", host, Err(403)),
            ("", host, Err(403)),
            ("file://", host, Err(403)),
            ("chrome-extension://abc", host, Err(403)),
            ("http://127.0.0.1:3111 http://127.0.0.1:3111", host, Err(403)),
        ] {
            assert_eq!(decide(&listed, "/", &[host, ("origin", origin)]), expected, "{origin}");
        }
        let twice = [host, ("origin", "http://127.0.0.1:3111"), ("origin", "http://127.0.0.1:3111")];
        assert_eq!(decide(&listed, "/", &twice), Err(403));
        assert_eq!(decide(&listed, "/", &[("origin", "http://127.0.0.1:3111")]), Err(403), "without Host nothing is the same");
        // With tokens any origin can be allowed, but for pages without one.
        let any = rule(false, &[], &["*"]);
        assert_eq!(
            decide(&any, "/", &[host, ("origin", "https://evil.example")]),
            Ok(From::Allowed(HeaderValue::from_static("https://evil.example")))
        );
        assert_eq!(decide(&any, "/", &[host, ("origin", "null")]), Err(403));
        assert_eq!(decide(&rule(false, &[], &[]), "/", &[host, ("origin", "https://evil.example")]), Err(403));
    }

    proptest! {
        #[test]
        fn anything_may_be_sent(host in "[ -~]{0,30}", origin in "[ -~]{0,40}") {
            let rule = rule(true, &["*.a", "*", "b"], &["c"]);
            let allowed = decide(&rule, "/", &[("host", &host), ("origin", &origin)]);
            prop_assert!(allowed.is_err() || origin.contains("//"));
        }
    }
}

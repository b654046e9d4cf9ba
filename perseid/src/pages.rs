//! Pages that are part of the program: served from memory, under a policy that lets them talk to this node and nobody else.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const JS: &str = "text/javascript; charset=utf-8";
pub(crate) const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// Name below the page's path, content type, content.
pub(crate) type Files = &'static [(&'static str, &'static str, &'static str)];

/// What a page is made of: its document, and the files below it.
pub(crate) struct Page {
    index: File,
    files: Vec<File>,
    ws: Vec<SocketAddr>,
}

/// One file.
struct File {
    name: &'static str,
    content_type: HeaderValue,
    content: Bytes,
    etag: String,
}

impl File {
    fn new(name: &'static str, content_type: &'static str, content: &'static str) -> Self {
        Self {
            name,
            content_type: HeaderValue::from_static(content_type),
            content: Bytes::from_static(content.as_bytes()),
            etag: format!("\"{}-{:016x}\"", env!("CARGO_PKG_VERSION"), fnv1a(content.as_bytes())),
        }
    }
}

impl Page {
    /// `files`: name below the page's path, content type, content. `ws`: where WebSocket clients connect to this node, which
    /// the page may do too.
    pub(crate) fn new(index: &'static str, files: Files, ws: &[SocketAddr]) -> Self {
        Self {
            index: File::new("", HTML, index),
            files: files.iter().map(|(name, content_type, content)| File::new(name, content_type, content)).collect(),
            ws: ws.to_vec(),
        }
    }

    /// The routes of the page: `at` is its document, `below` (with a parameter for the rest of the path) its files.
    pub(crate) fn router<S: Clone + Send + Sync + 'static>(self, at: &str, below: &str) -> Router<S> {
        let page = Arc::new(self);
        let index = {
            let page = page.clone();
            get(move |headers: HeaderMap| std::future::ready(page.answer("", &headers)))
        };
        let file = get(move |Path(name): Path<String>, headers: HeaderMap| std::future::ready(page.answer(&name, &headers)));
        Router::new().route(at, index).route(below, file)
    }

    /// The file of this name; none is the document.
    pub(crate) fn answer(&self, name: &str, request: &HeaderMap) -> Response {
        let file = if name.is_empty() { Some(&self.index) } else { self.files.iter().find(|file| file.name == name) };
        let Some(file) = file else {
            return respond(StatusCode::NOT_FOUND, HeaderValue::from_static(TEXT), Body::from("this page has no such file\n"));
        };
        let known = request.get_all(header::IF_NONE_MATCH).iter().any(|value| names(value, &file.etag));
        let (status, body) = match known {
            true => (StatusCode::NOT_MODIFIED, Body::empty()),
            false => (StatusCode::OK, Body::from(file.content.clone())),
        };
        let mut response = respond(status, file.content_type.clone(), body);
        let host = request.get(header::HOST).and_then(|host| host.to_str().ok());
        let headers = response.headers_mut();
        for (name, value) in [(header::ETAG, file.etag.as_str()), (header::CONTENT_SECURITY_POLICY, &policy(&self.ws, host))] {
            // Both are ASCII by construction; if ever not, the page without its policy is not served in its place.
            match HeaderValue::from_str(value) {
                Ok(value) => headers.insert(name, value),
                Err(_) => return respond(StatusCode::INTERNAL_SERVER_ERROR, HeaderValue::from_static(TEXT), Body::empty()),
            };
        }
        response
    }
}

fn respond(status: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // The policy of a page forbids framing too; this is for browsers and proxies that know only the older word.
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    response
}

/// True if an `If-None-Match` names this ETag; the weak comparison is the right one here (RFC 9110 section 13.1.2).
fn names(value: &HeaderValue, etag: &str) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The Content-Security-Policy: nothing but this node's own files, and connections to it. `host` is the request's `Host`: the
/// name under which the browser knows this node, and so the one under which its test client looks for the WebSocket.
fn policy(ws: &[SocketAddr], host: Option<&str>) -> String {
    let mut connect = String::from("'self' ws://127.0.0.1:* ws://localhost:* wss://127.0.0.1:* wss://localhost:*");
    // Hosts of the policy cannot be IPv6 addresses (CSP 3 section 2.3.1): for those the whole scheme has to do.
    let mut whole_scheme = false;
    for address in ws {
        match address.ip() {
            IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_unspecified() => allow(&mut connect, &address.to_string()),
            IpAddr::V6(ip) if !ip.is_unspecified() => whole_scheme = true,
            _ => {}
        }
    }
    match host.map(split_host) {
        Some(Host::Name(name)) if name != "localhost" => {
            for address in ws {
                allow(&mut connect, &format!("{name}:{}", address.port()));
            }
        }
        Some(Host::V6) => whole_scheme = true,
        _ => {}
    }
    if whole_scheme {
        connect.push_str(" ws: wss:");
    }
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src {connect}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}

fn allow(connect: &mut String, address: &str) {
    // Writing to a String does not fail.
    let _ = write!(connect, " ws://{address} wss://{address}");
}

/// What a `Host` header names.
enum Host<'a> {
    /// A name or an IPv4 address.
    Name(&'a str),
    /// An IPv6 address.
    V6,
    /// Nothing that may be repeated in a header.
    Strange,
}

fn split_host(host: &str) -> Host<'_> {
    if host.starts_with('[') {
        return Host::V6;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match !name.is_empty() && name.len() <= 253 && name.bytes().all(plain) {
        true => Host::Name(name),
        false => Host::Strange,
    }
}

/// FNV-1a 64: tells builds apart, keeps nobody out.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
pub(crate) mod checks {
    //! What tests of every page ask.

    use std::path::Path;

    /// Names of all files below a folder, with `/` between its parts.
    pub(crate) fn below(folder: &Path, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries
            .flat_map(|entry| {
                let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
                match entry.file_type().unwrap().is_dir() {
                    true => below(&entry.path(), &format!("{name}/")),
                    false => vec![name],
                }
            })
            .collect()
    }

    /// Asserts that what the files of a page name is there. `root`: its path, `/console/`; `generated`: what is no file.
    /// Answers with how many names there were.
    pub(crate) fn names_are_known(root: &str, index: &str, files: super::Files, generated: &[&str]) -> usize {
        let known = |file: &str| generated.contains(&file) || files.iter().any(|(name, _, _)| *name == file);
        let mut named = 0;
        for (from, content) in files.iter().map(|(name, _, content)| (*name, *content)).chain([("", index)]) {
            for quoted in content.split(['"', '\'']) {
                let file = match quoted.strip_prefix(root) {
                    Some(file) => file.to_owned(),
                    None if quoted.starts_with("./") || quoted.starts_with("../") => resolve(from, quoted),
                    None => continue,
                };
                assert!(file.is_empty() || known(&file), "{from} names {quoted}, which is not embedded");
                named += 1;
            }
        }
        named
    }

    /// The file that `path` means in an import of `from`; both below `/console/`.
    fn resolve(from: &str, path: &str) -> String {
        let mut parts: Vec<&str> = from.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                "." => {}
                ".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect_src(ws: &[&str], host: Option<&str>) -> Vec<String> {
        let ws: Vec<SocketAddr> = ws.iter().map(|address| address.parse().unwrap()).collect();
        let policy = policy(&ws, host);
        let directive = policy.split("; ").find_map(|directive| directive.strip_prefix("connect-src ")).unwrap();
        directive.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_websocket_is_allowed_under_the_name_of_the_page() {
        let local = ["'self'", "ws://127.0.0.1:*", "ws://localhost:*", "wss://127.0.0.1:*", "wss://localhost:*"];
        assert_eq!(connect_src(&["127.0.0.1:3102"], None), local);
        assert_eq!(connect_src(&["127.0.0.1:3102"], Some("localhost:3111")), local);
        let named = connect_src(&["0.0.0.0:3102"], Some("gw-1.example.org:3111"));
        assert_eq!(named[5..], ["ws://gw-1.example.org:3102", "wss://gw-1.example.org:3102"]);
        let bound = connect_src(&["10.1.2.3:3102"], Some("localhost"));
        assert_eq!(bound[5..], ["ws://10.1.2.3:3102", "wss://10.1.2.3:3102"]);
        assert_eq!(connect_src(&["[::1]:3102"], None)[5..], ["ws:", "wss:"]);
        assert_eq!(connect_src(&["[::]:3102"], Some("[::1]:3111"))[5..], ["ws:", "wss:"]);
    }

    #[test]
    fn a_strange_host_is_not_repeated() {
        for host in ["a; script-src *", "a b", "", ":3111", "*", "ä", &"a".repeat(254)] {
            assert_eq!(connect_src(&["0.0.0.0:3102"], Some(host)).len(), 5, "{host}");
        }
    }
}

//! The console page, served from memory: its files are part of the program.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

const INDEX: &str = include_str!("../../console/index.html");

/// Name in `/console/`, content type, content.
const FILES: [(&str, &str, &str); 15] = [
    ("console.css", CSS, include_str!("../../console/console.css")),
    ("icon.svg", SVG, include_str!("../../console/icon.svg")),
    ("client-panel.js", JS, include_str!("../../console/js/client-panel.js")),
    ("client.js", JS, include_str!("../../console/js/client.js")),
    ("dom.js", JS, include_str!("../../console/js/dom.js")),
    ("format.js", JS, include_str!("../../console/js/format.js")),
    ("frame-list.js", JS, include_str!("../../console/js/frame-list.js")),
    ("frames.js", JS, include_str!("../../console/js/frames.js")),
    ("main.js", JS, include_str!("../../console/js/main.js")),
    ("overview.js", JS, include_str!("../../console/js/overview.js")),
    ("plot.js", JS, include_str!("../../console/js/plot.js")),
    ("push.js", JS, include_str!("../../console/js/push.js")),
    ("stats.js", JS, include_str!("../../console/js/stats.js")),
    ("tables.js", JS, include_str!("../../console/js/tables.js")),
    ("text.js", JS, include_str!("../../console/js/text.js")),
];

/// The routes `/` and `/console/{file}`. `ws`: where WebSocket clients connect to this node, which the page's test client is
/// allowed to do too.
pub fn router<S: Clone + Send + Sync + 'static>(ws: &[SocketAddr]) -> Router<S> {
    let console = Arc::new(Console::new(ws));
    let index = {
        let console = console.clone();
        get(move |headers: HeaderMap| std::future::ready(console.answer(Some(&console.index), &headers)))
    };
    let file = get(move |Path(name): Path<String>, headers: HeaderMap| {
        std::future::ready(console.answer(console.files.iter().find(|file| file.name == name), &headers))
    });
    Router::new().route("/", index).route("/console/{file}", file)
}

struct Console {
    index: File,
    files: Vec<File>,
    ws: Vec<SocketAddr>,
}

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

impl Console {
    fn new(ws: &[SocketAddr]) -> Self {
        Self {
            index: File::new("", HTML, INDEX),
            files: FILES.into_iter().map(|(name, content_type, content)| File::new(name, content_type, content)).collect(),
            ws: ws.to_vec(),
        }
    }

    fn answer(&self, file: Option<&File>, request: &HeaderMap) -> Response {
        let Some(file) = file else {
            return respond(StatusCode::NOT_FOUND, HeaderValue::from_static(TEXT), Body::from("the console has no such file\n"));
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
    let mut connect = String::from("'self' ws://127.0.0.1:* ws://localhost:*");
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
mod tests {
    use super::*;

    fn ask(console: &Console, file: &str, headers: &[(&'static str, &str)]) -> Response {
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            request.append(*name, HeaderValue::from_str(value).unwrap());
        }
        match file {
            "" => console.answer(Some(&console.index), &request),
            name => console.answer(console.files.iter().find(|file| file.name == name), &request),
        }
    }

    fn connect_src(ws: &[&str], host: Option<&str>) -> Vec<String> {
        let ws: Vec<SocketAddr> = ws.iter().map(|address| address.parse().unwrap()).collect();
        let policy = policy(&ws, host);
        let directive = policy.split("; ").find_map(|directive| directive.strip_prefix("connect-src ")).unwrap();
        directive.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../console/js");
        let mut there: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        there.extend(["console.css".to_owned(), "icon.svg".to_owned()]);
        there.sort();
        let mut embedded: Vec<&str> = FILES.iter().map(|(name, _, _)| *name).collect();
        embedded.sort_unstable();
        assert_eq!(embedded, there);
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let named = FILES.iter().map(|(_, _, content)| *content).chain([INDEX]);
        for name in named.flat_map(|content| content.split(['"', '\''])) {
            if let Some(file) = name.strip_prefix("/console/").or_else(|| name.strip_prefix("./")) {
                let known = FILES.iter().any(|(name, _, _)| *name == file) || file == "stats.json";
                assert!(known, "{name} is named, but not embedded");
            }
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let console = Console::new(&[]);
        let first = ask(&console, "main.js", &[]);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], JS);
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(first.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let again = ask(&console, "main.js", &[("if-none-match", &known)]);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[header::ETAG], etag.as_str());
        }
        assert_eq!(ask(&console, "main.js", &[("if-none-match", "\"other\"")]).status(), StatusCode::OK);
        assert_eq!(ask(&console, "text.js", &[("if-none-match", &etag)]).status(), StatusCode::OK);
        assert_eq!(ask(&console, "../Cargo.toml", &[]).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_page_may_do_nothing_but_talk_to_its_node() {
        let console = Console::new(&["127.0.0.1:3102".parse().unwrap()]);
        let page = ask(&console, "", &[("host", "127.0.0.1:3111")]);
        assert_eq!(page.headers()[header::CONTENT_TYPE], HTML);
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for directive in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!INDEX.contains("style=") && !INDEX.contains("<style") && !INDEX.contains(" onclick"), "nothing inline");
    }

    #[test]
    fn the_websocket_is_allowed_under_the_name_of_the_page() {
        let local = ["'self'", "ws://127.0.0.1:*", "ws://localhost:*"];
        assert_eq!(connect_src(&["127.0.0.1:3102"], None), local);
        assert_eq!(connect_src(&["127.0.0.1:3102"], Some("localhost:3111")), local);
        let named = connect_src(&["0.0.0.0:3102"], Some("gw-1.example.org:3111"));
        assert_eq!(named[3..], ["ws://gw-1.example.org:3102", "wss://gw-1.example.org:3102"]);
        let bound = connect_src(&["10.1.2.3:3102"], Some("localhost"));
        assert_eq!(bound[3..], ["ws://10.1.2.3:3102", "wss://10.1.2.3:3102"]);
        assert_eq!(connect_src(&["[::1]:3102"], None)[3..], ["ws:", "wss:"]);
        assert_eq!(connect_src(&["[::]:3102"], Some("[::1]:3111"))[3..], ["ws:", "wss:"]);
    }

    #[test]
    fn a_strange_host_is_not_repeated() {
        for host in ["a; script-src *", "a b", "", ":3111", "*", "ä", &"a".repeat(254)] {
            assert_eq!(connect_src(&["0.0.0.0:3102"], Some(host)).len(), 3, "{host}");
        }
    }
}

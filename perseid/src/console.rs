//! The console page, served from memory: its files are part of the program.

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
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

const INDEX: &str = include_str!("../../console/index.html");

/// A file of the page's scripts: its name below `/console/`, and what is in it.
macro_rules! script {
    ($name:literal) => {
        ($name, JS, include_str!(concat!("../../console/js/", $name)))
    };
}

/// Name below `/console/`, content type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("console.css", CSS, include_str!("../../console/console.css")),
    ("views.css", CSS, include_str!("../../console/views.css")),
    ("icon.svg", SVG, include_str!("../../console/icon.svg")),
    script!("api.js"),
    script!("dom.js"),
    script!("format.js"),
    script!("header.js"),
    script!("main.js"),
    script!("poll.js"),
    script!("problem.js"),
    script!("router.js"),
    script!("settings.js"),
    script!("stats.js"),
    script!("store.js"),
    script!("stored.js"),
    script!("text.js"),
    script!("theme.js"),
    script!("token.js"),
    script!("protocol/client.js"),
    script!("protocol/frames.js"),
    script!("protocol/tables.js"),
    script!("views/about.js"),
    script!("views/client.js"),
    script!("views/groups.js"),
    script!("views/inbox.js"),
    script!("views/nodes.js"),
    script!("views/overview.js"),
    script!("views/push-form.js"),
    script!("views/push.js"),
    script!("views/rooms.js"),
    script!("views/users.js"),
    script!("widgets/dialog.js"),
    script!("widgets/frame-list.js"),
    script!("widgets/legend.js"),
    script!("widgets/message-body.js"),
    script!("widgets/messages.js"),
    script!("widgets/notice.js"),
    script!("widgets/plot.js"),
    script!("widgets/scale.js"),
    script!("widgets/table.js"),
    script!("widgets/token-dialog.js"),
    script!("words/en-client.js"),
    script!("words/en-stored.js"),
    script!("words/en.js"),
    script!("words/zh-client.js"),
    script!("words/zh-stored.js"),
    script!("words/zh.js"),
];

/// The routes `/` and `/console/…`. `ws`: where WebSocket clients connect to this node, which the page's test client is
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
    Router::new().route("/", index).route("/console/{*file}", file)
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
            files: FILES.iter().map(|(name, content_type, content)| File::new(name, content_type, content)).collect(),
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
mod tests {
    use std::path::Path;

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

    /// Names of all files below a folder, with `/` between its parts.
    fn below(folder: &Path, prefix: &str) -> Vec<String> {
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

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let mut there = below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../console/js")), "");
        there.extend(["console.css", "views.css", "icon.svg"].map(str::to_owned));
        there.sort();
        let mut embedded: Vec<&str> = FILES.iter().map(|(name, _, _)| *name).collect();
        embedded.sort_unstable();
        assert_eq!(embedded, there);
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

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let known = |file: &str| file == "stats.json" || FILES.iter().any(|(name, _, _)| *name == file);
        let mut named = 0;
        for (from, content) in FILES.iter().map(|(name, _, content)| (*name, *content)).chain([("", INDEX)]) {
            for quoted in content.split(['"', '\'']) {
                let file = match quoted.strip_prefix("/console/") {
                    Some(file) => file.to_owned(),
                    None if quoted.starts_with("./") || quoted.starts_with("../") => resolve(from, quoted),
                    None => continue,
                };
                assert!(known(&file), "{from} names {quoted}, which is not embedded");
                named += 1;
            }
        }
        assert!(named > 50, "{named}");
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
        assert_eq!(page.headers()[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(page.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(page.headers()[header::REFERRER_POLICY], "no-referrer");
        assert!(!INDEX.contains("style=") && !INDEX.contains("<style") && !INDEX.contains(" onclick"), "nothing inline");
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

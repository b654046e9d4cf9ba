//! The console page: its files are part of the program.

use std::net::SocketAddr;

use axum::Router;

use crate::pages::{CSS, Files, JS, Page, SVG};

const INDEX: &str = include_str!("../../console/index.html");

/// A file of the page's scripts: its name below `/console/`, and what is in it.
macro_rules! script {
    ($name:literal) => {
        ($name, JS, include_str!(concat!("../../console/js/", $name)))
    };
}

/// Name below `/console/`, content type, content.
const FILES: Files = &[
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
    // The codec is the SDK's.
    ("sdk/frame.js", JS, include_str!("../../sdk/js/src/frame.js")),
    ("sdk/tables.js", JS, include_str!("../../sdk/js/src/tables.js")),
];

/// The routes `/` and `/console/…`. `ws`: where WebSocket clients connect to this node, which the page's test client is
/// allowed to do too.
pub fn router<S: Clone + Send + Sync + 'static>(ws: &[SocketAddr]) -> Router<S> {
    Page::new(INDEX, FILES, ws).router("/", "/console/{*file}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
    use axum::response::Response;

    use super::*;
    use crate::pages::checks::{below, names_are_known};

    fn console(ws: &[SocketAddr]) -> Page {
        Page::new(INDEX, FILES, ws)
    }

    fn ask(console: &Page, file: &str, headers: &[(&'static str, &str)]) -> Response {
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            request.append(*name, HeaderValue::from_str(value).unwrap());
        }
        console.answer(file, &request)
    }

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let mut there = below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../console/js")), "");
        // The link to the SDK, of which only the codec is used.
        there.retain(|name| name != "sdk");
        there.extend(["console.css", "views.css", "icon.svg", "sdk/frame.js", "sdk/tables.js"].map(str::to_owned));
        there.sort();
        let mut embedded: Vec<&str> = FILES.iter().map(|(name, _, _)| *name).collect();
        embedded.sort_unstable();
        assert_eq!(embedded, there);
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let named = names_are_known("/console/", INDEX, FILES, &["stats.json"]);
        assert!(named > 50, "{named}");
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let page = console(&[]);
        let first = ask(&page, "main.js", &[]);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], JS);
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(first.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let again = ask(&page, "main.js", &[("if-none-match", &known)]);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[header::ETAG], etag.as_str());
        }
        assert_eq!(ask(&page, "main.js", &[("if-none-match", "\"other\"")]).status(), StatusCode::OK);
        assert_eq!(ask(&page, "text.js", &[("if-none-match", &etag)]).status(), StatusCode::OK);
        assert_eq!(ask(&page, "../Cargo.toml", &[]).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_page_may_do_nothing_but_talk_to_its_node() {
        let page = console(&["127.0.0.1:3102".parse().unwrap()]);
        let answer = ask(&page, "", &[("host", "127.0.0.1:3111")]);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for directive in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
        assert!(!INDEX.contains("style=") && !INDEX.contains("<style") && !INDEX.contains(" onclick"), "nothing inline");
    }
}

//! The chat page, made with the JavaScript SDK: its files and the SDK's modules are part of the program.
//!
//! It does what any page of a business would: it speaks the client protocol, and calls the push API of this port for groups and
//! for the live room. So it has no API of its own, only a file that says where the comet listens and whether this node believes
//! its callers; on one that does not the page says so and does nothing.

use std::net::SocketAddr;

use axum::http::header::CACHE_CONTROL;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::pages::{CSS, Files, JS, Page, SVG};

const INDEX: &str = include_str!("../../chat/index.html");

/// The type of the page's live room (`chat://live`), and how many of its last frames are kept for who was away.
pub(crate) const ROOM_TYPE: &str = "chat";
pub(crate) const ROOM_FRAMES: u32 = 200;

/// A script of the page: its name below `/chat/js/`, and what is in it.
macro_rules! script {
    ($name:literal) => {
        (concat!("js/", $name), JS, include_str!(concat!("../../chat/js/", $name)))
    };
}

/// A module of the SDK: its name below `/chat/sdk/`, and what is in it.
macro_rules! sdk {
    ($name:literal) => {
        (concat!("sdk/", $name), JS, include_str!(concat!("../../sdk/js/src/", $name)))
    };
}

/// Name below `/chat/`, content type, content.
const FILES: Files = &[
    ("chat.css", CSS, include_str!("../../chat/chat.css")),
    ("thread.css", CSS, include_str!("../../chat/thread.css")),
    ("icon.svg", SVG, include_str!("../../chat/icon.svg")),
    script!("api.js"),
    script!("dom.js"),
    script!("identity.js"),
    script!("live.js"),
    script!("main.js"),
    script!("model.js"),
    script!("people.js"),
    script!("session.js"),
    script!("text.js"),
    script!("theme.js"),
    script!("url.js"),
    script!("views/banner.js"),
    script!("views/door.js"),
    script!("views/groups.js"),
    script!("views/list.js"),
    script!("views/menu.js"),
    script!("views/messages.js"),
    script!("views/thread.js"),
    script!("words/en.js"),
    script!("words/zh.js"),
    sdk!("client.js"),
    sdk!("core/acks.js"),
    sdk!("core/core.js"),
    sdk!("core/flight.js"),
    sdk!("core/inbox.js"),
    sdk!("core/message.js"),
    sdk!("core/outbox.js"),
    sdk!("core/reconnect.js"),
    sdk!("core/requests.js"),
    sdk!("core/room.js"),
    sdk!("core/words.js"),
    sdk!("delivery.js"),
    sdk!("emitter.js"),
    sdk!("errors.js"),
    sdk!("frame.js"),
    sdk!("index.js"),
    sdk!("int64.js"),
    sdk!("storage.js"),
    sdk!("tables.js"),
    sdk!("transport.js"),
];

/// The routes `/chat/…`. `ws`: where WebSocket clients connect to this node; `insecure`: it believes its callers.
pub fn router<S: Clone + Send + Sync + 'static>(ws: &[SocketAddr], insecure: bool) -> Router<S> {
    let listen: Vec<String> = ws.iter().map(ToString::to_string).collect();
    let config = json!({ "ws": listen, "insecure": insecure });
    let answer = move || std::future::ready(([(CACHE_CONTROL, "no-store")], Json(config.clone())));
    let page = Page::new(INDEX, FILES, ws).router("/chat/", "/chat/{*file}");
    page.route("/chat/config.json", get(answer))
        .route("/chat", get(|| std::future::ready(axum::response::Redirect::permanent("/chat/"))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pages::checks::{below, names_are_known};

    #[test]
    fn every_file_of_the_page_and_of_the_sdk_is_embedded() {
        let there = |folder: &str, prefix: &str| below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), prefix);
        let mut wanted = there("../chat/js", "js/");
        wanted.extend(there("../sdk/js/src", "sdk/"));
        wanted.extend(["chat.css", "thread.css", "icon.svg"].map(str::to_owned));
        wanted.sort();
        let mut embedded: Vec<&str> = FILES.iter().map(|(name, _, _)| *name).collect();
        embedded.sort_unstable();
        assert_eq!(embedded, wanted);
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let named = names_are_known("/chat/", INDEX, FILES, &["config.json"]);
        assert!(named > 50, "{named}");
    }

    #[test]
    fn the_page_has_nothing_inline() {
        assert!(!INDEX.contains("style=") && !INDEX.contains("<style") && !INDEX.contains(" onclick"));
    }
}

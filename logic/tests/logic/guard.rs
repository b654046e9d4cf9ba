//! What web pages may do: nothing, unless they are ours.

use axum::body::Body;
use axum::http::{Method, Request};
use perseid_logic::Config;
use perseid_protocol::origin::Pages;

use crate::fakes::{Answer, FakeNodes, World};
use crate::v1::problem;

const PUSH: &str = r#"{"to":{"mids":[1]},"body":"x"}"#;

async fn send(world: &World, method: Method, uri: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_page_reaches_nothing() {
    let world = World::new();
    let host = ("host", "127.0.0.1:3111");
    for (method, uri) in [
        (Method::POST, "/v1/messages"),
        (Method::POST, "/goim/push/all?operation=1000"),
        (Method::GET, "/v1/users/7"),
        (Method::DELETE, "/v1/users/7/sessions"),
        (Method::GET, "/healthz"),
        (Method::GET, "/nowhere"),
        (Method::OPTIONS, "/v1/messages"),
    ] {
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
            let headers = [host, ("origin", "https://evil.example"), ("content-type", content_type)];
            let answer = send(&world, method.clone(), uri, &headers, PUSH).await;
            problem(&answer, 403, "PERMISSION_DENIED");
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
            // A sandboxed frame, a file, a redirected form.
            problem(&send(&world, method.clone(), uri, &[host, ("origin", "null")], PUSH).await, 403, "PERMISSION_DENIED");
            // A name of the page's own that points here.
            let rebound = [("host", "evil.example:3111"), ("origin", "http://evil.example:3111")];
            problem(&send(&world, method.clone(), uri, &rebound, PUSH).await, 421, "MISDIRECTED");
            problem(&send(&world, method.clone(), uri, &rebound[..1], PUSH).await, 421, "MISDIRECTED");
        }
    }
    assert_eq!(world.log.pushes(), []);
    let access = world.counters().access;
    let count = |word: &str| access.iter().find(|(known, _)| *known == word).unwrap().1;
    assert_eq!((count("foreign_origin"), count("foreign_host"), count("anonymous")), (42, 42, 0));
}

#[tokio::test]
async fn our_own_pages_and_tools_do() {
    let world = World::new();
    for headers in [
        &[][..],
        &[("host", "127.0.0.1:3111")],
        &[("host", "localhost:3111"), ("origin", "http://localhost:3111")],
        &[("host", "[::1]:3111"), ("origin", "http://[::1]:3111")],
    ] {
        let answer = send(&world, Method::POST, "/v1/messages", headers, PUSH).await;
        assert_eq!(answer.status, 200, "{headers:?} {}", answer.body);
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn pages_that_the_operator_allows() {
    let origins = vec!["https://app.example".to_owned()];
    let config = Config { pages: Pages { origins, ..Config::default().pages }, ..Config::default() };
    let world = World::with(FakeNodes::default(), config);
    let headers = [
        ("host", "127.0.0.1"),
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let header =
        |answer: &Answer, name: &str| answer.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
    let preflight = send(&world, Method::OPTIONS, "/v1/messages", &headers, "").await;
    assert_eq!((preflight.status, preflight.body.as_str()), (204, ""));
    assert_eq!(header(&preflight, "access-control-allow-origin"), "https://app.example");
    assert!(header(&preflight, "access-control-allow-methods").contains("DELETE"));
    assert!(header(&preflight, "access-control-allow-headers").contains("authorization"));
    assert_eq!(header(&preflight, "vary"), "origin");
    let answer = send(&world, Method::POST, "/v1/messages", &headers[..2], PUSH).await;
    assert_eq!((answer.status, header(&answer, "access-control-allow-origin").as_str()), (200, "https://app.example"));
    assert!(header(&answer, "access-control-expose-headers").contains("retry-after"));
    assert_eq!(header(&answer, "access-control-allow-credentials"), "", "there are no cookies");
    // A page may know that it was refused, too.
    let answer = send(&world, Method::POST, "/v1/messages", &headers[..2], "{}").await;
    assert_eq!((answer.status, header(&answer, "access-control-allow-origin").as_str()), (400, "https://app.example"));
    // Allowed is what is on the list now.
    world.api.reload(Config::default());
    problem(&send(&world, Method::POST, "/v1/messages", &headers[..2], PUSH).await, 403, "PERMISSION_DENIED");
}

//! Health, extra routes, counters.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use perseid_logic::router;
use tower::ServiceExt;

use crate::fakes::World;

#[tokio::test]
async fn alive_whatever_happens() {
    let world = World::new();
    *world.log.poisoned.lock().unwrap() = Some("EIO".into());
    let answer = world.get("/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn ready_only_with_all_parts() {
    let world = World::new();
    let answer = world.get("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"ready":true,"reasons":[]}"#));
    *world.log.poisoned.lock().unwrap() = Some("EIO".into());
    *world.log.refusing.lock().unwrap() = Some("no space".into());
    *world.nodes.unready.lock().unwrap() = Some("no workers".into());
    world.api.drain();
    let answer = world.get("/readyz").await;
    assert_eq!((answer.status, answer.json()["reasons"].as_array().unwrap().len()), (503, 4));
    for word in ["EIO", "no space", "no workers", "draining"] {
        assert!(answer.body.contains(word), "{word}");
    }
}

#[tokio::test]
async fn extra_routes_come_before_the_404() {
    let world = World::new();
    let extra = Router::new().route("/metrics", get(|| async { "all zero" }));
    let answer = router(world.api.clone(), extra).oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(world.get("/metrics").await.status, 404);
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let world = World::new();
    world.post("/v1/messages", r#"{"to":{"mids":[1]},"body":"x"}"#).await;
    world.get("/nowhere").await;
    let counters = world.counters();
    let count = |route: &str| counters.requests.iter().find(|(word, _)| *word == route).unwrap().1.count();
    assert_eq!((count("messages"), count("other"), count("goim_push_all")), (1, 1, 0));
}

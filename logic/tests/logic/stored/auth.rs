//! What AUTH tells of an inbox.

use std::sync::Arc;

use perseid_logic::{ConnectRequest, Connected, Greeting, InsecureAuth, Logic, StoredConfig};
use perseid_protocol::CloseReason;
use perseid_protocol::frame::{Extension, kind};
use perseid_protocol::op::SEND_MSG;
use perseid_protocol::push::SessionAddr;
use perseid_store::SessionRegistry;

use super::{Pace, ok, to};
use crate::fakes::World;

fn logic(world: &World) -> Arc<Logic> {
    let logic = Logic::new(world.registry.clone(), Arc::new(InsecureAuth), world.metrics.clone());
    Arc::new(logic.keeping(world.kept().inbox.clone()))
}

fn request(body: &str, extended: bool) -> ConnectRequest<'_> {
    let addr = SessionAddr { slot: 77, ..SessionAddr::default() };
    ConnectRequest { body: body.as_bytes(), addr, peer: None, extended, cookie: "", now_ms: 5 }
}

async fn connect(logic: &Arc<Logic>, body: &str, extended: bool) -> Connected {
    logic.connect(&request(body, extended)).get().await.unwrap()
}

async fn greet(logic: &Arc<Logic>, body: &str) -> Greeting {
    connect(logic, body, true).await.inbox.unwrap()
}

#[tokio::test]
async fn extended_users_have_an_inbox_and_nobody_else() {
    let world = World::storing(StoredConfig { recall_ms: 9, ..StoredConfig::default() });
    let logic = logic(&world);
    let fresh = greet(&logic, r#"{"mid":7}"#).await;
    assert_eq!((fresh.head, fresh.floor, fresh.cursor, fresh.live, fresh.foreign), (0, 1, 0, false, false));
    assert_eq!((fresh.recall_ms, fresh.cid_ms, fresh.fanout, fresh.page_bytes), (9, 3_600_000, 500, 1 << 20));
    assert!(fresh.epoch > 0);
    for (body, extended) in [(r#"{"mid":7}"#, false), (r#"{"mid":0}"#, true), (r#"{"mid":-7}"#, true)] {
        assert_eq!(connect(&logic, body, extended).await.inbox, None, "{body}");
    }
}

#[tokio::test]
async fn what_the_client_says_it_has() {
    let world = World::storing(StoredConfig::default());
    let logic = logic(&world);
    let client = world.client(7, "", 1);
    for cid in 1..=3 {
        ok(world.asked(&client, SEND_MSG, Extension { cid, ..to(kind::DIRECT, 9) }, b"x").await);
    }
    let epoch = greet(&logic, r#"{"mid":7,"device_id":"new"}"#).await.epoch;
    for (pos, of, live, foreign, cursor) in [
        (2, epoch, false, false, 2),
        (1, epoch, false, false, 2),
        (3, epoch, true, false, 3),
        (4, epoch, false, true, 3),
        (3, epoch + 1, false, true, 3),
        (3, 0, false, false, 3),
    ] {
        let body = format!(r#"{{"mid":7,"device_id":"phone","pos":{pos},"epoch":{of}}}"#);
        let greeting = greet(&logic, &body).await;
        assert_eq!((greeting.live, greeting.foreign, greeting.cursor), (live, foreign, cursor), "{body}");
        assert_eq!((greeting.head, greeting.floor), (3, 1));
    }
    // Without a device_id the platform names the cursor.
    assert_eq!(greet(&logic, r#"{"mid":7,"platform":"phone"}"#).await.cursor, 3);
    assert_eq!(greet(&logic, r#"{"mid":7,"platform":"web"}"#).await.cursor, 0);
    assert_eq!(world.kept().inbox.head(7), 3);
    assert_eq!(world.kept().inbox.head(1234), 0);
}

#[tokio::test]
async fn without_the_store_nobody_is_let_in_and_nobody_replaced() {
    let world = World::storing(StoredConfig::default());
    let logic = logic(&world);
    let body = r#"{"mid":7,"key":"k"}"#;
    connect(&logic, body, false).await;
    world.pace(Pace::Down);
    let refused = logic.connect(&request(body, true)).get().await.unwrap_err();
    assert_eq!(refused.reason, CloseReason::Overloaded);
    assert_eq!(world.registry.by_mid(7).len(), 1);
    world.pace(Pace::Later);
    assert!(connect(&logic, body, true).await.inbox.is_some());
}

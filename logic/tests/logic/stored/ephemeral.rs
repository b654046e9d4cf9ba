//! EPHEMERAL.

use std::sync::Arc;

use perseid_logic::StoredConfig;
use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::op::EPHEMERAL;
use perseid_protocol::push::{Push, SessionAddr, Target};
use perseid_rpc::{BlockMark, log_record};

use super::{Client, ok, refused, to};
use crate::fakes::World;

fn typing(kind: u16, conv: u64) -> Extension {
    Extension { flags: flag::EPHEMERAL, ..to(kind, conv) }
}

/// What was relayed since last time: slots, and the push.
fn relayed(world: &World) -> (Vec<u32>, Option<Arc<Push>>) {
    let deliveries = std::mem::take(&mut *world.kept().relayed.0.lock().unwrap());
    let push = deliveries.first().map(|delivery| delivery.push.clone());
    let mut slots: Vec<u32> = deliveries
        .iter()
        .map(|delivery| match delivery.target {
            Target::Session(SessionAddr { slot, .. }) => slot,
            ref other => panic!("{other:?}"),
        })
        .collect();
    slots.sort_unstable();
    (slots, push)
}

async fn send(world: &World, client: &Client, ext: Extension) {
    assert!(ok(world.request_seq(client, 5, EPHEMERAL, ext, b"...").await.0).silent, "there is no reply");
}

#[tokio::test]
async fn to_the_others_as_they_see_it() {
    let world = World::storing(StoredConfig::default());
    world.put_group(4, false, 0, &[7, 8, 9]).await;
    let (client, _own, _peer, _other) =
        (world.client(7, "", 1), world.client(7, "", 2), world.client(9, "", 3), world.client(8, "", 4));
    world.client(9, "", 5);
    send(&world, &client, typing(kind::DIRECT, 9)).await;
    let (slots, push) = relayed(&world);
    assert_eq!(slots, [3, 5]);
    let push = push.unwrap();
    assert_eq!((push.op, push.kind, push.conv, push.from, push.flags), (EPHEMERAL, 1, 7, 7, flag::EPHEMERAL));
    assert_eq!((push.id, push.pos, push.conv_pos, &push.body[..]), (0, 0, 0, &b"..."[..]));
    send(&world, &client, typing(kind::GROUP, 4)).await;
    let (slots, push) = relayed(&world);
    assert_eq!((slots, push.map(|push| (push.kind, push.conv, push.from))), (vec![3, 4, 5], Some((2, 4, 7))));
    // To oneself, and to nobody who is there.
    send(&world, &client, typing(kind::DIRECT, 7)).await;
    send(&world, &client, typing(kind::DIRECT, 1234)).await;
    assert!(relayed(&world).0.is_empty());
    assert!(world.log.stored().is_empty(), "nothing is stored");
}

#[tokio::test]
async fn blocked_it_is_dropped_without_a_word() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    world.client(9, "", 2);
    world.write(9, "d7:9", log_record::Body::Block(BlockMark { peer: 7, blocked: true })).await;
    send(&world, &client, typing(kind::DIRECT, 9)).await;
    assert!(relayed(&world).0.is_empty());
}

#[tokio::test]
async fn refused_only_where_an_answer_is_wanted() {
    let world = World::storing(StoredConfig { body_bytes_max: 4, ..StoredConfig::default() });
    world.put_group(4, false, 0, &[8]).await;
    world.put_group(5, true, 0, &[7]).await;
    let client = world.client(7, "", 1);
    for (ext, body, refusal) in [
        (typing(kind::GROUP, 4), &b"x"[..], Refusal::NotMember),
        (typing(kind::GROUP, 44), b"x", Refusal::NotMember),
        (typing(kind::GROUP, 5), b"x", Refusal::PermissionDenied),
        (typing(kind::CHANNEL, 5), b"x", Refusal::PermissionDenied),
        (typing(kind::NOTICE, 5), b"x", Refusal::PermissionDenied),
        (typing(kind::DIRECT, 0), b"x", Refusal::BadRequest),
        (typing(kind::DIRECT, 9), b"12345", Refusal::BadRequest),
    ] {
        let loud = world.request_seq(&client, 5, EPHEMERAL, ext, body).await.0;
        assert!(!loud.as_ref().unwrap_err().silent);
        assert_eq!(refused(loud), refusal, "{ext:?}");
        assert!(world.request_seq(&client, 0, EPHEMERAL, ext, body).await.0.unwrap_err().silent);
    }
}

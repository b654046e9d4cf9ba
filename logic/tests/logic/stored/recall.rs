//! RECALL.

use perseid_logic::{StoredConfig, Thread};
use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, Header, flag, kind};
use perseid_protocol::op::{PULL, RECALL, SEND_MSG, SYNC};
use perseid_rpc::log_record::Body;

use super::{Client, frames, ok, refused, to, unix_ms};
use crate::fakes::{Mode, World};

fn of(kind: u16, conv: u64, conv_pos: u64) -> Extension {
    Extension { conv_pos, ..to(kind, conv) }
}

async fn say(world: &World, client: &Client, kind: u16, conv: u64, cid: u64) -> u64 {
    ok(world.asked(client, SEND_MSG, Extension { cid, ..to(kind, conv) }, b"secret").await).ext.id
}

fn recalls(world: &World) -> usize {
    world.log.stored().iter().filter(|record| matches!(record.body, Some(Body::Recall(_)))).count()
}

#[tokio::test]
async fn the_body_is_gone_when_it_is_answered() {
    let world = World::storing(StoredConfig::default());
    let (sender, receiver) = (world.client(7, "", 1), world.client(9, "", 2));
    let id = say(&world, &sender, kind::DIRECT, 9, 1).await;
    let reply = ok(world.asked(&sender, RECALL, of(1, 9, 1), b"").await);
    assert_eq!(reply.ext, Extension { id, ..of(1, 9, 1) });
    let page = ok(world.asked(&receiver, SYNC, Extension::default(), b"").await);
    let (first, body) = &frames(&page.body)[0];
    assert_eq!((first.ext.flags, first.ext.id, first.ext.cid, body.len()), (flag::STORED | flag::GONE, id, 1, 0));
    let page = ok(world.asked(&receiver, PULL, to(kind::DIRECT, 7), b"").await);
    let both = frames(&page.body);
    assert_eq!((both[0].0.ext.flags, both[0].1.len(), both[1].0.ext.kind), (flag::GONE, 0, kind::EVENT));
    // Once more is no error, and no second event.
    assert_eq!(ok(world.asked(&sender, RECALL, of(1, 9, 1), b"").await).ext.id, id);
    assert_eq!(recalls(&world), 1);
}

#[tokio::test]
async fn who_may_and_until_when() {
    let world = World::storing(StoredConfig { recall_ms: 60_000, ..StoredConfig::default() });
    world.put_group(4, false, 8, &[7, 8, 9]).await;
    let (sender, owner, member) = (world.client(7, "", 1), world.client(8, "", 2), world.client(9, "", 3));
    let outsider = world.client(5, "", 4);
    for cid in 1..=3 {
        say(&world, &sender, kind::GROUP, 4, cid).await;
    }
    // The first position is the event of the group.
    for (client, ext, refusal) in [
        (&member, of(2, 4, 2), Refusal::PermissionDenied),
        (&outsider, of(2, 4, 2), Refusal::NotMember),
        (&outsider, of(2, 4, 99), Refusal::NotMember),
        (&sender, of(2, 4, 0), Refusal::BadRequest),
        (&sender, of(2, 4, 99), Refusal::BadRequest),
        (&sender, of(2, 4, 1), Refusal::PermissionDenied),
        (&owner, of(2, 4, 1), Refusal::PermissionDenied),
        (&sender, of(2, 44, 1), Refusal::NotMember),
        (&sender, of(4, 4, 1), Refusal::BadRequest),
        (&sender, of(1, 9, 1), Refusal::BadRequest),
    ] {
        assert_eq!(refused(world.asked(client, RECALL, ext, b"").await), refusal, "{} {ext:?}", client.mid);
    }
    assert_eq!(recalls(&world), 0);
    ok(world.asked(&sender, RECALL, of(2, 4, 2), b"").await);
    ok(world.asked(&owner, RECALL, of(2, 4, 3), b"").await);
    let header = Header { ver: 2, op: RECALL, seq: 1, ext: of(2, 4, 4) };
    let late = world.ask_as_of(&sender, &header, b"", unix_ms() + 61_000).await.0;
    assert_eq!(refused(late), Refusal::PermissionDenied);
    // What is taken back already is, whenever it is asked for again.
    let header = Header { ext: of(2, 4, 2), ..header };
    ok(world.ask_as_of(&sender, &header, b"", unix_ms() + 61_000).await.0);
}

#[tokio::test]
async fn only_the_sender_in_a_direct_chat() {
    let world = World::storing(StoredConfig::default());
    let (sender, receiver) = (world.client(7, "", 1), world.client(9, "", 2));
    say(&world, &sender, kind::DIRECT, 9, 1).await;
    assert_eq!(refused(world.asked(&receiver, RECALL, of(1, 7, 1), b"").await), Refusal::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn what_takes_no_effect_in_time_is_unknown() {
    let world = World::storing(StoredConfig::default());
    let sender = world.client(7, "", 1);
    say(&world, &sender, kind::DIRECT, 9, 1).await;
    world.log.set(Mode::Swallow);
    let (outcome, thread) = world.request(&sender, RECALL, of(1, 9, 1), b"").await;
    assert_eq!((refused(outcome), thread), (Refusal::Unknown, Some(Thread::Other)));
}

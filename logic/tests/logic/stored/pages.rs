//! SYNC, ACK, PULL, HEADS, and the tails of rooms.

use std::collections::BTreeMap;

use perseid_logic::{History, RoomTail, StoredConfig, StoredRequest, Verdict};
use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, Header, flag, kind};
use perseid_protocol::op::{ACK, HEAD, HEADS, PULL, SEND_MSG, SYNC};
use perseid_protocol::room::room_hash;
use perseid_rpc::{GroupChange, GroupChangeKind, RoomMessage, log_record};
use perseid_store::stored::Store;
use perseid_store::stored::conv::Conv;

use super::{Client, frames, ok, refused, to};
use crate::fakes::World;

fn at(pos: u64) -> Extension {
    Extension { pos, ..Extension::default() }
}

fn limit(limit: u32) -> [u8; 4] {
    limit.to_be_bytes()
}

/// Has a user send some messages to another.
async fn chat(world: &World, client: &Client, peer: u64, count: u64) {
    for cid in 1..=count {
        let ext = Extension { cid, ..to(kind::DIRECT, peer) };
        ok(world.asked(client, SEND_MSG, ext, &[b'x'; 100]).await);
    }
}

fn positions(body: &axum::body::Bytes, of: impl Fn(&Extension) -> u64) -> Vec<u64> {
    frames(body).iter().map(|(header, _)| of(&header.ext)).collect()
}

#[tokio::test]
async fn sync_goes_page_by_page() {
    let world = World::storing(StoredConfig { page_bytes: 1000, ..StoredConfig::default() });
    let client = world.client(7, "", 1);
    chat(&world, &client, 9, 12).await;
    let first = ok(world.asked(&client, SYNC, at(0), b"").await);
    assert_eq!((first.ext.pos, first.ext.flags), (12, flag::MORE));
    assert_eq!(positions(&first.body, |ext| ext.pos), [1, 2, 3, 4, 5], "as many as 1000 bytes hold");
    let next = ok(world.asked(&client, SYNC, at(5), &limit(2)).await);
    assert_eq!((positions(&next.body, |ext| ext.pos), next.ext.flags), (vec![6, 7], flag::MORE));
    let last = ok(world.asked(&client, SYNC, at(10), &limit(0)).await);
    assert_eq!((positions(&last.body, |ext| ext.pos), last.ext.flags), (vec![11, 12], 0));
    let none = ok(world.asked(&client, SYNC, at(12), b"").await);
    assert_eq!((none.ext, none.body.len()), (at(12), 0));
    let never = world.client(8, "", 2);
    assert_eq!(ok(world.asked(&never, SYNC, at(0), b"").await).ext, at(0));
}

#[tokio::test]
async fn a_page_holds_one_frame_at_least_and_200_at_most() {
    let world = World::storing(StoredConfig { page_bytes: 10, ..StoredConfig::default() });
    let client = world.client(7, "", 1);
    chat(&world, &client, 9, 2).await;
    assert_eq!(frames(&ok(world.asked(&client, SYNC, at(0), b"").await).body).len(), 1);
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    chat(&world, &client, 9, 201).await;
    for (asked, got) in [(0, 100), (1, 1), (200, 200), (201, 200), (u32::MAX, 200)] {
        assert_eq!(frames(&ok(world.asked(&client, SYNC, at(0), &limit(asked)).await).body).len(), got, "{asked}");
    }
}

#[tokio::test]
async fn a_cursor_that_can_not_be() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    chat(&world, &client, 9, 2).await;
    for body in [&b"1"[..], b"123", b"12345"] {
        assert_eq!(refused(world.asked(&client, SYNC, at(0), body).await), Refusal::BadRequest);
    }
    for pos in [3, u64::MAX] {
        let refused = world.asked(&client, SYNC, at(pos), b"").await.unwrap_err();
        let detail = refused.detail.unwrap();
        assert_eq!((refused.refusal, detail.head, detail.floor), (Refusal::EpochChanged, 2, 1));
        assert!(detail.epoch > 0);
    }
    // What AUTH said can't be is told on the first SYNC, whatever that asks for.
    let header = Header { ver: 2, op: SYNC, seq: 1, ext: at(2) };
    let Client { mid, key, addr } = &client;
    let foreign = StoredRequest { mid: *mid, key, addr: *addr, header: &header, body: b"", foreign: true, now_ms: 1 };
    let outcome = world.kept().inbox.request(&foreign, || panic!("the store is there")).unwrap();
    assert_eq!(outcome.unwrap_err().refusal, Refusal::EpochChanged);
    assert_eq!(ok(world.asked(&client, SYNC, at(2), b"").await).ext, at(2), "and it changed nothing");
}

#[tokio::test]
async fn acknowledgements_are_of_a_device_and_never_go_back() {
    let world = World::storing(StoredConfig::default());
    let (phone, other, laptop) = (world.client(7, "phone", 1), world.client(7, "phone", 2), world.client(7, "laptop", 3));
    chat(&world, &phone, 9, 5).await;
    let ack = async |client: &Client, pos| ok(world.asked(client, ACK, at(pos), b"").await).ext.pos;
    assert_eq!((ack(&phone, 4).await, ack(&other, 2).await, ack(&laptop, 1).await), (4, 4, 1));
    assert_eq!(refused(world.asked(&phone, ACK, at(6), b"").await), Refusal::BadRequest);
    let devices = world.kept().store.devices(7).now().unwrap().unwrap();
    let mut devices: Vec<_> = devices.iter().map(|device| (&*device.device, device.pos)).collect();
    devices.sort_unstable();
    assert_eq!(devices, [("laptop", 1), ("phone", 4)]);
    // With seq 0 nothing is answered, and it counts all the same.
    let reply = ok(world.request_seq(&laptop, 0, ACK, at(3), b"").await.0);
    assert!(reply.silent);
    assert!(world.request_seq(&laptop, 0, ACK, at(9), b"").await.0.unwrap_err().silent);
    assert_eq!(ack(&laptop, 0).await, 3);
    let gone = Client { key: perseid_protocol::SessionKey::parse("gone"), ..phone };
    assert_eq!(refused(world.asked(&gone, ACK, at(1), b"").await), Refusal::Unavailable);
}

#[tokio::test]
async fn pull_goes_both_ways() {
    let world = World::storing(StoredConfig::default());
    let (client, peer) = (world.client(7, "", 1), world.client(9, "", 2));
    chat(&world, &client, 9, 7).await;
    let pull = async |client: &Client, ext: Extension, body: &[u8]| ok(world.asked(client, PULL, ext, body).await);
    let after = |conv_pos| Extension { conv_pos, ..to(kind::DIRECT, 9) };
    let before = |conv_pos| Extension { flags: flag::MORE, ..after(conv_pos) };
    for (ext, want, more) in [
        (after(0), vec![1, 2, 3], true),
        (after(4), vec![5, 6, 7], false),
        (after(7), vec![], false),
        (before(0), vec![5, 6, 7], true),
        (before(3), vec![1, 2], false),
        (before(1), vec![], false),
    ] {
        let page = pull(&client, ext, &limit(3)).await;
        assert_eq!(positions(&page.body, |ext| ext.conv_pos), want, "{ext:?}");
        let flags = if more { flag::MORE } else { 0 };
        assert_eq!(page.ext, Extension { pos: 1, conv_pos: 7, flags, ..to(kind::DIRECT, 9) }, "{ext:?}");
    }
    let page = pull(&peer, Extension { conv_pos: 6, ..to(kind::DIRECT, 7) }, b"").await;
    let (header, body) = frames(&page.body).pop().unwrap();
    assert_eq!((header.ext.pos, header.ext.conv, header.ext.flags, body.len()), (0, 7, 0, 100), "as the reader sees it");
    // Nobody wrote, or nobody is there.
    let empty = pull(&client, to(kind::DIRECT, 1234), b"").await;
    assert_eq!((empty.ext, empty.body.len()), (Extension { pos: 1, ..to(kind::DIRECT, 1234) }, 0));
    for (ext, body, refusal) in [
        (after(8), &b""[..], Refusal::BadRequest),
        (after(u64::MAX), b"", Refusal::BadRequest),
        (after(0), b"1", Refusal::BadRequest),
        (to(kind::NOTICE, 9), b"", Refusal::BadRequest),
        (to(kind::ROOM, 9), b"", Refusal::BadRequest),
        (to(kind::GROUP, 44), b"", Refusal::NotMember),
    ] {
        assert_eq!(refused(world.asked(&client, PULL, ext, body).await), refusal, "{ext:?}");
    }
}

#[tokio::test]
async fn what_a_new_member_may_read() {
    for (history, floor, first) in [(History::All, 1, 1), (History::Joined, 3, 3)] {
        let world = World::storing(StoredConfig { history, ..StoredConfig::default() });
        world.put_group(4, false, 0, &[7]).await;
        let (old, new) = (world.client(7, "", 1), world.client(8, "", 2));
        ok(world.asked(&old, SEND_MSG, Extension { cid: 1, ..to(kind::GROUP, 4) }, b"before").await);
        let kind = GroupChangeKind::Members as i32;
        world.change(GroupChange { group: 4, kind, add: vec![8], ..GroupChange::default() }).await;
        let page = ok(world.asked(&new, PULL, to(kind::GROUP, 4), b"").await);
        assert_eq!((page.ext.pos, positions(&page.body, |ext| ext.conv_pos)[0]), (floor, first));
        let below = world.asked(&new, PULL, Extension { conv_pos: 1, ..to(kind::GROUP, 4) }, b"").await;
        if history == History::Joined {
            assert_eq!(refused(below), Refusal::TooOld);
        }
        assert_eq!(ok(world.asked(&old, PULL, to(kind::GROUP, 4), b"").await).ext.pos, 1);
    }
}

#[tokio::test]
async fn heads_list_what_a_user_has() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    chat(&world, &client, 9, 2).await;
    chat(&world, &client, 3, 1).await;
    world.put_group(4, false, 0, &[7]).await;
    world.put_group(5, true, 7, &[7]).await;
    let heads = async |ext: Extension, body: &[u8]| {
        let page = ok(world.asked(&client, HEADS, ext, body).await);
        let list: Vec<_> = frames(&page.body)
            .iter()
            .map(|(header, body)| {
                assert_eq!((header.op, body.len(), header.ext.id == 0), (HEAD, 0, false));
                (header.ext.kind, header.ext.conv, header.ext.conv_pos, header.ext.pos)
            })
            .collect();
        (list, page.ext.flags)
    };
    let all = vec![(1, 3, 1, 0), (1, 9, 2, 0), (2, 4, 1, 0), (3, 5, 1, 0)];
    assert_eq!(heads(to(0, 0), b"").await, (all.clone(), 0));
    assert_eq!(heads(to(0, 0), &limit(1)).await, (all[..1].to_vec(), flag::MORE));
    assert_eq!(heads(to(1, 3), &limit(2)).await, (all[1..3].to_vec(), flag::MORE));
    assert_eq!(heads(to(3, 0), b"").await, (all[3..].to_vec(), 0));
    assert_eq!(heads(to(3, 5), b"").await, (vec![], 0));
    assert_eq!(refused(world.asked(&client, HEADS, to(4, 0), b"").await), Refusal::BadRequest);
    assert_eq!(refused(world.asked(&client, HEADS, to(0, 0), b"12").await), Refusal::BadRequest);
}

#[tokio::test]
async fn a_room_that_keeps_its_last_frames() {
    let recovery = BTreeMap::from([("live".to_owned(), 3)]);
    let world = World::storing(StoredConfig { recovery, ..StoredConfig::default() });
    let tail = |room: &str, pos| match world.kept().inbox.room_tail(room, pos) {
        Verdict::Now(tail) => tail,
        Verdict::Later(_) => panic!("the store is there"),
    };
    assert_eq!((tail("chat://1", 5), tail("live://1", 0)), (RoomTail::default(), RoomTail::default()));
    let room = "live://1".to_owned();
    for at in 0..5u8 {
        let message = RoomMessage { room: room.clone(), op: 1000, body: vec![at].into(), expire_at_ms: 0 };
        world.write(0, &Conv::Room(room_hash(&room)).to_string(), log_record::Body::Room(message)).await;
    }
    let head = tail(&room, 0).head;
    assert!(head > 4);
    let missed = tail(&room, head - 2);
    assert_eq!((missed.head, missed.gone), (head, false));
    let frames = frames(&missed.frames);
    let last = &frames[1];
    assert_eq!((frames.len(), &last.1[..], last.0.op), (2, &[4u8][..], 1000));
    let ext = Extension { id: last.0.ext.id, pos: head, conv: room_hash(&room), kind: kind::ROOM, ..Extension::default() };
    assert_eq!(last.0.ext, ext);
    let whole = tail(&room, head);
    assert_eq!((whole.gone, whole.frames.len()), (false, 0));
    for pos in [1, head - 4, head + 1, u64::MAX] {
        let gone = tail(&room, pos);
        assert_eq!((gone.head, gone.gone, gone.frames.len()), (head, true, 0), "{pos}");
    }
}

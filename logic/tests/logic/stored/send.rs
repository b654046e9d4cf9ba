//! SEND_MSG, row by row.

use perseid_log::AppendError;
use perseid_logic::{Answerer, StoredConfig, StoredRefusal, StoredRequest, Thread};
use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, Header, flag, kind};
use perseid_protocol::op::{PULL, SEND_MSG, SYNC};
use perseid_rpc::{BlockMark, GroupChange, GroupChangeKind, log_record};

use super::{Pace, frames, ok, refused, to};
use crate::fakes::{Mode, World};

fn message(kind: u16, conv: u64, cid: u64) -> Extension {
    Extension { cid, ..to(kind, conv) }
}

#[tokio::test]
async fn a_message_is_in_both_inboxes_when_it_is_answered() {
    let world = World::storing(StoredConfig::default());
    let (sender, receiver) = (world.client(7, "", 1), world.client(9, "", 2));
    let quiet = Extension { flags: flag::QUIET | flag::GONE, ..message(kind::DIRECT, 9, 3) };
    let (outcome, thread) = world.request(&sender, SEND_MSG, quiet, b"hi").await;
    let reply = ok(outcome).ext;
    assert_eq!(thread, Some(Thread::Log), "no task: the log's thread answers");
    assert_ne!(reply.id, 0);
    assert_eq!(reply, Extension { id: reply.id, conv: 9, from: 7, cid: 3, kind: 1, ..Extension::default() });
    for (client, conv) in [(&sender, 9), (&receiver, 7)] {
        let page = ok(world.asked(client, SYNC, Extension::default(), b"").await);
        let (header, body) = frames(&page.body).pop().unwrap();
        let flags = flag::STORED | flag::QUIET;
        let stored = Extension { id: reply.id, pos: 1, conv, conv_pos: 1, from: 7, cid: 3, kind: 1, flags };
        assert_eq!((header.ext, &body[..], header.op, header.seq), (stored, &b"hi"[..], SEND_MSG, 0));
    }
}

#[tokio::test]
async fn to_oneself_it_is_there_once() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    assert_eq!(ok(world.asked(&client, SEND_MSG, message(1, 7, 3), b"note").await).ext.conv, 7);
    let page = ok(world.asked(&client, SYNC, Extension::default(), b"").await);
    assert_eq!((page.ext.pos, frames(&page.body).len()), (1, 1));
}

#[tokio::test]
async fn the_same_cid_is_one_message_whatever_has_happened_since() {
    let world = World::storing(StoredConfig { sends_per_second: 2, ..StoredConfig::default() });
    world.put_group(4, false, 0, &[7, 8]).await;
    let client = world.client(7, "", 1);
    let first = ok(world.asked(&client, SEND_MSG, message(2, 4, 3), b"hi").await).ext;
    let kind = GroupChangeKind::Members as i32;
    world.change(GroupChange { group: 4, kind, remove: vec![7], ..GroupChange::default() }).await;
    let _ = world.asked(&client, SEND_MSG, message(1, 9, 1), b"hi").await;
    for _ in 0..3 {
        let again = ok(world.asked(&client, SEND_MSG, message(2, 4, 3), b"hi").await).ext;
        assert_eq!(again, Extension { flags: flag::DUPLICATE, ..first }, "before membership and rate");
    }
    assert_eq!(refused(world.asked(&client, SEND_MSG, message(2, 4, 3), b"ho").await), Refusal::Conflict);
    assert_eq!(refused(world.asked(&client, SEND_MSG, message(2, 4, 5), b"hi").await), Refusal::NotMember);
    world.kept().inbox.reload(StoredConfig::default());
    // Of another conversation the cid is another one.
    assert_eq!(ok(world.asked(&client, SEND_MSG, message(1, 4, 3), b"hi").await).ext.flags, 0);
}

#[tokio::test]
async fn the_groups_own_kind_counts() {
    let world = World::storing(StoredConfig::default());
    world.put_group(4, false, 0, &[7]).await;
    world.put_group(5, true, 7, &[7, 8]).await;
    let (owner, member) = (world.client(7, "", 1), world.client(8, "", 2));
    assert_eq!(ok(world.asked(&owner, SEND_MSG, message(3, 4, 1), b"").await).ext.kind, kind::GROUP);
    assert_eq!(ok(world.asked(&owner, SEND_MSG, message(2, 5, 1), b"").await).ext.kind, kind::CHANNEL);
    assert_eq!(refused(world.asked(&member, SEND_MSG, message(3, 5, 1), b"").await), Refusal::PermissionDenied);
    let page = ok(world.asked(&member, PULL, to(3, 5), b"").await);
    assert_eq!(frames(&page.body).last().unwrap().0.ext.kind, kind::CHANNEL);
}

#[tokio::test]
async fn what_is_refused() {
    let world = World::storing(StoredConfig { body_bytes_max: 4, ..StoredConfig::default() });
    let client = world.client(7, "", 1);
    let block = log_record::Body::Block(BlockMark { peer: 7, blocked: true });
    world.write(9, "d7:9", block).await;
    for (ext, body, refusal) in [
        (message(1, 9, 0), &b"x"[..], Refusal::BadRequest),
        (message(1, 0, 1), b"x", Refusal::BadRequest),
        (message(1, 8, 1), b"12345", Refusal::BadRequest),
        (message(0, 8, 1), b"x", Refusal::PermissionDenied),
        (message(4, 8, 1), b"x", Refusal::PermissionDenied),
        (message(5, 8, 1), b"x", Refusal::PermissionDenied),
        (message(1, 9, 1), b"x", Refusal::Blocked),
        (message(2, 44, 1), b"x", Refusal::NotMember),
    ] {
        assert_eq!(refused(world.asked(&client, SEND_MSG, ext, body).await), refusal, "{ext:?}");
    }
    assert!(world.log.stored().is_empty());
    let counted: u64 = world.counters().stored.iter().filter(|(op, ..)| *op == "send").map(|(.., count)| count).sum();
    assert_eq!(counted, 8);
}

#[tokio::test]
async fn what_the_log_refuses_is_told_and_can_be_sent_again() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    for (mode, refusal, says_when) in [
        (Mode::Refuse(AppendError::Overloaded), Refusal::Unavailable, true),
        (Mode::Refuse(AppendError::Unavailable("full".into())), Refusal::Unavailable, true),
        (Mode::Refuse(AppendError::Unknown("sync".into())), Refusal::Unknown, false),
        (Mode::Forget, Refusal::Unknown, false),
    ] {
        world.log.set(mode);
        let (outcome, thread) = world.request(&client, SEND_MSG, message(1, 9, 3), b"hi").await;
        let StoredRefusal { refusal: got, retry_after_ms, .. } = outcome.unwrap_err();
        assert_eq!((got, retry_after_ms.is_some(), thread), (refusal, says_when, Some(Thread::Other)));
    }
    world.log.set(Mode::Take);
    let first = ok(world.asked(&client, SEND_MSG, message(1, 9, 3), b"hi").await).ext;
    assert_eq!(first.flags, 0);
    let again = ok(world.asked(&client, SEND_MSG, message(1, 9, 3), b"hi").await).ext;
    assert_eq!(again, Extension { flags: flag::DUPLICATE, ..first });
    // An attempt that may be written keeps its id.
    let ids: Vec<u64> = world.log.stored().iter().map(|record| record.id).collect();
    assert!(ids.iter().all(|id| *id == first.id), "{ids:?}");
}

/// The answer is here and nobody has applied the message yet.
#[tokio::test]
async fn a_repetition_is_told_as_one_before_the_first_is_applied() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    world.log.set(Mode::Swallow);
    let first = ok(world.asked(&client, SEND_MSG, message(1, 9, 3), b"hi").await).ext;
    assert_eq!(first.flags, 0);
    let again = ok(world.asked(&client, SEND_MSG, message(1, 9, 3), b"hi").await).ext;
    assert_eq!(again, Extension { flags: flag::DUPLICATE, ..first });
    assert_eq!(refused(world.asked(&client, SEND_MSG, message(1, 9, 3), b"ho").await), Refusal::Conflict);
}

/// Twins in one packet.
#[tokio::test]
async fn of_two_in_flight_the_second_is_the_duplicate() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    world.log.set(Mode::Hold);
    let ask = || world.asked(&client, SEND_MSG, message(1, 9, 3), b"hi");
    let (first, second, ()) = tokio::join!(ask(), ask(), async { world.log.release(&Ok(1)) });
    let (first, second) = (ok(first).ext, ok(second).ext);
    assert_eq!(first.flags, 0);
    assert_eq!(second, Extension { flags: flag::DUPLICATE, ..first });
}

/// Or who had reserved his messages could send them though he was removed since.
#[tokio::test]
async fn what_the_rate_refuses_is_asked_of_anew() {
    let world = World::storing(StoredConfig { sends_per_second: 1, ..StoredConfig::default() });
    world.put_group(4, false, 0, &[7, 8]).await;
    let client = world.client(7, "", 1);
    ok(world.asked(&client, SEND_MSG, message(2, 4, 1), b"hi").await);
    assert_eq!(refused(world.asked(&client, SEND_MSG, message(2, 4, 2), b"hi").await), Refusal::RateLimited);
    let kind = GroupChangeKind::Members as i32;
    world.change(GroupChange { group: 4, kind, remove: vec![7], ..GroupChange::default() }).await;
    world.kept().inbox.reload(StoredConfig::default());
    assert_eq!(refused(world.asked(&client, SEND_MSG, message(2, 4, 2), b"hi").await), Refusal::NotMember);
}

#[tokio::test]
async fn too_many_at_once() {
    let world = World::storing(StoredConfig { sends_per_second: 3, ..StoredConfig::default() });
    let client = world.client(7, "", 1);
    let header = |cid| Header { ver: 2, op: SEND_MSG, seq: 1, ext: message(1, 9, cid) };
    let now_ms = super::unix_ms();
    for cid in 1..=3 {
        ok(world.ask_as_of(&client, &header(cid), b"", now_ms).await.0);
    }
    let limited = world.ask_as_of(&client, &header(4), b"", now_ms).await.0.unwrap_err();
    assert_eq!((limited.refusal, limited.retry_after_ms), (Refusal::RateLimited, Some(334)));
    ok(world.ask_as_of(&client, &header(4), b"", now_ms + 334).await.0);
    // What is not written does not count.
    for _ in 0..9 {
        ok(world.ask_as_of(&client, &header(4), b"", now_ms + 668).await.0);
    }
    ok(world.ask_as_of(&client, &header(5), b"", now_ms + 668).await.0);
    let other = world.client(8, "", 2);
    ok(world.ask_as_of(&other, &header(1), b"", now_ms).await.0);
}

#[tokio::test]
async fn what_waits_for_the_store_stays_in_order() {
    let world = std::sync::Arc::new(World::storing(StoredConfig::default()));
    let client = world.client(7, "", 1);
    world.pace(Pace::Later);
    let asks: Vec<_> = (1..=20)
        .map(|cid| {
            let header = Header { ver: 2, op: SEND_MSG, seq: 1, ext: message(1, 9, cid) };
            let (tell, told) = tokio::sync::oneshot::channel();
            let answerer = || -> Answerer { Box::new(move |outcome, _| tell.send(outcome).unwrap()) };
            let request = StoredRequest {
                mid: 7,
                key: &client.key,
                addr: client.addr,
                header: &header,
                body: b"x",
                foreign: false,
                now_ms: super::unix_ms(),
            };
            if cid == 10 {
                // From here on it would answer at once.
                world.pace(Pace::Now);
            }
            assert!(world.kept().inbox.request(&request, answerer).is_none());
            told
        })
        .collect();
    for told in asks {
        ok(told.await.unwrap());
    }
    let cids: Vec<u64> = world.log.stored().iter().map(|record| record.idem).collect();
    assert_eq!(cids, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn behind_one_that_failed_nothing_is_sent() {
    let world = World::storing(StoredConfig { sends_per_second: 1, ..StoredConfig::default() });
    let client = world.client(7, "", 1);
    world.pace(Pace::Later);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for cid in 1..=4 {
        let header = Header { ver: 2, op: SEND_MSG, seq: 1, ext: message(1, 9, cid) };
        let tell = tell.clone();
        let answerer = || -> Answerer { Box::new(move |outcome, _| tell.send((cid, outcome)).unwrap()) };
        let request = StoredRequest {
            mid: 7,
            key: &client.key,
            addr: client.addr,
            header: &header,
            body: b"x",
            foreign: false,
            now_ms: super::unix_ms(),
        };
        assert!(world.kept().inbox.request(&request, answerer).is_none());
    }
    let mut outcomes = std::collections::BTreeMap::new();
    while outcomes.len() < 4 {
        let (cid, outcome) = told.recv().await.unwrap();
        outcomes.insert(cid, outcome.map(|_| ()).map_err(|refused| refused.refusal));
    }
    let outcomes: Vec<_> = outcomes.into_values().collect();
    let unavailable = Err(Refusal::Unavailable);
    assert_eq!(outcomes, [Ok(()), Err(Refusal::RateLimited), unavailable, unavailable]);
    // Afterwards the session sends as before.
    world.pace(Pace::Now);
    world.kept().inbox.reload(StoredConfig::default());
    ok(world.asked(&client, SEND_MSG, message(1, 9, 2), b"x").await);
}

#[tokio::test]
async fn without_the_store_nothing_is_written() {
    let world = World::storing(StoredConfig::default());
    let client = world.client(7, "", 1);
    world.pace(Pace::Down);
    for op in [SEND_MSG, SYNC, PULL] {
        let down = world.asked(&client, op, message(1, 9, 1), b"").await.unwrap_err();
        assert_eq!((down.refusal, down.retry_after_ms.is_some()), (Refusal::Unavailable, true));
    }
    assert!(world.log.stored().is_empty());
}

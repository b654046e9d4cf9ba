//! READ.

use perseid_log::AppendError;
use perseid_logic::StoredConfig;
use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, kind};
use perseid_protocol::op::{READ, SEND_MSG};
use perseid_rpc::{LogRecord, ReadMark, log_record};

use super::{Client, ok, refused, to};
use crate::fakes::{Mode, World};

fn upto(conv_pos: u64) -> Extension {
    Extension { conv_pos, ..to(kind::DIRECT, 9) }
}

async fn chat(world: &World, count: u64) -> Client {
    let client = world.client(7, "", 1);
    for cid in 1..=count {
        ok(world.asked(&client, SEND_MSG, Extension { cid, ..to(kind::DIRECT, 9) }, b"x").await);
    }
    client
}

fn marks(world: &World) -> Vec<(u64, bool)> {
    let mark = |record: LogRecord| match record.body {
        Some(log_record::Body::Read(mark)) => Some((mark.conv_pos, mark.silent)),
        _ => None,
    };
    world.log.stored().into_iter().filter_map(mark).collect()
}

#[tokio::test]
async fn it_never_goes_back_and_not_beyond_the_head() {
    let world = World::storing(StoredConfig::default());
    let client = chat(&world, 5).await;
    for (asked, holds) in [(0, 0), (2, 2), (1, 2), (5, 5), (4, 5), (5, 5)] {
        let reply = ok(world.asked(&client, READ, upto(asked), b"").await);
        assert_eq!(reply.ext, upto(holds), "{asked}");
    }
    for pos in [6, u64::MAX] {
        assert_eq!(refused(world.asked(&client, READ, upto(pos), b"").await), Refusal::BadRequest);
    }
    assert_eq!(refused(world.asked(&client, READ, to(kind::GROUP, 44), b"").await), Refusal::NotMember);
    assert_eq!(refused(world.asked(&client, READ, to(kind::EVENT, 9), b"").await), Refusal::BadRequest);
    assert_eq!(refused(world.asked(&client, READ, to(kind::DIRECT, 0), b"").await), Refusal::BadRequest);
}

#[tokio::test]
async fn the_first_is_told_and_the_last_of_a_burst_is() {
    let world = World::storing(StoredConfig::default());
    let client = chat(&world, 9).await;
    for pos in 1..=8 {
        ok(world.asked(&client, READ, upto(pos), b"").await);
    }
    let (first, rest) = (marks(&world)[0], marks(&world));
    assert_eq!(first, (1, false));
    // However slow this machine is: what was silent is told in the end, and nothing after that is left.
    while marks(&world).last() != Some(&(8, false)) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(rest.iter().any(|(_, silent)| *silent) || rest.len() == 8);
}

#[tokio::test]
async fn what_the_log_refuses_does_not_hold() {
    let world = World::storing(StoredConfig::default());
    let client = chat(&world, 5).await;
    world.log.set(Mode::Refuse(AppendError::Overloaded));
    assert_eq!(refused(world.asked(&client, READ, upto(3), b"").await), Refusal::Unavailable);
    world.log.set(Mode::Take);
    assert_eq!(ok(world.asked(&client, READ, upto(2), b"").await).ext.conv_pos, 2);
}

#[tokio::test]
async fn a_mark_that_nobody_was_told_of_before_a_restart_is_told_after_it() {
    let world = World::storing(StoredConfig::default());
    chat(&world, 5).await;
    let record = |conv_pos, silent| LogRecord {
        id: 1,
        from: 7,
        body: Some(log_record::Body::Read(ReadMark { kind: 1, conv: 9, conv_pos, silent })),
        ..LogRecord::default()
    };
    // The first was told of, the second was not.
    for record in [record(2, true), record(2, false), record(4, true)] {
        world.accept.restore_stored(&record);
    }
    while marks(&world).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(marks(&world), [(4, false)]);
}

//! The client over real sockets, on every transport, against a server with faults.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use perseid_client::{Disconnect, Error, Event, FileStorage, From, Item, MemoryStorage, Record, Storage, Stored, What, kind};
use perseid_protocol::frame::{Extension, flag};
use perseid_protocol::room::room_hash;
use perseid_protocol::{CloseReason, Refusal, op};
use support::{ALL, Server, Transport, connect, eventually, frame, messages, until};

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| format!("m{number}")).collect()
}

#[tokio::test]
async fn pages_then_pushes_on_every_transport() {
    for transport in ALL {
        let server = Server::start(transport).await;
        server.write(numbers(0..90));
        let (client, mut events) = connect(server.config(1)).await;
        assert_eq!(messages(&mut events, 1, 90).await, numbers(0..90), "{transport:?}");
        until(&mut events, "synced", |event| matches!(event, Event::Synced { head: 90 }).then_some(())).await;
        server.write(numbers(90..95));
        assert_eq!(messages(&mut events, 91, 5).await, numbers(90..95), "{transport:?}");
        let sent = client.send_direct(2, "hello").await.unwrap();
        let cid = sent.cid();
        assert_eq!(sent.await.unwrap().cid, cid);
        assert_eq!(messages(&mut events, 96, 1).await, ["hello"]);
        client.close().await;
        until(&mut events, "closed", |event| matches!(event, Event::Closed { reason: Disconnect::Asked }).then_some(())).await;
        assert!(events.next().await.is_none());
        assert_eq!(client.send_direct(2, "late").await.unwrap_err(), Error::Closed);
    }
}

#[tokio::test]
async fn cut_connections_lose_and_double_nothing() {
    for transport in ALL {
        let server = Server::start(transport).await;
        // Each session dies with its fifteenth request, which is done but not answered.
        server.set_requests_max(15);
        let (client, mut events) = connect(server.config(1)).await;
        let mut sending = Vec::new();
        for number in 0..60 {
            sending.push(client.send_group(number % 7 + 1, format!("s{number}")).await.unwrap());
        }
        let mut first = true;
        for one in sending {
            if std::mem::take(&mut first) {
                server.cut();
            }
            one.await.unwrap();
        }
        let seen = messages(&mut events, 1, 60).await;
        let log: Vec<String> = server.log().iter().map(|one| String::from_utf8(one.body.to_vec()).unwrap()).collect();
        assert_eq!(seen, log, "{transport:?}");
        let mut all = seen.clone();
        all.sort_unstable_by_key(|body| body[1..].parse::<u64>().unwrap());
        assert_eq!(all, (0..60).map(|number| format!("s{number}")).collect::<Vec<_>>(), "each once");
        for group in 0..7 {
            let of_group: Vec<u64> =
                seen.iter().map(|body| body[1..].parse().unwrap()).filter(|number| number % 7 == group).collect();
            assert!(of_group.is_sorted(), "{transport:?}: group {group} in order: {of_group:?}");
        }
        let (counts, waiting) = client.counts().await.unwrap();
        assert!(counts.sessions > 3 && waiting == 0, "{counts:?}");
    }
}

#[tokio::test]
async fn the_outbox_survives_the_program_with_its_cids() {
    let folder = tempfile::tempdir().unwrap();
    let storage = || FileStorage::new(folder.path().join("client"));
    let server = Server::start(Transport::Tcp).await;
    server.state.mute.store(true, Ordering::SeqCst);
    // The first life: one message is accepted, and nobody says so; one is never sent, because the one before it is in flight.
    let (client, mut events) = connect(server.config(1).storage(storage())).await;
    let first = client.send_direct(2, "first").await.unwrap();
    let second = client.send_direct(2, "second").await.unwrap();
    let (first_cid, second_cid) = (first.cid(), second.cid());
    eventually("the first is in the log", || server.log().len() == 1).await;
    // Without its echo the client can't know.
    server.cut();
    server.state.farewell.lock().unwrap().clone_from(&CloseReason::Kicked.json(None, None));
    until(&mut events, "closed", |event| matches!(event, Event::Closed { .. }).then_some(())).await;
    client.close().await;
    assert_eq!(first.await.unwrap_err(), Error::Closed);
    drop((client, events, second));
    // The second life.
    server.state.farewell.lock().unwrap().clear();
    server.state.mute.store(false, Ordering::SeqCst);
    let (_client, mut events) = connect(server.config(1).storage(storage())).await;
    let mut outcomes = Vec::new();
    while outcomes.len() < 2 {
        let outcome = |event: &Event| match event {
            Event::Outcome { cid, result } => Some((*cid, result.clone())),
            _ => None,
        };
        outcomes.push(until(&mut events, "an outcome", outcome).await);
    }
    assert!(outcomes.iter().all(|(_, result)| result.is_ok()), "{outcomes:?}");
    assert_eq!(outcomes.iter().map(|(cid, _)| *cid).collect::<Vec<_>>(), [first_cid, second_cid]);
    let bodies: Vec<Bytes> = server.log().iter().map(|one| one.body.clone()).collect();
    assert_eq!(bodies, ["first", "second"]);
}

#[tokio::test]
async fn the_cursor_moves_only_past_what_was_processed() {
    let server = Server::start(Transport::Tcp).await;
    server.write(numbers(0..10));
    let storage = MemoryStorage::new();
    let (client, mut events) = connect(server.config(1).storage(storage.clone())).await;
    // Ten were asked for, the tenth is still being worked on.
    messages(&mut events, 1, 10).await;
    client.close().await;
    assert_eq!(storage.stored().cursor.pos, 9);
    let (client, mut events) = connect(server.config(1).storage(storage.clone())).await;
    assert_eq!(messages(&mut events, 10, 1).await, ["m9"]);
    until(&mut events, "synced", |event| matches!(event, Event::Synced { .. }).then_some(())).await;
    client.close().await;
    assert_eq!(storage.stored().cursor.pos, 10);
    assert_eq!(server.state.auths.lock().unwrap()[1]["pos"], 9);
    assert!(server.requests(op::ACK).iter().all(|(header, _)| header.seq == 0 && header.ext.pos <= 10));
}

#[tokio::test]
async fn acks_by_hand() {
    let server = Server::start(Transport::Tcp).await;
    server.write(numbers(0..10));
    let storage = MemoryStorage::new();
    let (client, mut events) = connect(server.config(1).storage(storage.clone()).acks_by_hand()).await;
    let mut positions = Vec::new();
    while positions.len() < 10 {
        positions.push(until(&mut events, "a message", Event::position).await);
    }
    client.ack(positions[3]);
    eventually("it is stored", || storage.stored().cursor == positions[3]).await;
    client.close().await;
    assert_eq!(storage.stored().cursor, positions[3]);
}

#[tokio::test]
async fn told_to_stay_away_it_stays_away_until_something_changes() {
    let server = Server::start(Transport::WebSocket).await;
    server.state.farewell.lock().unwrap().clone_from(&CloseReason::Unauthenticated.json(None, None));
    let (client, mut events) = connect(server.config(1)).await;
    let reason = until(&mut events, "closed", |event| match event {
        Event::Closed { reason } => Some(reason.clone()),
        _ => None,
    })
    .await;
    assert!(matches!(reason, Disconnect::Told(farewell) if farewell.known() == Some(CloseReason::Unauthenticated)));
    server.state.farewell.lock().unwrap().clear();
    client.set_token("a better one").await.unwrap();
    until(&mut events, "connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    let auths = server.state.auths.lock().unwrap();
    assert_eq!((auths.len(), &auths[1]["token"]), (2, &serde_json::json!("a better one")));
}

#[tokio::test]
async fn a_slow_application_loses_no_message_and_can_still_ask() {
    for transport in [Transport::Tcp, Transport::WebSocket] {
        let server = Server::start(transport).await;
        let (client, mut events) = connect(server.config(1).events_bytes_max(100_000)).await;
        until(&mut events, "synced", |event| matches!(event, Event::Synced { .. }).then_some(())).await;
        let body = |number: u64| format!("{number}:{}", "x".repeat(30_000));
        server.write((0..400).map(body));
        let sent = client.send_direct(5, "meanwhile").await.unwrap();
        tokio::time::timeout(support::PATIENCE, sent).await.unwrap().unwrap();
        server.push(1000, Extension::default(), b"dropped, and said so");
        let beat = client.read(kind::DIRECT, 5, 1).await.unwrap();
        assert_eq!(beat, 1, "answered behind the push");
        let seen = messages(&mut events, 1, 401).await;
        assert!((0..400).all(|number| seen[usize::try_from(number).unwrap()] == body(number)), "{transport:?}");
        assert!(client.counts().await.unwrap().0.inbox_dropped > 0, "more was pushed than may wait");
        drop(events);
    }
}

#[tokio::test]
async fn requests_and_their_answers() {
    let server = Server::start(Transport::Tcp).await;
    let (client, _events) = connect(server.config(1)).await;
    let ext = Extension { kind: kind::GROUP, conv: 5, conv_pos: 3, from: 2, id: 8, ..Extension::default() };
    let mut page = frame(op::SEND_MSG, 0, ext, b"old");
    let event = Extension { kind: kind::EVENT, conv_pos: 4, ..ext };
    page.extend(frame(op::SEND_MSG, 0, event, br#"{"type":"recall","conv_pos":1,"id":"6"}"#));
    let reply = Extension { conv_pos: 9, pos: 2, flags: flag::MORE, ..Extension::default() };
    server.answer(op::PULL, op::PULL_REPLY, reply, &page);
    let page = client.pull(kind::GROUP, 5, From::Before(5), 2).await.unwrap();
    assert_eq!((page.head, page.floor, page.more), (9, 2, true));
    assert!(matches!(&page.items[0], Item::Message(message) if message.body == "old" && message.conv_pos == 3));
    assert!(matches!(&page.items[1], Item::Change(change) if change.what == What::Recall { conv_pos: 1, id: 6 }));
    let (asked, body) = server.requests(op::PULL).remove(0);
    assert_eq!((asked.ext.kind, asked.ext.conv, asked.ext.conv_pos, asked.ext.flags), (2, 5, 5, flag::MORE));
    assert_eq!(body, 2u32.to_be_bytes().as_slice());

    let head = Extension { kind: kind::GROUP, conv: 5, conv_pos: 9, pos: 4, id: 8, ..Extension::default() };
    server.answer(op::HEADS, op::HEADS_REPLY, Extension::default(), &frame(op::HEAD, 0, head, &[]));
    let heads = client.heads(None, 0).await.unwrap();
    assert_eq!((heads.heads[0].conv_pos, heads.heads[0].read_pos, heads.more), (9, 4, false));

    assert_eq!(client.read(kind::GROUP, 5, 7).await.unwrap(), 7);
    client.subscribe(&[1000, 1001]).await.unwrap();
    client.unsubscribe(&[1000]).await.unwrap();
    client.upstream(2000, "up").await.unwrap();
    assert_eq!(server.requests(2000)[0].1, "up");
    assert!(matches!(client.upstream(7, "no").await, Err(Error::Invalid(_))));
    server.answer(op::RECALL, op::ERROR, Extension::default(), Refusal::PermissionDenied.json("too late", None, None).as_bytes());
    let refused = client.recall(kind::GROUP, 5, 7).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::PermissionDenied));
    // What was subscribed to holds on the next session.
    server.cut();
    eventually("a second session", || server.state.auths.lock().unwrap().len() == 2).await;
    assert_eq!(server.state.auths.lock().unwrap()[1]["accepts"], serde_json::json!([1001]));
}

#[tokio::test]
async fn a_room_comes_back_with_what_was_missed() {
    const ROOM: &str = "live://1";
    let server = Server::start(Transport::WebSocket).await;
    let (client, mut events) = connect(server.config(1)).await;
    until(&mut events, "synced", |event| matches!(event, Event::Synced { .. }).then_some(())).await;
    let head = |pos| Extension { pos, ..Extension::default() };
    server.answer(op::CHANGE_ROOM, op::CHANGE_ROOM_REPLY, head(10), ROOM.as_bytes());
    assert_eq!(client.change_room(ROOM).await.unwrap().head, 10);
    let room_frame = |pos| Extension { pos, conv: room_hash(ROOM), kind: kind::ROOM, ..Extension::default() };
    let position = |event: &Event| match event {
        Event::RoomFrame(frame) => Some(frame.pos),
        Event::RoomGap(gap) => panic!("{gap:?}"),
        _ => None,
    };
    server.push(1000, room_frame(11), b"a");
    assert_eq!(until(&mut events, "a frame", position).await, 11);
    server.answer(op::CHANGE_ROOM, op::CHANGE_ROOM_REPLY, Extension { flags: flag::GONE, ..head(40) }, ROOM.as_bytes());
    server.cut();
    let gap = until(&mut events, "the gap", |event| match event {
        Event::RoomGap(gap) => Some(gap.clone()),
        _ => None,
    })
    .await;
    assert_eq!((gap.after, gap.head, gap.room.as_str()), (11, 40, ROOM));
    assert_eq!(server.requests(op::CHANGE_ROOM)[1].0.ext.pos, 11, "from the last position seen");
    assert!(matches!(client.change_room("nonsense").await, Err(Error::Invalid(_))));
}

struct Broken(bool);

impl Storage for Broken {
    fn load(&mut self) -> std::io::Result<Stored> {
        if self.0 { Err(std::io::Error::other("unreadable")) } else { Ok(Stored::default()) }
    }

    fn save(&mut self, _: &[Record]) -> std::io::Result<()> {
        Err(std::io::Error::other("full"))
    }
}

#[tokio::test]
async fn without_storage_nothing_is_promised() {
    let server = Server::start(Transport::Tcp).await;
    let unreadable = perseid_client::Client::connect(server.config(1).storage(Broken(true))).await;
    assert!(matches!(unreadable, Err(Error::Storage(_))));
    let (client, mut events) = connect(server.config(1).storage(Broken(false))).await;
    let refused = client.send_direct(2, "never sent").await.unwrap_err();
    assert!(matches!(refused, Error::Storage(_) | Error::Closed), "{refused:?}");
    let closed = |event: &Event| matches!(event, Event::Closed { reason: Disconnect::Storage(_) }).then_some(());
    until(&mut events, "closed", closed).await;
    assert!(server.requests(op::SEND_MSG).is_empty());
}

#[tokio::test]
async fn what_is_no_server_of_ours_is_said() {
    for (transport, of) in [(Transport::Tcp, "tls"), (Transport::Tcp, "ws"), (Transport::Tls, "wss")] {
        let server = Server::start(transport).await;
        let url = format!("{of}://localhost:{}", server.addr.port());
        let config = perseid_client::Config::new(&url, 1).unwrap().trusted(perseid_client::Trusted::System);
        let (_client, mut events) = connect(config).await;
        let lost = |event: &Event| match event {
            Event::Disconnected { reason, .. } => Some(reason.to_string()),
            _ => None,
        };
        let reason = until(&mut events, "a reason", lost).await;
        assert!(reason.contains("no connection to localhost"), "{reason}");
    }
}

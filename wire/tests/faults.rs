//! Connections that are cut, comets that hang, a logic that begins anew: nothing is lost, nothing comes twice, and nobody else
//! waits.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use perseid_job::LaneConfig;
use perseid_protocol::SessionKey;
use perseid_rpc::cluster as rpc;
use perseid_rpc::cluster::comet_client::CometClient;
use perseid_wire::Dial;
use perseid_wire::comet::PushSnapshot;
use perseid_wire::logic::CometLaneInfo;
use support::{Client, Options, Proxy, TestComet, TestLogic, runtime, until};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

fn lane(logic: &TestLogic, name: &str) -> CometLaneInfo {
    logic.comets.lane_infos().into_iter().find(|lane| lane.name == name).unwrap()
}

/// Waits until the job has been told of all rooms that comets hold, and of `room` by this many.
fn announced(logic: &TestLogic, room: &str, comets: usize) {
    until("the rooms are announced", || {
        let lanes = logic.lanes.all();
        let interests: Vec<_> = lanes.iter().filter_map(|lane| lane.room_interest()).collect();
        let told_all = interests.iter().all(|rooms| !rooms.holds("live://none"));
        (told_all && interests.iter().filter(|rooms| rooms.holds(room)).count() == comets).then_some(())
    });
}

/// A comet that jobs reach through a proxy.
fn behind_a_proxy(runtime: &Runtime, name: &str, logic: &TestLogic) -> (TestComet, Proxy) {
    let proxy = Proxy::start(None);
    let comet = TestComet::start(runtime, name, logic.addr, None, |addr| {
        proxy.lead_to(addr);
        proxy.addr
    });
    comet.wait_for_lane(logic);
    (comet, proxy)
}

#[test]
fn pushes_over_cut_connections_arrive_once_and_in_order() {
    const PUSHES: usize = 300;
    let runtime = runtime();
    // Cuts are no reason to give up: neither the breaker nor the retries end this test.
    let lane = LaneConfig { failures_max: 1_000, retries_max: 1_000, ..LaneConfig::default() };
    let mut logic = TestLogic::start(&runtime, &Options { lane, ..Options::default() });
    let (comet, proxy) = behind_a_proxy(&runtime, "comet", &logic);
    let mut client = comet.login(1, "a", "live://1");
    announced(&logic, "live://1", 1);
    let mut received = 0;
    for at in 0..PUSHES {
        let body = at.to_string();
        match at % 3 {
            0 => logic.push_to_mid(1, &body),
            1 => logic.push_to_room("live://1", &body),
            _ => logic.push_to_all(&body),
        }
        if at % 30 == 29 {
            // With a batch on its way, and once more when the next stream is there.
            proxy.cut();
            let streams = self::lane(&logic, "comet").streams;
            until("another stream", || (self::lane(&logic, "comet").streams > streams).then_some(()));
            while received < at / 2 {
                assert_eq!(client.push(), received.to_string());
                received += 1;
            }
        }
    }
    for at in received..PUSHES {
        assert_eq!(client.push(), at.to_string());
    }
    assert!(client.is_quiet());
    let lane = self::lane(&logic, "comet");
    assert_eq!((lane.counters.dropped(), lane.offline), (0, 0), "{lane:?}");
}

/// One stream of a lane, made by hand.
struct Lane {
    out: mpsc::Sender<rpc::JobMessage>,
    replies: tonic::Streaming<rpc::PushReply>,
    last_sequence: u64,
}

impl Lane {
    async fn open(comet: &TestComet, lane: u64) -> Self {
        let channel = Dial::default().connect(&comet.grpc.to_string()).await.unwrap();
        let (out, messages) = mpsc::channel(8);
        let config = comet.comet.config();
        let open = rpc::Open { version: 1, lane, node: config.node, incarnation: config.incarnation };
        out.send(rpc::JobMessage { message: Some(rpc::job_message::Message::Open(open)) }).await.unwrap();
        let replies = CometClient::new(channel).push(ReceiverStream::new(messages)).await.unwrap().into_inner();
        let mut lane = Self { out, replies, last_sequence: 0 };
        let Some(rpc::push_reply::Reply::Opened(opened)) = lane.reply().await else { panic!("not opened") };
        lane.last_sequence = opened.last_sequence;
        lane
    }

    async fn reply(&mut self) -> Option<rpc::push_reply::Reply> {
        self.replies.message().await.unwrap().and_then(|reply| reply.reply)
    }

    /// Sends a batch, and gives the sequence that the comet has then.
    async fn send(&mut self, sequence: u64, items: Vec<rpc::Item>) -> u64 {
        let batch = rpc::job_message::Message::Batch(rpc::Batch { sequence, items });
        self.out.send(rpc::JobMessage { message: Some(batch) }).await.unwrap();
        loop {
            match self.reply().await.unwrap() {
                rpc::push_reply::Reply::Ack(ack) => return ack.sequence,
                rpc::push_reply::Reply::Interest(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn to_room(body: &str) -> rpc::Item {
    let push = rpc::Push { op: 1000, filter_op: 1000, body: body.to_owned().into(), ..rpc::Push::default() };
    rpc::Item { push: Some(push), target: Some(rpc::item::Target::Room("live://1".into())) }
}

/// The acknowledgement was lost, or came from the stream before: the lane can't know, the comet does.
#[test]
fn a_batch_that_comes_again_is_not_delivered_again() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let comet = TestComet::connected(&runtime, "comet", &logic);
    let mut client = comet.login(1, "a", "live://1");
    let before = comet.push.counters().snapshot();
    runtime.block_on(async {
        let mut lane = Lane::open(&comet, 42).await;
        assert_eq!(lane.last_sequence, 0);
        assert_eq!(lane.send(1, vec![to_room("one")]).await, 1);
        assert_eq!(lane.send(1, vec![to_room("one")]).await, 1);
        drop(lane);
        let mut lane = Lane::open(&comet, 42).await;
        assert_eq!(lane.last_sequence, 1);
        assert_eq!(lane.send(1, vec![to_room("one")]).await, 1);
        assert_eq!(lane.send(2, vec![to_room("two"), rpc::Item::default(), to_room("three")]).await, 2);
        let other = Lane::open(&comet, 43).await;
        assert_eq!(other.last_sequence, 0, "another lane has numbers of its own");
    });
    for body in ["one", "two", "three"] {
        assert_eq!(client.push(), body);
    }
    assert!(client.is_quiet());
    let after = comet.push.counters().snapshot();
    assert_eq!((after.repeated, after.malformed), (2, 1));
    assert_eq!((after.batches - before.batches, after.deliveries - before.deliveries), (2, 3));
}

#[test]
fn a_hung_comet_delays_nobody_else_and_costs_no_more_than_its_bound() {
    const BYTES_MAX: usize = 256 << 10;
    let runtime = runtime();
    let lane = LaneConfig { bytes_max: BYTES_MAX, ..LaneConfig::default() };
    let mut logic = TestLogic::start(&runtime, &Options { lane, ..Options::default() });
    let (hung, proxy) = behind_a_proxy(&runtime, "hung", &logic);
    let well = TestComet::connected(&runtime, "well", &logic);
    let mut waits = hung.login(1, "a", "live://1");
    let mut client = well.login(2, "b", "live://1");
    announced(&logic, "live://1", 2);
    proxy.stall(true);
    let body = "x".repeat(4096);
    for at in 0..200 {
        logic.push_to_room("live://1", &format!("{at} {body}"));
        // The other comet has it although this one takes nothing.
        assert_eq!(client.push(), format!("{at} {body}"));
    }
    let lane = self::lane(&logic, "hung");
    assert!(lane.counters.dropped_full > 0 && lane.counters.sent == 0, "{lane:?}");
    assert!(lane.waiting.1 <= BYTES_MAX as u64, "{lane:?}");
    assert_eq!(self::lane(&logic, "well").counters.dropped(), 0);
    // Whoever wants in there is let in: logic is asked on another way.
    let _late = hung.login(3, "c", "live://2");

    proxy.stall(false);
    let kept = (lane.counters.offered - lane.counters.dropped()) as usize;
    for at in 0..kept {
        assert_eq!(waits.push(), format!("{at} {body}"), "what was kept comes in its order");
    }
    let settled = until("nothing waits", || Some(self::lane(&logic, "hung")).filter(|lane| lane.waiting.0 == 0));
    assert_eq!(settled.counters.offered, settled.counters.sent + settled.counters.dropped(), "{settled:?}");
}

#[test]
fn a_logic_that_begins_anew_learns_who_lives() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let comet = TestComet::connected(&runtime, "comet", &logic);
    let mut stays = comet.login(1, "a", "live://1");
    let leaves = comet.login(2, "b", "live://1");
    let at = logic.stop(&runtime);
    until("it is missed", || (!comet.link.is_up()).then_some(()));
    drop(leaves);
    until("its session has ended", || (comet.comet.sessions() == 1).then_some(()));
    assert!(stays.is_quiet(), "sessions live on");
    let mut stranger = Client::connect(comet.comet.tcp()[0]);
    stranger.auth(3, "c", "");
    assert_eq!(stranger.next(), None, "nobody can say who that is");
    assert!(comet.link.snapshot().refused_away > 0);

    let mut logic = TestLogic::start(&runtime, &Options { at: Some(at), ..Options::default() });
    comet.wait_for_lane(&logic);
    until("the living are registered", || (logic.registry.by_mid(1).len() == 1).then_some(()));
    assert_eq!(logic.registry.by_mid(2), []);
    assert!(logic.registry.by_key(&SessionKey::parse("a")).is_some());
    logic.push_to_mid(1, "to a user");
    logic.push_to_room("live://1", "to a room");
    assert_eq!((stays.push(), stays.push()), ("to a user".into(), "to a room".into()));
    let mut client = comet.login(3, "c", "live://1");
    logic.push_to_all("to all");
    assert_eq!((stays.push(), client.push()), ("to all".into(), "to all".into()));
}

/// The stream was cut, logic lived on: what ended meanwhile is found out.
#[test]
fn what_ended_while_the_stream_was_cut_is_repaired() {
    let runtime = runtime();
    let logic = TestLogic::start(&runtime, &Options::default());
    let proxy = Proxy::start(Some(logic.addr));
    let comet = TestComet::start(&runtime, "comet", proxy.addr, None, |addr| addr);
    comet.wait_for_lane(&logic);
    let (mut stays, leaves) = (comet.login(1, "a", ""), comet.login(2, "b", ""));
    proxy.refuse(true);
    proxy.cut();
    until("it is missed", || (!comet.link.is_up()).then_some(()));
    drop(leaves);
    until("its session has ended", || (comet.comet.sessions() == 1).then_some(()));
    proxy.refuse(false);
    until("logic knows", || logic.registry.by_mid(2).is_empty().then_some(()));
    until("the other is there", || (logic.registry.by_mid(1).len() == 1).then_some(()));
    assert!(stays.is_quiet());
}

#[test]
fn sessions_of_a_comet_that_does_not_come_back_end_with_the_lease() {
    let runtime = runtime();
    let mut logic = TestLogic::start(&runtime, &Options::default());
    let proxy = Proxy::start(Some(logic.addr));
    let lost = TestComet::start(&runtime, "lost", proxy.addr, None, |addr| addr);
    lost.wait_for_lane(&logic);
    let well = TestComet::connected(&runtime, "well", &logic);
    let (_client, mut other) = (lost.login(1, "a", ""), well.login(2, "b", ""));
    proxy.refuse(true);
    proxy.cut();
    until("its sessions have ended", || logic.registry.by_mid(1).is_empty().then_some(()));
    until("it is forgotten", || (logic.comets.lane_infos().len() == 1).then_some(()));
    logic.push_to_mid(2, "hello");
    assert_eq!(other.push(), "hello");
}

#[test]
fn rooms_are_pushed_to_where_they_are_and_the_first_viewer_misses_nothing() {
    let runtime = runtime();
    let mut logic = TestLogic::start(&runtime, &Options::default());
    let (with, without) = (TestComet::connected(&runtime, "with", &logic), TestComet::connected(&runtime, "without", &logic));
    announced(&logic, "live://0", 0);
    let mut mover = with.login(1, "mover", "");
    for at in 0..20 {
        let room = format!("live://{at}");
        let mut first = with.login(100 + at, &format!("k{at}"), &room);
        logic.push_to_room(&room, &room);
        assert_eq!(first.push(), room, "let in, and the next push reaches him");
        let room = format!("live://other-{at}");
        mover.change_room(&room);
        logic.push_to_room(&room, &room);
        assert_eq!(mover.push(), room);
    }
    logic.push_to_room("live://none", "for nobody");
    assert_eq!(lane(&logic, "without").counters.offered, 0);
    assert_eq!(lane(&logic, "with").counters.offered, 40);
    let PushSnapshot { deliveries, .. } = without.push.counters().snapshot();
    assert_eq!(deliveries, 0);
}

//! Stored messages through the push API: one sequence over HTTP and over gRPC, held to the same answers; then what only time
//! shows.

use std::collections::BTreeMap;

use axum::http::Method;
use perseid_log::AppendError;
use perseid_logic::{Config, Scope, StoredConfig, Undelivered};
use perseid_protocol::frame::{Extension, kind};
use perseid_protocol::op::{ACK, PULL, READ, SEND_MSG, SYNC};
use perseid_protocol::origin::Pages;
use perseid_protocol::room::room_hash;
use perseid_rpc::v1::target::To;
use perseid_rpc::{log_record, v1};
use serde_json::{Value, json};

use crate::fakes::{FakeNodes, Mode, World};
use crate::grpc::{Ask, Outcome, ask, ask_http, channel};
use crate::stored::{frames, ok, refused, to};
use crate::v1::problem;

const TOKENS: &[(&str, &[Scope], Option<u32>)] =
    &[("all", &Scope::ALL, None), ("push", &[Scope::Push], None), ("read", &[Scope::Read], None)];

fn config() -> Config {
    let stored = StoredConfig { fanout: 3, body_bytes_max: 8, ..StoredConfig::default() };
    Config { pages: Pages::default(), targets_max: 4, stored, ..Config::default() }
}

fn put(id: u64, group_kind: v1::GroupKind, members: &[i64], owner: i64) -> Ask {
    let kind = group_kind as i32;
    Ask::PutGroup(v1::PutGroupRequest { id, kind, members: members.to_vec(), owner, name: String::new() })
}

fn one(id: u64) -> v1::GetGroupRequest {
    v1::GetGroupRequest { id, ..v1::GetGroupRequest::default() }
}

fn members(id: u64, add: &[i64], remove: &[i64]) -> Ask {
    Ask::Members(v1::ChangeMembersRequest { id, add: add.to_vec(), remove: remove.to_vec() })
}

fn timeline(id: u64, after: u64, limit: Option<u32>) -> Ask {
    Ask::Timeline(v1::ListGroupMessagesRequest { id, after, limit })
}

fn inbox(mid: i64, after: u64, limit: Option<u32>) -> Ask {
    Ask::Inbox(v1::GetInboxRequest { mid, after, limit })
}

fn push(to: To, push: v1::PushRequest) -> Ask {
    Ask::Push(v1::PushRequest { to: Some(v1::Target { to: Some(to) }), ..push })
}

fn text(body: &str) -> v1::PushRequest {
    v1::PushRequest { body: Some(body.to_owned().into()), ..v1::PushRequest::default() }
}

/// In their order: what is asked over HTTP, and the same over gRPC; the reason of the refusal, or none.
type Step = (&'static str, &'static str, &'static str, Ask, &'static str);

fn groups() -> Vec<Step> {
    use v1::GroupKind::{Channel, Group, Unspecified};
    let many = "/v1/groups/4/members";
    vec![
        ("GET", "/v1/groups/4", "", Ask::Group(one(4)), "NOT_FOUND"),
        ("DELETE", "/v1/groups/4", "", Ask::DeleteGroup(4), "NOT_FOUND"),
        ("POST", "/v1/groups/4:convert", "", Ask::Convert(4), "NOT_FOUND"),
        ("POST", many, r#"{"add":[7]}"#, members(4, &[7], &[]), "NOT_FOUND"),
        ("GET", "/v1/groups/4/messages", "", timeline(4, 0, None), "NOT_FOUND"),
        ("PUT", "/v1/groups/0", r#"{"kind":"group","members":[7]}"#, put(0, Group, &[7], 0), "BAD_REQUEST"),
        ("PUT", "/v1/groups/4", r#"{"kind":"","members":[7]}"#, put(4, Unspecified, &[7], 0), "BAD_REQUEST"),
        ("PUT", "/v1/groups/4", r#"{"kind":"group","members":[0]}"#, put(4, Group, &[0], 0), "BAD_REQUEST"),
        ("PUT", "/v1/groups/4", r#"{"kind":"group","members":[7],"owner":-1}"#, put(4, Group, &[7], -1), "BAD_REQUEST"),
        ("PUT", "/v1/groups/4", r#"{"kind":"group","members":[1,2,3,4]}"#, put(4, Group, &[1, 2, 3, 4], 0), "TOO_LARGE"),
        ("PUT", "/v1/groups/4", r#"{"kind":"group","members":[1,2,3],"owner":9}"#, put(4, Group, &[1, 2, 3], 9), "TOO_LARGE"),
        ("PUT", "/v1/groups/4", r#"{"kind":"channel","members":[1,2,3,4,5]}"#, put(4, Channel, &[1, 2, 3, 4, 5], 0), "TOO_LARGE"),
        ("PUT", "/v1/groups/4", r#"{"kind":"group","members":["8",7,7],"owner":7}"#, put(4, Group, &[8, 7, 7], 7), ""),
        ("PUT", "/v1/groups/4", r#"{"kind":"channel","members":[7]}"#, put(4, Channel, &[7], 0), "CONFLICT"),
        ("PUT", "/v1/groups/4", r#"{"kind":"group","members":[8],"owner":7}"#, put(4, Group, &[8], 7), ""),
        ("GET", "/v1/groups/4", "", Ask::Group(one(4)), ""),
        ("GET", "/v1/groups/4?limit=1", "", Ask::Group(v1::GetGroupRequest { limit: Some(1), ..one(4) }), ""),
        ("GET", "/v1/groups/4?after=7", "", Ask::Group(v1::GetGroupRequest { after: 7, ..one(4) }), ""),
        ("GET", "/v1/groups/4?limit=0", "", Ask::Group(v1::GetGroupRequest { limit: Some(0), ..one(4) }), "BAD_REQUEST"),
        ("POST", many, r#"{"add":[9],"remove":[8,1]}"#, members(4, &[9], &[8, 1]), ""),
        ("POST", many, r#"{"add":[9]}"#, members(4, &[9], &[]), ""),
        ("POST", many, r#"{"add":[5,6]}"#, members(4, &[5, 6], &[]), "TOO_LARGE"),
        ("POST", many, r#"{"remove":[7]}"#, members(4, &[], &[7]), "BAD_REQUEST"),
        ("POST", many, "{}", members(4, &[], &[]), "BAD_REQUEST"),
        ("POST", many, r#"{"add":[-1]}"#, members(4, &[-1], &[]), "BAD_REQUEST"),
        ("POST", "/v1/messages", r#"{"to":{"group":"4"},"body":"hi"}"#, push(To::Group("4".into()), text("hi")), ""),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"group":4},"body":"me","from":7,"op":1007,"id":"a","store":true}"#,
            push(
                To::Group("4".into()),
                v1::PushRequest { from: Some(7), op: Some(1007), id: Some("a".into()), store: Some(true), ..text("me") },
            ),
            "",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"group":4},"body":"me","from":7,"op":1007,"id":"a"}"#,
            push(To::Group("4".into()), v1::PushRequest { from: Some(7), op: Some(1007), id: Some("a".into()), ..text("me") }),
            "",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"group":4},"body":"no","id":"a"}"#,
            push(To::Group("4".into()), v1::PushRequest { id: Some("a".into()), ..text("no") }),
            "CONFLICT",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"group":4},"body":"no","from":1}"#,
            push(To::Group("4".into()), v1::PushRequest { from: Some(1), ..text("no") }),
            "NOT_MEMBER",
        ),
        ("POST", "/v1/messages", r#"{"to":{"group":5},"body":"no"}"#, push(To::Group("5".into()), text("no")), "NOT_FOUND"),
        ("POST", "/v1/messages", r#"{"to":{"group":"x"},"body":"no"}"#, push(To::Group("x".into()), text("no")), "BAD_REQUEST"),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"group":4},"body":"123456789"}"#,
            push(To::Group("4".into()), text("123456789")),
            "TOO_LARGE",
        ),
        ("GET", "/v1/groups/4/messages", "", timeline(4, 0, None), ""),
        ("GET", "/v1/groups/4/messages?after=3&limit=1", "", timeline(4, 3, Some(1)), ""),
        ("GET", "/v1/groups/4/messages?after=99", "", timeline(4, 99, None), "BAD_REQUEST"),
        ("GET", "/v1/groups/4/messages?limit=0", "", timeline(4, 0, Some(0)), "BAD_REQUEST"),
        ("GET", "/v1/groups/4/messages?limit=201", "", timeline(4, 0, Some(201)), ""),
        ("POST", "/v1/groups/4:convert", "", Ask::Convert(4), ""),
        ("POST", "/v1/groups/4:convert", "", Ask::Convert(4), ""),
        ("POST", many, r#"{"add":[1,2,3,5]}"#, members(4, &[1, 2, 3, 5], &[]), ""),
        ("GET", "/v1/groups/4", "", Ask::Group(one(4)), ""),
        ("DELETE", "/v1/groups/4", "", Ask::DeleteGroup(4), ""),
        ("GET", "/v1/groups/4", "", Ask::Group(one(4)), "NOT_FOUND"),
        ("PUT", "/v1/groups/4", r#"{"kind":"group","members":[7]}"#, put(4, Group, &[7], 0), ""),
        ("GET", "/v1/groups/4/messages?after=7", "", timeline(4, 7, None), ""),
    ]
}

fn inboxes() -> Vec<Step> {
    let notice = |mids: &[i64], request: v1::PushRequest| {
        push(To::Mids(v1::Mids { mids: mids.to_vec() }), v1::PushRequest { store: Some(true), ..request })
    };
    let block = |mid, peer| v1::BlockRequest { mid, peer };
    vec![
        ("GET", "/v1/users/7/inbox", "", inbox(7, 0, None), ""),
        ("POST", "/v1/messages", r#"{"to":{"mids":[7,9,7]},"body":"a","store":true}"#, notice(&[7, 9, 7], text("a")), ""),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"mids":[7]},"body":"b","store":true,"id":"b","from":3,"priority":"high"}"#,
            notice(&[7], v1::PushRequest { id: Some("b".into()), from: Some(3), priority: 1, ..text("b") }),
            "",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"mids":[7]},"body":"b","store":true,"id":"b","from":3}"#,
            notice(&[7], v1::PushRequest { id: Some("b".into()), from: Some(3), ..text("b") }),
            "CONFLICT",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"mids":[7]},"body":"b","id":"b"}"#,
            push(To::Mids(v1::Mids { mids: vec![7] }), v1::PushRequest { id: Some("b".into()), ..text("b") }),
            "CONFLICT",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"mids":[7]},"body":"c","store":true,"ttl_ms":3600000}"#,
            notice(&[7], v1::PushRequest { ttl_ms: Some(3_600_000), ..text("c") }),
            "",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"mids":[7]},"body":"c","store":true,"collapse":"k"}"#,
            notice(&[7], v1::PushRequest { collapse: Some("k".into()), ..text("c") }),
            "BAD_REQUEST",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"group":9},"body":"c","collapse":"k"}"#,
            push(To::Group("9".into()), v1::PushRequest { collapse: Some("k".into()), ..text("c") }),
            "BAD_REQUEST",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"mids":[7]},"body":"c","store":true,"from":"9223372036854775808"}"#,
            notice(&[7], v1::PushRequest { from: Some(1 << 63), ..text("c") }),
            "BAD_REQUEST",
        ),
        (
            "POST",
            "/v1/messages",
            r#"{"to":{"mids":[7]},"body":"123456789","store":true}"#,
            notice(&[7], text("123456789")),
            "TOO_LARGE",
        ),
        ("GET", "/v1/users/7/inbox", "", inbox(7, 0, None), ""),
        ("GET", "/v1/users/7/inbox?after=1&limit=200", "", inbox(7, 1, Some(200)), ""),
        ("GET", "/v1/users/7/inbox?after=3", "", inbox(7, 3, None), ""),
        ("GET", "/v1/users/7/inbox?after=4", "", inbox(7, 4, None), "BAD_REQUEST"),
        ("GET", "/v1/users/7/inbox?after=9007199254740993", "", inbox(7, (1 << 53) + 1, None), "BAD_REQUEST"),
        ("GET", "/v1/users/7/inbox?limit=201", "", inbox(7, 0, Some(201)), ""),
        ("GET", "/v1/users/0/inbox", "", inbox(0, 0, None), "BAD_REQUEST"),
        ("GET", "/v1/users/9", "", Ask::User(9), ""),
        ("POST", "/v1/users/7:block", r#"{"peer":8}"#, Ask::Block(block(7, 8)), ""),
        ("POST", "/v1/users/7:block", r#"{"peer":"8"}"#, Ask::Block(block(7, 8)), ""),
        ("POST", "/v1/users/7:unblock", r#"{"peer":8}"#, Ask::Unblock(block(7, 8)), ""),
        ("POST", "/v1/users/7:block", r#"{"peer":7}"#, Ask::Block(block(7, 7)), "BAD_REQUEST"),
        ("POST", "/v1/users/7:block", r#"{"peer":0}"#, Ask::Block(block(7, 0)), "BAD_REQUEST"),
        ("POST", "/v1/users/0:unblock", r#"{"peer":7}"#, Ask::Unblock(block(0, 7)), "BAD_REQUEST"),
        ("GET", "/v1/messages/77", "", Ask::Message(77), "NOT_FOUND"),
    ]
}

/// Without what differs from world to world.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let differs = |name: &str, value: &Value| {
                (name == "id" && value.is_string()) || ["epoch", "accepted_ms", "seen_ms"].contains(&name)
            };
            fields.into_iter().filter(|(name, value)| !differs(name, value)).map(|(name, value)| (name, plain(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(plain).collect(),
        value => value,
    }
}

async fn one_sequence(steps: Vec<Step>) {
    let (http, grpc) = (
        World::keeping_with_tokens(TOKENS, FakeNodes::default(), config()),
        World::keeping_with_tokens(TOKENS, FakeNodes::default(), config()),
    );
    let channel = channel(&grpc).await;
    for (method, uri, body, over_grpc, expected) in steps {
        let by_http: Outcome = ask_http(&http, method, uri, body, "all").await.map(plain);
        let by_grpc = ask(channel.clone(), over_grpc.clone(), "all").await.map(plain);
        assert_eq!(by_http, by_grpc, "{method} {uri} {body}");
        let reason = by_http.as_ref().map_or_else(|(reason, _)| reason.as_str(), |_| "");
        assert_eq!(reason, expected, "{method} {uri} {body}");
        http.settled().await;
        grpc.settled().await;
        // Who may.
        let scope = if method == "GET" { "read" } else { "push" };
        let other = if method == "GET" { "push" } else { "read" };
        let denied = Err(("PERMISSION_DENIED".to_owned(), false));
        assert_eq!(ask_http(&http, method, uri, body, other).await, denied, "{uri} is for {scope}");
        assert_eq!(ask(channel.clone(), over_grpc, other).await, denied, "{uri} is for {scope}");
    }
    let kinds = |world: &World| -> Vec<_> {
        let same = |record: perseid_rpc::LogRecord| (record.from, record.idem == record.id, record.recipients, record.body);
        world.log.stored().into_iter().map(same).collect()
    };
    assert_eq!(kinds(&http), kinds(&grpc));
    assert_eq!(http.counters().refusals, grpc.counters().refusals);
}

#[tokio::test]
async fn one_table_of_groups_over_http_and_grpc() {
    one_sequence(groups()).await;
}

#[tokio::test]
async fn one_table_of_inboxes_over_http_and_grpc() {
    one_sequence(inboxes()).await;
}

#[tokio::test]
async fn a_group_answers_with_itself() {
    let world = World::keeping(Config::default());
    let answer = world.ask(Method::PUT, "/v1/groups/4", r#"{"kind":"group","members":[9,8],"owner":7,"name":"Lunch"}"#).await;
    let expected = json!({ "id": 4, "kind": "group", "owner": 7, "name": "Lunch", "members": [7, 8, 9], "members_total": 3, "more": false,
        "version": 1, "head": 1 });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let answer = world.post("/v1/messages", r#"{"to":{"group":4},"body":"hi","op":1007}"#).await.json();
    assert_eq!((&answer["recipients"], &answer["duplicate"]), (&json!(3), &json!(false)));
    world.settled().await;
    let page = world.get("/v1/groups/4/messages?after=1").await.json();
    let expected = json!({ "kind": "group", "head": 2, "floor": 1, "more": false, "messages": [{
        "id": answer["id"], "pos": 0, "op": 1007, "kind": 2, "conv": 4, "conv_pos": 2, "from": 0,
        "cid": page["messages"][0]["cid"], "flags": 0, "body_base64": "aGk=" }] });
    assert_eq!(page, expected);
    let page = world.get("/v1/users/8/inbox?after=1").await.json();
    let entry = &page["messages"][0];
    assert_eq!((&entry["pos"], &entry["flags"], &entry["id"]), (&json!(2), &json!(1), &answer["id"]));
    assert_eq!((&page["head"], &page["floor"], &page["more"]), (&json!(2), &json!(1), &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn what_takes_no_effect_in_time_is_accepted_with_its_id() {
    let world = World::keeping(Config::default());
    world.put_group(4, false, 0, &[7, 8]).await;
    world.log.set(Mode::Swallow);
    for (method, uri, body) in [
        ("PUT", "/v1/groups/5", r#"{"kind":"group","members":[7]}"#),
        ("POST", "/v1/groups/4/members", r#"{"add":[9]}"#),
        ("POST", "/v1/groups/4:convert", ""),
        ("DELETE", "/v1/groups/4", ""),
        ("POST", "/v1/users/7:block", r#"{"peer":8}"#),
    ] {
        let answer = world.ask(method.parse().unwrap(), uri, body).await;
        let id = world.log.stored().last().unwrap().id;
        assert_eq!((answer.status, answer.json()), (202, json!({ "id": id.to_string(), "accepted": true })), "{uri}");
    }
}

#[tokio::test]
async fn what_the_log_refuses_is_told() {
    let world = World::keeping(Config::default());
    world.put_group(4, false, 0, &[7]).await;
    for (mode, status, reason) in [
        (Mode::Refuse(AppendError::Overloaded), 503, "UNAVAILABLE"),
        (Mode::Refuse(AppendError::Unknown("sync".into())), 504, "UNKNOWN"),
        (Mode::Forget, 504, "UNKNOWN"),
    ] {
        world.log.set(mode);
        problem(&world.ask(Method::PUT, "/v1/groups/4", r#"{"kind":"group","members":[9]}"#).await, status, reason);
        problem(&world.post("/v1/messages", r#"{"to":{"group":4},"body":"x"}"#).await, status, reason);
        problem(&world.post("/v1/messages", r#"{"to":{"mids":[7]},"store":true,"body":"x"}"#).await, status, reason);
    }
}

#[tokio::test]
async fn a_notice_to_many_is_one_message_in_several_records() {
    let world = World::keeping(Config::default());
    let mids: Vec<i64> = (1..=2500).collect();
    let body = json!({ "to": { "mids": mids }, "store": true, "body": "x", "id": "n" }).to_string();
    let answer = world.post("/v1/messages", body.clone()).await.json();
    assert_eq!(answer["recipients"], 2500);
    let sizes = |world: &World| -> Vec<(usize, u64)> {
        let size = |record: perseid_rpc::LogRecord| match record.body {
            Some(log_record::Body::Notice(notice)) => (notice.mids.len(), record.id),
            other => panic!("{other:?}"),
        };
        world.log.stored().into_iter().map(size).collect()
    };
    let id: u64 = answer["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(sizes(&world), [(1000, id), (1000, id), (500, id)]);
    world.settled().await;
    assert_eq!(world.get("/v1/users/2500/inbox").await.json()["messages"][0]["id"], answer["id"]);
    // Over a restart the same request is the same message, also one that was cut off in the middle.
    let whole = World::keeping(Config::default());
    world.log.stored().iter().for_each(|record| whole.accept.restore_stored(record));
    let again = whole.post("/v1/messages", body.clone()).await.json();
    assert_eq!((&again["id"], &again["duplicate"], &again["recipients"]), (&answer["id"], &json!(true), &json!(2500)));
    let cut = World::keeping(Config::default());
    cut.accept.restore_stored(&world.log.stored()[0]);
    let again = cut.post("/v1/messages", body.clone()).await.json();
    assert_eq!((&again["id"], &again["duplicate"]), (&answer["id"], &json!(false)));
    assert_eq!(sizes(&cut), [(1000, id), (500, id)]);
    problem(&whole.post("/v1/messages", body.replace("\"x\"", "\"y\"")).await, 409, "CONFLICT");
}

#[tokio::test]
async fn what_became_of_a_message() {
    let world = World::keeping(Config::default());
    world.put_group(4, false, 0, &[7, 8]).await;
    let (phone, _other) = (world.client(7, "phone", 1), world.client(8, "", 2));
    let sent = async |body: &str| {
        let id = world.post("/v1/messages", body.to_owned()).await.json()["id"].as_str().unwrap().to_owned();
        world.settled().await;
        id
    };
    let fate = async |id: &str| world.get(&format!("/v1/messages/{id}")).await.json();
    let notice = sent(r#"{"to":{"mids":[7]},"store":true,"body":"x"}"#).await;
    let group = sent(r#"{"to":{"group":4},"body":"x"}"#).await;
    let inboxes = |fate: &Value| fate["inboxes"].clone();
    let before = fate(&notice).await;
    assert_eq!((&before["state"], &before["to"], &before["recipients"]), (&json!("stored"), &json!("inboxes"), &json!(1)));
    assert_eq!(inboxes(&before), json!([{ "mid": 7, "pos": 2, "acknowledged": [] }]));
    ok(world.asked(&phone, ACK, Extension { pos: 3, ..Extension::default() }, b"").await);
    ok(world.asked(&phone, READ, Extension { conv_pos: 2, ..to(kind::GROUP, 4) }, b"").await);
    assert_eq!(inboxes(&fate(&notice).await), json!([{ "mid": 7, "pos": 2, "acknowledged": ["phone"] }]));
    let of_group = fate(&group).await;
    assert_eq!((&of_group["to"], &of_group["conv"], &of_group["conv_pos"]), (&json!("group"), &json!(4), &json!(2)));
    let expected = json!([
        { "mid": 7, "pos": 3, "acknowledged": ["phone"], "read": true },
        { "mid": 8, "pos": 2, "acknowledged": [], "read": false },
    ]);
    assert_eq!(inboxes(&of_group), expected);
    let online = sent(r#"{"to":{"mids":[7]},"body":"x"}"#).await;
    let online = fate(&online).await;
    assert_eq!((&online["state"], &online["to"], inboxes(&online)), (&json!("accepted"), &json!("online"), json!([])));
    // One that was accepted when its group was about to go.
    world.log.set(Mode::Swallow);
    let lost = sent(r#"{"to":{"group":4},"body":"x"}"#).await;
    world.log.set(Mode::Take);
    world.ask(Method::DELETE, "/v1/groups/4", "").await;
    assert_eq!(fate(&lost).await["state"], "rejected");
    problem(&world.get("/v1/messages/x").await, 400, "BAD_REQUEST");
}

#[tokio::test]
async fn what_is_too_late_is_gone_wherever_it_is_read() {
    let world = World::keeping(Config::default());
    world.put_group(4, false, 0, &[7]).await;
    let phone = world.client(7, "phone", 1);
    let sent = async |body: &str| world.post("/v1/messages", body.to_owned()).await.json()["id"].clone();
    let late = sent(r#"{"to":{"mids":[7]},"store":true,"body":"x","ttl_ms":1}"#).await;
    sent(r#"{"to":{"group":4},"body":"x","ttl_ms":1}"#).await;
    let kept = sent(r#"{"to":{"mids":[7]},"store":true,"body":"x","ttl_ms":3600000}"#).await;
    world.settled().await;
    let fate = async |id: &Value| world.get(&format!("/v1/messages/{}", id.as_str().unwrap())).await.json()["state"].clone();
    while fate(&late).await != "expired" {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let shown = |messages: &Value| -> Vec<(u64, String)> {
        let shown = |row: &Value| (row["flags"].as_u64().unwrap() & 4, row["body_base64"].as_str().unwrap().to_owned());
        messages.as_array().unwrap().iter().map(shown).collect()
    };
    let inbox = world.get("/v1/users/7/inbox?after=1").await.json();
    let gone = || (4, String::new());
    assert_eq!(shown(&inbox["messages"]), [gone(), gone(), (0, "eA==".to_owned())]);
    assert_eq!(shown(&world.get("/v1/groups/4/messages?after=1").await.json()["messages"]), [gone()]);
    assert_eq!(fate(&kept).await, "stored");
    let page = ok(world.asked(&phone, SYNC, Extension { pos: 1, ..Extension::default() }, b"").await);
    let synced: Vec<_> = frames(&page.body).into_iter().map(|(header, body)| (header.ext.pos, header.ext.flags, body)).collect();
    assert_eq!(synced, [(2, 5, "".into()), (3, 5, "".into()), (4, 1, "x".into())]);
    let from = Extension { conv_pos: 1, ..to(kind::GROUP, 4) };
    let page = ok(world.asked(&phone, PULL, from, b"").await);
    let (header, body) = &frames(&page.body)[0];
    assert_eq!((header.ext.conv_pos, header.ext.flags, body.len()), (2, 4, 0));
}

#[tokio::test]
async fn why_nobody_got_it() {
    let world = World::keeping(Config::default());
    let sent = async |to: &str| {
        let answer = world.post("/v1/messages", format!(r#"{{"to":{to},"body":"x"}}"#)).await.json();
        answer["id"].as_str().unwrap().to_owned()
    };
    let state = async |id: &str| world.get(&format!("/v1/messages/{id}")).await.json()["state"].clone();
    let (one, other) = (sent(r#"{"mids":[7]}"#).await, sent(r#"{"keys":["k"]}"#).await);
    assert_eq!(state(&one).await, "accepted");
    world.book.undelivered(one.parse().unwrap(), Undelivered::Offline);
    world.book.undelivered(other.parse().unwrap(), Undelivered::Expired);
    assert_eq!((state(&one).await, state(&other).await), (json!("offline"), json!("expired")));
    // In a room that nobody is in, and with no session at all, there is nobody to be told of.
    assert_eq!(state(&sent(r#"{"room":"live://1"}"#).await).await, "offline");
    assert_eq!(state(&sent(r#"{"all":true}"#).await).await, "offline");
}

#[tokio::test]
async fn a_block_is_for_clients() {
    let world = World::keeping(Config::default());
    let sender = world.client(8, "", 1);
    let message = |cid| Extension { cid, ..to(kind::DIRECT, 7) };
    ok(world.asked(&sender, SEND_MSG, message(1), b"x").await);
    let answer = world.post("/v1/users/7:block", r#"{"peer":8}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "mid": 7, "peer": 8, "blocked": true })));
    let blocked = refused(world.asked(&sender, SEND_MSG, message(2), b"x").await);
    assert_eq!(blocked, perseid_protocol::Refusal::Blocked);
    assert_eq!(world.post("/v1/users/7:unblock", r#"{"peer":8}"#).await.json()["blocked"], false);
    ok(world.asked(&sender, SEND_MSG, message(2), b"x").await);
}

#[tokio::test]
async fn a_room_that_keeps_its_last_frames_is_pushed_to_as_any_other() {
    let recovery = BTreeMap::from([("live".to_owned(), 3)]);
    let world = World::keeping(Config { stored: StoredConfig { recovery, ..StoredConfig::default() }, ..Config::default() });
    let answer = world.post("/v1/messages", r#"{"to":{"room":"live://1"},"body":"x","ttl_ms":5,"id":"a"}"#).await.json();
    assert_eq!(answer["duplicate"], false);
    let (key, record) = world.log.stored.lock().unwrap().last().unwrap().clone();
    let Some(log_record::Body::Room(room)) = &record.body else { panic!("{record:?}") };
    assert_eq!((room.room.as_str(), room.op, room.expire_at_ms), ("live://1", 1000, record.ts_ms + 5));
    assert_eq!(key, format!("r{:016x}", room_hash("live://1")));
    let again = world.post("/v1/messages", r#"{"to":{"room":"live://1"},"body":"x","ttl_ms":5,"id":"a"}"#).await.json();
    assert_eq!((&again["id"], &again["duplicate"]), (&answer["id"], &json!(true)));
    world.post("/v1/messages", r#"{"to":{"room":"chat://1"},"body":"x"}"#).await;
    assert_eq!(world.log.last().room, "chat://1");
}

#[tokio::test]
async fn what_matters_and_what_replaces_what_travel() {
    let world = World::new();
    world.post("/v1/messages", r#"{"to":{"mids":[7]},"body":"x","priority":"low","collapse":"score"}"#).await;
    let push = world.log.last();
    assert_eq!((push.priority(), push.collapse.as_str()), (perseid_rpc::PushPriority::Low, "score"));
    world.post("/v1/messages", r#"{"to":{"mids":[7]},"body":"x"}"#).await;
    assert_eq!((world.log.last().priority(), world.log.last().collapse.as_str()), (perseid_rpc::PushPriority::Normal, ""));
}

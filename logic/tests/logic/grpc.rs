//! v1 over gRPC: held to what HTTP does by one table; then what only gRPC has.

use std::net::SocketAddr;

use axum::http::Method;
use perseid_log::AppendError;
use perseid_logic::{Config, DrainProgress, NodeInfo, Scope, grpc_services};
use perseid_protocol::origin::Pages;
use perseid_rpc::v1;
use perseid_rpc::v1::push_client::PushClient;
use perseid_rpc::v1::target::To;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::as_json;
use crate::fakes::{FakeNodes, Mode, World, room, token};

/// Serves the world's gRPC until the test's runtime ends.
pub(crate) async fn serve(world: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let routes = grpc_services(world.api.clone(), &["goim.logic.Logic"]).unwrap();
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener)));
    addr
}

pub(crate) async fn channel(world: &World) -> Channel {
    let addr = serve(world).await;
    Channel::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap()
}

/// One call over gRPC.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Push(v1::PushRequest),
    Batch(Vec<v1::PushRequest>),
    User(i64),
    Online(Vec<i64>),
    Kick(v1::KickRequest),
    Rooms(&'static str, Option<u32>),
    Room(&'static str, String),
    Nodes,
    Node(&'static str),
    Drain(&'static str, Option<u32>),
    Progress(&'static str),
    Message(u64),
    PutGroup(v1::PutGroupRequest),
    Group(v1::GetGroupRequest),
    DeleteGroup(u64),
    Convert(u64),
    Members(v1::ChangeMembersRequest),
    Timeline(v1::ListGroupMessagesRequest),
    Inbox(v1::GetInboxRequest),
    Block(v1::BlockRequest),
    Unblock(v1::BlockRequest),
}

/// What was answered, without what differs from call to call and from API to API: the answer, or the reason with whether it says
/// when to try again.
pub(crate) type Outcome = Result<Value, (String, bool)>;

pub(crate) async fn ask(channel: Channel, ask: Ask, name: &str) -> Outcome {
    fn with<T>(message: T, name: &str) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        if !name.is_empty() {
            metadata.insert("authorization", format!("Bearer {}", token(name)).parse().unwrap());
        }
        metadata.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
        request
    }
    let mut client = PushClient::new(channel);
    let answered: Result<Value, Status> = match ask {
        Ask::Push(push) => client.push(with(push, name)).await.map(|answer| pushed(answer.get_ref())),
        Ask::Batch(messages) => client.push_batch(with(v1::PushBatchRequest { messages }, name)).await.map(|answer| {
            let result = |result: v1::PushResult| match result.outcome.unwrap() {
                v1::push_result::Outcome::Accepted(answer) => pushed(&answer),
                v1::push_result::Outcome::Refused(refused) => json!({ "reason": refused.reason }),
            };
            json!(answer.into_inner().results.into_iter().map(result).collect::<Vec<_>>())
        }),
        Ask::User(mid) => client.get_user(with(v1::GetUserRequest { mid }, name)).await.map(|answer| {
            let session = |row: v1::Session| {
                json!({ "key": row.key, "node": row.node, "platform": row.platform, "device_id": row.device_id,
                        "address": row.address, "since_ms": row.since_ms, "extended": row.extended })
            };
            let answer = answer.into_inner();
            let mut json =
                json!({ "mid": answer.mid, "sessions": answer.sessions.into_iter().map(session).collect::<Vec<_>>() });
            if let Some(inbox) = answer.inbox {
                json["inbox"] = json!({ "head": inbox.head, "floor": inbox.floor, "epoch": inbox.epoch });
                let device = |device: v1::Device| {
                    json!({ "device_id": device.device_id, "cursor": device.cursor, "seen_ms": device.seen_ms })
                };
                json["devices"] = answer.devices.into_iter().map(device).collect();
            }
            json
        }),
        Ask::Online(mids) => client.users_online(with(v1::UsersOnlineRequest { mids }, name)).await.map(|answer| {
            let user = |user: v1::UserOnline| json!({ "mid": user.mid, "online": user.online, "platforms": user.platforms });
            json!({ "users": answer.into_inner().users.into_iter().map(user).collect::<Vec<_>>() })
        }),
        Ask::Kick(kick) => client
            .kick(with(kick, name))
            .await
            .map(|answer| json!({ "mid": answer.get_ref().mid, "ended": answer.get_ref().ended })),
        Ask::Rooms(kind, limit) => {
            let answer = client.list_rooms(with(v1::ListRoomsRequest { r#type: kind.to_owned(), limit }, name)).await;
            answer.map(|answer| json!({ "rooms": answer.get_ref().rooms.iter().map(room_json).collect::<Vec<_>>() }))
        }
        Ask::Room(kind, id) => {
            let answer = client.get_room(with(v1::GetRoomRequest { r#type: kind.to_owned(), id }, name)).await;
            answer.map(|answer| room_json(answer.get_ref()))
        }
        Ask::Nodes => client
            .list_nodes(with(v1::ListNodesRequest {}, name))
            .await
            .map(|answer| json!({ "nodes": answer.get_ref().nodes.iter().map(node_json).collect::<Vec<_>>() })),
        Ask::Node(id) => {
            let answer = client.get_node(with(v1::GetNodeRequest { id: id.to_owned() }, name)).await;
            answer.map(|answer| node_json(answer.get_ref()))
        }
        Ask::Drain(id, per_second) => {
            let answer = client.drain_node(with(v1::DrainNodeRequest { id: id.to_owned(), per_second }, name)).await;
            answer.map(|answer| drain_json(answer.get_ref()))
        }
        Ask::Progress(id) => {
            let answer = client.get_drain(with(v1::GetDrainRequest { id: id.to_owned() }, name)).await;
            answer.map(|answer| drain_json(answer.get_ref()))
        }
        Ask::Message(id) => client.get_message(with(v1::GetMessageRequest { id }, name)).await.map(as_json::fate),
        Ask::PutGroup(put) => client.put_group(with(put, name)).await.map(as_json::changed),
        Ask::Group(asked) => {
            client.get_group(with(asked, name)).await.map(|answer| as_json::group(answer.into_inner()))
        }
        Ask::DeleteGroup(id) => client.delete_group(with(v1::DeleteGroupRequest { id }, name)).await.map(as_json::deleted),
        Ask::Convert(id) => client.convert_group(with(v1::ConvertGroupRequest { id }, name)).await.map(as_json::changed),
        Ask::Members(change) => client.change_members(with(change, name)).await.map(as_json::members),
        Ask::Timeline(asked) => client.list_group_messages(with(asked, name)).await.map(as_json::timeline),
        Ask::Inbox(asked) => client.get_inbox(with(asked, name)).await.map(as_json::inbox),
        Ask::Block(asked) => client.block(with(asked, name)).await.map(as_json::blocked),
        Ask::Unblock(asked) => client.unblock(with(asked, name)).await.map(as_json::blocked),
    };
    answered.map_err(|status| (reason(&status), status.metadata().contains_key("retry-after-ms")))
}

fn reason(status: &Status) -> String {
    let reason = status.metadata().get("perseid-reason").unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert!(!status.message().is_empty());
    reason.to_str().unwrap().to_owned()
}

fn pushed(answer: &v1::PushResponse) -> Value {
    assert_ne!(answer.id, 0);
    json!({ "recipients": answer.recipients, "duplicate": answer.duplicate })
}

fn room_json(room: &v1::Room) -> Value {
    json!({ "room": room.room, "type": room.r#type, "id": room.id, "online": room.online })
}

fn node_json(node: &v1::Node) -> Value {
    json!({ "id": node.id, "role": node.role, "tcp": node.tcp, "ws": node.ws, "http": node.http, "grpc": node.grpc,
            "sessions": node.sessions, "ips": node.ips, "draining": node.draining, "version": node.version, "started_ms": node.started_ms })
}

fn drain_json(drain: &v1::Drain) -> Value {
    let mut json = json!({ "node": drain.node, "draining": drain.draining, "sessions": drain.sessions });
    for (name, value) in [
        ("sessions_at_start", drain.sessions_at_start),
        ("per_second", drain.per_second.map(u64::from)),
        ("since_ms", drain.since_ms),
    ] {
        if let Some(value) = value {
            json[name] = json!(value);
        }
    }
    json
}

pub(crate) async fn ask_http(world: &World, method: &str, uri: &str, body: &str, name: &str) -> Outcome {
    let mut request = axum::http::Request::builder().method(method).uri(uri);
    if !name.is_empty() {
        request = request.header("authorization", format!("Bearer {}", token(name)));
    }
    request = request.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let answer = world.send(request.body(body.to_owned().into()).unwrap()).await;
    let json = answer.json();
    if answer.status >= 300 {
        assert_eq!(json["retry_after_ms"].is_u64(), answer.headers.contains_key("retry-after"));
        return Err((json["reason"].as_str().unwrap().to_owned(), json["retry_after_ms"].is_u64()));
    }
    let message = |json: &Value| match json.get("accepted") {
        Some(_) => json!({ "recipients": json["recipients"], "duplicate": json["duplicate"] }),
        None => json!({ "reason": json["reason"] }),
    };
    Ok(match uri {
        "/v1/messages" => message(&json),
        "/v1/messages:batch" => json!(json["results"].as_array().unwrap().iter().map(message).collect::<Vec<_>>()),
        _ => json,
    })
}

/// What a call did, without what differs from run to run.
fn effects(world: &World) -> impl PartialEq + std::fmt::Debug + use<> {
    let now_ms = |at: u64| at.min(1);
    let pushes: Vec<_> = world
        .log
        .pushes()
        .into_iter()
        .map(|push| perseid_rpc::PushMsg { id: now_ms(push.id), expire_at_ms: now_ms(push.expire_at_ms), ..push })
        .collect();
    let counters = world.counters();
    let drain: Option<(String, DrainProgress)> = world.nodes.drain.lock().unwrap().clone();
    let ended = world.nodes.ended.lock().unwrap().clone();
    (pushes, ended, drain, counters.refusals, counters.access, counters.pushes, counters.sessions_kicked)
}

fn world() -> World {
    let nodes = FakeNodes {
        rooms: vec![room("live://a/b", 300), room("chat://9", 200), room("live://1", 100)],
        nodes: vec![NodeInfo {
            id: "vm:1".to_owned(),
            tcp: vec!["127.0.0.1:3101".to_owned()],
            sessions: 8,
            version: "1".to_owned(),
            ..NodeInfo::default()
        }],
        ..FakeNodes::default()
    };
    let config = Config {
        pages: Pages::default(),
        push_bytes_max: 64,
        targets_max: 3,
        batch_max: 3,
        request_bytes_max: 1024,
        ..Config::default()
    };
    let tokens: &[(&str, &[Scope], Option<u32>)] = &[
        ("all", &Scope::ALL, None),
        ("push", &[Scope::Push], None),
        ("read", &[Scope::Read], None),
        ("slow", &[Scope::Push], Some(1)),
    ];
    let world = World::with_tokens_and(tokens, nodes, config);
    world.connect(7, "phone", "ios", 1);
    world.connect(7, "laptop", "web", 2);
    world.connect(8, "silent", "", 3);
    world
}

fn to(to: To) -> v1::PushRequest {
    v1::PushRequest { to: Some(v1::Target { to: Some(to) }), body: Some("x".into()), ..v1::PushRequest::default() }
}

fn mids(mids: &[i64]) -> v1::PushRequest {
    to(To::Mids(v1::Mids { mids: mids.to_vec() }))
}

fn keys(keys: &[&str]) -> v1::PushRequest {
    to(To::Keys(v1::Keys { keys: keys.iter().map(ToString::to_string).collect() }))
}

/// A call over HTTP, the same over gRPC, and what both answer: the empty word when they do it, else the reason.
type Case = (&'static str, &'static str, String, Ask, &'static str);

fn pushes() -> Vec<Case> {
    let base = || mids(&[7]);
    let long = "y".repeat(65);
    let cases: Vec<(String, v1::PushRequest, &'static str)> = vec![
        (r#"{"to":{"mids":[7]},"body":"x"}"#.into(), base(), ""),
        (
            r#"{"to":{"mids":["7",8,7]},"body":"x","op":1007,"from":"18446744073709551615","ttl_ms":5000}"#.into(),
            v1::PushRequest { op: Some(1007), from: Some(u64::MAX), ttl_ms: Some(5000), ..mids(&[7, 8, 7]) },
            "",
        ),
        (
            r#"{"to":{"keys":["phone"]},"body_base64":"AAH/"}"#.into(),
            v1::PushRequest { body: Some(vec![0, 1, 255].into()), ..keys(&["phone"]) },
            "",
        ),
        (
            r#"{"to":{"room":"live://1"},"body":""}"#.into(),
            v1::PushRequest { body: Some("".into()), ..to(To::Room("live://1".into())) },
            "",
        ),
        (
            r#"{"to":{"all":true},"body":"x","speed":9,"id":"a"}"#.into(),
            v1::PushRequest { speed: Some(9), id: Some("a".into()), ..to(To::All(true)) },
            "",
        ),
        (
            r#"{"to":{"mids":[7]},"body":"x","store":false,"priority":"normal"}"#.into(),
            v1::PushRequest { store: Some(false), priority: 2, ..base() },
            "",
        ),
        (r#"{"to":{"mids":[7]}}"#.into(), v1::PushRequest { body: None, ..base() }, "BAD_REQUEST"),
        (r#"{"to":{},"body":"x"}"#.into(), v1::PushRequest { to: Some(v1::Target::default()), ..base() }, "BAD_REQUEST"),
        (r#"{"body":"x"}"#.into(), v1::PushRequest { to: None, ..base() }, "BAD_REQUEST"),
        (r#"{"to":{"mids":[]},"body":"x"}"#.into(), mids(&[]), "BAD_REQUEST"),
        (r#"{"to":{"mids":[0]},"body":"x"}"#.into(), mids(&[0]), "BAD_REQUEST"),
        (r#"{"to":{"mids":[1,2,3,4]},"body":"x"}"#.into(), mids(&[1, 2, 3, 4]), "TOO_LARGE"),
        (r#"{"to":{"keys":[""]},"body":"x"}"#.into(), keys(&[""]), "BAD_REQUEST"),
        (r#"{"to":{"room":"live"},"body":"x"}"#.into(), to(To::Room("live".into())), "BAD_REQUEST"),
        (r#"{"to":{"all":false},"body":"x"}"#.into(), to(To::All(false)), "BAD_REQUEST"),
        (
            r#"{"to":{"all":true},"body":"x","speed":4294967295}"#.into(),
            v1::PushRequest { speed: Some(u32::MAX), ..to(To::All(true)) },
            "BAD_REQUEST",
        ),
        (r#"{"to":{"mids":[7]},"body":"x","speed":1}"#.into(), v1::PushRequest { speed: Some(1), ..base() }, "BAD_REQUEST"),
        (r#"{"to":{"mids":[7]},"body":"x","op":9}"#.into(), v1::PushRequest { op: Some(9), ..base() }, "BAD_REQUEST"),
        (r#"{"to":{"mids":[7]},"body":"x","ttl_ms":0}"#.into(), v1::PushRequest { ttl_ms: Some(0), ..base() }, "BAD_REQUEST"),
        (
            r#"{"to":{"mids":[7]},"body":"x","id":""}"#.into(),
            v1::PushRequest { id: Some(String::new()), ..base() },
            "BAD_REQUEST",
        ),
        (
            r#"{"to":{"mids":[7]},"body":"x","priority":"urgent"}"#.into(),
            v1::PushRequest { priority: 9, ..base() },
            "BAD_REQUEST",
        ),
        (r#"{"to":{"mids":[7]},"body":"x","priority":"high"}"#.into(), v1::PushRequest { priority: 1, ..base() }, ""),
        (
            r#"{"to":{"mids":[7]},"body":"x","collapse":"c","priority":"low"}"#.into(),
            v1::PushRequest { collapse: Some("c".into()), priority: 3, ..base() },
            "",
        ),
        (
            r#"{"to":{"mids":[7]},"body":"x","collapse":""}"#.into(),
            v1::PushRequest { collapse: Some(String::new()), ..base() },
            "BAD_REQUEST",
        ),
        (r#"{"to":{"mids":[7]},"body":"x","store":true}"#.into(), v1::PushRequest { store: Some(true), ..base() }, "UNSUPPORTED"),
        (
            r#"{"to":{"room":"a://b"},"body":"x","store":true}"#.into(),
            v1::PushRequest { store: Some(true), ..to(To::Room("a://b".into())) },
            "BAD_REQUEST",
        ),
        (r#"{"to":{"group":"1"},"body":"x"}"#.into(), to(To::Group("1".into())), "UNSUPPORTED"),
        (
            format!(r#"{{"to":{{"mids":[7]}},"body":"{long}"}}"#),
            v1::PushRequest { body: Some(long.clone().into()), ..base() },
            "TOO_LARGE",
        ),
        (" ".repeat(1025), v1::PushRequest { body: Some(vec![b' '; 1025].into()), ..base() }, "TOO_LARGE"),
    ];
    cases.into_iter().map(|(body, push, expected)| ("POST", "/v1/messages", body, Ask::Push(push), expected)).collect()
}

fn others() -> Vec<Case> {
    let kick = |mid| v1::KickRequest { mid, ..v1::KickRequest::default() };
    let text = |text: &str| Some(text.to_owned());
    let get = |uri: &'static str, ask: Ask, expected: &'static str| -> Case { ("GET", uri, String::new(), ask, expected) };
    let delete = |uri: &'static str, kick: v1::KickRequest, expected: &'static str| -> Case {
        ("DELETE", uri, String::new(), Ask::Kick(kick), expected)
    };
    let post = |uri: &'static str, body: &str, ask: Ask, expected: &'static str| -> Case {
        ("POST", uri, body.to_owned(), ask, expected)
    };
    let one = r#"{"to":{"mids":[7]},"body":"x"}"#;
    let batch = |messages: &[&str]| format!(r#"{{"messages":[{}]}}"#, messages.join(","));
    vec![
        post(
            "/v1/messages:batch",
            &batch(&[one, r#"{"body":"x"}"#, r#"{"to":{"mids":[7]},"body":"x","priority":"x"}"#]),
            Ask::Batch(vec![
                mids(&[7]),
                v1::PushRequest { to: None, ..mids(&[7]) },
                v1::PushRequest { priority: 7, ..mids(&[7]) },
            ]),
            "",
        ),
        post("/v1/messages:batch", &batch(&[]), Ask::Batch(Vec::new()), "BAD_REQUEST"),
        post("/v1/messages:batch", &batch(&[one; 4]), Ask::Batch(vec![mids(&[7]); 4]), "BAD_REQUEST"),
        get("/v1/users/7", Ask::User(7), ""),
        get("/v1/users/9", Ask::User(9), ""),
        get("/v1/users/0", Ask::User(0), "BAD_REQUEST"),
        get("/v1/users/-1", Ask::User(-1), "BAD_REQUEST"),
        post("/v1/users:online", r#"{"mids":[7,8,9]}"#, Ask::Online(vec![7, 8, 9]), ""),
        post("/v1/users:online", r#"{"mids":[]}"#, Ask::Online(Vec::new()), ""),
        post("/v1/users:online", r#"{"mids":[1,2,3,4]}"#, Ask::Online(vec![1, 2, 3, 4]), "TOO_LARGE"),
        delete("/v1/users/7/sessions", kick(7), ""),
        delete(
            "/v1/users/7/sessions?key=phone&platform=ios&reason=out",
            v1::KickRequest { key: text("phone"), platform: text("ios"), reason: text("out"), ..kick(7) },
            "",
        ),
        delete("/v1/users/7/sessions?key=", v1::KickRequest { key: text(""), ..kick(7) }, "BAD_REQUEST"),
        delete("/v1/users/7/sessions?reason=%00", v1::KickRequest { reason: text("\0"), ..kick(7) }, "BAD_REQUEST"),
        delete("/v1/users/0/sessions", kick(0), "BAD_REQUEST"),
        get("/v1/rooms", Ask::Rooms("", None), ""),
        get("/v1/rooms?type=live&limit=1", Ask::Rooms("live", Some(1)), ""),
        get("/v1/rooms?limit=0", Ask::Rooms("", Some(0)), "BAD_REQUEST"),
        get("/v1/rooms?limit=10001", Ask::Rooms("", Some(10_001)), ""),
        get("/v1/rooms/live/a/b", Ask::Room("live", "a/b".to_owned()), ""),
        get("/v1/rooms/live/nobody", Ask::Room("live", "nobody".to_owned()), ""),
        get("/v1/rooms/live/a%0a", Ask::Room("live", "a\n".to_owned()), "BAD_REQUEST"),
        get("/v1/nodes", Ask::Nodes, ""),
        get("/v1/nodes/vm:1", Ask::Node("vm:1"), ""),
        get("/v1/nodes/x", Ask::Node("x"), "NOT_FOUND"),
        post("/v1/nodes/vm:1:drain", r#"{"per_second":3}"#, Ask::Drain("vm:1", Some(3)), ""),
        post("/v1/nodes/vm:1:drain", "", Ask::Drain("vm:1", None), ""),
        post("/v1/nodes/vm:1:drain", r#"{"per_second":0}"#, Ask::Drain("vm:1", Some(0)), "BAD_REQUEST"),
        post("/v1/nodes/x:drain", "", Ask::Drain("x", None), "NOT_FOUND"),
        get("/v1/nodes/vm:1:drain", Ask::Progress("vm:1"), ""),
        get("/v1/nodes/x:drain", Ask::Progress("x"), "NOT_FOUND"),
    ]
}

/// Both ways, each in a world of its own.
async fn both(case: &Case, name: &str, prepare: impl Fn(&World)) -> Outcome {
    let (method, uri, body, over_grpc, expected) = case;
    let (http, grpc) = (world(), world());
    prepare(&http);
    prepare(&grpc);
    let by_http = ask_http(&http, method, uri, body, name).await;
    let by_grpc = ask(channel(&grpc).await, over_grpc.clone(), name).await;
    assert_eq!(by_http, by_grpc, "{name} {method} {uri} {body}");
    let reason = by_http.as_ref().map_or_else(|(reason, _)| reason.as_str(), |_| "");
    assert_eq!(reason, *expected, "{name} {method} {uri} {body}");
    assert_eq!(effects(&http), effects(&grpc), "{name} {method} {uri} {body}");
    by_http
}

#[tokio::test]
async fn one_table_over_http_and_grpc() {
    let cases: Vec<Case> = pushes().into_iter().chain(others()).collect();
    for case in &cases {
        both(case, "all", |_| {}).await.ok();
    }
    // Who may, for each operation that succeeds.
    for (method, uri, body, ask, _) in cases.iter().filter(|(.., expected)| expected.is_empty()) {
        let case = |expected: &'static str| (*method, *uri, body.clone(), ask.clone(), expected);
        both(&case("UNAUTHENTICATED"), "", |_| {}).await.unwrap_err();
        both(&case("UNAUTHENTICATED"), "stranger", |_| {}).await.unwrap_err();
        let (pushes, admin) = (uri.starts_with("/v1/messages"), *method == "DELETE" || matches!(ask, Ask::Drain(..)));
        both(&case(if pushes { "" } else { "PERMISSION_DENIED" }), "push", |_| {}).await.ok();
        both(&case(if pushes || admin { "PERMISSION_DENIED" } else { "" }), "read", |_| {}).await.ok();
    }
}

#[tokio::test]
async fn what_the_log_says_reaches_both() {
    let push = ("POST", "/v1/messages", r#"{"to":{"mids":[7]},"body":"x"}"#.to_owned(), Ask::Push(mids(&[7])));
    let case = |expected| (push.0, push.1, push.2.clone(), push.3.clone(), expected);
    for (mode, expected, says_when) in [
        (Mode::Refuse(AppendError::Overloaded), "UNAVAILABLE", true),
        (Mode::Refuse(AppendError::Unknown("sync".into())), "UNKNOWN", false),
        (Mode::Forget, "UNKNOWN", false),
    ] {
        let refused = both(&case(expected), "all", |world| world.log.set(mode.clone())).await.unwrap_err();
        assert_eq!(refused.1, says_when, "{expected}");
    }
}

#[tokio::test]
async fn quotas_and_ids_are_shared_by_both() {
    let world = world();
    let channel = channel(&world).await;
    let body = r#"{"to":{"mids":[7]},"body":"x","id":"a"}"#;
    let push = v1::PushRequest { id: Some("a".into()), ..mids(&[7]) };
    let first = ask_http(&world, "POST", "/v1/messages", body, "all").await.unwrap();
    let again = ask(channel.clone(), Ask::Push(push.clone()), "all").await.unwrap();
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)), "one space of ids");
    let other = v1::PushRequest { body: Some("y".into()), ..push };
    assert_eq!(ask(channel.clone(), Ask::Push(other), "all").await, Err(("CONFLICT".to_owned(), false)));

    // One at once, one a second: whichever way they come, of those at the same time one is let in.
    let started = std::time::Instant::now();
    let mut accepted = 0;
    for at in 0..6 {
        let outcome = match at % 2 {
            0 => ask_http(&world, "POST", "/v1/messages", r#"{"to":{"mids":[7]},"body":"x"}"#, "slow").await,
            _ => ask(channel.clone(), Ask::Push(mids(&[7])), "slow").await,
        };
        match outcome {
            Ok(_) => accepted += 1,
            Err(refused) => assert_eq!(refused, ("RATE_LIMITED".to_owned(), true)),
        }
    }
    assert!(accepted >= 1 && accepted <= 1 + started.elapsed().as_secs(), "{accepted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quota_raced_over_both_gives_no_more() {
    let world = std::sync::Arc::new(world());
    let channel = channel(&world).await;
    let started = std::time::Instant::now();
    let callers: Vec<_> = (0..64)
        .map(|at| {
            let (world, channel) = (world.clone(), channel.clone());
            tokio::spawn(async move {
                match at % 2 {
                    0 => ask_http(&world, "POST", "/v1/messages", r#"{"to":{"mids":[7]},"body":"x"}"#, "slow").await.is_ok(),
                    _ => ask(channel, Ask::Push(mids(&[7])), "slow").await.is_ok(),
                }
            })
        })
        .collect();
    let mut accepted = 0;
    for caller in callers {
        accepted += u64::from(caller.await.unwrap());
    }
    assert!(accepted >= 1 && accepted <= 1 + started.elapsed().as_secs(), "{accepted}");
    assert_eq!(world.log.pushes().len() as u64, accepted);
}

/// A push that goes past every socket, so that time can stand still.
async fn push_with_timeout(world: &World, timeout: &str) -> (String, String) {
    use prost::Message as _;
    use tower::ServiceExt as _;

    let message = mids(&[7]).encode_to_vec();
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &len, &message].concat();
    let request = axum::http::Request::post("/perseid.v1.Push/Push")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", timeout)
        .body(axum::body::Body::from(body))
        .unwrap();
    let routes = grpc_services(world.api.clone(), &[]).unwrap().into_axum_router();
    let answer = routes.oneshot(request).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    (header("grpc-status"), header("perseid-reason"))
}

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_is_kept() {
    let world = World::new();
    world.log.set(Mode::Hold);
    // The caller's, the node's own (10 s), and one that makes no sense.
    for (timeout, at_least_ms, at_most_ms) in [("300m", 200, 300), ("60S", 9_000, 11_000), ("soon", 9_000, 11_000)] {
        let started = tokio::time::Instant::now();
        let answered = push_with_timeout(&world, timeout).await;
        assert_eq!(answered, ((Code::DeadlineExceeded as i32).to_string(), "UNKNOWN".to_owned()), "{timeout}");
        let took_ms = started.elapsed().as_millis();
        assert!((at_least_ms..=at_most_ms).contains(&took_ms), "{timeout}: {took_ms}");
    }
    assert_eq!(world.log.pushes().len(), 3, "it may be written, and is");
}

#[tokio::test]
async fn limits_count_from_the_next_call_on() {
    let world = World::new();
    let mut client = PushClient::new(channel(&world).await);
    let large = || v1::PushRequest { body: Some(vec![b'x'; 1 << 20].into()), ..mids(&[7]) };
    let status = client.push(large()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "TOO_LARGE"),
        "the message holds more than the body"
    );
    world.api.reload(Config { request_bytes_max: 2 << 20, ..Config::default() });
    client.push(large()).await.unwrap();
    let over = v1::PushRequest { body: Some(vec![b'x'; (1 << 20) + 1].into()), ..mids(&[7]) };
    assert_eq!(reason(&client.push(over).await.unwrap_err()), "TOO_LARGE");
}

/// Posts bytes as they are, over HTTP/2 without TLS; gives the HTTP status and the headers.
async fn raw(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: &'static [u8]) -> (u16, axum::http::HeaderMap) {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = axum::http::Request::post(format!("http://{addr}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = http_body_util::Full::new(axum::body::Bytes::from_static(body));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test]
async fn nonsense() {
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    let world = World::new();
    let addr = serve(&world).await;
    let push = "/perseid.v1.Push/Push";
    for (path, headers, body, code, word) in [
        (push, &[GRPC][..], &b""[..], 3, "BAD_REQUEST"),
        (push, &[GRPC], b"\0\0\0\0", 3, "BAD_REQUEST"),
        (push, &[GRPC], b"\0\0\0\0\x05ab", 3, "BAD_REQUEST"),
        (push, &[GRPC], b"\0\0\0\0\x01\xff", 3, "BAD_REQUEST"),
        (push, &[GRPC], b"\x02\0\0\0\0", 3, "BAD_REQUEST"),
        (push, &[GRPC], b"\0\xff\xff\xff\xff", 3, "TOO_LARGE"),
        (push, &[GRPC, ("grpc-encoding", "gzip")], b"\x01\0\0\0\x01x", 12, "UNSUPPORTED"),
        (push, &[], b"\0\0\0\0\0", 3, "BAD_REQUEST"),
        (push, &[("content-type", "text/plain")], b"\0\0\0\0\0", 3, "BAD_REQUEST"),
        (push, &[GRPC, ("origin", "https://evil.example")], b"\0\0\0\0\0", 7, "PERMISSION_DENIED"),
        (push, &[GRPC, ("host", "evil.example")], b"\0\0\0\0\0", 9, "MISDIRECTED"),
        ("/perseid.v1.Push/Nothing", &[GRPC], b"\0\0\0\0\0", 12, "UNSUPPORTED"),
    ] {
        let (status, answer) = raw(addr, path, headers, body).await;
        let header = |name: &str| answer.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let got = (status, header("grpc-status"), header("perseid-reason"));
        assert_eq!(got, (200, code.to_string(), word.to_owned()), "{path} {headers:?} {body:?} {answer:?}");
    }
    assert_eq!(world.log.pushes(), []);
    let counted: u64 = world.counters().refusals.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, 12, "each once");
    let (_, answer) = raw(addr, "/no.such.Service/Method", &[GRPC], b"").await;
    assert_eq!(answer["grpc-status"], "12");
}

#[tokio::test]
async fn health_says_what_readyz_says() {
    let world = World::new();
    let mut client = HealthClient::new(channel(&world).await);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "perseid.v1.Push"] {
        assert_eq!(client.check(ask(service)).await.unwrap().get_ref().status, 1, "{service}");
    }
    assert_eq!(client.check(ask("other")).await.unwrap_err().code(), Code::NotFound);
    let mut watched = client.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 1);
    world.api.drain();
    assert_eq!(client.check(ask("")).await.unwrap().get_ref().status, 2);
    assert_eq!(watched.message().await.unwrap().unwrap().status, 2, "who watches is told");
    let mut unknown = client.watch(ask("other")).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status, 3);
    assert_eq!(world.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn reflection_names_what_is_there() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let world = World::new();
    let mut client = ServerReflectionClient::new(channel(&world).await);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("perseid.v1.Push".to_owned())),
    ];
    let mut answers = client.server_reflection_info(tokio_stream::iter(questions)).await.unwrap().into_inner();
    let mut next = async || {
        let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
        answer.message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(listed) = next().await else { panic!("no list") };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    for name in ["perseid.v1.Push", "grpc.health.v1.Health", "goim.logic.Logic"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("Comet")), "only what this port serves: {names:?}");
    let MessageResponse::FileDescriptorResponse(file) = next().await else { panic!("no file") };
    assert!(!file.file_descriptor_proto.is_empty());
}

#[tokio::test]
async fn the_same_word_for_the_same_method() {
    // Only POST reaches a method, as gRPC has it.
    let world = World::new();
    assert_eq!(world.ask(Method::GET, "/perseid.v1.Push/Push", "").await.status, 404, "and not on the port of HTTP");
}

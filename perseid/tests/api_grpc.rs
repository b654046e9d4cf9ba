//! The push API over gRPC on a running server: what it does reaches clients, and what is bad reaches nobody.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use perseid_rpc::v1;
use perseid_rpc::v1::push_client::PushClient;
use perseid_rpc::v1::target::To;
use serde_json::json;
use support::measure::Metrics;
use support::server::TOKEN;
use support::{BOTH, Client, Http, PATIENCE, Server, Transport, until_eq};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

fn addr(server: &Server) -> String {
    server.ready["logic_grpc"].as_str().unwrap().to_owned()
}

async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(format!("http://{}", addr(server))).unwrap().connect().await.unwrap()
}

fn push(mid: i64, body: &str) -> v1::PushRequest {
    let to = Some(v1::Target { to: Some(To::Mids(v1::Mids { mids: vec![mid] })) });
    v1::PushRequest { to, body: Some(body.to_owned().into()), ..v1::PushRequest::default() }
}

fn reason(status: &Status) -> &str {
    status.metadata().get("perseid-reason").unwrap().to_str().unwrap()
}

fn with_token<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_does_reaches_clients() {
    let server = Server::start_with_token(&["--set", "node.id=here"]);
    let mut api = PushClient::new(channel(&server).await);
    let status = api.push(push(7, "no")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unauthenticated, "UNAUTHENTICATED"));
    for transport in BOTH {
        let (mut client, _) =
            Client::extended(&server, transport, &json!({ "mid": 7, "key": "a", "platform": "web", "accepts": [1000] }));
        let answer = api.push(with_token(push(7, "hello"))).await.unwrap().into_inner();
        assert_eq!((answer.recipients, answer.duplicate), (1, false));
        assert_eq!(client.push(), "hello");
        let user = api.get_user(with_token(v1::GetUserRequest { mid: 7 })).await.unwrap().into_inner();
        assert_eq!((user.sessions.len(), user.sessions[0].platform.as_str()), (1, "web"));
        let kick = v1::KickRequest { mid: 7, reason: Some("out".to_owned()), ..v1::KickRequest::default() };
        assert_eq!(api.kick(with_token(kick)).await.unwrap().get_ref().ended, 1);
        assert_eq!(client.end().disconnect.unwrap()["reason"], "KICKED");
    }
    let nodes = api.list_nodes(with_token(v1::ListNodesRequest {})).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["here", "here:logic", "here:job"]);
    let drain = api.drain_node(with_token(v1::DrainNodeRequest { id: "here".to_owned(), per_second: None })).await.unwrap();
    assert!(drain.get_ref().draining);
    drop(api);
    assert_eq!(server.wait().0, 0);
}

/// Somebody who is served all the while: a session, and a caller over each API.
struct Neighbours {
    client: Client,
    http: Http,
    grpc: PushClient<Channel>,
    sent: u64,
}

impl Neighbours {
    async fn of(server: &Server) -> Self {
        let (client, _) = Client::extended(server, Transport::Tcp, &json!({ "mid": 7, "accepts": [1000] }));
        Self { client, http: server.http(), grpc: PushClient::new(channel(server).await), sent: 0 }
    }

    async fn are_well(&mut self, after: &str) {
        self.sent += 1;
        let body = format!("{after} {}", self.sent);
        self.grpc.push(push(7, &body)).await.unwrap_or_else(|status| panic!("{after}: {status:?}"));
        assert_eq!(self.client.push(), body);
        self.http.push(&json!({ "to": { "mids": [7] }, "body": body }));
        assert_eq!(self.client.push(), body, "{after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_over_the_limit() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server).await;
    let mut api = PushClient::new(channel(&server).await);
    for bytes in [1 << 20, 2 << 20, 8 << 20] {
        let status = api.push(push(7, &"x".repeat(bytes))).await.unwrap_err();
        // One that sends on while it is refused may see its stream reset.
        assert!([Code::InvalidArgument, Code::Internal, Code::Cancelled, Code::Unknown].contains(&status.code()), "{status:?}");
        neighbours.are_well("a message over the limit").await;
    }
    let counted = Metrics::of(&mut server.http()).get("perseid_api_command_errors_total{reason=\"TOO_LARGE\"}");
    assert!(counted >= 3, "{counted}");
}

/// A peer that speaks HTTP/2 by hand.
struct Raw(TcpStream);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

impl Raw {
    fn connect(server: &Server) -> Self {
        let mut stream = TcpStream::connect(addr(server)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut raw = Self(stream);
        raw.frame(SETTINGS, 0, 0, &[]).unwrap();
        raw
    }

    fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&Self::bytes(kind, flags, stream, payload))
    }

    /// The head of a call, without Huffman and without a table: each field is literal.
    fn head(more: &[(&str, &str)]) -> Vec<u8> {
        let head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/perseid.v1.Push/Push"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
        ];
        let mut block = Vec::new();
        for (name, value) in head.iter().chain(more) {
            block.push(0);
            for text in [name, value] {
                let mut len = text.len();
                if len < 127 {
                    block.push(u8::try_from(len).unwrap());
                } else {
                    block.push(127);
                    len -= 127;
                    while len >= 128 {
                        block.push(u8::try_from(len % 128).unwrap() | 128);
                        len /= 128;
                    }
                    block.push(u8::try_from(len).unwrap());
                }
                block.extend_from_slice(text.as_bytes());
            }
        }
        block
    }

    /// Reads until the server ends the connection.
    fn ends(mut self) -> bool {
        let mut sink = [0; 4096];
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.0.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            }
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_http2() {
    let server = Server::start(&[]);
    let mut neighbours = Neighbours::of(&server).await;

    // Calls that are opened and reset at once, as many as the server takes.
    let mut raw = Raw::connect(&server);
    let head = Raw::head(&[]);
    let mut went = true;
    for at in 0..20_000_u32 {
        let stream = 2 * at + 1;
        let both = [Raw::bytes(HEADERS, 4, stream, &head), Raw::bytes(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat();
        if raw.0.write_all(&both).is_err() {
            went = false;
            break;
        }
        if at % 2_000 == 0 {
            neighbours.are_well("resets").await;
        }
    }
    neighbours.are_well("rapid reset").await;
    assert!(!went || raw.ends(), "who resets without end is sent away");

    // A list of headers without end: frames that continue it.
    let mut raw = Raw::connect(&server);
    raw.frame(HEADERS, 0, 1, &Raw::head(&[])).unwrap();
    let long = Raw::head(&[("x", &"y".repeat(8_000))]);
    let part = &long[long.len() - 8_000..];
    let went = (0..2_000).all(|_| raw.frame(CONTINUATION, 0, 1, part).is_ok());
    neighbours.are_well("continuations").await;
    assert!(!went || raw.ends(), "who never ends his headers is sent away");

    // One large list of headers costs its own call at most.
    let mut api = PushClient::new(channel(&server).await);
    let mut request = Request::new(push(7, "no"));
    for at in 0..64 {
        let name: tonic::metadata::MetadataKey<_> = format!("x-{at}").parse().unwrap();
        request.metadata_mut().insert(name, "y".repeat(1_000).parse().unwrap());
    }
    assert!(api.push(request).await.is_err());
    neighbours.are_well("a large head").await;

    // Settings and pings that each want an answer, and nobody who reads the answers.
    for (kind, payload) in [(SETTINGS, &[][..]), (PING, &[0; 8][..])] {
        let mut raw = Raw::connect(&server);
        raw.0.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let many = Raw::bytes(kind, 0, 0, payload).repeat(1_000);
        for _ in 0..200 {
            if raw.0.write_all(&many).is_err() {
                break;
            }
        }
        neighbours.are_well("settings and pings").await;
    }

    // What is no HTTP/2 at all.
    for garbage in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\0\x05hello", &[0xff; 100]] {
        let mut stream = TcpStream::connect(addr(&server)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(garbage).unwrap();
        assert!(Raw(stream).ends(), "{garbage:?}");
    }
    neighbours.are_well("all that").await;
    drop(neighbours);
    let mut http = server.http();
    until_eq("nobody left", &0, || http.get("/v1/users/7").json()["sessions"].as_array().unwrap().len());
}

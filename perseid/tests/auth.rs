//! Who may enter, against the real server: tokens over both transports, the codes of those who may not, renewal, keys that
//! change, `perseid token`. Key sets of a server and the HTTP hook are in files of their own.

#![allow(clippy::unwrap_used)]

#[path = "auth/expiry.rs"]
mod expiry;
#[path = "auth/hook.rs"]
mod hook;
#[path = "auth/jwks.rs"]
mod jwks;
mod support;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use support::frame::{self, AUTH, AUTH_REPLY, Extended, classic};
use support::measure::Metrics;
use support::server::{perseid, run};
use support::{BOTH, Client, End, Server, Transport, until};
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const UNAUTHENTICATED: (u16, &str) = (4500, "UNAUTHENTICATED");
const OVERLOADED: (u16, &str) = (4008, "OVERLOADED");
const TOKEN_EXPIRED: (u16, &str) = (4002, "TOKEN_EXPIRED");

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A pair of keys, with which this test issues tokens.
struct Pair {
    algorithm: Algorithm,
    private: String,
    public: String,
}

impl Pair {
    fn new(algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            other => panic!("{other:?}"),
        };
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        Self { algorithm, private: pair.serialize_pem(), public: pair.public_key_pem() }
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Header::new(self.algorithm), claims)
    }

    fn sign_named(&self, kid: &str, claims: &Value) -> String {
        self.sign_as(Header { kid: Some(kid.to_owned()), ..Header::new(self.algorithm) }, claims)
    }

    /// The public half as a JWK: the end of SubjectPublicKeyInfo is the key, for both kinds.
    fn jwk(&self, kid: &str) -> Value {
        let base64: String = self.public.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).unwrap();
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        if self.algorithm == Algorithm::EdDSA {
            return json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(&der[der.len() - 32..]) });
        }
        let (x, y) = der[der.len() - 64..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": b64(x), "y": b64(y) })
    }

    fn sign_as(&self, header: Header, claims: &Value) -> String {
        let key = match self.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(self.private.as_bytes()),
            _ => EncodingKey::from_ed_pem(self.private.as_bytes()),
        };
        jsonwebtoken::encode(&header, claims, &key.unwrap()).unwrap()
    }
}

fn hs256(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn user(mid: i64) -> Value {
    json!({ "mid": mid, "exp": now() + 600 })
}

fn auth(token: &str) -> Value {
    json!({ "token": token, "accepts": [1000] })
}

/// Files of a test, and a server that reads them.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn set(&self, key: &str, name: &str, text: &str) -> String {
        format!("--set=jwt.{key}={}", self.put(name, text).display())
    }
}

fn start(args: &[&str]) -> Server {
    Server::start_with_token(&[&["--set", "logic.auth=jwt"], args].concat())
}

/// Tries to enter as an extended client; gives the JSON of DISCONNECT.
fn refused(server: &Server, transport: Transport, token: &str, (code, word): (u16, &str)) -> Value {
    let mut client = Client::connect(server, transport);
    let body = auth(token).to_string();
    client.send(&frame::extended(AUTH, 1, &Extended::default(), body.as_bytes()));
    let end = client.end();
    let close = (transport == Transport::WebSocket).then(|| (code, word.to_owned()));
    assert_eq!(end.close, close);
    let json = end.disconnect.expect("an extended session is told");
    assert_eq!((&json["code"], &json["reason"]), (&json!(code), &json!(word)), "{json}");
    json
}

fn refusals(server: &Server, cause: &str) -> u64 {
    Metrics::of(&mut server.http()).get(&format!("perseid_auth_refusals_total{{cause=\"{cause}\"}}"))
}

#[test]
fn a_token_says_who_it_is() {
    let (place, pair) = (Place::new(), Pair::new(Algorithm::ES256));
    let server = start(&[&place.set("key_file", "public.pem", &pair.public)]);
    let mut http = server.http();
    for transport in BOTH {
        // What the body says of the user does not count.
        let body = json!({ "mid": 1, "token": pair.sign(&user(7)), "accepts": [1000] });
        let mut classic = Client::classic(&server, transport, &body);
        let (mut extended, reply) =
            Client::extended(&server, transport, &auth(&pair.sign(&json!({ "sub": "7", "exp": now() + 9 }))));
        assert_eq!(reply["mid"], 7);
        http.goim_push("mids?operation=1000&mids=7", b"hello");
        assert_eq!((classic.push(), extended.push()), ("hello".to_owned(), "hello".to_owned()));
    }
}

#[test]
fn who_may_not_enter_is_told_why() {
    let place = Place::new();
    let secret = place.set("secret_file", "secret", &format!("{SECRET}\n"));
    let server = start(&[&secret, "--set", "jwt.audience=im"]);
    let claims = |change: Value| {
        let mut claims = json!({ "mid": 7, "aud": "im", "exp": now() + 600 });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims
    };
    let good = hs256(&claims(json!({})));
    let unsigned = {
        let header = good.split('.').next().unwrap();
        let none = "eyJhbGciOiJub25lIn0";
        good.replacen(header, none, 1).rsplit_once('.').unwrap().0.to_owned() + "."
    };
    let cases = [
        ("no_token", String::new(), UNAUTHENTICATED),
        ("malformed", "hello".to_owned(), UNAUTHENTICATED),
        ("malformed", "a".repeat(7000), UNAUTHENTICATED),
        ("algorithm", unsigned, UNAUTHENTICATED),
        ("algorithm", Pair::new(Algorithm::EdDSA).sign(&claims(json!({}))), UNAUTHENTICATED),
        (
            "signature",
            hs256(&claims(json!({ "n": 1 }))).rsplit_once('.').unwrap().0.to_owned() + &good[good.rfind('.').unwrap()..],
            UNAUTHENTICATED,
        ),
        ("audience", hs256(&claims(json!({ "aud": "other" }))), UNAUTHENTICATED),
        ("not_yet", hs256(&claims(json!({ "nbf": now() + 600 }))), UNAUTHENTICATED),
        ("subject", hs256(&claims(json!({ "mid": -7 }))), UNAUTHENTICATED),
        ("expired", hs256(&claims(json!({ "exp": now() - 600 }))), TOKEN_EXPIRED),
    ];
    for transport in BOTH {
        for (cause, token, expected) in &cases {
            let before = refusals(&server, cause);
            let json = refused(&server, transport, token, *expected);
            let message = json["message"].as_str().unwrap();
            assert!(message.len() > 20 && (token.is_empty() || !message.contains(token.as_str())), "{json}");
            assert_eq!(refusals(&server, cause), before + 1, "{cause}");
            // A classic session sees the code on WebSocket, and just the end on TCP.
            let mut client = Client::connect(&server, transport);
            client.send(&classic(1, AUTH, 1, auth(token).to_string().as_bytes()));
            let close = (transport == Transport::WebSocket).then(|| (expected.0, expected.1.to_owned()));
            assert_eq!(client.end(), End { close, disconnect: None });
        }
        Client::classic(&server, transport, &auth(&good));
    }
    for (_, token, _) in &cases[1..] {
        for part in token.split('.').filter(|part| part.len() > 40) {
            assert!(!server.stderr().contains(part), "a token is in the log");
        }
    }
}

#[test]
fn renewal_is_for_the_same_user() {
    let (place, pair) = (Place::new(), Pair::new(Algorithm::EdDSA));
    let server = start(&[&place.set("key_file", "public.pem", &pair.public)]);
    for transport in BOTH {
        let (mut client, _) = Client::extended(&server, transport, &auth(&pair.sign(&user(7))));
        let again = auth(&pair.sign(&user(7))).to_string();
        client.send(&frame::extended(AUTH, 5, &Extended::default(), again.as_bytes()));
        let reply = client.next();
        assert_eq!((reply.op, reply.seq, &reply.json()["mid"]), (AUTH_REPLY, 5, &json!(7)));
        assert_eq!(client.ask(frame::HEARTBEAT, 9, &[]).op, frame::HEARTBEAT + 1);
        let other = auth(&pair.sign(&user(8))).to_string();
        client.send(&frame::extended(AUTH, 6, &Extended::default(), other.as_bytes()));
        assert_eq!(client.end().disconnect.unwrap()["reason"], "UNAUTHENTICATED");

        let (mut client, _) = Client::extended(&server, transport, &auth(&pair.sign(&user(7))));
        let late = auth(&pair.sign(&json!({ "mid": 7, "exp": now() - 600 }))).to_string();
        client.send(&frame::extended(AUTH, 6, &Extended::default(), late.as_bytes()));
        assert_eq!(client.end().disconnect.unwrap()["reason"], "TOKEN_EXPIRED");
    }
}

#[test]
fn a_key_is_taken_only_from_the_same_user() {
    let (place, pair) = (Place::new(), Pair::new(Algorithm::ES256));
    let server = start(&[&place.set("key_file", "public.pem", &pair.public)]);
    let body = |mid| json!({ "token": pair.sign(&user(mid)), "key": "phone", "accepts": [1000] });
    let (mut first, _) = Client::extended(&server, Transport::Tcp, &body(7));
    let mut thief = Client::connect(&server, Transport::Tcp);
    thief.send(&frame::extended(AUTH, 1, &Extended::default(), body(8).to_string().as_bytes()));
    assert_eq!(thief.end().disconnect.unwrap()["reason"], "PERMISSION_DENIED");
    server.http().goim_push("keys?operation=1000&keys=phone", b"still there");
    assert_eq!(first.push(), "still there");
    let (_second, _) = Client::extended(&server, Transport::Tcp, &body(7));
    assert_eq!(first.end().disconnect.unwrap()["reason"], "REPLACED");
}

#[test]
fn keys_are_read_again_and_a_bad_file_changes_nothing() {
    let (place, old, new) = (Place::new(), Pair::new(Algorithm::ES256), Pair::new(Algorithm::EdDSA));
    let server = start(&[&place.set("key_file", "public.pem", &old.public)]);
    let mut living = Client::classic(&server, Transport::Tcp, &auth(&old.sign(&user(7))));
    refused(&server, Transport::Tcp, &new.sign(&user(7)), UNAUTHENTICATED);

    place.put("public.pem", "-----BEGIN PUBLIC KEY-----\nbroken");
    server.signal("HUP");
    until("a report", || server.stderr().contains("were not read again").then_some(()));
    Client::classic(&server, Transport::Tcp, &auth(&old.sign(&user(7))));

    place.put("public.pem", &new.public);
    server.signal("HUP");
    until("a report", || server.stderr().contains("were read again").then_some(()));
    Client::classic(&server, Transport::Tcp, &auth(&new.sign(&user(7))));
    refused(&server, Transport::Tcp, &old.sign(&user(7)), UNAUTHENTICATED);
    // Who is in stays in.
    server.http().goim_push("mids?operation=1000&mids=7", b"hello");
    assert_eq!(living.push(), "hello");
}

#[test]
fn a_user_has_so_many_sessions() {
    let server = Server::start(&["--set", "logic.sessions_per_user_max=2"]);
    let enter = |mid: i64| Client::extended(&server, Transport::WebSocket, &json!({ "mid": mid })).0;
    let (mut first, _second) = (enter(7), enter(7));
    let mut third = Client::connect(&server, Transport::WebSocket);
    third.send(&frame::extended(AUTH, 1, &Extended::default(), br#"{"mid":7}"#));
    let end = third.end();
    assert_eq!(end.close, Some((4504, "CONNECTION_LIMIT".to_owned())));
    assert_eq!((refusals(&server, "user_limit"), end.disconnect.unwrap()["code"].as_u64()), (1, Some(4504)));
    let _others = [enter(8), enter(0), enter(0), enter(0)];
    first.write(&support::websocket::message(support::websocket::CLOSE, &[]));
    first.end();
    until("room for one", || {
        let mut client = Client::connect(&server, Transport::WebSocket);
        client.send(&frame::extended(AUTH, 1, &Extended::default(), br#"{"mid":7}"#));
        (client.next().op == AUTH_REPLY).then_some(())
    });

    let server = Server::start(&["--set", "logic.sessions_per_user_max=1", "--set", "logic.sessions_per_user_replace=true"]);
    let enter = || Client::extended(&server, Transport::Tcp, &json!({ "mid": 7 })).0;
    let mut first = enter();
    let mut second = enter();
    assert_eq!(first.end().disconnect.unwrap()["reason"], "REPLACED");
    assert_eq!(second.ask(frame::HEARTBEAT, 9, &[]).op, frame::HEARTBEAT + 1);
}

#[test]
fn a_server_without_usable_keys_does_not_start() {
    let place = Place::new();
    let server = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let output = run(Server::command(&place.0.path().join("data"), &args));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, stderr) = server(&["--set", "logic.auth=jwt"]);
    assert!(status == Some(2) && stderr.contains("jwt.key_file"), "{status:?} {stderr}");
    let short = place.set("secret_file", "short", "secret");
    let (status, stderr) = server(&["--set", "logic.auth=jwt", &short]);
    assert!(status == Some(1) && stderr.contains("6 bytes"), "{status:?} {stderr}");
}

fn token(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = perseid();
    command.arg("token").args(args);
    let output = run(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_token_command_signs_what_the_server_takes() {
    let (place, pair) = (Place::new(), Pair::new(Algorithm::ES256));
    let secret = place.put("secret", SECRET);
    let (private, public) = (place.put("private.pem", &pair.private), place.put("public.pem", &pair.public));
    let config = format!(
        "[logic]\nauth = \"jwt\"\n[jwt]\nsecret_file = {secret:?}\nkey_file = {public:?}\naudience = [\"im\"]\nissuer = [\"me\"]\nmid_claim = \"uid\"\n",
    );
    let config = place.put("perseid.toml", &config);
    let (config, private) = (config.to_str().unwrap(), private.to_str().unwrap());
    let server = Server::start_with_token(&["--config", config]);
    for args in [
        &["--mid", "7", "--config", config][..],
        &["--mid", "7", "--ttl", "90s", "--config", config, "--alg", "HS256", "--claim", "role=admin", "--claim", "n=1"],
        &["--mid", "7", "--config", config, "--key-file", private, "--kid", "a"],
        &["--mid", "7", "--key-file", private, "--aud", "x", "--aud", "im", "--iss", "me", "--claim", "uid=7"],
    ] {
        let (status, stdout, stderr) = token(args);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{args:?}");
        assert_eq!(stdout.trim().split('.').count(), 3, "only the token");
        let (_, reply) = Client::extended(&server, Transport::Tcp, &auth(stdout.trim()));
        assert_eq!(reply["mid"], 7);

        let (status, answer, _) = token(&["--check", stdout.trim(), "--config", config]);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["valid"], &answer["mid"]), (Some(0), &json!(true), &json!(7)));

        let mut listen = perseid();
        listen.args(["send", "--tcp", &server.tcp.to_string(), "--op", "2", "--token", stdout.trim(), ""]);
        assert_eq!(run(listen).status.code(), Some(0));
    }
    let (status, answer, _) = token(&["--check", "a.b.c", "--config", config]);
    assert!(status == Some(1) && answer.contains("\"cause\":\"malformed\""), "{answer}");
    for (args, word) in [
        (&["--mid", "7"][..], "nothing to sign with"),
        (&["--mid", "7", "--key-file", private, "--alg", "RS256"], "ES256"),
        (&["--mid", "7", "--key-file", public.to_str().unwrap()], "pkcs8"),
        (&["--mid", "7", "--secret-file", "/nowhere"], "/nowhere"),
    ] {
        let (status, stdout, stderr) = token(args);
        assert!(status == Some(1) && stdout.is_empty() && stderr.contains(word), "{args:?}: {stderr}");
    }
    assert_eq!(token(&["--mid", "7", "--ttl", "1 hour", "--config", config]).0, Some(2));
}

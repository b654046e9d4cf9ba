//! Keys that a server has.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::support::measure::Metrics;
use super::support::server::run;
use super::support::{Client, Receiver, Says, Server, Transport, until};
use super::{OVERLOADED, Pair, Place, UNAUTHENTICATED, auth, refusals, refused, start, token as token_command, user};

fn key_set(keys: &[Value]) -> Says {
    Says::This(200, json!({ "keys": keys }).to_string())
}

#[test]
fn keys_from_a_url_come_change_and_outlive_their_server() {
    let (old, new) = (Pair::new(Algorithm::ES256), Pair::new(Algorithm::EdDSA));
    let issuer = Receiver::start(Says::This(503, "starting".to_owned()));
    let url = format!("--set=jwt.jwks_url={}", issuer.url("/keys"));
    let server = start(&[&url, "--set=jwt.unknown_kid_ms=1000"]);
    // It starts, says that it can't let anybody in yet, and sends clients away for a while.
    let not_ready = server.http().get("/readyz");
    assert_eq!(not_ready.status, 503);
    assert!(not_ready.text().contains("jwt.jwks_url"), "{}", not_ready.text());
    let token = old.sign_named("a", &user(7));
    let json = refused(&server, Transport::WebSocket, &token, OVERLOADED);
    assert!(json["retry_after_ms"].as_u64().is_some_and(|ms| ms >= 1_000), "{json}");
    assert!(refusals(&server, "keys_unavailable") > 0);

    issuer.now(key_set(&[old.jwk("a")]));
    until("the first set", || (server.http().get("/readyz").status == 200).then_some(()));
    let mut living = Client::classic(&server, Transport::Tcp, &auth(&token));
    // A new key is fetched when the first token comes with it.
    issuer.now(key_set(&[old.jwk("a"), new.jwk("b")]));
    std::thread::sleep(Duration::from_millis(1_100));
    let (_, reply) = Client::extended(&server, Transport::Tcp, &auth(&new.sign_named("b", &user(8))));
    assert_eq!(reply["mid"], 8);
    refused(&server, Transport::Tcp, &new.sign_named("c", &user(8)), UNAUTHENTICATED);

    // Whatever becomes of the server, the last good set stays.
    for says in [Says::This(500, String::new()), Says::This(200, "x".repeat(10 << 20)), Says::This(200, "{}".to_owned())] {
        let fetched = issuer.asked().len();
        issuer.now(says);
        server.signal("HUP");
        until("a fetch", || (issuer.asked().len() > fetched).then_some(()));
        Client::classic(&server, Transport::Tcp, &auth(&token));
    }
    // A key that is taken out opens nothing any more, and who is in stays in.
    issuer.now(key_set(&[new.jwk("b")]));
    server.signal("HUP");
    until("the new set", || (Metrics::of(&mut server.http()).get("perseid_auth_jwks_keys") == 1).then_some(()));
    refused(&server, Transport::Tcp, &token, UNAUTHENTICATED);
    server.http().goim_push("mids?operation=1000&mids=7", b"hello");
    assert_eq!(living.push(), "hello");

    let (status, answer, _) = token_command(&["--check", &new.sign_named("b", &user(8)), "--set=logic.auth=jwt", &url]);
    assert!(status == Some(0) && answer.contains("\"mid\":8"), "{answer}");
    assert!(issuer.asked().iter().all(|asked| asked.line == "GET /keys"));
}

#[test]
fn a_key_set_where_nobody_may_be_called_is_refused_at_the_start() {
    let place = Place::new();
    for (url, allowed, word) in [
        ("http://10.0.0.1/keys", "", "private"),
        ("https://169.254.169.254/", "10.0.0.0/8", "link-local"),
        ("http://8.8.8.8/", "", "https"),
        ("ftp://example.com/", "", "https://"),
    ] {
        let mut args = vec!["--set".to_owned(), "logic.auth=jwt".to_owned(), format!("--set=jwt.jwks_url={url}")];
        if !allowed.is_empty() {
            args.push(format!("--set=outbound.targets_allowed={allowed}"));
        }
        let output = run(Server::command(&place.0.path().join("data"), &args));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains("jwt.jwks_url") && stderr.contains(word), "{url}: {stderr}");
    }
}

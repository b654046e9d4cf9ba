//! The end of a token is the end of its session, unless it was renewed.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::support::frame::{self, AUTH, AUTH_REPLY, Extended};
use super::support::measure::Metrics;
use super::support::{BOTH, Client, Receiver, Says, Server, Transport};
use super::{Pair, Place, TOKEN_EXPIRED, auth, now, start, user};

/// Long enough to enter with on a busy machine, s.
const SHORT: u64 = 4;

fn renew(client: &mut Client, token: &str) {
    client.send(&frame::extended(AUTH, 5, &Extended::default(), auth(token).to_string().as_bytes()));
    assert_eq!(client.next().op, AUTH_REPLY);
}

/// It ends with TOKEN_EXPIRED, and a WebSocket with its code.
fn expires(client: &mut Client, transport: Transport, extended: bool) {
    let end = client.end();
    let (code, word) = TOKEN_EXPIRED;
    assert_eq!(end.close, (transport == Transport::WebSocket).then(|| (code, word.to_owned())));
    assert_eq!(end.disconnect.map(|json| json["code"].clone()), extended.then(|| json!(code)));
}

#[test]
fn a_session_ends_with_its_token_and_a_renewal_moves_that_end() {
    let (place, pair) = (Place::new(), Pair::new(Algorithm::ES256));
    let server = start(&[&place.set("key_file", "public.pem", &pair.public), "--set=jwt.leeway_ms=0"]);
    for transport in BOTH {
        let exp = now() + SHORT;
        let short = pair.sign(&json!({ "mid": 7, "exp": exp }));
        let mut classic = Client::classic(&server, transport, &auth(&short));
        let (mut extended, _) = Client::extended(&server, transport, &auth(&short));
        let (mut renewed, _) = Client::extended(&server, transport, &auth(&short));
        renew(&mut renewed, &pair.sign(&user(7)));
        // And a renewal can make it shorter.
        let (mut shortened, _) = Client::extended(&server, transport, &auth(&pair.sign(&user(7))));
        renew(&mut shortened, &short);
        expires(&mut classic, transport, false);
        expires(&mut extended, transport, true);
        expires(&mut shortened, transport, true);
        assert!(now() >= exp, "none ended before its time");
        assert_eq!(renewed.ask(frame::HEARTBEAT, 9, &[]).op, frame::HEARTBEAT + 1);
    }
    let ended = "perseid_client_num_server_disconnects_total{code=\"4002\",reason=\"TOKEN_EXPIRED\"}";
    assert_eq!(Metrics::of(&mut server.http()).get(ended), 6);
}

#[test]
fn the_hook_says_when_a_session_ends() {
    let exp_ms = (now() + SHORT) * 1000;
    let hook = Receiver::start(Says::By(Arc::new(move |asked| {
        let renewal = asked.body.ends_with(br#""renewal":true}"#);
        let expires_at_ms = if renewal { exp_ms + 600_000 } else { exp_ms };
        (200, json!({ "mid": 7, "expires_at_ms": expires_at_ms }).to_string())
    })));
    let url = format!("--set=auth_hook.url={}", hook.url("/"));
    let server = Server::start(&["--set=logic.auth=hook", &url]);
    let (mut renewed, _) = Client::extended(&server, Transport::Tcp, &auth("t"));
    renew(&mut renewed, "t");
    let (mut other, _) = Client::extended(&server, Transport::Tcp, &auth("t"));
    expires(&mut other, Transport::Tcp, true);
    assert!(now() * 1000 >= exp_ms);
    assert_eq!(renewed.ask(frame::HEARTBEAT, 9, &[]).op, frame::HEARTBEAT + 1);
}

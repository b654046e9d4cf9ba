//! Key sets that come, change, vanish, hang and grow: in virtual time over a fake server, and once over a real one.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use perseid_outbound::{ClientConfig, TargetPolicy};
use perseid_protocol::CloseReason;
use perseid_protocol::auth::AuthRequest;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::auth::call::{Coming, Reply};
use crate::auth::jwt::tests::{Issuer, NOW_MS, good};
use crate::auth::jwt::{JwksUrl, JwtAuth, JwtConfig};
use crate::auth::{AuthContext, AuthError, Authenticator, Identity};
use crate::metrics::AuthRefusal;
use perseid_store::Verdict;

const TIMING: Timing = Timing { refresh_ms: 300_000, stale_ms: 86_400_000, unknown_kid_ms: 10_000 };
const DEADLINE_MS: u64 = 5_000;

/// What the fake server does with a call.
#[derive(Clone)]
enum Does {
    Say(u16, String),
    Fail(OutboundError),
    Hang,
}

impl Does {
    fn keys(keys: &[Value]) -> Self {
        Self::Say(200, json!({ "keys": keys }).to_string())
    }
}

struct Fake {
    does: Mutex<Does>,
    calls: AtomicUsize,
}

impl Fake {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does: Mutex::new(does), calls: AtomicUsize::new(0) })
    }

    fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

impl Call for Fake {
    fn call(&self, body: Bytes) -> Coming {
        assert!(body.is_empty());
        self.calls.fetch_add(1, SeqCst);
        let does = self.does.lock().unwrap().clone();
        Box::pin(async move {
            sleep(Duration::from_millis(20)).await;
            match does {
                Does::Say(status, body) => Ok(Reply { status, retry_after_ms: None, body: Ok(body.into()) }),
                Does::Fail(error) => Err(error),
                Does::Hang => {
                    sleep(Duration::from_millis(DEADLINE_MS)).await;
                    Err(OutboundError::Deadline { deadline_ms: DEADLINE_MS })
                }
            }
        })
    }
}

fn named(issuer: &Issuer, kid: &str) -> Value {
    let mut jwk = issuer.jwk.clone();
    jwk["kid"] = kid.into();
    jwk
}

fn ask(auth: &JwtAuth, token: &str) -> Verdict<Result<Identity, AuthError>> {
    let request = AuthRequest { token: token.to_owned(), ..AuthRequest::default() };
    auth.authenticate(&request, &AuthContext { peer: None, cookie: "", now_ms: NOW_MS, extended: true, renewal: false })
}

async fn outcome(auth: &JwtAuth, token: &str) -> Result<i64, AuthRefusal> {
    ask(auth, token).get().await.map(|identity| identity.mid).map_err(|error| error.cause)
}

fn fetches(metrics: &Metrics, outcome: &str) -> u64 {
    metrics.snapshot().jwks_fetches.into_iter().find(|(word, _)| *word == outcome).unwrap().1
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_clients_wait_for_the_first_set() {
    let (issuer, metrics) = (Issuer::es256(), Arc::default());
    let fake = Fake::new(Does::keys(&[named(&issuer, "a")]));
    let auth = JwtAuth::over(fake.clone(), TIMING, &metrics);
    assert!(!auth.had_keys());
    let token = issuer.sign_named(&good(), "a");
    let (first, second) = (ask(&auth, &token), ask(&auth, &token));
    assert!(matches!((&first, &second), (Verdict::Later(_), Verdict::Later(_))));
    assert_eq!((first.get().await.unwrap().mid, second.get().await.unwrap().mid), (7, 7));
    assert!(auth.had_keys() && auth.keys() == 1);
    assert!(ask(&auth, &token).now().unwrap().is_ok(), "from now on nobody waits");
    assert_eq!((fake.calls(), metrics.snapshot().jwks_keys), (1, 1));
    // What no key could ever cure is not waited for.
    for token in ["", "x", "eyJhbGciOiJub25lIn0.e30."] {
        assert!(ask(&auth, token).now().unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_when_the_first_token_with_it_comes() {
    let (old, new, metrics) = (Issuer::es256(), Issuer::eddsa(), Arc::default());
    let fake = Fake::new(Does::keys(&[named(&old, "a")]));
    let auth = JwtAuth::over(fake.clone(), TIMING, &metrics);
    let token = new.sign_named(&good(), "b");
    seconds(1).await;
    let early = ask(&auth, &token).now().expect("the set is fresh").unwrap_err();
    assert_eq!((early.reason, early.cause), (CloseReason::Unauthenticated, AuthRefusal::Algorithm));
    fake.now(Does::keys(&[named(&old, "a"), named(&new, "b")]));
    seconds(10).await;
    let all = [ask(&auth, &token), ask(&auth, &token), ask(&auth, &token)];
    for verdict in all {
        assert!(matches!(verdict, Verdict::Later(_)));
        assert_eq!(verdict.get().await.unwrap().mid, 7);
    }
    assert_eq!((outcome(&auth, &old.sign_named(&good(), "a")).await, fake.calls()), (Ok(7), 2));
}

#[tokio::test(start_paused = true)]
async fn strangers_cannot_make_it_hammer() {
    let (issuer, metrics) = (Issuer::es256(), Arc::default());
    let fake = Fake::new(Does::keys(&[named(&issuer, "a")]));
    let auth = JwtAuth::over(fake.clone(), TIMING, &metrics);
    seconds(1).await;
    let begin = fake.calls();
    for at in 0..1_200 {
        assert_eq!(outcome(&auth, &issuer.sign_named(&good(), &format!("k{at}"))).await, Err(AuthRefusal::UnknownKey));
        sleep(Duration::from_millis(50)).await;
    }
    let extra = fake.calls() - begin;
    assert!((5..=7).contains(&extra), "{extra} fetches in a minute");
    // A wrong signature with a key that is there is no reason to fetch.
    seconds(20).await;
    let forged = Issuer::es256().sign_named(&good(), "a");
    assert_eq!(ask(&auth, &forged).now().unwrap().unwrap_err().cause, AuthRefusal::Signature);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_taken_out_opens_nothing_after_the_refresh() {
    let (issuer, other, metrics) = (Issuer::es256(), Issuer::eddsa(), Arc::default());
    let fake = Fake::new(Does::keys(&[named(&issuer, "a")]));
    let auth = JwtAuth::over(fake.clone(), TIMING, &metrics);
    let token = issuer.sign_named(&good(), "a");
    assert_eq!(outcome(&auth, &token).await, Ok(7));
    fake.now(Does::keys(&[named(&other, "b")]));
    seconds(299).await;
    assert_eq!(outcome(&auth, &token).await, Ok(7));
    seconds(2).await;
    assert_eq!((outcome(&auth, &token).await, fake.calls()), (Err(AuthRefusal::Algorithm), 2));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_set_stays_whatever_the_server_does() {
    let issuer = Issuer::es256();
    let many: Vec<Value> = (0..101).map(|at| named(&issuer, &at.to_string())).collect();
    let secret = json!({ "kty": "oct", "kid": "s", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY" });
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(300 << 10));
    let (fresh, stranger) = (issuer.sign_named(&good(), "a"), issuer.sign_named(&good(), "b"));
    for (does, word) in [
        (Does::Say(500, "oh".to_owned()), "status"),
        (Does::Say(404, String::new()), "status"),
        (Does::Say(302, String::new()), "status"),
        (Does::Say(200, "<html>".to_owned()), "answer"),
        (Does::Say(200, String::new()), "answer"),
        (Does::Say(200, "[".repeat(100_000)), "answer"),
        (Does::Say(200, large), "answer"),
        (Does::keys(&[]), "answer"),
        (Does::keys(&many), "answer"),
        (Does::keys(&[secret]), "answer"),
        (Does::Hang, "deadline"),
        (Does::Fail(OutboundError::TooLarge { bytes_max: 1 }), "too_large"),
        (Does::Fail(OutboundError::Connect("refused".to_owned())), "connection"),
        (Does::Fail(OutboundError::Resolve("gone".to_owned())), "connection"),
        (Does::Fail(OutboundError::Broken("reset".to_owned())), "connection"),
        (Does::Fail(OutboundError::BadRequest("no".to_owned())), "target"),
    ] {
        let metrics = Arc::default();
        let fake = Fake::new(Does::keys(&[named(&issuer, "a")]));
        let auth = JwtAuth::over(fake.clone(), TIMING, &metrics);
        assert_eq!(outcome(&auth, &fresh).await, Ok(7));
        fake.now(does);
        seconds(330).await;
        assert!(fetches(&metrics, word) > 1, "{word}: it is tried again");
        assert_eq!(outcome(&auth, &fresh).await, Ok(7), "{word}");
        // A key that is not there may be a new one, so the client is to come back with the same token.
        let error = ask(&auth, &stranger).get().await.unwrap_err();
        assert_eq!((error.reason, error.cause), (CloseReason::Overloaded, AuthRefusal::KeysUnavailable), "{word}");
        assert!((1_000..=60_000).contains(&error.retry_after_ms.unwrap()), "{word}");
        // A day after the last good one it is not known any more who may enter.
        seconds(86_400).await;
        assert_eq!(outcome(&auth, &fresh).await, Err(AuthRefusal::KeysUnavailable), "{word}");
        assert!(fake.calls() < 2 * 86_400 / 60, "{word}: {} calls in a day", fake.calls());
        fake.now(Does::keys(&[named(&issuer, "b")]));
        seconds(61).await;
        assert_eq!(outcome(&auth, &stranger).await, Ok(7), "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_a_server_tells_everybody_opens_nothing() {
    let (issuer, hs256) = (Issuer::es256(), Issuer::hs256());
    let fake = Fake::new(Does::keys(&[named(&hs256, "s"), named(&issuer, "a")]));
    let auth = JwtAuth::over(fake, TIMING, &Arc::default());
    assert_eq!(outcome(&auth, &issuer.sign_named(&good(), "a")).await, Ok(7));
    assert_eq!(outcome(&auth, &hs256.sign_named(&good(), "s")).await, Err(AuthRefusal::Algorithm));
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_and_no_more() {
    let (issuer, metrics) = (Issuer::es256(), Arc::default());
    let auth = JwtAuth::over(Fake::new(Does::Hang), TIMING, &metrics);
    let token = issuer.sign_named(&good(), "a");
    let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| ask(&auth, &token)).collect();
    assert!(waiting.iter().all(|verdict| matches!(verdict, Verdict::Later(_))));
    let error = ask(&auth, &token).now().unwrap().unwrap_err();
    assert_eq!(error.cause, AuthRefusal::KeysUnavailable);
    waiting.pop();
    let last = ask(&auth, &token);
    assert!(matches!(last, Verdict::Later(_)), "who went made room");
    assert_eq!(last.get().await.unwrap_err().reason, CloseReason::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_ends_the_task() {
    let (metrics, fake) = (Arc::default(), Fake::new(Does::Say(500, String::new())));
    let auth = JwtAuth::over(fake.clone(), TIMING, &metrics);
    seconds(1).await;
    drop(auth);
    let calls = fake.calls();
    seconds(1_000).await;
    assert_eq!(fake.calls(), calls);
}

/// Answers each connection with the next of these, and with the last for ever.
fn serve(answers: Vec<(String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                request.push(byte[0]);
            }
            assert!(request.starts_with(b"GET /keys.json HTTP/1.1\r\n"));
            let (head, body) = &answers[at.min(answers.len() - 1)];
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(body);
        }
    });
    url
}

#[tokio::test]
async fn over_a_real_server() {
    let (issuer, other) = (Issuer::es256(), Issuer::eddsa());
    let set = |issuer: &Issuer, kid| json!({ "keys": [named(issuer, kid)] }).to_string().into_bytes();
    let ok = || "200 OK".to_owned();
    let url = serve(vec![
        (ok(), set(&issuer, "a")),
        ("302 Found\r\nlocation: http://127.0.0.1:1/".to_owned(), vec![]),
        (ok(), vec![b' '; jwks::JWKS_BYTES_MAX + 1]),
        (ok(), set(&other, "b")),
    ]);
    let client = ClientConfig {
        deadline_ms: 20_000,
        targets: TargetPolicy::new(["127.0.0.0/8".parse().unwrap()]),
        response_bytes_max: jwks::JWKS_BYTES_MAX,
        ..ClientConfig::default()
    };
    let config = JwtConfig { jwks: Some(JwksUrl { url, client, timing: TIMING }), ..JwtConfig::default() };
    let metrics = Arc::default();
    let auth = JwtAuth::open(&config, &metrics).unwrap();
    let token = issuer.sign_named(&good(), "a");
    assert_eq!(outcome(&auth, &token).await, Ok(7));
    // SIGHUP fetches again at once; what came before stays until there is something better.
    for word in ["status", "too_large"] {
        auth.reload(&config).unwrap();
        while fetches(&metrics, word) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(outcome(&auth, &token).await, Ok(7), "{word}");
    }
    auth.reload(&config).unwrap();
    while fetches(&metrics, "ok") < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(outcome(&auth, &other.sign_named(&good(), "b")).await, Ok(7));
    assert_eq!(outcome(&auth, &token).await, Err(AuthRefusal::Algorithm));

    // Another URL is another issuer: nothing of the old one counts.
    let mut elsewhere = config.clone();
    elsewhere.jwks.as_mut().unwrap().url = "http://127.0.0.1:1/".to_owned();
    auth.reload(&elsewhere).unwrap();
    assert_eq!(outcome(&auth, &other.sign_named(&good(), "b")).await, Err(AuthRefusal::KeysUnavailable));
}

//! A hook that is well, slow, down, wrong and large: in virtual time over a fake, and once over real sockets.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use perseid_outbound::{OutboundError, TargetPolicy};
use perseid_protocol::CloseReason;
use tokio::time::sleep;

use super::*;
use crate::auth::call::{Coming, Reply};

const NOW_MS: u64 = 1_700_000_000_000;

#[derive(Clone)]
enum Does {
    Say(u16, String),
    Fail(OutboundError),
    Hang,
}

/// Answers after 20 ms; counts.
struct Fake {
    does: Mutex<Does>,
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Fake {
    fn new(does: Does) -> Arc<Self> {
        let zero = || AtomicUsize::new(0);
        Arc::new(Self { does: Mutex::new(does), calls: zero(), at_once: zero(), most: zero() })
    }

    fn saying(body: &str) -> Arc<Self> {
        Self::new(Does::Say(200, body.to_owned()))
    }

    fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

struct Call1(Arc<Fake>);

impl Call for Call1 {
    fn call(&self, body: Bytes) -> Coming {
        assert!(body.starts_with(b"{\"mid\":"));
        let fake = self.0.clone();
        fake.calls.fetch_add(1, SeqCst);
        let does = fake.does.lock().unwrap().clone();
        Box::pin(async move {
            let at_once = fake.at_once.fetch_add(1, SeqCst) + 1;
            fake.most.fetch_max(at_once, SeqCst);
            sleep(Duration::from_millis(if matches!(does, Does::Hang) { 3_000 } else { 20 })).await;
            fake.at_once.fetch_sub(1, SeqCst);
            match does {
                Does::Say(status, body) => Ok(Reply { status, retry_after_ms: None, body: Ok(body.into()) }),
                Does::Fail(error) => Err(error),
                Does::Hang => Err(OutboundError::Deadline { deadline_ms: 3_000 }),
            }
        })
    }
}

fn config() -> HookConfig {
    HookConfig {
        url: String::new(),
        client: ClientConfig { concurrency_max: 4, ..ClientConfig::default() },
        secret_file: None,
        on_failure: OnFailure::Refuse,
        memory: Memory { cache_ms: 30_000, cache_max: 100 },
    }
}

fn hook(fake: &Arc<Fake>, config: HookConfig) -> (HookAuth, Arc<Metrics>) {
    let metrics = Arc::default();
    (HookAuth::over(Arc::new(Call1(fake.clone())), config, &metrics), metrics)
}

fn ask_as(auth: &HookAuth, token: &str, renewal: bool) -> Verdict<Result<Identity, AuthError>> {
    let request = AuthRequest { token: token.to_owned(), ..AuthRequest::default() };
    auth.authenticate(&request, &AuthContext { peer: None, cookie: "", now_ms: NOW_MS, extended: true, renewal })
}

fn ask(auth: &HookAuth, token: &str) -> Verdict<Result<Identity, AuthError>> {
    ask_as(auth, token, false)
}

async fn mid(auth: &HookAuth, token: &str) -> Result<i64, (CloseReason, AuthRefusal)> {
    ask(auth, token).get().await.map(|identity| identity.mid).map_err(|error| (error.reason, error.cause))
}

fn counted(metrics: &Metrics, outcome: &str) -> u64 {
    metrics.snapshot().hook.into_iter().find(|(word, _)| *word == outcome).unwrap().1
}

async fn millis(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

const DOWN: (CloseReason, AuthRefusal) = (CloseReason::Overloaded, AuthRefusal::HookFailed);

#[tokio::test(start_paused = true)]
async fn its_word_counts_and_is_remembered_for_a_while() {
    let fake = Fake::saying(r#"{"mid":7,"expires_at_ms":1700000600000}"#);
    let (auth, metrics) = hook(&fake, config());
    let first = ask(&auth, "t");
    assert!(matches!(first, Verdict::Later(_)));
    let identity = first.get().await.unwrap();
    assert_eq!(identity, Identity { mid: 7, takeover: Takeover::SameUser, expires_at_ms: 1_700_000_600_000 });
    assert_eq!(ask(&auth, "t").now().expect("it is remembered").unwrap(), identity);
    assert_eq!((fake.calls(), counted(&metrics, "accepted"), counted(&metrics, "cached")), (1, 1, 1));
    // Another token, and a renewal with the same one, are other questions.
    assert_eq!(mid(&auth, "u").await, Ok(7));
    assert_eq!(ask_as(&auth, "t", true).get().await.unwrap().mid, 7);
    assert_eq!(fake.calls(), 3);
    millis(30_001).await;
    assert_eq!((mid(&auth, "t").await, fake.calls()), (Ok(7), 4));
    assert_eq!(metrics.snapshot().hook_took.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn it_is_not_remembered_beyond_what_it_said() {
    let fake = Fake::saying(r#"{"mid":7,"expires_at_ms":1700000001000}"#);
    let (auth, _) = hook(&fake, config());
    assert_eq!(mid(&auth, "t").await, Ok(7));
    assert!(matches!(ask(&auth, "t"), Verdict::Now(Ok(_))));
    millis(1_000).await;
    fake.now(Does::Say(401, String::new()));
    assert_eq!(mid(&auth, "t").await, Err((CloseReason::Unauthenticated, AuthRefusal::HookRefused)));
    let (auth, _) = hook(&fake, HookConfig { memory: Memory { cache_ms: 0, cache_max: 100 }, ..config() });
    let before = fake.calls();
    for _ in 0..3 {
        assert!(mid(&auth, "t").await.is_err());
    }
    assert_eq!(fake.calls() - before, 3);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_remembered_shortly_and_bad_times_not_at_all() {
    let fake = Fake::saying(r#"{"refused":"PERMISSION_DENIED","message":"banned"}"#);
    let (auth, metrics) = hook(&fake, config());
    let error = ask(&auth, "t").get().await.unwrap_err();
    assert_eq!(
        (error.reason, error.cause, error.message.as_str()),
        (CloseReason::PermissionDenied, AuthRefusal::HookRefused, "banned")
    );
    assert_eq!(ask(&auth, "t").now().unwrap().unwrap_err().message, "banned");
    millis(2_001).await;
    fake.now(Does::Say(200, r#"{"refused":"OVERLOADED","retry_after_ms":5000}"#.to_owned()));
    for calls in [2, 3] {
        let error = ask(&auth, "t").get().await.unwrap_err();
        assert_eq!((error.reason, error.retry_after_ms, fake.calls()), (CloseReason::Overloaded, Some(5_000), calls));
    }
    assert_eq!(counted(&metrics, "refused"), 3);
}

#[tokio::test(start_paused = true)]
async fn equal_questions_are_asked_once_and_of_others_so_many_at_a_time() {
    let fake = Fake::saying(r#"{"mid":7}"#);
    let (auth, metrics) = hook(&fake, config());
    let auth = Arc::new(auth);
    let same: Vec<_> = (0..1_000).map(|_| ask(&auth, "t")).collect();
    let others: Vec<_> = ["a", "b", "c", "d", "e"].map(|token| ask(&auth, token)).into_iter().collect();
    let tasks: Vec<_> = same.into_iter().chain(others).map(|verdict| tokio::spawn(verdict.get())).collect();
    let (mut accepted, mut busy) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(identity) => accepted += identity.mid / 7,
            Err(error) => {
                assert_eq!((error.reason, error.cause), (CloseReason::Overloaded, AuthRefusal::HookBusy));
                assert!(error.retry_after_ms.is_some());
                busy += 1;
            }
        }
    }
    assert_eq!((accepted, busy, fake.calls(), fake.most.load(SeqCst)), (1_003, 2, 4, 4));
    assert_eq!((counted(&metrics, "shared"), counted(&metrics, "full")), (999, 2));
    assert_eq!(mid(&auth, "e").await, Ok(7), "places are free again");
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_a_refusal_or_a_guest_and_never_a_user() {
    for (does, word) in [
        (Does::Hang, "deadline"),
        (Does::Say(500, r#"{"mid":7}"#.to_owned()), "status"),
        (Does::Say(302, r#"{"mid":7}"#.to_owned()), "status"),
        (Does::Say(404, r#"{"mid":7}"#.to_owned()), "status"),
        (Does::Say(200, "<html>".to_owned()), "answer"),
        (Does::Say(200, "[".repeat(10_000)), "answer"),
        (Does::Fail(OutboundError::TooLarge { bytes_max: 1 }), "too_large"),
        (Does::Fail(OutboundError::Connect("refused".to_owned())), "connection"),
        (Does::Fail(OutboundError::Broken("reset".to_owned())), "connection"),
    ] {
        let fake = Fake::new(does);
        let (auth, metrics) = hook(&fake, config());
        let error = ask(&auth, "t").get().await.unwrap_err();
        assert_eq!((error.reason, error.cause), DOWN, "{word}");
        assert!(error.retry_after_ms.is_some_and(|ms| ms >= 1_000), "{word}");
        assert_eq!(counted(&metrics, word), 1);

        let (auth, _) = hook(&fake, HookConfig { on_failure: OnFailure::Guest, ..config() });
        let guest = ask(&auth, "t").get().await.unwrap();
        assert_eq!((guest.mid, guest.takeover), (0, Takeover::SameUser), "{word}");
        // Who is somebody does not become a guest.
        assert_eq!(ask_as(&auth, "t", true).get().await.unwrap_err().cause, AuthRefusal::HookFailed, "{word}");
        // That it failed is not remembered.
        fake.now(Does::Say(200, r#"{"mid":7}"#.to_owned()));
        assert_eq!(mid(&auth, "t").await, Ok(7), "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_down_is_left_alone_and_found_when_it_is_back() {
    let fake = Fake::new(Does::Say(500, String::new()));
    let (auth, metrics) = hook(&fake, config());
    for at in 0..5 {
        assert_eq!(mid(&auth, &format!("t{at}")).await, Err(DOWN));
    }
    for at in 0..100 {
        assert_eq!(ask(&auth, &format!("u{at}")).now().expect("nobody is asked").unwrap_err().cause, AuthRefusal::HookFailed);
    }
    assert_eq!((fake.calls(), counted(&metrics, "breaker")), (5, 100));
    millis(2_000).await;
    fake.now(Does::Say(200, r#"{"mid":7}"#.to_owned()));
    let one = ask(&auth, "a");
    assert!(ask(&auth, "b").now().is_some(), "one tries for all");
    assert_eq!(one.get().await.unwrap().mid, 7);
    assert_eq!(mid(&auth, "b").await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn questions_that_it_does_not_like_take_it_down_for_nobody() {
    let fake = Fake::new(Does::Say(400, String::new()));
    let (auth, _) = hook(&fake, config());
    for at in 0..20 {
        assert_eq!(mid(&auth, &format!("t{at}")).await, Err(DOWN));
    }
    assert_eq!(fake.calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_nobody_along() {
    let fake = Fake::new(Does::Hang);
    let (auth, _) = hook(&fake, config());
    let (first, behind) = (ask(&auth, "t"), ask(&auth, "t"));
    drop(first);
    assert_eq!(behind.get().await.unwrap_err().cause, AuthRefusal::HookFailed);
    fake.now(Does::Say(200, r#"{"mid":7}"#.to_owned()));
    assert_eq!(mid(&auth, "t").await, Ok(7));
    // Nor when it had asked already.
    fake.now(Does::Hang);
    for _ in 0..10 {
        let Verdict::Later(asking) = ask(&auth, "u") else { panic!("a place is free") };
        assert!(tokio::time::timeout(Duration::from_millis(5), asking).await.is_err());
    }
}

/// A hook over a real socket, with a deadline that is not reached but where it is meant to be.
async fn over_a_socket(
    answer: impl Fn(&mut std::net::TcpStream) + Send + 'static,
    deadline_ms: u64,
) -> (String, Arc<Metrics>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/who", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"}") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
            request.push(byte[0]);
        }
        tell.send(String::from_utf8(request).unwrap()).unwrap();
        answer(&mut stream);
    });
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret, "{}", "k".repeat(32)).unwrap();
    let client = ClientConfig {
        deadline_ms,
        targets: TargetPolicy::new(["127.0.0.0/8".parse().unwrap()]),
        response_bytes_max: 16 << 10,
        ..ClientConfig::default()
    };
    let config = HookConfig { url, client, secret_file: Some(secret.path().to_owned()), ..config() };
    let metrics = Arc::default();
    let auth = HookAuth::open(&config, &metrics).unwrap();
    let outcome = match ask(&auth, "t").get().await {
        Ok(identity) => identity.mid.to_string(),
        Err(error) => error.reason.word().to_owned(),
    };
    (outcome, metrics, told.recv().unwrap())
}

#[tokio::test]
async fn over_real_sockets() {
    let say = |text: String| move |stream: &mut std::net::TcpStream| drop(stream.write_all(text.as_bytes()));
    let (outcome, _, request) =
        over_a_socket(say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"mid\":7}".to_owned()), 20_000).await;
    assert_eq!(outcome, "7");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /who HTTP/1.1\r\n") && head.contains("content-type: application/json"), "{head}");
    let signature = head.lines().find_map(|line| line.strip_prefix("perseid-signature: ")).unwrap();
    let now_ms = crate::auth::call::unix_ms();
    assert!(perseid_outbound::verify("k".repeat(32).as_bytes(), signature, body.as_bytes(), now_ms, 60_000));

    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{{\"mid\":7}}{}", 10 << 20, " ".repeat(10 << 20));
    for (text, word) in [
        (large, "too_large"),
        ("HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_owned(), "status"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "connection"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"mid\":7}".to_owned(), "connection"),
    ] {
        let (outcome, metrics, _) = over_a_socket(say(text), 20_000).await;
        assert_eq!((outcome.as_str(), counted(&metrics, word)), ("OVERLOADED", 1), "{word}");
    }
    let hang = |stream: &mut std::net::TcpStream| drop(stream.read(&mut [0; 9]));
    let (outcome, metrics, _) = over_a_socket(hang, 50).await;
    assert_eq!((outcome.as_str(), counted(&metrics, "deadline")), ("OVERLOADED", 1));
}

#[test]
fn a_secret_that_is_none_is_refused_and_a_reload_takes_the_new_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = HookConfig { secret_file: Some(file.path().to_owned()), url: "https://example.org/".to_owned(), ..config() };
    let metrics = Arc::default();
    for (secret, word) in [("", "no secret"), ("short\n", "line 1")] {
        std::fs::write(file.path(), secret).unwrap();
        let error = HookAuth::open(&config, &metrics).err().unwrap().to_string();
        assert!(error.contains(word) && error.contains(file.path().to_str().unwrap()), "{error}");
    }
    std::fs::write(file.path(), "a".repeat(32)).unwrap();
    let auth = HookAuth::open(&config, &metrics).unwrap();
    let before = auth.inner();
    auth.reload(&config).unwrap();
    assert!(Arc::ptr_eq(&before, &auth.inner()), "nothing changed");
    std::fs::write(file.path(), "b".repeat(32)).unwrap();
    auth.reload(&config).unwrap();
    let after = auth.inner();
    assert!(!Arc::ptr_eq(&before, &after));
    std::fs::write(file.path(), "b").unwrap();
    assert!(auth.reload(&config).is_err());
    assert!(Arc::ptr_eq(&after, &auth.inner()));
}

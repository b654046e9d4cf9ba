use super::*;
use crate::auth::InsecureAuth;
use crate::auth::jwt::TokenError;
use perseid_store::{MemoryRegistry, Takeover};

struct SameUserOnly;

impl Authenticator for SameUserOnly {
    fn authenticate(&self, request: &AuthRequest, context: &AuthContext<'_>) -> Verdict<Result<Identity, AuthError>> {
        let identity = Identity { mid: request.mid, takeover: Takeover::SameUser, expires_at_ms: 77 };
        match context.cookie {
            "expired" => Verdict::Now(Err(TokenError::Expired.into())),
            "late" => Verdict::Later(Box::pin(async { Ok(identity) })),
            _ => Verdict::Now(Ok(identity)),
        }
    }
}

fn logic(authenticator: impl Authenticator) -> (Arc<Logic>, Arc<MemoryRegistry>, Arc<Metrics>) {
    let (registry, metrics) = (Arc::new(MemoryRegistry::new()), Arc::new(Metrics::default()));
    (Arc::new(Logic::new(registry.clone(), Arc::new(authenticator), metrics.clone())), registry, metrics)
}

fn request(body: &str, slot: u32) -> ConnectRequest<'_> {
    let addr = SessionAddr { slot, ..SessionAddr::default() };
    ConnectRequest { body: body.as_bytes(), addr, peer: None, extended: false, cookie: "", now_ms: 5 }
}

fn connect(logic: &Arc<Logic>, request: &ConnectRequest<'_>) -> Result<Connected, ConnectError> {
    logic.connect(request).now().expect("nobody was to be asked")
}

fn auths(metrics: &Metrics, outcome: AuthOutcome) -> u64 {
    metrics.snapshot().auths.into_iter().find(|(word, _)| *word == outcome.word()).unwrap().1
}

#[test]
fn goims_example_client() {
    let (logic, registry, metrics) = logic(InsecureAuth);
    let body = r#"{"mid":123, "room_id":"live://1000", "platform":"web", "accepts":[1000,1001,1002]}"#;
    let connected = connect(&logic, &request(body, 1)).unwrap();
    assert_eq!((connected.mid, connected.room.as_deref()), (123, Some("live://1000")));
    assert_eq!((&connected.accepts[..], &*connected.platform), (&[1000, 1001, 1002][..], "web"));
    assert_eq!(connected.key.to_string().len(), 36);
    assert_eq!(registry.by_mid(123).len(), 1);
    assert_eq!(auths(&metrics, AuthOutcome::Accepted), 1);
    let again = connect(&logic, &request(body, 2)).unwrap();
    assert_ne!(again.key, connected.key);
    assert!(logic.disconnect(&connected.key, 123, SessionAddr { slot: 1, ..SessionAddr::default() }, None));
    assert_eq!(registry.by_mid(123).len(), 1);
}

#[test]
fn the_same_key_replaces_and_a_late_goodbye_is_ignored() {
    let (logic, registry, _) = logic(InsecureAuth);
    let first = connect(&logic, &request(r#"{"mid":1,"key":"k"}"#, 1)).unwrap();
    let second = connect(&logic, &request(r#"{"mid":2,"key":"k"}"#, 2)).unwrap();
    assert_eq!((first.replaced, second.replaced), (None, Some(SessionAddr { slot: 1, ..SessionAddr::default() })));
    assert!(!logic.disconnect(&first.key, 1, SessionAddr { slot: 1, ..SessionAddr::default() }, None));
    assert_eq!((registry.by_mid(1).len(), registry.by_mid(2).len()), (0, 1));
}

#[test]
fn what_is_refused_and_how() {
    let (logic, registry, metrics) = logic(SameUserOnly);
    for (body, word) in [
        ("", "JSON"),
        (r#"{"mid":"12"}"#, "mid"),
        (r#"{"room_id":"1000"}"#, "type://id"),
        (r#"{"room_id":"live://a\u0000"}"#, "type://id"),
    ] {
        let error = connect(&logic, &request(body, 1)).unwrap_err();
        assert_eq!(error.reason, CloseReason::Unauthenticated, "{body}");
        assert!(error.message.contains(word) || word == "mid", "{body}: {}", error.message);
    }
    let many: Vec<String> = (0..=SUBSCRIPTIONS_MAX).map(|op| op.to_string()).collect();
    assert!(connect(&logic, &request(&format!(r#"{{"accepts":[{}]}}"#, many.join(",")), 1)).is_err());
    let same = vec!["7"; SUBSCRIPTIONS_MAX + 1];
    assert!(connect(&logic, &request(&format!(r#"{{"accepts":[{}]}}"#, same.join(",")), 1)).is_ok());

    let expired = ConnectRequest { cookie: "expired", ..request("{}", 1) };
    assert_eq!(connect(&logic, &expired).unwrap_err().reason, CloseReason::TokenExpired);
    connect(&logic, &request(r#"{"mid":1,"key":"k"}"#, 1)).unwrap();
    let taken = connect(&logic, &request(r#"{"mid":2,"key":"k"}"#, 2)).unwrap_err();
    assert_eq!(taken.reason, CloseReason::PermissionDenied);
    assert_eq!((auths(&metrics, AuthOutcome::Refused), auths(&metrics, AuthOutcome::KeyTaken)), (1, 1));
    assert_eq!(auths(&metrics, AuthOutcome::Malformed), 5);
    assert_eq!(registry.by_mid(2), []);
}

#[test]
fn guests_and_empty_bodies_of_goim() {
    let (logic, registry, _) = logic(InsecureAuth);
    for body in ["{}", "null", r#"{"mid":-5}"#] {
        let guest = connect(&logic, &request(body, 1)).unwrap();
        assert!(guest.mid <= 0 && guest.room.is_none() && guest.accepts.is_empty());
        assert!(registry.by_key(&guest.key).is_some());
    }
    assert_eq!(registry.counts().users, 0);
}

#[tokio::test]
async fn a_late_answer_registers_when_it_comes_and_counts_once() {
    let (logic, registry, metrics) = logic(SameUserOnly);
    let late = ConnectRequest { cookie: "late", ..request(r#"{"mid":7,"key":"k"}"#, 1) };
    let (dropped, coming) = (logic.connect(&late), logic.connect(&late));
    assert!(matches!(coming, Verdict::Later(_)));
    drop(dropped);
    assert_eq!((registry.by_mid(7), auths(&metrics, AuthOutcome::Accepted)), (vec![], 0));
    let connected = coming.get().await.unwrap();
    assert_eq!((connected.mid, connected.expires_at_ms, registry.by_mid(7).len()), (7, 77, 1));
    // One that came at once meanwhile is replaced by the one that came late, as if that had been sent later.
    let now = connect(&logic, &request(r#"{"mid":7,"key":"k"}"#, 2)).unwrap();
    assert_eq!(now.replaced, Some(SessionAddr { slot: 1, ..SessionAddr::default() }));
    assert_eq!(auths(&metrics, AuthOutcome::Accepted), 2);
}

#[test]
fn renewal_is_for_the_same_user() {
    let (logic, _, metrics) = logic(SameUserOnly);
    let key = SessionKey::parse("k");
    let renew = |body: &str, mid| {
        let request = RenewRequest { body: body.as_bytes(), mid, key: &key, peer: None, now_ms: 5 };
        logic.renew(&request).now().unwrap()
    };
    assert_eq!(renew(r#"{"mid":7}"#, 7), Ok(77));
    assert_eq!(renew(r#"{"mid":8}"#, 7).unwrap_err().reason, CloseReason::Unauthenticated);
    assert_eq!(renew("x", 7).unwrap_err().reason, CloseReason::Unauthenticated);
    let other = metrics.snapshot().auth_refusals.into_iter().find(|(word, _)| *word == "other_user");
    assert_eq!(other, Some(("other_user", 1)));
}

#[test]
fn too_many_sessions_of_one_user() {
    let (logic, registry, metrics) = logic(SameUserOnly);
    let slots = |mid| registry.by_mid(mid).into_iter().map(|addr| addr.slot).collect::<std::collections::BTreeSet<_>>();
    let at = |body, slot, now_ms| connect(&logic, &ConnectRequest { now_ms, ..request(body, slot) });
    logic.reload(SessionLimits { per_user_max: 2, replace_oldest: false });
    at(r#"{"mid":7,"key":"a"}"#, 1, 1).unwrap();
    at(r#"{"mid":7,"key":"b"}"#, 2, 2).unwrap();
    let refused = at(r#"{"mid":7}"#, 3, 3).unwrap_err();
    assert_eq!((refused.reason, slots(7)), (CloseReason::ConnectionLimit, [1, 2].into()));
    // One that replaces another adds none, and other users and guests have nothing to do with it.
    assert_eq!(at(r#"{"mid":7,"key":"a"}"#, 4, 4).unwrap().replaced.unwrap().slot, 1);
    at(r#"{"mid":8}"#, 5, 5).unwrap();
    for slot in 6..10 {
        at(r#"{"mid":0}"#, slot, 6).unwrap();
    }
    logic.reload(SessionLimits { per_user_max: 2, replace_oldest: true });
    assert_eq!(at(r#"{"mid":7}"#, 10, 7).unwrap().replaced.unwrap().slot, 2);
    assert_eq!(slots(7), [4, 10].into());
    logic.reload(SessionLimits::default());
    assert_eq!(at(r#"{"mid":7}"#, 11, 8).unwrap().replaced, None);
    assert_eq!((auths(&metrics, AuthOutcome::Refused), metrics.snapshot().sessions_replaced), (1, 2));
}

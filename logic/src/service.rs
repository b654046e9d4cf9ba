//! What comets ask of logic: to let a session in, to see it off, to take what it sends.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use perseid_protocol::auth::AuthRequest;
use perseid_protocol::limits::{ROOM_ID_BYTES_MAX, SUBSCRIPTIONS_MAX};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::room::RoomId;
use perseid_protocol::{CloseReason, Refusal, SessionKey};
use perseid_store::{NewSession, SessionRegistry};

use crate::auth::{AuthContext, AuthError, Authenticator};
use crate::metrics::{AuthOutcome, Metrics};

/// An AUTH that a comet passes on.
#[derive(Clone, Copy, Debug)]
pub struct ConnectRequest<'a> {
    /// Body of the AUTH frame.
    pub body: &'a [u8],
    /// Where the session lives.
    pub addr: SessionAddr,
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    /// Whether it speaks the extended protocol.
    pub extended: bool,
    /// The `Cookie` header of its WebSocket upgrade; empty: none.
    pub cookie: &'a str,
    /// Now, unix ms.
    pub now_ms: u64,
}

/// A session that was let in, and is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Its user; ≤ 0 is a guest.
    pub mid: i64,
    /// Its key.
    pub key: SessionKey,
    /// The room to join, a checked `type://id`.
    pub room: Option<String>,
    /// Operations accepted, as sent: at most [`SUBSCRIPTIONS_MAX`] different ones.
    pub accepts: Vec<i32>,
    /// `web`, `ios`, …; may be empty.
    pub platform: String,
    /// The session that had the key before. It is no longer registered, and must be ended with REPLACED.
    pub replaced: Option<SessionAddr>,
    /// When the session ends unless it is renewed, unix ms; 0: never.
    pub expires_at_ms: u64,
}

/// A further AUTH of a living session that a comet passes on.
#[derive(Clone, Copy, Debug)]
pub struct RenewRequest<'a> {
    /// Body of the AUTH frame.
    pub body: &'a [u8],
    /// The user that the session was let in as.
    pub mid: i64,
    /// Its key.
    pub key: &'a SessionKey,
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    /// Now, unix ms.
    pub now_ms: u64,
}

/// A frame for the business that a comet passes on.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The sender.
    pub mid: i64,
    /// The sender's session.
    pub key: &'a SessionKey,
    /// Where that lives.
    pub addr: SessionAddr,
    /// Operation of the frame.
    pub op: i32,
    /// Body of the frame.
    pub body: &'a [u8],
    /// Now, unix ms.
    pub now_ms: u64,
}

/// An answer that is there, or one that somebody else has to be asked for first.
pub enum Verdict<T> {
    /// Here it is.
    Now(T),
    /// It comes: whoever asked runs this, on a runtime.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Verdict<T> {
    /// Waits for it.
    pub async fn get(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(coming) => coming.await,
        }
    }
}

/// Why a session is not let in. Nothing was registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}: {message}")]
pub struct ConnectError {
    /// The reason for DISCONNECT.
    pub reason: CloseReason,
    /// What to do about it.
    pub message: String,
    /// How long to stay away, ms; `None`: what the comet tells everybody.
    pub retry_after_ms: Option<u64>,
}

impl From<AuthError> for ConnectError {
    fn from(error: AuthError) -> Self {
        Self { reason: error.reason, message: error.message, retry_after_ms: None }
    }
}

/// What comets ask of logic.
pub struct Logic {
    registry: Arc<dyn SessionRegistry>,
    authenticator: Arc<dyn Authenticator>,
    metrics: Arc<Metrics>,
}

impl Logic {
    /// Logic over a registry.
    pub fn new(registry: Arc<dyn SessionRegistry>, authenticator: Arc<dyn Authenticator>, metrics: Arc<Metrics>) -> Self {
        Self { registry, authenticator, metrics }
    }

    /// Lets a session in, or not: reads its AUTH, finds out who it is, and registers it.
    ///
    /// # Errors
    /// [`ConnectError`]: UNAUTHENTICATED when the body is not acceptable, PERMISSION_DENIED when the key is another user's,
    /// and what the authenticator says.
    pub fn connect(self: &Arc<Self>, request: &ConnectRequest<'_>) -> Verdict<Result<Connected, ConnectError>> {
        let (outcome, result) = match self.try_connect(request) {
            Ok(connected) => (AuthOutcome::Accepted, Ok(connected)),
            Err((outcome, error)) => (outcome, Err(error)),
        };
        self.metrics.auth(outcome);
        Verdict::Now(result)
    }

    fn try_connect(&self, request: &ConnectRequest<'_>) -> Result<Connected, (AuthOutcome, ConnectError)> {
        let malformed = |message| (AuthOutcome::Malformed, unauthenticated(message));
        let auth = AuthRequest::parse(request.body).map_err(malformed)?;
        check(&auth).map_err(malformed)?;

        let context = AuthContext { peer: request.peer, cookie: request.cookie, now_ms: request.now_ms };
        let identity = self.authenticator.authenticate(&auth, &context).map_err(|error| (AuthOutcome::Refused, error.into()))?;

        let key = if auth.key.is_empty() { make_key() } else { Ok(SessionKey::parse(&auth.key)) };
        let key = key.map_err(|error| (AuthOutcome::Failed, error))?;
        let session = NewSession {
            key: key.clone(),
            mid: identity.mid,
            addr: request.addr,
            platform: &auth.platform,
            device_id: &auth.device_id,
            peer: request.peer,
            since_ms: request.now_ms,
            extended: request.extended,
        };
        let replaced = self.registry.open(session, identity.takeover).map_err(|_| {
            let message = "the session key is in use by another user: choose another, or none and get one".to_owned();
            (AuthOutcome::KeyTaken, ConnectError { reason: CloseReason::PermissionDenied, message, retry_after_ms: None })
        })?;
        if replaced.is_some() {
            self.metrics.session_replaced();
        }
        let room = Some(auth.room_id).filter(|room| !room.is_empty());
        Ok(Connected { mid: identity.mid, key, room, accepts: auth.accepts, platform: auth.platform, replaced, expires_at_ms: 0 })
    }

    /// Looks at a further AUTH of a living session: when the session ends now, unix ms; 0: never.
    ///
    /// # Errors
    /// [`ConnectError`]: UNAUTHENTICATED when it is another user's or not acceptable; what the authenticator says.
    pub fn renew(self: &Arc<Self>, request: &RenewRequest<'_>) -> Verdict<Result<u64, ConnectError>> {
        Verdict::Now(self.try_renew(request))
    }

    fn try_renew(&self, request: &RenewRequest<'_>) -> Result<u64, ConnectError> {
        let auth = AuthRequest::parse(request.body).map_err(unauthenticated)?;
        let context = AuthContext { peer: request.peer, cookie: "", now_ms: request.now_ms };
        let identity = self.authenticator.authenticate(&auth, &context)?;
        if identity.mid == request.mid {
            Ok(0)
        } else {
            Err(unauthenticated("a session can't be renewed for another user: connect again".to_owned()))
        }
    }

    /// Forgets a session that ended: by us, for `reason`, or by the client or the network. Returns false, and changes nothing,
    /// when a newer one has its key.
    pub fn disconnect(&self, key: &SessionKey, mid: i64, addr: SessionAddr, _reason: Option<CloseReason>) -> bool {
        self.registry.close(key, mid, addr)
    }

    /// Takes what a client sent to the business; answered when it can't be lost any more, or refused.
    /// For now it is counted by class of operation and goes no further; its delivery to webhooks comes with those.
    pub fn receive(&self, frame: &Upstream<'_>) -> Verdict<Result<(), Refusal>> {
        self.metrics.received(frame.op, frame.body.len());
        Verdict::Now(Ok(()))
    }
}

fn check(auth: &AuthRequest) -> Result<(), String> {
    if !auth.room_id.is_empty() && RoomId::parse(auth.room_id.as_bytes(), ROOM_ID_BYTES_MAX).is_none() {
        return Err(format!("room_id in the AUTH body is not of the form type://id: {:?}", auth.room_id));
    }
    if auth.accepts.len() > SUBSCRIPTIONS_MAX {
        let mut different = auth.accepts.clone();
        different.sort_unstable();
        different.dedup();
        if different.len() > SUBSCRIPTIONS_MAX {
            return Err(format!("accepts in the AUTH body has more than {SUBSCRIPTIONS_MAX} operations"));
        }
    }
    Ok(())
}

fn make_key() -> Result<SessionKey, ConnectError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| ConnectError {
        reason: CloseReason::Internal,
        message: format!("no random bytes for a session key: {error}"),
        retry_after_ms: None,
    })?;
    Ok(SessionKey::made(random))
}

fn unauthenticated(message: String) -> ConnectError {
    ConnectError { reason: CloseReason::Unauthenticated, message, retry_after_ms: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Identity, InsecureAuth};
    use perseid_store::{MemoryRegistry, Takeover};

    struct SameUserOnly;

    impl Authenticator for SameUserOnly {
        fn authenticate(&self, request: &AuthRequest, context: &AuthContext<'_>) -> Result<Identity, AuthError> {
            if context.cookie == "expired" {
                return Err(AuthError { reason: CloseReason::TokenExpired, message: "log in again".to_owned() });
            }
            Ok(Identity { mid: request.mid, takeover: Takeover::SameUser })
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
        match logic.connect(request) {
            Verdict::Now(result) => result,
            Verdict::Later(_) => panic!("nobody was to be asked"),
        }
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
}

//! What comets ask of logic: to let a session in, to see it off, to take what it sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use perseid_protocol::auth::AuthRequest;
use perseid_protocol::limits::{ROOM_ID_BYTES_MAX, SUBSCRIPTIONS_MAX};
use perseid_protocol::push::SessionAddr;
use perseid_protocol::room::RoomId;
use perseid_protocol::{CloseReason, Refusal, SessionKey};
use perseid_store::stored::read::StoreDown;
use perseid_store::{NewSession, Restored, SessionRegistry, SessionRow, Takeover};

use crate::auth::{AuthContext, AuthError, Authenticator, Identity};
use crate::events::{Feed, OpenError, Presence};
use crate::inbox::{Greeting, Inbox};
use crate::metrics::{AuthOutcome, AuthRefusal, Metrics};
use perseid_store::Verdict;

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
    /// Its user's inbox, if it is extended and there are stored messages.
    pub inbox: Option<Greeting>,
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
        Self { reason: error.reason, message: error.message, retry_after_ms: error.retry_after_ms }
    }
}

/// How many sessions one user may have at a time. Guests are nobody, and have no such limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLimits {
    /// The most; 0: any number.
    pub per_user_max: usize,
    /// Above it the oldest makes room (REPLACED), instead of the new one being refused (CONNECTION_LIMIT).
    pub replace_oldest: bool,
}

/// [`SessionLimits`] that change while they are read. The two are read apart: for a moment one may be old and one new.
#[derive(Default)]
struct LiveLimits {
    per_user_max: AtomicUsize,
    replace_oldest: AtomicBool,
}

/// What comets ask of logic.
pub struct Logic {
    registry: Arc<dyn SessionRegistry>,
    authenticator: Arc<dyn Authenticator>,
    metrics: Arc<Metrics>,
    limits: LiveLimits,
    /// Where sessions that begin and end are told of, if somebody wants to know.
    presence: Option<Arc<Presence>>,
    /// Where upstream frames go, if somebody wants them.
    upstream: Option<Arc<Feed>>,
    /// Stored messages, if there are any.
    inbox: Option<Arc<Inbox>>,
}

/// What of a [`ConnectRequest`] is still needed when it is known who it is.
struct Arrival {
    auth: AuthRequest,
    addr: SessionAddr,
    peer: Option<SocketAddr>,
    extended: bool,
    since_ms: u64,
}

/// Who that is, and what it is called.
struct Entrant {
    mid: i64,
    key: SessionKey,
    takeover: Takeover,
    expires_at_ms: u64,
}

type Refused = (AuthOutcome, ConnectError);

impl Logic {
    /// Logic over a registry.
    pub fn new(registry: Arc<dyn SessionRegistry>, authenticator: Arc<dyn Authenticator>, metrics: Arc<Metrics>) -> Self {
        Self { registry, authenticator, metrics, limits: LiveLimits::default(), presence: None, upstream: None, inbox: None }
    }

    /// Tells of what `feed` wants. With sessions among it, an AUTH is answered when the log has its `session.online`.
    #[must_use]
    pub fn telling(mut self, feed: &Arc<Feed>) -> Self {
        let wanted = feed.wanted();
        self.presence = wanted.sessions.then(|| Presence::new(feed.clone(), self.registry.clone()));
        self.upstream = wanted.upstream.then(|| feed.clone());
        self
    }

    /// Has inboxes for extended sessions.
    #[must_use]
    pub fn keeping(mut self, inbox: Arc<Inbox>) -> Self {
        self.inbox = Some(inbox);
        self
    }

    /// What tells of sessions, if somebody wants to know.
    pub const fn presence(&self) -> Option<&Arc<Presence>> {
        self.presence.as_ref()
    }

    /// Goes on with these limits. Sessions that are there stay.
    pub fn reload(&self, limits: SessionLimits) {
        self.limits.per_user_max.store(limits.per_user_max, Relaxed);
        self.limits.replace_oldest.store(limits.replace_oldest, Relaxed);
    }

    /// Lets a session in, or not: reads its AUTH, finds out who it is, and registers it. It is registered when the answer is
    /// there and not before; if nobody waits for the answer any more when it comes, whoever asked says
    /// [`Logic::disconnect`], and if it is dropped before it comes, nothing has happened.
    ///
    /// # Errors
    /// [`ConnectError`]: UNAUTHENTICATED when the body is not acceptable, PERMISSION_DENIED when the key is another user's,
    /// CONNECTION_LIMIT when the user has too many sessions, and what the authenticator says.
    pub fn connect(self: &Arc<Self>, request: &ConnectRequest<'_>) -> Verdict<Result<Connected, ConnectError>> {
        let read = if request.extended { AuthRequest::parse_extended } else { AuthRequest::parse };
        let auth = match read(request.body).and_then(|auth| check(&auth).map(|()| auth)) {
            Ok(auth) => auth,
            Err(message) => return Verdict::Now(self.count(Err((AuthOutcome::Malformed, unauthenticated(message))))),
        };
        let context = AuthContext {
            peer: request.peer,
            cookie: request.cookie,
            now_ms: request.now_ms,
            extended: request.extended,
            renewal: false,
        };
        let identity = self.authenticator.authenticate(&auth, &context);
        let ConnectRequest { addr, peer, extended, now_ms, .. } = *request;
        let (logic, arrival) = (self.clone(), Arrival { auth, addr, peer, extended, since_ms: now_ms });
        let counted = self.clone();
        identity.and_then(move |identity| logic.let_in(arrival, identity)).then(move |result| counted.count(result))
    }

    fn count(&self, result: Result<Connected, Refused>) -> Result<Connected, ConnectError> {
        let (outcome, result) = match result {
            Ok(connected) => (AuthOutcome::Accepted, Ok(connected)),
            Err((outcome, error)) => (outcome, Err(error)),
        };
        self.metrics.auth(outcome);
        result
    }

    fn let_in(self: &Arc<Self>, arrival: Arrival, identity: Result<Identity, AuthError>) -> Verdict<Result<Connected, Refused>> {
        let entrant = match self.entrant(&arrival, identity) {
            Ok(entrant) => entrant,
            Err(refused) => return Verdict::Now(Err(refused)),
        };
        let Some((inbox, mid)) = self.inbox_of(&arrival, entrant.mid) else {
            return self.register(arrival, entrant);
        };
        // Asked before it is registered, so that nobody is replaced by a session that can't be let in.
        let logic = self.clone();
        inbox.is_there(mid).and_then(move |there| match there {
            Ok(()) => logic.register(arrival, entrant),
            Err(down) => Verdict::Now(Err(no_inbox(&down))),
        })
    }

    /// The inbox that a session will use, if it will use one.
    fn inbox_of(&self, arrival: &Arrival, mid: i64) -> Option<(&Arc<Inbox>, u64)> {
        let mid = u64::try_from(mid).ok().filter(|mid| *mid > 0)?;
        self.inbox.as_ref().filter(|_| arrival.extended).map(|inbox| (inbox, mid))
    }

    fn register(self: &Arc<Self>, arrival: Arrival, entrant: Entrant) -> Verdict<Result<Connected, Refused>> {
        let session = NewSession {
            key: entrant.key.clone(),
            mid: entrant.mid,
            addr: arrival.addr,
            platform: &arrival.auth.platform,
            device_id: &arrival.auth.device_id,
            peer: arrival.peer,
            since_ms: arrival.since_ms,
            extended: arrival.extended,
        };
        let opened = match &self.presence {
            None => Verdict::Now(self.registry.open(session, entrant.takeover).map_err(|_| OpenError::KeyTaken)),
            Some(presence) => presence.open(session, entrant.takeover),
        };
        let logic = self.clone();
        opened.and_then(move |opened| match logic.entered(&arrival, entrant, opened) {
            Ok(connected) => logic.greet(&arrival, connected),
            Err(refused) => Verdict::Now(Err(refused)),
        })
    }

    /// The session is registered, so that whatever comes from now on reaches it; what came before, the head of the inbox tells.
    fn greet(self: &Arc<Self>, arrival: &Arrival, connected: Connected) -> Verdict<Result<Connected, Refused>> {
        let Some((inbox, mid)) = self.inbox_of(arrival, connected.mid) else { return Verdict::Now(Ok(connected)) };
        let auth = &arrival.auth;
        let device = if auth.device_id.is_empty() { &auth.platform } else { &auth.device_id };
        let has = (auth.epoch > 0).then_some((auth.epoch, auth.pos));
        let (logic, addr) = (self.clone(), arrival.addr);
        inbox.open(mid, device, has, arrival.since_ms).then(move |greeting| match greeting {
            Ok(greeting) => Ok(Connected { inbox: Some(greeting), ..connected }),
            Err(down) => {
                logic.close(&connected.key, connected.mid, addr, Some(CloseReason::Overloaded));
                Err(no_inbox(&down))
            }
        })
    }

    fn entrant(&self, arrival: &Arrival, identity: Result<Identity, AuthError>) -> Result<Entrant, Refused> {
        let Identity { mid, takeover, expires_at_ms } = identity.map_err(|error| (AuthOutcome::Refused, self.refusal(error)))?;
        let key = &arrival.auth.key;
        let key = if key.is_empty() { make_key() } else { Ok(SessionKey::parse(key)) };
        let key = key.map_err(|error| (AuthOutcome::Failed, error))?;
        if self.presence.is_some() && !self.limits.replace_oldest.load(Relaxed) && self.is_full(&key, mid) {
            // Found before it is registered, so that nobody is told of a session that never was. Two at once are found later.
            return Err((AuthOutcome::Refused, self.too_many_sessions()));
        }
        Ok(Entrant { mid, key, takeover, expires_at_ms })
    }

    /// The session is registered, or was not let in.
    fn entered(
        self: &Arc<Self>,
        arrival: &Arrival,
        entrant: Entrant,
        opened: Result<Option<SessionAddr>, OpenError>,
    ) -> Result<Connected, Refused> {
        let (auth, Entrant { mid, key, expires_at_ms, .. }) = (&arrival.auth, entrant);
        let mut replaced = opened.map_err(not_opened)?;
        if replaced.is_none() {
            replaced = self.make_room(&key, mid, arrival.addr).map_err(|error| (AuthOutcome::Refused, error))?;
        }
        if replaced.is_some() {
            self.metrics.session_replaced();
        }
        let room = Some(&auth.room_id).filter(|room| !room.is_empty()).cloned();
        let (accepts, platform) = (auth.accepts.clone(), auth.platform.clone());
        Ok(Connected { mid, key, room, accepts, platform, replaced, expires_at_ms, inbox: None })
    }

    /// Whether the user of a session that comes has as many as he may, without one that it replaces.
    fn is_full(&self, key: &SessionKey, mid: i64) -> bool {
        let most = self.limits.per_user_max.load(Relaxed);
        most > 0
            && mid > 0
            && self.registry.by_mid(mid).len() >= most
            && self.registry.row(key).is_none_or(|replaced| replaced.mid != mid)
    }

    fn too_many_sessions(&self) -> ConnectError {
        self.metrics.auth_refused(AuthRefusal::UserLimit);
        let most = self.limits.per_user_max.load(Relaxed);
        let message = format!("the user has {most} sessions, and no more are allowed: end one of them");
        ConnectError { reason: CloseReason::ConnectionLimit, message, retry_after_ms: None }
    }

    /// Forgets a session; false, and nothing is changed, if it is not there any more.
    fn close(&self, key: &SessionKey, mid: i64, addr: SessionAddr, reason: Option<CloseReason>) -> bool {
        match &self.presence {
            None => self.registry.close(key, mid, addr),
            Some(presence) => presence.end(key, mid, addr, reason),
        }
    }

    /// Holds the limit of sessions for the user of a session that was just registered, and added one.
    ///
    /// Counted after it was registered: of sessions that come at the same moment each sees all that were before it, so the limit is
    /// never exceeded when all have been answered. At the limit, two at once may both be refused where one would have fitted.
    fn make_room(&self, key: &SessionKey, mid: i64, addr: SessionAddr) -> Result<Option<SessionAddr>, ConnectError> {
        let most = self.limits.per_user_max.load(Relaxed);
        if most == 0 || mid <= 0 || self.registry.by_mid(mid).len() <= most {
            return Ok(None);
        }
        if self.limits.replace_oldest.load(Relaxed) {
            // Whoever closes one may end it: two newcomers never count the same one as theirs.
            let rows = self.registry.describe(mid);
            let oldest =
                rows.iter().find(|row| row.addr != addr && self.close(&row.key, mid, row.addr, Some(CloseReason::Replaced)));
            if let Some(oldest) = oldest {
                return Ok(Some(oldest.addr));
            }
        }
        self.close(key, mid, addr, Some(CloseReason::ConnectionLimit));
        Err(self.too_many_sessions())
    }

    fn refusal(&self, error: AuthError) -> ConnectError {
        self.metrics.auth_refused(error.cause);
        error.into()
    }

    /// Looks at a further AUTH of a living session: when the session ends now, unix ms; 0: never.
    ///
    /// # Errors
    /// [`ConnectError`]: UNAUTHENTICATED when it is another user's or not acceptable; what the authenticator says.
    pub fn renew(self: &Arc<Self>, request: &RenewRequest<'_>) -> Verdict<Result<u64, ConnectError>> {
        let auth = match AuthRequest::parse_extended(request.body) {
            Ok(auth) => auth,
            Err(message) => return Verdict::Now(Err(unauthenticated(message))),
        };
        let context = AuthContext { peer: request.peer, cookie: "", now_ms: request.now_ms, extended: true, renewal: true };
        let (logic, mid) = (self.clone(), request.mid);
        self.authenticator.authenticate(&auth, &context).then(move |identity| logic.go_on(mid, identity))
    }

    /// What a living session that showed who it is again is told of its inbox; `None`: it has none, or nobody knows now.
    pub fn greet_again(&self, key: &SessionKey, mid: i64, now_ms: u64) -> Verdict<Option<Greeting>> {
        let user = u64::try_from(mid).ok().filter(|mid| *mid > 0);
        let (Some(inbox), Some(mid), Some(row)) = (&self.inbox, user, self.registry.row(key)) else { return Verdict::Now(None) };
        inbox.open(mid, &row.device_id, None, now_ms).then(Result::ok)
    }

    fn go_on(&self, mid: i64, identity: Result<Identity, AuthError>) -> Result<u64, ConnectError> {
        match identity {
            Ok(identity) if identity.mid == mid => Ok(identity.expires_at_ms),
            Ok(_) => Err(self.refusal(AuthError::unauthenticated(
                AuthRefusal::OtherUser,
                "a session can't be renewed for another user: connect again",
            ))),
            Err(error) => Err(self.refusal(error)),
        }
    }

    /// Registers a session again that lives on its comet: that comet says so, because this logic may have forgotten it.
    /// What it was let in with is not looked at again.
    pub fn restore(&self, session: NewSession<'_>) -> Restored {
        match &self.presence {
            None => self.registry.restore(session),
            Some(presence) => presence.restore(session),
        }
    }

    /// The sessions of one life of a comet, to see to those that ended without a word.
    pub fn each_of_node(&self, node: u32, incarnation: u32, each: &mut dyn FnMut(SessionRow)) {
        self.registry.each_of_node(node, incarnation, each);
    }

    /// Forgets a session that ended: by us, for `reason`, or by the client or the network. Returns false, and changes nothing,
    /// when a newer one has its key.
    pub fn disconnect(&self, key: &SessionKey, mid: i64, addr: SessionAddr, reason: Option<CloseReason>) -> bool {
        self.close(key, mid, addr, reason)
    }

    /// Takes what a client sent to the business; answered when it can't be lost any more, or refused.
    /// Where nobody wants it, it is counted and goes no further.
    pub fn receive(&self, frame: &Upstream<'_>) -> Verdict<Result<(), Refusal>> {
        self.metrics.received(frame.op, frame.body.len());
        match &self.upstream {
            None => Verdict::Now(Ok(())),
            Some(feed) => feed.upstream(frame),
        }
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

fn not_opened(error: OpenError) -> Refused {
    match error {
        OpenError::KeyTaken => {
            let message = "the session key is in use by another user: choose another, or none and get one".to_owned();
            (AuthOutcome::KeyTaken, ConnectError { reason: CloseReason::PermissionDenied, message, retry_after_ms: None })
        }
        OpenError::Unavailable => {
            let message = "the event log takes nothing now, and nobody is let in unseen: connect again later".to_owned();
            (AuthOutcome::Failed, ConnectError { reason: CloseReason::Overloaded, message, retry_after_ms: None })
        }
    }
}

fn no_inbox(StoreDown(why): &StoreDown) -> Refused {
    let message = format!("the store does not answer ({why}), and nobody is let in without his inbox: connect again later");
    (AuthOutcome::Failed, ConnectError { reason: CloseReason::Overloaded, message, retry_after_ms: None })
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
mod tests;

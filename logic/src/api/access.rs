//! Who may call: bearer tokens with scopes and quotas, one decision for HTTP and gRPC.
//!
//! Without a token a call is only let in where the node believes everybody and no tokens are configured ([`Access::open`]).

mod bucket;
mod date;
mod file;
mod layer;
mod token;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::Problem;
use crate::metrics::{AccessOutcome, Metrics};
use crate::reason::Reason;
pub use file::{FILE_BYTES_MAX, Tokens, entry};
pub use token::{ApiToken, Scope, TokenHash, new_token};

/// Longest credentials that are looked at, bytes.
const CREDENTIALS_BYTES_MAX: usize = 4096;
/// Refused calls are written to the log at most so often, ms; all of them are counted.
const COMPLAINT_MS: u64 = 1000;

/// Decides who may call.
pub struct Access {
    /// `None`: everybody.
    tokens: Option<RwLock<Arc<Tokens>>>,
    metrics: Arc<Metrics>,
    /// Zero of the clock that quotas count by.
    started: Instant,
    complaints: Complaints,
}

/// Who calls, and what it costs him.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<ApiToken>>);

impl Caller {
    /// Who sent a request that [`Access::guard`] let in.
    pub(super) fn of(request: &axum::extract::Request) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Whose idempotency keys the call's are: the token's name; empty where there are no tokens.
    pub fn account(&self) -> &str {
        self.0.as_ref().map_or("", |token| &token.name)
    }
}

/// Why a call is not let in.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    pub(super) problem: Problem,
    /// `WWW-Authenticate`, where a token (or another one) helps.
    pub(super) challenge: Option<HeaderValue>,
    outcome: AccessOutcome,
}

impl Access {
    /// Everybody may do everything: for nodes that believe what callers say of themselves.
    pub fn open(metrics: Arc<Metrics>) -> Self {
        Self::of(None, metrics)
    }

    /// Only who has one of these tokens; with none at all, nobody.
    pub fn with_tokens(tokens: Tokens, metrics: Arc<Metrics>) -> Self {
        Self::of(Some(RwLock::new(Arc::new(tokens))), metrics)
    }

    fn of(tokens: Option<RwLock<Arc<Tokens>>>, metrics: Arc<Metrics>) -> Self {
        Self { tokens, metrics, started: Instant::now(), complaints: Complaints::default() }
    }

    /// Goes on with other tokens; quotas of tokens that stay are as used as they were. Changes nothing where everybody may.
    pub fn reload(&self, tokens: Tokens) {
        if let Some(current) = &self.tokens {
            let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
            tokens.go_on_from(&current);
            *current = Arc::new(tokens);
        }
    }

    /// Whether callers need a token.
    pub fn needs_token(&self) -> bool {
        self.tokens.is_some()
    }

    fn tokens(&self) -> Option<Arc<Tokens>> {
        // Replaced whole: a panic elsewhere can't leave half of them.
        self.tokens.as_ref().map(|tokens| Arc::clone(&tokens.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Lets a call in, or not, and counts it. `headers` of HTTP, or the metadata of gRPC; `from` is for the log.
    pub(super) fn authorize(&self, headers: &HeaderMap, scope: Scope, from: &str, now_ms: u64) -> Result<Caller, Denied> {
        let Some(tokens) = self.tokens() else {
            self.metrics.access(AccessOutcome::Anonymous);
            return Ok(Caller::default());
        };
        let decided = find(&tokens, headers, scope, now_ms).and_then(|token| {
            self.spend(&token, 1)?;
            Ok(Caller(Some(token)))
        });
        match &decided {
            Ok(_) => self.metrics.access(AccessOutcome::Accepted),
            Err(denied) => self.denied(denied, from, scope, now_ms),
        }
        decided
    }

    /// Takes what a call costs beyond the one that it was let in for: each further message of a batch is one more.
    pub(super) fn charge(&self, caller: &Caller, further: usize) -> Result<(), Problem> {
        let (Some(token), 1..) = (&caller.0, further) else { return Ok(()) };
        self.spend(token, further as u64).map_err(|denied| {
            self.metrics.access(denied.outcome);
            denied.problem
        })
    }

    fn spend(&self, token: &ApiToken, cost: u64) -> Result<(), Denied> {
        let Some(quota) = &token.quota else { return Ok(()) };
        let now_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        quota.take(cost, now_ns).map_err(|wait_ns| {
            let message = "the quota of this token is used up: call less often, or have it raised";
            let retry_after_ms = Some(wait_ns.div_ceil(1_000_000));
            let problem = Problem { retry_after_ms, ..Problem::new(Reason::RateLimited, message) };
            Denied { problem, challenge: None, outcome: AccessOutcome::OverQuota }
        })
    }

    fn denied(&self, denied: &Denied, from: &str, scope: Scope, now_ms: u64) {
        self.metrics.access(denied.outcome);
        self.metrics.refused(denied.problem.reason);
        let (why, scope) = (denied.outcome.word(), scope.word());
        tracing::debug!(why, scope, from, "a call to the API was refused");
        if denied.outcome != AccessOutcome::OverQuota
            && let Some(others) = self.complaints.due(now_ms)
        {
            tracing::warn!(why, scope, from, others, "a call to the API was refused, and others since the last such line");
        }
    }
}

fn find(tokens: &Tokens, headers: &HeaderMap, scope: Scope, now_ms: u64) -> Result<Arc<ApiToken>, Denied> {
    let text = bearer(headers)?;
    let unknown = || denied(AccessOutcome::UnknownToken, "this token is not accepted here");
    if !token::has_form(text) {
        return Err(unknown());
    }
    let token = tokens.find(&TokenHash::of(text)).ok_or_else(unknown)?;
    if token.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms) {
        return Err(denied(AccessOutcome::ExpiredToken, "the time of this token is over: have a new one made"));
    }
    if !token.scopes.contains(&scope) {
        return Err(lacks(scope));
    }
    Ok(token.clone())
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let malformed = || denied(AccessOutcome::Malformed, "Authorization must be given once, as: Bearer and the token");
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (given.next(), given.next()) {
        (None, _) => return Err(denied(AccessOutcome::NoToken, "a token is needed: Authorization: Bearer and the token")),
        (Some(value), None) if value.len() <= CREDENTIALS_BYTES_MAX => value.to_str().map_err(|_| malformed())?,
        _ => return Err(malformed()),
    };
    let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(malformed());
    }
    Ok(token)
}

fn denied(outcome: AccessOutcome, detail: &str) -> Denied {
    let reason = if outcome == AccessOutcome::ExpiredToken { Reason::TokenExpired } else { Reason::Unauthenticated };
    // RFC 6750 section 3.1: no error code where no credentials were given.
    let challenge = match outcome {
        AccessOutcome::NoToken => HeaderValue::from_static("Bearer realm=\"perseid\""),
        _ => HeaderValue::from_static("Bearer realm=\"perseid\", error=\"invalid_token\""),
    };
    Denied { problem: Problem::new(reason, detail), challenge: Some(challenge), outcome }
}

fn lacks(scope: Scope) -> Denied {
    let problem = Problem::new(Reason::PermissionDenied, format!("this needs a token with the scope {}", scope.word()));
    let challenge = match scope {
        Scope::Push => "Bearer realm=\"perseid\", error=\"insufficient_scope\", scope=\"push\"",
        Scope::Read => "Bearer realm=\"perseid\", error=\"insufficient_scope\", scope=\"read\"",
        Scope::Admin => "Bearer realm=\"perseid\", error=\"insufficient_scope\", scope=\"admin\"",
    };
    Denied { problem, challenge: Some(HeaderValue::from_static(challenge)), outcome: AccessOutcome::MissingScope }
}

/// Keeps the log readable when somebody tries tokens.
#[derive(Default)]
struct Complaints {
    next_ms: AtomicU64,
    silent: AtomicU64,
}

impl Complaints {
    /// Whether a line may be written now; with how many were not since the last one.
    fn due(&self, now_ms: u64) -> Option<u64> {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        // A clock that was set back by far does not silence us for long.
        let due = now_ms >= next_ms || next_ms - now_ms > COMPLAINT_MS;
        let taken =
            due && self.next_ms.compare_exchange(next_ms, now_ms + COMPLAINT_MS, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if taken {
            return Some(self.silent.swap(0, Ordering::Relaxed));
        }
        self.silent.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn headers(authorization: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    fn token(number: u8) -> String {
        new_token(&[number; 32])
    }

    fn tokens() -> Tokens {
        let entry_of = |number: u8, scopes: &[Scope], quota, expires_ms| {
            entry(&format!("t{number}"), &TokenHash::of(&token(number)), scopes, quota, expires_ms)
        };
        let text = entry_of(1, &[Scope::Push], None, None)
            + &entry_of(2, &[Scope::Read, Scope::Admin], None, Some(NOW_MS))
            + &entry_of(3, &[Scope::Push], Some((1, Some(2))), None);
        Tokens::parse(&text).unwrap()
    }

    fn outcome(access: &Access, authorization: &[&str], scope: Scope, now_ms: u64) -> Result<String, (u16, &'static str)> {
        access
            .authorize(&headers(authorization), scope, "test", now_ms)
            .map(|caller| caller.account().to_owned())
            .map_err(|denied| (denied.problem.reason.status(), denied.outcome.word()))
    }

    #[test]
    fn who_is_let_in() {
        let metrics = Arc::new(Metrics::default());
        let access = Access::with_tokens(tokens(), metrics.clone());
        let (first, second, stranger) =
            (format!("Bearer {}", token(1)), format!("bearer  {}", token(2)), format!("Bearer {}", token(9)));
        let long = format!("Bearer {}", "a".repeat(CREDENTIALS_BYTES_MAX));
        for (authorization, scope, now_ms, expected) in [
            (&[first.as_str()][..], Scope::Push, NOW_MS, Ok("t1".to_owned())),
            (&[&first], Scope::Read, NOW_MS, Err((403, "missing_scope"))),
            (&[&first], Scope::Admin, NOW_MS, Err((403, "missing_scope"))),
            (&[&second], Scope::Admin, NOW_MS - 1, Ok("t2".to_owned())),
            (&[&second], Scope::Push, NOW_MS - 1, Err((403, "missing_scope"))),
            (&[&second], Scope::Admin, NOW_MS, Err((401, "expired_token"))),
            (&[&stranger], Scope::Push, NOW_MS, Err((401, "unknown_token"))),
            (&[&first[..first.len() - 1]], Scope::Push, NOW_MS, Err((401, "unknown_token"))),
            (&["Bearer x"], Scope::Push, NOW_MS, Err((401, "unknown_token"))),
            (&[], Scope::Push, NOW_MS, Err((401, "no_token"))),
            (&[""], Scope::Push, NOW_MS, Err((401, "malformed"))),
            (&["Bearer"], Scope::Push, NOW_MS, Err((401, "malformed"))),
            (&["Bearer "], Scope::Push, NOW_MS, Err((401, "malformed"))),
            (&["Basic dTpw"], Scope::Push, NOW_MS, Err((401, "malformed"))),
            (&[&first, &first], Scope::Push, NOW_MS, Err((401, "malformed"))),
            (&[&long], Scope::Push, NOW_MS, Err((401, "malformed"))),
        ] {
            assert_eq!(outcome(&access, authorization, scope, now_ms), expected, "{authorization:?} {scope:?}");
        }
        let counted: u64 = metrics.snapshot().access.iter().map(|(_, count)| count).sum();
        assert_eq!(counted, 16, "each call once");
        assert_eq!(
            outcome(&Access::with_tokens(Tokens::default(), metrics.clone()), &[&first], Scope::Push, 0),
            Err((401, "unknown_token"))
        );
        assert_eq!(outcome(&Access::open(metrics), &[], Scope::Admin, 0), Ok(String::new()));
    }

    #[test]
    fn quotas_hold_over_a_reread_and_batches_cost_their_messages() {
        let access = Access::with_tokens(tokens(), Arc::new(Metrics::default()));
        let third = format!("Bearer {}", token(3));
        let caller = access.authorize(&headers(&[&third]), Scope::Push, "test", NOW_MS).unwrap();
        assert_eq!(access.charge(&caller, 1), Ok(()));
        access.reload(tokens());
        let denied = access.authorize(&headers(&[&third]), Scope::Push, "test", NOW_MS).unwrap_err();
        assert_eq!((denied.problem.reason, denied.outcome), (Reason::RateLimited, AccessOutcome::OverQuota));
        assert!(denied.problem.retry_after_ms.is_some_and(|ms| (1..=1000).contains(&ms)));
        assert_eq!(access.charge(&caller, 5).unwrap_err().reason, Reason::RateLimited);
        access.reload(Tokens::default());
        assert_eq!(outcome(&access, &[&third], Scope::Push, NOW_MS), Err((401, "unknown_token")));
    }

    #[test]
    fn the_log_is_spared() {
        let complaints = Complaints::default();
        assert_eq!(
            [5, 6, 1004, 1005, 1006, 1].map(|now_ms| complaints.due(now_ms)),
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}

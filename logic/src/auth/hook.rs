//! A server of the operator's is asked who a client is: an HTTP hook.
//!
//! **Invariants**
//! - A question is asked at most once at a time, however many clients ask it, and so many questions at once; what is more is told
//!   to come back (OVERLOADED) and not queued.
//! - What is remembered is found only by a keyed hash of the whole question: another token, cookie, address or device is another
//!   question. Nothing of a question is kept, and nothing of it is in a log or in a message.
//! - What the hook did not say in its own form is a failure, and a failure is never an acceptance as a user: it is a refusal, or
//!   a guest where the operator says so.
//!
//! | file | |
//! |---|---|
//! | `question.rs`, `answer.rs` | the JSON of both sides, and what statuses mean |
//! | `cache.rs`, `breaker.rs` | what is remembered, and when nobody is asked; pure |
//! | `desk.rs` | who asks, who waits for whom, who is sent away |

mod answer;
mod breaker;
mod cache;
mod desk;
mod question;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use perseid_outbound::{Client, ClientConfig, Method, Secrets, sign};
use perseid_protocol::auth::AuthRequest;
use perseid_store::Takeover;

use super::call::{Call, HttpCall};

use super::{AuthContext, AuthError, Authenticator, Identity};
use crate::metrics::{AuthRefusal, HookOutcome, Metrics};
use answer::{Decision, Failed};
use desk::{Desk, Place};
use perseid_store::Verdict;
use question::Question;

/// Nobody is told to come back sooner, ms.
const RETRY_AFTER_MS_MIN: u64 = 1_000;

/// Whom to ask, and what to make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// Whom.
    pub url: String,
    /// How it is called; its bound of calls at once is the hook's.
    pub client: ClientConfig,
    /// A file with the secrets that questions are signed with.
    pub secret_file: Option<PathBuf>,
    /// What becomes of clients when the hook fails.
    pub on_failure: OnFailure,
    /// What is remembered.
    pub memory: Memory,
}

/// How long the hook's word counts without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How long it is remembered that somebody was accepted, ms; 0: not at all. Never beyond what the hook said.
    pub cache_ms: u64,
    /// How many of those are remembered; the oldest are forgotten first.
    pub cache_max: usize,
}

/// What becomes of clients when the hook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are told to come back.
    Refuse,
    /// They are let in as guests. Who renews a session is told to come back all the same.
    Guest,
}

/// Why there is no hook: a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HookError(pub String);

/// Believes what a server of the operator's says.
pub struct HookAuth {
    inner: RwLock<Arc<Inner>>,
    metrics: Arc<Metrics>,
}

/// What changes as a whole when the configuration is read again.
struct Inner {
    config: HookConfig,
    secrets: Option<Secrets>,
    desk: Arc<Desk>,
}

impl HookAuth {
    /// Reads the secrets. Nobody is called yet.
    ///
    /// # Errors
    /// A file that can't be used: a sentence with its path.
    pub fn open(config: &HookConfig, metrics: &Arc<Metrics>) -> Result<Self, HookError> {
        let inner = RwLock::new(Arc::new(Inner::open(config, metrics)?));
        Ok(Self { inner, metrics: metrics.clone() })
    }

    /// Goes on with another configuration, and the secrets as their file has them now. If anything changed, nothing is remembered.
    ///
    /// # Errors
    /// As [`HookAuth::open`]; nothing has changed then.
    pub fn reload(&self, config: &HookConfig) -> Result<(), HookError> {
        let before = self.inner();
        // Two that sign alike are the same.
        let sample = |secrets: &Option<Secrets>| secrets.as_ref().map(|secrets| sign(secrets, 0, &[]));
        if before.config == *config && sample(&before.secrets) == sample(&secrets(config)?) {
            return Ok(());
        }
        let fresh = Arc::new(Inner::open(config, &self.metrics)?);
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn inner(&self) -> Arc<Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Over a hook that is a part of the test.
    #[cfg(test)]
    fn over(call: Arc<dyn Call>, config: HookConfig, metrics: &Arc<Metrics>) -> Self {
        let inner = Inner { desk: Inner::desk(call, &config, metrics).unwrap(), config, secrets: None };
        Self { inner: RwLock::new(Arc::new(inner)), metrics: metrics.clone() }
    }
}

impl Inner {
    fn open(config: &HookConfig, metrics: &Arc<Metrics>) -> Result<Self, HookError> {
        let secrets = secrets(config)?;
        let client = Client::new(config.client.clone()).map_err(|error| HookError(error.to_string()))?;
        let call = HttpCall { client, method: Method::Post, url: config.url.clone(), secrets: secrets.clone() };
        Ok(Self { config: config.clone(), secrets, desk: Self::desk(Arc::new(call), config, metrics)? })
    }

    fn desk(call: Arc<dyn Call>, config: &HookConfig, metrics: &Arc<Metrics>) -> Result<Arc<Desk>, HookError> {
        let desk = Desk::new(call, config.client.concurrency_max, config.memory, metrics.clone());
        desk.map(Arc::new).map_err(|error| HookError(format!("no random bytes: {error}")))
    }

    /// What a client is told.
    fn verdict(&self, settled: Result<Decision, Failed>, renewal: bool) -> Result<Identity, AuthError> {
        let failed = match settled {
            Ok(Decision::Accepted { mid, expires_at_ms }) => {
                return Ok(Identity { mid, takeover: Takeover::SameUser, expires_at_ms });
            }
            Ok(Decision::Refused(refused)) => return Err(refused.into()),
            Err(failed) => failed,
        };
        if self.config.on_failure == OnFailure::Guest && !renewal {
            return Ok(Identity { mid: 0, takeover: Takeover::SameUser, expires_at_ms: 0 });
        }
        Err(AuthError::overloaded(
            AuthRefusal::HookFailed,
            "this node can't find out now who you are: come back with the same",
            failed.retry_after_ms.unwrap_or(0).max(RETRY_AFTER_MS_MIN),
        ))
    }
}

fn secrets(config: &HookConfig) -> Result<Option<Secrets>, HookError> {
    config.secret_file.as_deref().map(Secrets::read).transpose().map_err(|error| HookError(error.to_string()))
}

impl Authenticator for HookAuth {
    fn authenticate(&self, request: &AuthRequest, context: &AuthContext<'_>) -> Verdict<Result<Identity, AuthError>> {
        let (inner, renewal) = (self.inner(), context.renewal);
        let question = Question::new(request, context).to_json();
        match inner.desk.come(question, context.now_ms) {
            Place::Known(decision) => Verdict::Now(inner.verdict(Ok(decision), renewal)),
            Place::Failing(failed) => Verdict::Now(inner.verdict(Err(failed), renewal)),
            Place::Full => {
                self.metrics.hook(HookOutcome::Full);
                Verdict::Now(Err(AuthError::overloaded(
                    AuthRefusal::HookBusy,
                    "too many clients are asking who they are: come back with the same",
                    RETRY_AFTER_MS_MIN,
                )))
            }
            Place::First(lead) => Verdict::Later(Box::pin(async move { inner.verdict(lead.ask().await, renewal) })),
            Place::Behind(follower) => Verdict::Later(Box::pin(async move { inner.verdict(follower.wait().await, renewal) })),
        }
    }
}

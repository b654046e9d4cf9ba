//! Who a client is: the port, and the answer that believes everything.
//!
//! [`jwt`] believes signatures, [`hook`] a server of the operator's. What they must never do is stated there.

pub mod call;
pub mod hook;
pub mod jwt;

use std::net::SocketAddr;

use perseid_protocol::CloseReason;
use perseid_protocol::auth::AuthRequest;
use perseid_store::Takeover;

use crate::metrics::AuthRefusal;
use perseid_store::Verdict;

pub use hook::{HookAuth, HookConfig};
pub use jwt::JwtAuth;

/// What is known of a client besides what it says.
#[derive(Clone, Copy, Debug)]
pub struct AuthContext<'a> {
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    /// The `Cookie` header of its WebSocket upgrade; empty: none.
    pub cookie: &'a str,
    /// Now, unix ms.
    pub now_ms: u64,
    /// Whether it speaks the extended protocol.
    pub extended: bool,
    /// Whether it is in already, and shows who it is once more.
    pub renewal: bool,
}

/// What an authenticator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user; ≤ 0 is a guest.
    pub mid: i64,
    /// Whose session this one may replace by naming its key.
    pub takeover: Takeover,
    /// When the session ends unless it is renewed, unix ms; 0: never.
    pub expires_at_ms: u64,
}

/// Why a client is not let in: the code that ends its session, and a sentence for whoever debugs the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}: {message}")]
pub struct AuthError {
    /// How its session ends.
    pub reason: CloseReason,
    /// What it is counted as.
    pub cause: AuthRefusal,
    /// What to do about it. Nothing of what the client sent is in it.
    pub message: String,
    /// How long to stay away, ms; `None`: what the comet tells everybody.
    pub retry_after_ms: Option<u64>,
}

impl AuthError {
    /// UNAUTHENTICATED: there is no point in coming back with the same.
    pub fn unauthenticated(cause: AuthRefusal, message: impl Into<String>) -> Self {
        Self { reason: CloseReason::Unauthenticated, cause, message: message.into(), retry_after_ms: None }
    }

    /// OVERLOADED: nobody can say now who this is.
    pub fn overloaded(cause: AuthRefusal, message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self { reason: CloseReason::Overloaded, cause, message: message.into(), retry_after_ms: Some(retry_after_ms) }
    }
}

/// Decides who a client is.
///
/// Asked on the thread that serves the client. Checking a signature is decided at once; who has to ask somebody else (a key
/// server, an HTTP hook) answers later.
pub trait Authenticator: Send + Sync + 'static {
    /// Decides by the AUTH body and where it came from. The answer, or what comes later, is an
    /// [`AuthError`]: UNAUTHENTICATED, TOKEN_EXPIRED, PERMISSION_DENIED; or OVERLOADED and INTERNAL when it can't decide.
    fn authenticate(&self, request: &AuthRequest, context: &AuthContext<'_>) -> Verdict<Result<Identity, AuthError>>;
}

/// goim's way: clients are who they say they are, and may take anybody's session key. For trusted networks only.
#[derive(Clone, Copy, Debug, Default)]
pub struct InsecureAuth;

impl Authenticator for InsecureAuth {
    fn authenticate(&self, request: &AuthRequest, _context: &AuthContext<'_>) -> Verdict<Result<Identity, AuthError>> {
        Verdict::Now(Ok(Identity { mid: request.mid, takeover: Takeover::Anybody, expires_at_ms: 0 }))
    }
}

//! Who a client is: the port, and the answer that believes everything.

use std::net::SocketAddr;

use perseid_protocol::CloseReason;
use perseid_protocol::auth::AuthRequest;
use perseid_store::Takeover;

/// What is known of a client besides what it says.
#[derive(Clone, Copy, Debug)]
pub struct AuthContext<'a> {
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    /// The `Cookie` header of its WebSocket upgrade; empty: none.
    pub cookie: &'a str,
    /// Now, unix ms.
    pub now_ms: u64,
}

/// What an authenticator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user; ≤ 0 is a guest.
    pub mid: i64,
    /// Whose session this one may replace by naming its key.
    pub takeover: Takeover,
}

/// Why a client is not let in: the code that ends its session, and a sentence for whoever debugs the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}: {message}")]
pub struct AuthError {
    /// How its session ends.
    pub reason: CloseReason,
    /// What to do about it.
    pub message: String,
}

/// Decides who a client is.
///
/// The decision is made at once, on the thread that serves the client: checking a signature is such a decision. One that has
/// to ask somebody else (an HTTP hook) will be a second port beside this one, which answers later.
pub trait Authenticator: Send + Sync + 'static {
    /// Decides by the AUTH body and where it came from.
    ///
    /// # Errors
    /// [`AuthError`]: UNAUTHENTICATED, TOKEN_EXPIRED, PERMISSION_DENIED; or OVERLOADED and INTERNAL when it can't decide.
    fn authenticate(&self, request: &AuthRequest, context: &AuthContext<'_>) -> Result<Identity, AuthError>;
}

/// goim's way: clients are who they say they are, and may take anybody's session key. For trusted networks only.
#[derive(Clone, Copy, Debug, Default)]
pub struct InsecureAuth;

impl Authenticator for InsecureAuth {
    fn authenticate(&self, request: &AuthRequest, _context: &AuthContext<'_>) -> Result<Identity, AuthError> {
        Ok(Identity { mid: request.mid, takeover: Takeover::Anybody })
    }
}

//! What may be wrong with a token: one table of causes, codes and sentences.

use perseid_protocol::CloseReason;

use crate::auth::AuthError;
use crate::metrics::AuthRefusal;

/// Why a token is not believed. The sentences are for whoever debugs the client or the issuer; nothing of the token is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("this node wants a token: put a JWT into the field token of the AUTH body")]
    Missing,
    /// It is no JWT.
    #[error("the token is no JWT: {0}")]
    Malformed(&'static str),
    /// Its algorithm is none that a key here is for.
    #[error("no key of this node is for the token's alg; HS256, RS256, ES256 and EdDSA exist, and none never counts")]
    Algorithm,
    /// No key has its `kid`.
    #[error("no key of this node has the token's kid: was it signed for another service, or is the key older or newer?")]
    UnknownKey,
    /// No key that may be used verifies it.
    #[error("the token's signature is not valid")]
    Signature,
    /// A claim has a type that it can't have.
    #[error("the token's claims are not as they should be: {0}")]
    Claims(&'static str),
    /// It is too late for it.
    #[error("the token has expired: get a fresh one and connect again")]
    Expired,
    /// It is too early for it.
    #[error("the token is not valid yet (nbf): are the clocks of the issuer and of this node right?")]
    NotYet,
    /// It lives longer than it may here.
    #[error("the token expires later than this node allows (jwt.lifetime_ms_max)")]
    Lifetime,
    /// It is for somebody else.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// It is from somebody else.
    #[error("the token is from another issuer (iss)")]
    Issuer,
    /// It is for another device, key, room or platform.
    #[error("the token's claim {0} is not what the field of that name in the AUTH body says (jwt.bind)")]
    Bound(&'static str),
    /// It names nobody.
    #[error("the token names no user: {0}")]
    Subject(&'static str),
}

impl TokenError {
    /// What it is counted as.
    pub fn cause(&self) -> AuthRefusal {
        match self {
            Self::Missing => AuthRefusal::NoToken,
            Self::Malformed(_) => AuthRefusal::Malformed,
            Self::Algorithm => AuthRefusal::Algorithm,
            Self::UnknownKey => AuthRefusal::UnknownKey,
            Self::Signature => AuthRefusal::Signature,
            Self::Claims(_) => AuthRefusal::Claims,
            Self::Expired => AuthRefusal::Expired,
            Self::NotYet => AuthRefusal::NotYet,
            Self::Lifetime => AuthRefusal::Lifetime,
            Self::Audience => AuthRefusal::Audience,
            Self::Issuer => AuthRefusal::Issuer,
            Self::Bound(_) => AuthRefusal::Bound,
            Self::Subject(_) => AuthRefusal::Subject,
        }
    }
}

impl From<TokenError> for AuthError {
    fn from(error: TokenError) -> Self {
        let reason = if error == TokenError::Expired { CloseReason::TokenExpired } else { CloseReason::Unauthenticated };
        Self { reason, cause: error.cause(), message: error.to_string(), retry_after_ms: None }
    }
}

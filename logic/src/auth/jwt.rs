//! Clients prove who they are with a JSON Web Token (RFC 7519) in the AUTH body.
//!
//! **Invariants**
//! - The algorithm is the key's. What the token says of it only selects among keys; no key of one algorithm is ever used for
//!   another, and `none` is none of them. So a public key can't be made an HMAC secret (RFC 8725, 2.1 and 3.1).
//! - Nothing of a token is believed before its signature was checked, and keys named *in* a token (`jwk`, `jku`, `x5u`) never are.
//! - Tokens are in no log and in no message; neither are keys.
//!
//! | file | |
//! |---|---|
//! | `token.rs` | text ⇄ its three parts and the header |
//! | `key.rs`, `keys.rs` | one key and its algorithm; the keys there are, and which of them may be tried |
//! | `pem.rs`, `jwks.rs`, `files.rs` | where keys come from |
//! | `claims.rs` | what is asked of the claims, with the time as an argument |
//!
//! The cryptography is aws-lc's; that RFC 7515 and 7519 are read here and not by a library has three reasons: keys are parsed
//! once and not for each token, time is an argument, and the algorithm is a property of the key's type.

mod claims;
mod error;
mod files;
mod jwks;
mod key;
mod keys;
mod pem;
mod token;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use perseid_protocol::auth::AuthRequest;

use super::{AuthContext, AuthError, Authenticator, Identity};
use crate::verdict::Verdict;

pub use claims::Policy;
pub use error::TokenError;
pub use files::secret_bytes;
pub use key::{Algorithm, KeyError, VerifyingKey};
pub use keys::KeySet;
pub use token::TOKEN_BYTES_MAX;

/// Where keys come from, and what is asked of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtConfig {
    /// Public keys in PEM.
    pub key_file: Option<PathBuf>,
    /// A secret for HS256.
    pub secret_file: Option<PathBuf>,
    /// A JSON Web Key Set.
    pub jwks_file: Option<PathBuf>,
    /// What is asked of tokens.
    pub policy: Policy,
}

/// Believes tokens that are signed with one of its keys.
pub struct JwtAuth {
    state: RwLock<Arc<State>>,
}

/// What changes as a whole when the configuration is read again.
struct State {
    policy: Policy,
    keys: KeySet,
}

impl JwtAuth {
    /// Reads the keys.
    ///
    /// # Errors
    /// A file that can't be read or holds no usable key: a sentence with its path.
    pub fn open(config: &JwtConfig) -> Result<Self, KeyError> {
        Ok(Self { state: RwLock::new(Arc::new(State::read(config)?)) })
    }

    /// Reads the keys again. Sessions that are there stay; those that come are asked for what is said now.
    ///
    /// # Errors
    /// As [`JwtAuth::open`]; nothing has changed then.
    pub fn reload(&self, config: &JwtConfig) -> Result<(), KeyError> {
        let fresh = Arc::new(State::read(config)?);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many keys it has now.
    pub fn keys(&self) -> usize {
        self.state().keys.len()
    }

    /// Who the bearer of a token is.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub fn check(&self, token: &str, now_ms: u64) -> Result<Identity, TokenError> {
        let state = self.state();
        let unverified = token::take_apart(token)?;
        state.keys.verify(&unverified)?;
        claims::judge(&unverified.claims()?, &state.policy, now_ms)
    }
}

impl State {
    fn read(config: &JwtConfig) -> Result<Self, KeyError> {
        Ok(Self { policy: config.policy.clone(), keys: files::read_keys(config)? })
    }
}

impl Authenticator for JwtAuth {
    fn authenticate(&self, request: &AuthRequest, context: &AuthContext<'_>) -> Verdict<Result<Identity, AuthError>> {
        Verdict::Now(self.check(&request.token, context.now_ms).map_err(AuthError::from))
    }
}

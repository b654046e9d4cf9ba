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
//! | `refresh.rs`, `remote.rs` | when a key set is fetched from a URL, purely; the task that does it |
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
mod refresh;
mod remote;
mod token;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use perseid_outbound::{Client, ClientConfig, Method};
use perseid_protocol::auth::AuthRequest;

use super::call::HttpCall;
use super::{AuthContext, AuthError, Authenticator, Identity};
use crate::metrics::{AuthRefusal, Metrics};
use perseid_store::Verdict;
use remote::{Asked, RemoteKeys};

pub use claims::{Bound, Policy};
pub use error::TokenError;
pub use files::secret_bytes;
pub use jwks::JWKS_BYTES_MAX;
pub use key::{Algorithm, KeyError, VerifyingKey};
pub use keys::KeySet;
pub use refresh::Timing;
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
    /// A JSON Web Key Set that a server has.
    pub jwks: Option<JwksUrl>,
    /// What is asked of tokens.
    pub policy: Policy,
}

/// A JSON Web Key Set that a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    /// Where.
    pub url: String,
    /// How it is called.
    pub client: ClientConfig,
    /// How often.
    pub timing: Timing,
}

/// Believes tokens that are signed with one of its keys.
pub struct JwtAuth {
    state: RwLock<Arc<State>>,
    metrics: Arc<Metrics>,
}

/// What changes as a whole when the configuration is read again.
struct State {
    policy: Policy,
    /// Of files.
    keys: KeySet,
    /// Of a server, and what it was made from.
    remote: Option<(JwksUrl, Arc<RemoteKeys>)>,
}

/// A token that is not believed, and whether keys that are fetched now could change that.
struct Miss {
    error: TokenError,
    curable: bool,
}

impl From<TokenError> for Miss {
    fn from(error: TokenError) -> Self {
        Self { error, curable: false }
    }
}

impl JwtAuth {
    /// Reads the keys of files, and begins to fetch those of a URL: that needs a tokio runtime around it. It is not waited for;
    /// until they are there, clients wait for them or are told to come back.
    ///
    /// # Errors
    /// A file that can't be read or holds no usable key: a sentence with its path. Never a URL that does not answer.
    pub fn open(config: &JwtConfig, metrics: &Arc<Metrics>) -> Result<Self, KeyError> {
        let state = RwLock::new(Arc::new(State::read(config, None, metrics)?));
        Ok(Self { state, metrics: metrics.clone() })
    }

    /// Reads the keys of files again, and fetches those of a URL again. Sessions that are there stay; those that come are asked for
    /// what is said now. Keys of a URL count until new ones are there, but if the URL is another one.
    ///
    /// # Errors
    /// As [`JwtAuth::open`]; nothing has changed then.
    pub fn reload(&self, config: &JwtConfig) -> Result<(), KeyError> {
        let fresh = Arc::new(State::read(config, Some(&self.state()), &self.metrics)?);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Over a server that is a part of the test, with no keys of its own.
    #[cfg(test)]
    fn over(call: Arc<dyn super::call::Call>, timing: Timing, metrics: &Arc<Metrics>) -> Self {
        let url = JwksUrl { url: String::new(), client: ClientConfig::default(), timing };
        let remote = Arc::new(RemoteKeys::start(call, timing, metrics.clone()));
        let state = State { policy: Policy::default(), keys: KeySet::default(), remote: Some((url, remote)) };
        Self { state: RwLock::new(Arc::new(state)), metrics: metrics.clone() }
    }

    fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many keys it has now.
    pub fn keys(&self) -> usize {
        let state = self.state();
        state.keys.len() + state.fetched().map_or(0, |keys| keys.len())
    }

    /// Waits for the fetch from a URL that is under way, if there is one. Gives whether the keys of the URL are there, if one is named.
    pub async fn fetched(&self) -> bool {
        let state = self.state();
        let Some((_, remote)) = &state.remote else { return true };
        if let Asked::Coming(waiting) = remote.ask() {
            waiting.wait().await;
        }
        state.fetched().is_some()
    }

    /// Whether it had keys since it began: false only until the first fetch from a URL succeeds, where there are no files.
    pub fn had_keys(&self) -> bool {
        let state = self.state();
        !state.keys.is_empty() || state.remote.as_ref().is_none_or(|(_, remote)| remote.was_fetched())
    }

    /// Who the bearer of a token is, by the keys that are there. The rest of the AUTH body is empty.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub fn check(&self, token: &str, now_ms: u64) -> Result<Identity, TokenError> {
        let request = AuthRequest { token: token.to_owned(), ..AuthRequest::default() };
        self.state().check(&request, now_ms).map_err(|miss| miss.error)
    }
}

impl State {
    fn read(config: &JwtConfig, before: Option<&Self>, metrics: &Arc<Metrics>) -> Result<Self, KeyError> {
        let keys = files::read_keys(config)?;
        let remote = match &config.jwks {
            Some(jwks) => Some((jwks.clone(), remote_keys(jwks, before, metrics)?)),
            None => None,
        };
        Ok(Self { policy: config.policy.clone(), keys, remote })
    }

    fn fetched(&self) -> Option<Arc<KeySet>> {
        self.remote.as_ref()?.1.keys()
    }

    fn check(&self, request: &AuthRequest, now_ms: u64) -> Result<Identity, Miss> {
        let unverified = token::take_apart(&request.token)?;
        let fetched = self.fetched();
        let sets: &[&KeySet] = match &fetched {
            Some(fetched) => &[&self.keys, fetched],
            None => &[&self.keys],
        };
        keys::verify(sets, &unverified).map_err(|error| {
            let may_be_there = self.remote.is_some() && unverified.algorithm.is_some();
            Miss { error, curable: may_be_there && (fetched.is_none() || !keys::knows(sets, &unverified)) }
        })?;
        Ok(claims::judge(&unverified.claims()?, request, &self.policy, now_ms)?)
    }
}

fn remote_keys(jwks: &JwksUrl, before: Option<&State>, metrics: &Arc<Metrics>) -> Result<Arc<RemoteKeys>, KeyError> {
    if let Some((old, remote)) = before.and_then(|before| before.remote.as_ref())
        && (&old.url, &old.client) == (&jwks.url, &jwks.client)
    {
        remote.reload(jwks.timing);
        return Ok(remote.clone());
    }
    let client = Client::new(jwks.client.clone()).map_err(|error| KeyError::new(error.to_string()))?;
    let call = HttpCall { client, method: Method::Get, url: jwks.url.clone(), secrets: None };
    Ok(Arc::new(RemoteKeys::start(Arc::new(call), jwks.timing, metrics.clone())))
}

/// What a client is told whose key is not there.
fn refusal(error: TokenError, asked: &Asked) -> AuthError {
    match asked {
        Asked::Unavailable(retry_after_ms) => AuthError::overloaded(
            AuthRefusal::KeysUnavailable,
            "this node can't get the keys of tokens now: come back with the same token",
            *retry_after_ms,
        ),
        Asked::Coming(_) | Asked::Unknown => error.into(),
    }
}

impl Authenticator for JwtAuth {
    fn authenticate(&self, request: &AuthRequest, context: &AuthContext<'_>) -> Verdict<Result<Identity, AuthError>> {
        let (state, now_ms) = (self.state(), context.now_ms);
        let miss = match state.check(request, now_ms) {
            Ok(identity) => return Verdict::Now(Ok(identity)),
            Err(miss) => miss,
        };
        let Some(remote) = state.remote.as_ref().map(|(_, remote)| remote.clone()).filter(|_| miss.curable) else {
            return Verdict::Now(Err(miss.error.into()));
        };
        match remote.ask() {
            Asked::Coming(waiting) => {
                let request = request.clone();
                Verdict::Later(Box::pin(async move {
                    waiting.wait().await;
                    state.check(&request, now_ms).map_err(|miss| {
                        let asked = if miss.curable { remote.after_waiting() } else { Asked::Unknown };
                        refusal(miss.error, &asked)
                    })
                }))
            }
            asked => Verdict::Now(Err(refusal(miss.error, &asked))),
        }
    }
}

//! Who decides who clients are, as the configuration says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use perseid_logic::auth::jwt::{JWKS_BYTES_MAX, Policy, Timing};
use perseid_logic::{Authenticator, InsecureAuth, JwksUrl, JwtAuth, JwtConfig, Metrics, SessionLimits};
use perseid_outbound::ClientConfig;

use crate::config::{Auth, Settings};

/// The authenticator of a node, and what of it can be read again.
pub struct Gate {
    auth: Auth,
    jwt: Option<Arc<JwtAuth>>,
}

impl Gate {
    /// Opens it: keys in files are read now, those of a URL are fetched from now on. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// A key file that can't be read or used: a sentence with its path.
    pub fn open(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Self> {
        let jwt = match settings.logic.auth {
            Auth::Insecure => None,
            Auth::Jwt => {
                let jwt = JwtAuth::open(&jwt_config(settings), metrics).context("no keys for logic.auth = \"jwt\"")?;
                Some(Arc::new(jwt))
            }
        };
        Ok(Self { auth: settings.logic.auth, jwt })
    }

    /// What logic asks.
    pub fn authenticator(&self) -> Arc<dyn Authenticator> {
        match &self.jwt {
            Some(jwt) => jwt.clone(),
            None => Arc::new(InsecureAuth),
        }
    }

    /// Whether it can say yes to anybody: not before the keys of a URL were there once.
    pub fn is_ready(&self) -> Result<(), String> {
        match &self.jwt {
            Some(jwt) if !jwt.had_keys() => Err("auth: the keys of jwt.jwks_url were not there yet".to_owned()),
            _ => Ok(()),
        }
    }

    /// Reads keys again, on SIGHUP. A file that can't be used changes nothing and is reported.
    pub fn reload(&self, settings: &Settings) {
        if settings.logic.auth != self.auth {
            // Counts only after a restart; until then what is asked of tokens stays as it was.
            return;
        }
        if let Some(jwt) = &self.jwt {
            match jwt.reload(&jwt_config(settings)) {
                Ok(()) => tracing::info!(keys = jwt.keys(), "the keys for tokens were read again"),
                Err(error) => {
                    tracing::error!(%error, "the keys for tokens were not read again: the old ones stay, and so does [jwt]");
                }
            }
        }
    }
}

/// `[jwt]`, as logic wants it.
pub fn jwt_config(settings: &Settings) -> JwtConfig {
    let jwt = &settings.jwt;
    let timing = Timing { refresh_ms: jwt.refresh_ms, stale_ms: jwt.stale_ms, unknown_kid_ms: jwt.unknown_kid_ms };
    let client = ClientConfig { response_bytes_max: JWKS_BYTES_MAX, concurrency_max: 1, ..client(settings, jwt.deadline_ms) };
    JwtConfig {
        key_file: named(&jwt.key_file),
        secret_file: named(&jwt.secret_file),
        jwks_file: named(&jwt.jwks_file),
        jwks: Some(jwt.jwks_url.clone()).filter(|url| !url.is_empty()).map(|url| JwksUrl { url, client, timing }),
        policy: Policy {
            audience: jwt.audience.clone(),
            issuer: jwt.issuer.clone(),
            leeway_ms: jwt.leeway_ms,
            lifetime_ms_max: jwt.lifetime_ms_max,
            mid_claim: jwt.mid_claim.clone(),
            guests: jwt.guests,
        },
    }
}

/// How this node calls others.
fn client(settings: &Settings, deadline_ms: u64) -> ClientConfig {
    let ca_file = named(&settings.outbound.ca_file);
    ClientConfig { deadline_ms, targets: settings.targets(), ca_file, ..ClientConfig::default() }
}

/// How many sessions a user may have.
pub fn session_limits(settings: &Settings) -> SessionLimits {
    SessionLimits { per_user_max: settings.logic.sessions_per_user_max, replace_oldest: settings.logic.sessions_per_user_replace }
}

fn named(path: &Path) -> Option<PathBuf> {
    Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty())
}

//! Who decides who clients are, as the configuration says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use perseid_logic::auth::jwt::Policy;
use perseid_logic::{Authenticator, InsecureAuth, JwtAuth, JwtConfig, SessionLimits};

use crate::config::{Auth, Jwt, Settings};

/// The authenticator of a node, and what of it can be read again.
pub struct Gate {
    auth: Auth,
    jwt: Option<Arc<JwtAuth>>,
}

impl Gate {
    /// Opens it: keys are read now.
    ///
    /// # Errors
    /// A key file that can't be read or used: a sentence with its path.
    pub fn open(settings: &Settings) -> Result<Self> {
        let jwt = match settings.logic.auth {
            Auth::Insecure => None,
            Auth::Jwt => Some(Arc::new(JwtAuth::open(&jwt_config(&settings.jwt)).context("no keys for logic.auth = \"jwt\"")?)),
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

    /// Reads keys again, on SIGHUP. A file that can't be used changes nothing and is reported.
    pub fn reload(&self, settings: &Settings) {
        if settings.logic.auth != self.auth {
            // Counts only after a restart; until then what is asked of tokens stays as it was.
            return;
        }
        if let Some(jwt) = &self.jwt {
            match jwt.reload(&jwt_config(&settings.jwt)) {
                Ok(()) => tracing::info!(keys = jwt.keys(), "the keys for tokens were read again"),
                Err(error) => {
                    tracing::error!(%error, "the keys for tokens were not read again: the old ones stay, and so does [jwt]");
                }
            }
        }
    }
}

/// `[jwt]`, as logic wants it.
pub fn jwt_config(jwt: &Jwt) -> JwtConfig {
    JwtConfig {
        key_file: named(&jwt.key_file),
        secret_file: named(&jwt.secret_file),
        jwks_file: named(&jwt.jwks_file),
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

/// How many sessions a user may have.
pub fn session_limits(settings: &Settings) -> SessionLimits {
    SessionLimits { per_user_max: settings.logic.sessions_per_user_max, replace_oldest: settings.logic.sessions_per_user_replace }
}

fn named(path: &Path) -> Option<PathBuf> {
    Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty())
}

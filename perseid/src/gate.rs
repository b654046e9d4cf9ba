//! Who decides who clients are, as the configuration says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use perseid_logic::auth::hook::{Memory, OnFailure};
use perseid_logic::auth::jwt::{Bound, JWKS_BYTES_MAX, Policy, Timing};
use perseid_logic::{Authenticator, HookAuth, HookConfig, InsecureAuth, JwksUrl, JwtAuth, JwtConfig, Metrics, SessionLimits};
use perseid_outbound::ClientConfig;

use crate::config::{Auth, HookFailure, Settings};

/// So much of a hook's answer is read.
const HOOK_ANSWER_BYTES_MAX: usize = 16 << 10;

/// The authenticator of a node, and what of it can be read again.
pub struct Gate {
    auth: Auth,
    keeper: Keeper,
}

enum Keeper {
    Nobody,
    Jwt(Arc<JwtAuth>),
    Hook(Arc<HookAuth>),
}

impl Gate {
    /// Opens it: keys in files are read now, those of a URL are fetched from now on. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// A file that can't be read or used: a sentence with its path.
    pub fn open(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Self> {
        let keeper = match settings.logic.auth {
            Auth::Insecure => Keeper::Nobody,
            Auth::Jwt => {
                let jwt = JwtAuth::open(&jwt_config(settings), metrics).context("no keys for logic.auth = \"jwt\"")?;
                Keeper::Jwt(Arc::new(jwt))
            }
            Auth::Hook => {
                let hook = HookAuth::open(&hook_config(settings), metrics).context("no hook for logic.auth = \"hook\"")?;
                Keeper::Hook(Arc::new(hook))
            }
        };
        Ok(Self { auth: settings.logic.auth, keeper })
    }

    /// What logic asks.
    pub fn authenticator(&self) -> Arc<dyn Authenticator> {
        match &self.keeper {
            Keeper::Nobody => Arc::new(InsecureAuth),
            Keeper::Jwt(jwt) => jwt.clone(),
            Keeper::Hook(hook) => hook.clone(),
        }
    }

    /// Whether it can say yes to anybody: not before the keys of a URL were there once.
    ///
    /// # Errors
    /// What is missing.
    pub fn is_ready(&self) -> Result<(), String> {
        match &self.keeper {
            Keeper::Jwt(jwt) if !jwt.had_keys() => Err("auth: the keys of jwt.jwks_url were not there yet".to_owned()),
            _ => Ok(()),
        }
    }

    /// Reads keys and secrets again, on SIGHUP. A file that can't be used changes nothing and is reported.
    pub fn reload(&self, settings: &Settings) {
        if settings.logic.auth != self.auth {
            // Counts only after a restart; until then what is asked of clients stays as it was.
            return;
        }
        match &self.keeper {
            Keeper::Nobody => {}
            Keeper::Jwt(jwt) => match jwt.reload(&jwt_config(settings)) {
                Ok(()) => tracing::info!(keys = jwt.keys(), "the keys for tokens were read again"),
                Err(error) => {
                    tracing::error!(%error, "the keys for tokens were not read again: the old ones stay, and so does [jwt]");
                }
            },
            Keeper::Hook(hook) => {
                if let Err(error) = hook.reload(&hook_config(settings)) {
                    tracing::error!(%error, "[auth_hook] was not read again: what it was stays");
                }
            }
        }
    }
}

/// `[auth_hook]`, as logic wants it.
fn hook_config(settings: &Settings) -> HookConfig {
    let hook = &settings.auth_hook;
    let bounds = ClientConfig {
        response_bytes_max: HOOK_ANSWER_BYTES_MAX,
        concurrency_max: hook.concurrency_max,
        ..client(settings, hook.deadline_ms)
    };
    HookConfig {
        url: hook.url.clone(),
        client: bounds,
        secret_file: named(&hook.secret_file),
        on_failure: match hook.on_failure {
            HookFailure::Refuse => OnFailure::Refuse,
            HookFailure::Guest => OnFailure::Guest,
        },
        memory: Memory { cache_ms: hook.cache_ms, cache_max: hook.cache_max },
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
            bind: Bound::ALL.into_iter().filter(|bound| jwt.bind.iter().any(|word| word == bound.word())).collect(),
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

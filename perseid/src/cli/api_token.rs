//! The options of `token --api`.

use std::str::FromStr;

use clap::Args;
use perseid_logic::Scope;

/// Arguments of `token --api`.
#[derive(Debug, Clone, Args)]
pub struct ApiTokenArgs {
    /// A token for callers of the push API
    #[arg(long, requires_all = ["name", "scopes"], conflicts_with_all = ["mid", "check", "secret_file", "key_file", "alg", "kid", "aud", "iss", "claim", "config", "set"])]
    pub api: bool,
    /// With --api: who it is for: the account of its idempotency keys, and its name in the log
    #[arg(long, value_name = "NAME", requires = "api")]
    pub name: Option<String>,
    /// With --api: what it allows: push, read, admin; none of them holds another
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', requires = "api")]
    pub scopes: Vec<ScopeWord>,
    /// With --api: calls a second; each message of a batch is one [default: as many as the node takes]
    #[arg(long, value_name = "N", requires = "api")]
    pub per_second: Option<u32>,
    /// With --api: calls at once [default: those of a second]
    #[arg(long, value_name = "N", requires = "per_second")]
    pub burst: Option<u32>,
}

/// A scope on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeWord(pub Scope);

impl FromStr for ScopeWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scope = Scope::ALL.into_iter().find(|scope| scope.word() == text);
        scope.map(Self).ok_or_else(|| "a scope is push, read or admin".to_owned())
    }
}

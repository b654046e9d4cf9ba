//! The options of `token`.

use std::path::PathBuf;

use clap::Args;

use super::{ApiTokenArgs, ServerArgs};

pub(super) const TOKEN_EXAMPLES: &str = "\
Examples:
  perseid token --mid 7 --secret-file dev.secret           a token for user 7, for an hour
  perseid token --mid 7 --ttl 5m --config perseid.toml     signed with the secret of that server's configuration
  perseid token --mid 7 --key-file private.pem --kid a --aud im --claim role=admin
  perseid token --check \"$TOKEN\" --config perseid.toml     what that server would say to it
  perseid token --api --name billing --scopes push,read --per-second 100 --ttl 90d      for a caller of the push API
  perseid listen --token \"$(perseid token --mid 7 --config perseid.toml)\"

A secret for development: openssl rand -hex 32 > dev.secret
A pair of keys: openssl genpkey -algorithm ed25519 -out private.pem
                openssl pkey -in private.pem -pubout -out public.pem      (jwt.key_file of the server)";

/// Arguments of `token`.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// The user; 0 and below are guests
    #[arg(long, value_name = "MID", allow_negative_numbers = true, required_unless_present_any = ["check", "api"])]
    pub mid: Option<i64>,
    /// How long the token is valid: a number and ms, s, m, h or d [default: 1h; with --api until it is taken out of the file]
    #[arg(long, value_name = "TIME", value_parser = ttl_ms)]
    pub ttl: Option<u64>,
    /// Say what a server with this configuration would say to a token, instead of signing one; - reads it from stdin
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["mid", "secret_file", "key_file", "alg", "kid", "aud", "iss", "claim"])]
    pub check: Option<String>,
    /// Sign with this secret (HS256) [default: jwt.secret_file of the configuration]
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    pub secret_file: Option<PathBuf>,
    /// Sign with this private key in PEM (PKCS #8): RSA, EC on P-256 or Ed25519
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Insist on an algorithm: HS256, RS256, ES256 or EdDSA [default: what the key is for]
    #[arg(long, value_name = "ALG")]
    pub alg: Option<String>,
    /// Name the key
    #[arg(long, value_name = "KID")]
    pub kid: Option<String>,
    /// For whom the token is (repeatable) [default: jwt.audience of the configuration]
    #[arg(long, value_name = "AUD")]
    pub aud: Vec<String>,
    /// Who issues it [default: the first of jwt.issuer of the configuration]
    #[arg(long, value_name = "ISS")]
    pub iss: Option<String>,
    /// A further claim; a value that is JSON is taken as such (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    pub claim: Vec<(String, serde_json::Value)>,
    /// The configuration of the server that the token is for
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key of that configuration (repeatable)
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// A token for the push API instead.
    #[command(flatten)]
    pub api: ApiTokenArgs,
}

impl TokenArgs {
    /// The options that say which configuration is meant, as a server has them.
    pub fn server(&self) -> ServerArgs {
        ServerArgs { config: self.config.clone(), set: self.set.clone(), ..ServerArgs::default() }
    }
}

/// `90s`, `1h`: whole milliseconds.
fn ttl_ms(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("a number and ms, s, m, h or d, as in 90s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number and ms, s, m, h or d, as in 90s".to_owned())?;
    number.checked_mul(unit_ms).ok_or_else(|| "that is too long".to_owned())
}

fn claim(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("no `=` in it: write name=value")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_claims() {
        let times = ["1500ms", "90s", "5m", "1h", "7d", "0s"].map(|text| ttl_ms(text).unwrap());
        assert_eq!(times, [1500, 90_000, 300_000, 3_600_000, 604_800_000, 0]);
        for bad in ["", "1", "h", "-1h", "1.5h", "1 h", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(ttl_ms(bad).is_err(), "{bad}");
        }
        assert_eq!(claim("a=1").unwrap(), ("a".to_owned(), 1.into()));
        assert_eq!(claim("a=b=c").unwrap(), ("a".to_owned(), "b=c".into()));
        assert!(claim("a").is_err());
    }
}

//! `perseid token --api`: makes a token for the push API.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use perseid_logic::Tokens;
use perseid_logic::access::{TokenHash, entry, new_token};

use crate::cli::ApiTokenArgs;
use crate::clock::unix_ms;

/// Prints a new token, once, and the entry for the file of `logic.api_tokens`.
///
/// # Errors
/// A name that is none, or no random numbers.
pub fn run(args: &ApiTokenArgs, ttl_ms: Option<u64>) -> Result<ExitCode> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).ok().context("the system has no random numbers")?;
    let token = new_token(&random);
    let text = entry_of(args, ttl_ms, &token, unix_ms())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "# The token, shown only now: {token}\n# The entry for the file of logic.api_tokens; SIGHUP reads it:\n{text}")
        .and_then(|()| out.flush())
        .context("can't write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn entry_of(args: &ApiTokenArgs, ttl_ms: Option<u64>, token: &str, now_ms: u64) -> Result<String> {
    let scopes: Vec<_> = args.scopes.iter().map(|scope| scope.0).collect();
    let quota = args.per_second.map(|per_second| (per_second, args.burst));
    let expires_ms = ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms));
    let text = entry(args.name.as_deref().unwrap_or_default(), &TokenHash::of(token), &scopes, quota, expires_ms);
    // What the server would refuse is refused here.
    Tokens::parse(&text).map_err(|what| anyhow::anyhow!("the server would not take this token: {what}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, TokenArgs};
    use clap::Parser;

    fn args(line: &str) -> Result<TokenArgs, String> {
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        match cli.into_command() {
            Command::Token(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn an_entry_that_the_server_takes() {
        let args = args("perseid token --api --name billing --scopes push,read --per-second 100 --burst 200 --ttl 90d").unwrap();
        let token = new_token(&[7; 32]);
        let text = entry_of(&args.api, args.ttl, &token, 1_795_268_700_000).unwrap();
        let hash = TokenHash::of(&token);
        let expected = format!(
            "[[token]]\nname = \"billing\"\nhash = \"{hash}\"\nscopes = [\"push\", \"read\"]\nper_second = 100\nburst = 200\n\
             expires = 2027-02-19T13:45:00Z\n"
        );
        assert_eq!(text, expected);
        assert!(!text.contains(&token));
    }

    #[test]
    fn mistakes() {
        for (line, words) in [
            ("perseid token --name a --scopes push", "--api"),
            ("perseid token --api --name a --scopes push --mid 7", "--mid"),
            ("perseid token --api --scopes push", "--name"),
            ("perseid token --api --name a", "--scopes"),
            ("perseid token --api --name a --scopes push,pull", "push, read or admin"),
            ("perseid token --api --name a --scopes push --burst 3", "--per-second"),
            ("perseid token --api --name a --scopes push --ttl 90", "90s"),
            ("perseid token --api --name a --scopes push --ttl xd", "90s"),
        ] {
            let error = args(line).unwrap_err();
            assert!(error.contains(words), "{line}\n{error}");
        }
        let odd = args("perseid token --api --name a?b --scopes push").unwrap();
        assert!(entry_of(&odd.api, None, "x", 0).unwrap_err().to_string().contains("name must have"));
    }
}

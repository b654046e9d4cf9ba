//! The file of the API tokens.
//!
//! ```toml
//! [[token]]
//! name = "billing"                 # the account of its idempotency keys
//! hash = "sha256:…"                # of the token, which stands nowhere
//! scopes = ["push", "read"]
//! per_second = 100                 # left out: as much as the node takes
//! burst = 200                      # left out: per_second
//! expires = 2027-01-31T00:00:00Z   # left out: never
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::bucket::Bucket;
use super::date;
use super::token::{ApiToken, Scope, TokenHash};

/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 64;
/// More tokens than this are a mistake.
const TOKENS_MAX: usize = 10_000;
/// Largest file, bytes.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest quota and burst.
const CALLS_MAX: u32 = 1_000_000;

/// The tokens that are accepted.
#[derive(Debug, Default)]
pub struct Tokens {
    by_start: HashMap<u64, Vec<Arc<ApiToken>>>,
    count: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    hash: String,
    scopes: Vec<Scope>,
    per_second: Option<u32>,
    burst: Option<u32>,
    expires: Option<Datetime>,
}

impl Tokens {
    /// Reads the text of a token file.
    ///
    /// # Errors
    /// What is wrong and where, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if file.token.len() > TOKENS_MAX {
            return Err(format!("there are more than {TOKENS_MAX} tokens"));
        }
        let mut tokens = Self::default();
        let mut lines: HashMap<String, usize> = HashMap::new();
        for entry in file.token {
            let line =
                text.get(..entry.span().start).map_or(1, |before| before.bytes().filter(|byte| *byte == b'\n').count() + 1);
            let token = entry.into_inner().into_token().map_err(|what| format!("line {line}: {what}"))?;
            if let Some(earlier) = lines.insert(token.name.clone(), line) {
                return Err(format!("line {line}: the name {:?} is taken by the token of line {earlier}", token.name));
            }
            if tokens.find(&token.hash).is_some() {
                return Err(format!("line {line}: another token has this hash too"));
            }
            tokens.add(token);
        }
        Ok(tokens)
    }

    fn add(&mut self, token: ApiToken) {
        self.count += 1;
        self.by_start.entry(token.hash.start()).or_default().push(Arc::new(token));
    }

    /// The token of this hash.
    pub(super) fn find(&self, hash: &TokenHash) -> Option<&Arc<ApiToken>> {
        self.by_start.get(&hash.start())?.iter().find(|token| token.hash.is(hash))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes over how far the quotas of the same tokens were used.
    pub(super) fn go_on_from(&self, before: &Self) {
        for token in self.by_start.values().flatten() {
            let known = before.find(&token.hash);
            if let (Some(quota), Some(used)) = (&token.quota, known.and_then(|known| known.quota.as_ref())) {
                quota.go_on_from(used);
            }
        }
    }
}

impl Entry {
    fn into_token(self) -> Result<ApiToken, String> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'/');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(is_name) {
            return Err(format!("name must have 1 to {NAME_BYTES_MAX} letters, digits and . _ - @ /, not {:?}", self.name));
        }
        let hash = TokenHash::parse(&self.hash)
            .ok_or("hash must be sha256: and 64 hex digits, as `perseid token --api` prints them; never the token itself")?;
        if self.scopes.is_empty() {
            return Err("scopes must name at least one of push, read, admin".to_owned());
        }
        let quota = match (self.per_second, self.burst) {
            (None, None) => None,
            (None, Some(_)) => return Err("burst without per_second says nothing".to_owned()),
            (Some(rate), burst) => {
                let burst = burst.unwrap_or(rate);
                if !(1..=CALLS_MAX).contains(&rate) || !(1..=CALLS_MAX).contains(&burst) {
                    return Err(format!("per_second and burst must be from 1 to {CALLS_MAX}"));
                }
                Some(Bucket::new(rate, burst))
            }
        };
        let expires_ms = match &self.expires {
            None => None,
            Some(date) => Some(date::unix_ms(date).ok_or_else(|| format!("expires must be a date after 1970, not {date}"))?),
        };
        Ok(ApiToken { name: self.name, hash, scopes: self.scopes, quota, expires_ms })
    }
}

/// The entry of a token, to be added to the file.
pub fn entry(
    name: &str,
    hash: &TokenHash,
    scopes: &[Scope],
    quota: Option<(u32, Option<u32>)>,
    expires_ms: Option<u64>,
) -> String {
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("\"{}\"", scope.word())).collect();
    let name = toml::Value::String(name.to_owned());
    let mut text = format!("[[token]]\nname = {name}\nhash = \"{hash}\"\nscopes = [{}]\n", scopes.join(", "));
    if let Some((per_second, burst)) = quota {
        text.push_str(&format!("per_second = {per_second}\n"));
        if let Some(burst) = burst {
            text.push_str(&format!("burst = {burst}\n"));
        }
    }
    if let Some(expires_ms) = expires_ms {
        text.push_str(&format!("expires = {}\n", date::of(expires_ms)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn what_is_written_is_read() {
        let hash = TokenHash::of("abc");
        let text = entry("billing", &hash, &[Scope::Push, Scope::Read], Some((100, Some(200))), Some(1_800_000_000_999))
            + "\n"
            + &entry("b", &TokenHash::of("d"), &[Scope::Admin], None, None);
        let tokens = Tokens::parse(&text).unwrap();
        let token = tokens.find(&hash).unwrap();
        assert_eq!((tokens.count(), token.name.as_str(), &token.scopes[..]), (2, "billing", &[Scope::Push, Scope::Read][..]));
        assert_eq!(token.expires_ms, Some(1_800_000_000_000));
        assert!(tokens.find(&TokenHash::of("x")).is_none());
        assert_eq!(Tokens::parse("").unwrap().count(), 0);
    }

    #[test]
    fn mistakes_and_their_places() {
        let with = |more: &str| format!("\n[[token]]\nname = \"a\"\nhash = \"{HASH}\"\nscopes = [\"push\"]\n{more}");
        for (text, words) in [
            ("[[token]", &["line 1"][..]),
            ("[[token]]\nname = \"a\"", &["hash", "line 1"]),
            (&with("colour = 1"), &["colour", "line 6"]),
            (&with("").replace("push", "pusch"), &["pusch", "line 5", "`push`"]),
            (&with("").replace("\"push\"", ""), &["line 2", "at least one of push"]),
            (&with("").replace("\"a\"", "\"\""), &["line 2", "name must have"]),
            (&with("").replace("\"a\"", "\"a b\""), &["line 2", "name must have"]),
            (&with("").replace(HASH, "psd_AAAA"), &["line 2", "hash must be", "never the token"]),
            (&with("burst = 2"), &["line 2", "burst without per_second"]),
            (&with("per_second = 0"), &["line 2", "per_second"]),
            (&with("per_second = 1\nburst = 0"), &["line 2", "burst"]),
            (&with("per_second = -1"), &["line 6"]),
            (&with("expires = 12:00:00"), &["line 2", "expires"]),
            (&with("expires = \"soon\""), &["line 6"]),
            (&(with("") + &with("").replace(HASH, &TokenHash::of("x").to_string())), &["line 7", "taken by the token of line 2"]),
            (&(with("") + &with("").replace("\"a\"", "\"b\"")), &["line 7", "another token has this hash"]),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{text}\n   {error}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_stand_in_a_file(text in "(\\[\\[token\\]\\]\n)?[a-z_\\[\\]\"=0-9:. \n-]{0,120}") {
            let _ = Tokens::parse(&text);
        }
    }
}

//! A token: what a caller shows, what the operator keeps of it, and what it allows.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::bucket::Bucket;

/// By what a token is recognised, also by those who look for secrets in code.
pub(super) const PREFIX: &str = "psd_";
/// 32 random bytes in base64url.
const RANDOM_CHARS: usize = 43;

/// What a token may be used for. No scope holds another one: who is to look and to push has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To send messages.
    Push,
    /// To look at users, rooms, nodes, metrics and the console.
    Read,
    /// To end sessions, to drain nodes, and what else an operator does.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Push, Self::Read, Self::Admin];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// What is kept of a token: its SHA-256. A token is random over 256 bits, so nothing slower is needed.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// Reads `sha256:` and 64 hex digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(hash))
    }

    /// By what it is looked up; the whole is compared by [`TokenHash::is`].
    pub(super) fn start(&self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|at| self.0[at]))
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A token as the operator allows it.
#[derive(Debug)]
pub struct ApiToken {
    /// Who it is: the account of idempotency keys, and the name in logs.
    pub(super) name: String,
    pub(super) hash: TokenHash,
    pub(super) scopes: Vec<Scope>,
    /// `None`: as much as the node takes.
    pub(super) quota: Option<Bucket>,
    /// From when on it is refused, unix ms; `None`: never.
    pub(super) expires_ms: Option<u64>,
}

/// A new token from 32 random bytes.
pub fn new_token(random: &[u8; 32]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// Whether a text may be one of our tokens at all.
pub(super) fn has_form(text: &str) -> bool {
    let random = text.strip_prefix(PREFIX);
    let is_of_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    random.is_some_and(|random| random.len() == RANDOM_CHARS && random.bytes().all(is_of_alphabet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_its_hash() {
        let token = new_token(&[0; 32]);
        assert_eq!(token, "psd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert!(has_form(&token) && !has_form(&token[1..]) && !has_form(&format!("{token}A")) && !has_form("psd_"));
        assert!(!has_form(&token.replace('A', "=")));
        let text = TokenHash::of(&token).to_string();
        assert_eq!(TokenHash::of("abc").to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let read = TokenHash::parse(&text).unwrap();
        assert!(read.is(&TokenHash::of(&token)) && !read.is(&TokenHash::of("abc")));
        assert_eq!(TokenHash::parse(&text.to_uppercase().replace("SHA", "sha")).unwrap().start(), read.start());
        for bad in [
            "",
            "sha256:",
            &text[7..],
            &text[..70],
            &format!("{text}0"),
            &text.replace("sha256", "md5"),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            assert!(TokenHash::parse(bad).is_none(), "{bad}");
        }
    }
}

//! The keys there are, and which of them a token may be checked with.

use super::error::TokenError;
use super::key::VerifyingKey;
use super::token::Unverified;

/// So many keys a set may have: a file or a document with more is not one of ours.
pub(super) const KEYS_MAX: usize = 100;
/// So many keys are tried on a token that does not say which: a stranger's token must not cost more.
const TRIES_MAX: usize = 4;

/// Keys that tokens may be signed with.
#[derive(Debug, Default)]
pub struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    /// These keys; at most the first `KEYS_MAX`.
    pub fn new(mut keys: Vec<VerifyingKey>) -> Self {
        keys.truncate(KEYS_MAX);
        Self(keys)
    }

    /// The keys themselves.
    pub(super) fn into_keys(self) -> Vec<VerifyingKey> {
        self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks the signature of a token: with keys of its algorithm that have its `kid`, or no name at all. `sets` count as one.
pub(super) fn verify(sets: &[&KeySet], token: &Unverified<'_>) -> Result<(), TokenError> {
    let Some(algorithm) = token.algorithm else { return Err(TokenError::Algorithm) };
    let mut of_algorithm = all(sets).filter(|key| key.algorithm() == algorithm).peekable();
    if of_algorithm.peek().is_none() {
        return Err(TokenError::Algorithm);
    }
    let named = |key: &&VerifyingKey| match (key.kid(), &token.kid) {
        (Some(ours), Some(theirs)) => ours == theirs.as_str(),
        _ => true,
    };
    let mut candidates = of_algorithm.filter(named).take(TRIES_MAX).peekable();
    if candidates.peek().is_none() {
        return Err(TokenError::UnknownKey);
    }
    if candidates.any(|key| key.verifies(token.signed, &token.signature)) { Ok(()) } else { Err(TokenError::Signature) }
}

/// Whether there is a key that the token can mean: of its name, or of its algorithm where it names none.
pub(super) fn knows(sets: &[&KeySet], token: &Unverified<'_>) -> bool {
    all(sets).any(|key| Some(key.algorithm()) == token.algorithm && (token.kid.is_none() || key.kid() == token.kid.as_deref()))
}

fn all<'k>(sets: &'k [&'k KeySet]) -> impl Iterator<Item = &'k VerifyingKey> {
    sets.iter().flat_map(|set| &set.0)
}

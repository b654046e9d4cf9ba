//! JSON Web Key Sets (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::key::{Algorithm, KeyError, VerifyingKey};
use super::keys::{KEYS_MAX, KeySet};
use super::token::KID_BYTES_MAX;

/// The largest document that is read, bytes.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;

/// Where a document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of the operator's: may hold secrets.
    File,
    /// A server: a secret that it tells everybody is none, so secrets in it are skipped.
    Server,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

/// The members that matter (RFC 7517, 4; RFC 7518, 6).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    k: Option<String>,
}

/// The keys of a document that signatures can be checked with. Others (for encryption, of kinds unknown here) are skipped, as
/// RFC 7517, 5 wants it.
pub(super) fn read(json: &[u8], source: Source) -> Result<KeySet, KeyError> {
    if json.len() > JWKS_BYTES_MAX {
        return Err(KeyError::new(format!("it is longer than {JWKS_BYTES_MAX} bytes")));
    }
    let document: Document = serde_json::from_slice(json)
        .map_err(|error| KeyError::new(format!("it is no JSON Web Key Set ({{\"keys\": […]}}): {error}")))?;
    if document.keys.len() > KEYS_MAX {
        return Err(KeyError::new(format!("it has {} keys, and more than {KEYS_MAX} are not read", document.keys.len())));
    }
    let (mut keys, mut skipped) = (Vec::new(), None);
    for value in document.keys {
        match serde_json::from_value(value).map_err(|error| KeyError::new(error.to_string())).and_then(|jwk| key(jwk, source)) {
            Ok(key) => keys.push(key),
            Err(why) => skipped = Some(why),
        }
    }
    match (keys.is_empty(), skipped) {
        (false, _) => Ok(KeySet::new(keys)),
        (true, Some(why)) => Err(KeyError::new(format!("none of its keys can be used; of the last one: {why}"))),
        (true, None) => Err(KeyError::new("it has no keys")),
    }
}

fn key(jwk: Jwk, source: Source) -> Result<VerifyingKey, KeyError> {
    if jwk.usage.as_ref().is_some_and(|usage| usage != "sig") {
        return Err(KeyError::new("use is not sig"));
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err(KeyError::new("key_ops has no verify"));
    }
    if jwk.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
        return Err(KeyError::new("kid is too long"));
    }
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("EC", Some("P-256")) => VerifyingKey::from_p256_point(&part(&jwk.x, "x")?, &part(&jwk.y, "y")?)?,
        ("OKP", Some("Ed25519")) => VerifyingKey::from_ed25519(&part(&jwk.x, "x")?)?,
        ("RSA", _) => VerifyingKey::from_rsa_parts(&part(&jwk.n, "n")?, &part(&jwk.e, "e")?)?,
        ("oct", _) if source == Source::File => VerifyingKey::from_secret(&part(&jwk.k, "k")?)?,
        ("oct", _) => return Err(KeyError::new("a secret (kty oct) that a server tells everybody is none")),
        _ => return Err(KeyError::new("kty and crv are neither EC on P-256, nor OKP on Ed25519, nor RSA, nor oct")),
    };
    match jwk.alg.as_deref() {
        Some(alg) if Algorithm::of(alg) != Some(key.algorithm()) => {
            Err(KeyError::new("alg is not what a key of its kind is for here"))
        }
        _ => Ok(key.named(jwk.kid)),
    }
}

fn part(member: &Option<String>, name: &str) -> Result<Vec<u8>, KeyError> {
    let text = member.as_ref().ok_or_else(|| KeyError::new(format!("{name} is missing")))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::new(format!("{name} is not base64url without padding")))
}

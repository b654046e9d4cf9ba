//! Who receives a call can tell that it is ours, what it said and when: a header with a keyed hash of both.
//!
//! `perseid-signature: t=1700000000,v1=<hex of HMAC-SHA256(secret, "1700000000." + body)>`. The receiver computes the same over
//! the bytes that it got, compares in constant time, and refuses a `t` (unix seconds) that is more than some minutes off.

use std::fmt;
use std::fmt::Write;

use aws_lc_rs::hmac;

/// The header's name.
pub const SIGNATURE: &str = "perseid-signature";

/// Signs bodies with one secret.
#[derive(Clone)]
pub struct Signer(hmac::Key);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// For this secret; how long it has to be is the caller's to say.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The header's value for a body that is sent now.
    #[must_use]
    pub fn sign(&self, body: &[u8], now_ms: u64) -> String {
        let seconds = now_ms / 1000;
        let mut value = format!("t={seconds},v1=");
        for byte in mac(&self.0, seconds, body).as_ref() {
            // Writing to a String can't fail.
            let _ = write!(value, "{byte:02x}");
        }
        value
    }
}

fn mac(key: &hmac::Key, seconds: u64, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    context.sign()
}

/// What a receiver does: whether `value` is the header of this body, signed with this secret not longer than `tolerance_ms`
/// ago, nor further in the future.
#[must_use]
pub fn verify(secret: &[u8], value: &str, body: &[u8], now_ms: u64, tolerance_ms: u64) -> bool {
    let part = |name: &str| value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let (Some(seconds), Some(given)) = (part("t").and_then(|t| t.parse::<u64>().ok()), part("v1").and_then(bytes)) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signed = [seconds.to_string().as_bytes(), b".", body].concat();
    seconds.saturating_mul(1000).abs_diff(now_ms) <= tolerance_ms && hmac::verify(&key, &signed, &given).is_ok()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |&[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_999;

    /// `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key`
    #[test]
    fn the_header_is_what_openssl_computes() {
        let value = Signer::new(b"key").sign(br#"{"a":1}"#, NOW_MS);
        assert_eq!(value, "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03");
    }

    #[test]
    fn a_receiver_takes_what_was_signed_and_nothing_else() {
        let value = Signer::new(b"key").sign(b"body", NOW_MS);
        let takes = |secret: &[u8], value: &str, body: &[u8], now_ms| verify(secret, value, body, now_ms, 300_000);
        assert!(takes(b"key", &value, b"body", NOW_MS + 200_000));
        assert!(!takes(b"key", &value, b"body", NOW_MS + 300_000));
        assert!(!takes(b"key", &value, b"body", NOW_MS - 301_000));
        assert!(!takes(b"other", &value, b"body", NOW_MS));
        assert!(!takes(b"key", &value, b"bodY", NOW_MS));
        assert!(!takes(b"key", &value.replace("t=17", "t=16"), b"body", NOW_MS));
        for value in ["", "t=1", "v1=00", "t=1700000000,v1=", "t=x,v1=00", "t=1700000000,v1=0g", "t=1700000000,v1=000"] {
            assert!(!takes(b"key", value, b"body", NOW_MS), "{value}");
        }
    }
}

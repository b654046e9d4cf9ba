//! Signatures: who has the secret can tell that a request is ours, what it said, and that it is recent.
//!
//! `perseid-signature: t=1700000000,v1=<hex of HMAC-SHA256(secret, "1700000000." + body)>`. The receiver computes the same over
//! the bytes that it got, compares in constant time, and refuses a `t` (unix seconds) that is more than some minutes off.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hmac::{self, Context, HMAC_SHA256, Key};

/// The header's name.
pub const SIGNATURE: &str = "perseid-signature";

/// Secrets at a time: the one in use, and those that are on their way in or out.
const SECRETS_MAX: usize = 8;
/// A shorter secret could be guessed.
const SECRET_BYTES_MIN: usize = 16;
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Why a file of secrets is not used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct SecretError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it. Nothing of what is in it.
    pub why: String,
}

/// What requests are signed with: all of these, so that receivers can change from one to another.
#[derive(Clone)]
pub struct Secrets(Arc<[Key]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// Reads a file: one secret a line; empty lines and lines that begin with `#` are none.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let wrong = |why: String| SecretError { path: path.to_owned(), why };
        let mut text = String::new();
        let file = fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(wrong(format!("longer than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse(&text).map_err(wrong)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let secrets: Vec<_> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
        if secrets.is_empty() {
            return Err("there is no secret in it: write one on a line of its own".to_owned());
        }
        if secrets.len() > SECRETS_MAX {
            return Err(format!("more than {SECRETS_MAX} secrets"));
        }
        if let Some((at, _)) = secrets.iter().find(|(_, secret)| secret.len() < SECRET_BYTES_MIN) {
            return Err(format!("the secret in line {} has fewer than {SECRET_BYTES_MIN} bytes", at + 1));
        }
        Ok(Self(secrets.iter().map(|(_, secret)| Key::new(HMAC_SHA256, secret.as_bytes())).collect()))
    }
}

/// The value of [`SIGNATURE`] for a body at a time (unix s): `t=<time>`, and for each secret `v1=<hex>`, the
/// HMAC-SHA256 of `<time>.<body>`.
#[must_use]
pub fn sign(secrets: &Secrets, time_s: u64, body: &[u8]) -> String {
    let mut header = format!("t={time_s}");
    for key in secrets.0.iter() {
        let mut context = Context::with_key(key);
        context.update(format!("{time_s}.").as_bytes());
        context.update(body);
        header.push_str(",v1=");
        for byte in context.sign().as_ref() {
            // Writing to a string never fails.
            let _ = write!(header, "{byte:02x}");
        }
    }
    header
}

/// What a receiver does: whether `value` is the header of this body, one of its signatures made with this secret not longer than `tolerance_ms`
/// ago, nor further in the future.
#[must_use]
pub fn verify(secret: &[u8], value: &str, body: &[u8], now_ms: u64, tolerance_ms: u64) -> bool {
    let parts = |name: &'static str| value.split(',').filter_map(move |part| part.strip_prefix(name)?.strip_prefix('='));
    let Some(seconds) = parts("t").next().and_then(|time| time.parse::<u64>().ok()) else { return false };
    let key = Key::new(HMAC_SHA256, secret);
    let signed = [seconds.to_string().as_bytes(), b".", body].concat();
    let matches = |hex: &str| bytes(hex).is_some_and(|given| hmac::verify(&key, &signed, &given).is_ok());
    seconds.saturating_mul(1000).abs_diff(now_ms) <= tolerance_ms && parts("v1").any(matches)
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

    /// Reckoned with Python's hmac: `hmac.new(b"0123456789abcdef", b'1800000000.{"events":[]}', "sha256").hexdigest()`.
    #[test]
    fn a_signature_that_others_reckon_too() {
        let secrets = Secrets::parse("0123456789abcdef").unwrap();
        let header = sign(&secrets, 1_800_000_000, br#"{"events":[]}"#);
        assert_eq!(header, "t=1800000000,v1=044db41e5630c9e1eda7fa2c624a922420b9a745fc2c2eb0ed58b256224bd484");
        let two = Secrets::parse("# old\n0123456789abcdef\n\n  another-secret-here \r\n").unwrap();
        let both = sign(&two, 1_800_000_000, br#"{"events":[]}"#);
        assert!(both.starts_with(&header) && both.matches(",v1=").count() == 2, "{both}");
        assert_ne!(sign(&secrets, 1_800_000_001, br#"{"events":[]}"#)[13..], header[13..]);
    }

    #[test]
    fn files_that_are_none() {
        let too_many = "0123456789abcdef\n".repeat(9);
        for (text, says) in
            [("", "no secret"), ("# only\n\n", "no secret"), ("short", "line 1 has fewer than 16"), (&*too_many, "more than 8")]
        {
            let why = Secrets::parse(text).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets");
        let why = Secrets::read(&file).unwrap_err().to_string();
        assert!(why.starts_with(file.to_str().unwrap()), "{why}");
        fs::write(&file, "x".repeat(20_000)).unwrap();
        assert!(Secrets::read(&file).unwrap_err().why.contains("longer"));
        fs::write(&file, [0xff; 20]).unwrap();
        assert!(Secrets::read(&file).is_err());
        fs::write(&file, "0123456789abcdef\n").unwrap();
        assert_eq!(format!("{:?}", Secrets::read(&file).unwrap()), "1 secrets", "a secret is never shown");
    }

    #[test]
    fn a_receiver_takes_what_was_signed_and_nothing_else() {
        const NOW_MS: u64 = 1_700_000_000_999;
        let (old, new) = ("the-secret-of-before", "the-secret-of-after-it");
        let secrets = Secrets::parse(&format!("{old}\n{new}")).unwrap();
        let value = sign(&secrets, NOW_MS / 1000, b"body");
        let takes = |secret: &str, value: &str, body: &[u8], now_ms| verify(secret.as_bytes(), value, body, now_ms, 300_000);
        assert!(takes(old, &value, b"body", NOW_MS) && takes(new, &value, b"body", NOW_MS + 200_000));
        assert!(!takes(old, &value, b"body", NOW_MS + 300_000));
        assert!(!takes(old, &value, b"body", NOW_MS - 301_000));
        assert!(!takes("other", &value, b"body", NOW_MS));
        assert!(!takes(old, &value, b"bodY", NOW_MS));
        assert!(!takes(old, &value.replace("t=17", "t=16"), b"body", NOW_MS));
        for value in ["", "t=1", "v1=00", "t=1700000000,v1=", "t=x,v1=00", "t=1700000000,v1=0g", "t=1700000000,v1=000"] {
            assert!(!takes(old, value, b"body", NOW_MS), "{value}");
        }
    }
}

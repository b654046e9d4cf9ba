//! Keys from files: the only place here that opens any.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::JwtConfig;
use super::jwks::{self, JWKS_BYTES_MAX, Source};
use super::key::{KeyError, VerifyingKey};
use super::keys::{KEYS_MAX, KeySet};
use super::pem;

/// The largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = JWKS_BYTES_MAX as u64;

/// All keys of all files.
pub(super) fn read_keys(config: &JwtConfig) -> Result<KeySet, KeyError> {
    let mut keys = Vec::new();
    if config.key_file.is_none() && config.secret_file.is_none() && config.jwks_file.is_none() && config.jwks.is_none() {
        return Err(KeyError::new("neither a file nor a URL of keys is named"));
    }
    if let Some(path) = &config.key_file {
        keys.extend(of(path, public_keys)?);
    }
    if let Some(path) = &config.secret_file {
        keys.push(of(path, secret)?);
        warn_if_readable_by_all(path);
    }
    if let Some(path) = &config.jwks_file {
        keys.extend(of(path, |bytes| jwks::read(bytes, Source::File))?.into_keys());
    }
    if keys.len() > KEYS_MAX {
        return Err(KeyError::new(format!("the key files have {} keys, and more than {KEYS_MAX} are not used", keys.len())));
    }
    Ok(KeySet::new(keys))
}

fn of<T>(path: &Path, read: impl FnOnce(&[u8]) -> Result<T, KeyError>) -> Result<T, KeyError> {
    let bytes = bounded(path).map_err(|error| KeyError::new(format!("can't read {}: {error}", path.display())))?;
    read(&bytes).map_err(|error| KeyError::new(format!("{}: {error}", path.display())))
}

fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn public_keys(bytes: &[u8]) -> Result<Vec<VerifyingKey>, KeyError> {
    pem::read(std::str::from_utf8(bytes).map_err(|_| KeyError::new("it is no text: a key in DER? PEM is read here"))?)
}

fn secret(bytes: &[u8]) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_secret(secret_bytes(bytes)?)
}

/// The secret in a file for HS256: its bytes, but for white space around them, which editors add.
///
/// # Errors
/// Something that is meant for another key of the configuration.
pub fn secret_bytes(bytes: &[u8]) -> Result<&[u8], KeyError> {
    let secret = bytes.trim_ascii();
    if secret.starts_with(b"-----BEGIN") {
        // Who knows the public key could sign.
        return Err(KeyError::new("that is PEM and no secret: a public key belongs into jwt.key_file"));
    }
    if secret.starts_with(b"{") {
        return Err(KeyError::new("that is JSON and no secret: a key set belongs into jwt.jwks_file"));
    }
    Ok(secret)
}

#[cfg(unix)]
fn warn_if_readable_by_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0) {
        tracing::warn!(file = %path.display(), "everybody on this machine can read the secret that tokens are signed with: chmod o-r");
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_all(_: &Path) {}

//! The certificates of the client ports, as files: read at the start and on SIGHUP.

use anyhow::Result;
use perseid_comet::{Certificates, CertificatesOptions, MinVersion};

use crate::clock::unix_ms;
use crate::config::{Settings, TlsVersion};

/// The certificates that the configuration names; `None` without any.
pub fn load(settings: &Settings, before: Option<&Certificates>) -> Result<Option<Certificates>> {
    let tls = &settings.tls;
    if tls.certificates.is_empty() {
        return Ok(None);
    }
    let options = CertificatesOptions {
        certificates: tls.certificates.iter().map(Into::into).collect(),
        keys: tls.keys.iter().map(Into::into).collect(),
        min_version: match tls.min_version {
            TlsVersion::Tls12 => MinVersion::Tls12,
            TlsVersion::Tls13 => MinVersion::Tls13,
        },
        cache_max: tls.cache_max,
    };
    let certificates = Certificates::load(&options, before)?;
    let now_s = unix_ms() / 1000;
    for file in certificates.files() {
        if let Some(left_s) = file.not_after_s.map(|at_s| at_s.saturating_sub(now_s)).filter(|left_s| *left_s < EXPIRY_WARNING_S)
        {
            let certificate = file.path.display();
            match left_s {
                0 => tracing::warn!(%certificate, "this certificate has expired: clients will refuse it"),
                _ => tracing::warn!(%certificate, days = left_s / DAY_S, "this certificate expires soon"),
            }
        }
    }
    for key in &options.keys {
        warn_if_readable(key);
    }
    Ok(Some(certificates))
}

const DAY_S: u64 = 86_400;
/// Certificates that end sooner than this are warned of.
const EXPIRY_WARNING_S: u64 = 14 * DAY_S;

/// A private key is nobody else's to read.
fn warn_if_readable(key: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0) {
        tracing::warn!(key = %key.display(), "everybody on this machine can read this private key: chmod o-r");
    }
}

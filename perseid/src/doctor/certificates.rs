//! Certificates: whether clients will believe them, today and next month.

use std::path::{Path, PathBuf};

use perseid_comet::net::tls::x509;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Finding, OTHERS_READ_WRITE};

/// A certificate file and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file.
    pub path: PathBuf,
    /// What it says, or why it can't be used.
    pub content: Result<Content, String>,
}

/// What a certificate with its key says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// Valid from, unix seconds.
    pub not_before_s: i64,
    /// Valid until, unix seconds.
    pub not_after_s: i64,
    /// Certificates in the file: its own, then those that vouch for it.
    pub chain: usize,
    /// It is its own issuer.
    pub self_signed: bool,
    /// Permission bits of the key's file.
    pub key_mode: u32,
}

/// Reads a certificate chain and its key.
pub(super) fn read(path: &Path, key: &Path) -> Certificate {
    Certificate { path: path.to_owned(), content: content(path, key) }
}

fn content(path: &Path, key: &Path) -> Result<Content, String> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| format!("can't be read: {error}"))?;
    let first = chain.first().ok_or("holds no certificate")?.clone();
    let said = x509::read(&first).ok_or("holds no X.509 certificate")?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| format!("its key {} can't be read: {error}", key.display()))?;
    let count = chain.len();
    CertifiedKey::from_der(chain, private, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| format!("its key {} does not fit: {error}", key.display()))?;
    let x509::Said { not_before_s, not_after_s, names, self_signed } = said;
    Ok(Content { names, not_before_s, not_after_s, chain: count, self_signed, key_mode: mode(key) })
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |metadata| metadata.mode())
}

const CHECK: &str = "certificates";
const DAY_S: i64 = 86_400;
/// Certificates of 90 days are renewed 30 days before their end: who is nearer has a renewal that does not work.
const SOON_DAYS: i64 = 21;

pub(super) fn judge(certificates: &[Certificate], now_ms: u64) -> Vec<Finding> {
    if certificates.is_empty() {
        return vec![Finding::ok(CHECK, "none: nothing is listened on with TLS")];
    }
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    certificates.iter().flat_map(|certificate| one(certificate, now_s)).collect()
}

fn one(certificate: &Certificate, now_s: i64) -> Vec<Finding> {
    let path = certificate.path.display();
    let content = match &certificate.content {
        Ok(content) => content,
        Err(error) => {
            return vec![Finding::fail(
                CHECK,
                format!("{path} {error}"),
                "give a PEM file with the chain, and the key that belongs to it",
            )];
        }
    };
    let days = content.not_after_s.saturating_sub(now_s).div_euclid(DAY_S);
    let about = format!("{path} for {}", if content.names.is_empty() { "nobody".to_owned() } else { content.names.join(", ") });
    let mut findings = Vec::new();
    findings.push(if content.not_after_s <= now_s {
        Finding::fail(CHECK, format!("{about} has expired {} days ago", -days), "renew it, then SIGHUP")
    } else if content.not_before_s > now_s {
        Finding::fail(CHECK, format!("{about} is not valid yet"), "look at the clock of this machine and of the issuer")
    } else if content.names.is_empty() {
        Finding::fail(
            CHECK,
            format!("{about}: it has no subjectAltName, so no client believes it"),
            "have it issued with the names that clients connect to",
        )
    } else if days < SOON_DAYS {
        Finding::warn(CHECK, format!("{about} expires in {days} days"), "look why it was not renewed; SIGHUP reads the new one")
    } else if content.self_signed {
        Finding::warn(
            CHECK,
            format!("{about} is signed by itself, valid for {days} days"),
            "right for tests only: have it issued by an authority that clients know",
        )
    } else {
        Finding::ok(CHECK, format!("{about}, its key fits, {} in the chain, valid for {days} days", content.chain))
    });
    if content.key_mode & OTHERS_READ_WRITE != 0 {
        let what = format!("the key of {path} may be read or written by others: mode {:o}", content.key_mode & 0o777);
        findings.push(Finding::warn(CHECK, what, "chmod 600 it"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Fail, Ok as Fine, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;

    #[test]
    fn each_end_of_a_life() {
        let good = Content {
            names: vec!["conn.example.org".to_owned()],
            not_before_s: 0,
            not_after_s: 100 * DAY_S,
            chain: 2,
            self_signed: false,
            key_mode: 0o600,
        };
        for (content, expected) in [
            (good.clone(), &[Fine][..]),
            (Content { not_after_s: DAY_S, ..good.clone() }, &[Fail]),
            (Content { not_after_s: 22 * DAY_S, ..good.clone() }, &[Fine]),
            (Content { not_after_s: 22 * DAY_S - 1, ..good.clone() }, &[Warn]),
            (Content { not_before_s: 2 * DAY_S, ..good.clone() }, &[Fail]),
            (Content { names: Vec::new(), ..good.clone() }, &[Fail]),
            (Content { self_signed: true, ..good.clone() }, &[Warn]),
            (Content { key_mode: 0o644, ..good.clone() }, &[Fine, Warn]),
            (Content { not_after_s: i64::MIN, ..good.clone() }, &[Fail]),
        ] {
            let certificate = Certificate { path: "c.pem".into(), content: Ok(content.clone()) };
            let findings = judge(&[certificate], DAY_S as u64 * 1000);
            assert_eq!(verdicts(&findings), expected, "{content:?}");
            advice_where_needed(&findings);
        }
        assert_eq!(verdicts(&judge(&[], 5)), [Fine]);
    }

    #[test]
    fn files_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
        let (cert, key) = (file("cert.pem", &made.cert.pem()), file("key.pem", &made.signing_key.serialize_pem()));
        let wrong = file("wrong.pem", &other.signing_key.serialize_pem());

        let content = read(&cert, &key).content.unwrap();
        assert_eq!(
            (content.names, content.chain, content.self_signed),
            (vec!["a.example".to_owned(), "127.0.0.1".to_owned()], 1, true)
        );
        assert!(content.not_before_s < content.not_after_s);
        for (cert, key, word) in [
            (&cert, &wrong, "does not fit"),
            (&cert, &cert, "key"),
            (&key, &key, "no certificate"),
            (&file("noise.pem", "noise"), &key, "no certificate"),
            (&dir.path().join("gone"), &key, "can't be read"),
            (&cert, &dir.path().join("gone"), "can't be read"),
            (&file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), &key, "no X.509"),
        ] {
            let error = read(cert, key).content.unwrap_err();
            assert!(error.contains(word), "{word} in {error}");
        }
    }
}

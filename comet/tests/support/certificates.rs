//! Certificates that a test authority signs, in files as a server has them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use perseid_comet::{Certificates, CertificatesOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};

/// The files of one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    Authority { issuer, dir: tempfile::tempdir().unwrap() }
});

/// What every comet of these tests shows unless told otherwise.
static LOCALHOST: LazyLock<Certificates> =
    LazyLock::new(|| Certificates::load(&options(&[issue("localhost", &["localhost", "127.0.0.1"])]), None).unwrap());

/// Writes a certificate for `names` and its key to files that begin with `label`.
pub(crate) fn issue(label: &str, names: &[&str]) -> Files {
    issue_with(label, names, |_| {})
}

/// The same, with the certificate's fields changed first.
pub(crate) fn issue_with(label: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Files {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, &AUTHORITY.issuer).unwrap();
    let path = |end: &str| AUTHORITY.dir.path().join(format!("{label}.{end}"));
    let files = Files { certificate: path("crt"), key: path("key") };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

pub(crate) fn options(files: &[Files]) -> CertificatesOptions {
    CertificatesOptions {
        certificates: files.iter().map(|files| files.certificate.clone()).collect(),
        keys: files.iter().map(|files| files.key.clone()).collect(),
        cache_max: 16,
        ..CertificatesOptions::default()
    }
}

pub(crate) fn localhost() -> Certificates {
    LOCALHOST.clone()
}

pub(crate) fn directory() -> &'static Path {
    AUTHORITY.dir.path()
}

/// The authority's own certificate.
pub(crate) fn root() -> rustls::pki_types::CertificateDer<'static> {
    AUTHORITY.issuer.der().clone()
}

/// A client that trusts the authority, and remembers sessions.
pub(crate) fn client_config() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

static CLIENT: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(client_config()));

pub(crate) fn shared_client_config() -> Arc<ClientConfig> {
    CLIENT.clone()
}

//! Certificates and keys from files, and what rustls is told.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys};
use thiserror::Error as ThisError;

use super::{names, x509};

/// What `wss` clients may name as the application protocol.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Files, and how strict to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificatesOptions {
    /// Certificate chains in PEM, the server's own certificate first. The first file is for clients that name nothing
    /// known.
    pub certificates: Vec<PathBuf>,
    /// Their private keys in PEM, in the same order.
    pub keys: Vec<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Sessions without tickets (TLS 1.2) that are remembered for resumption.
    pub cache_max: usize,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// Why certificates can't be used: one line, with the file.
#[derive(Debug, ThisError)]
pub enum CertificatesError {
    /// A file can't be read, or is no PEM.
    #[error("can't read {what} from {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why not.
        source: pem::Error,
    },
    /// A certificate and a key that rustls does not take.
    #[error("can't use the certificate {} with the key {}: {why}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        why: String,
    },
    /// There must be as many keys as certificates, and one at least.
    #[error("{certificates} certificate files and {keys} key files: each certificate needs its key, in the same order")]
    Count {
        /// Certificate files.
        certificates: usize,
        /// Key files.
        keys: usize,
    },
    /// Something else that rustls or the system refuses.
    #[error("can't set up TLS: {0}")]
    Setup(Error),
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFile {
    /// Its file.
    pub path: PathBuf,
    /// When it ends, unix s; `None` if that can't be made out.
    pub not_after_s: Option<u64>,
}

/// What the TLS listeners show. Cheap to clone.
#[derive(Clone)]
pub struct Certificates {
    inner: Arc<Inner>,
}

struct Inner {
    tls: Arc<ServerConfig>,
    wss: Arc<ServerConfig>,
    files: Vec<CertificateFile>,
    ticketer: Arc<dyn ProducesTickets>,
    cache: (usize, Arc<dyn StoresServerSessions>),
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.inner.files).finish()
    }
}

impl Certificates {
    /// Reads the files. `before`: what was in use until now, so that clients' tickets go on being good.
    ///
    /// # Errors
    /// A file that can't be read or used, named.
    pub fn load(options: &CertificatesOptions, before: Option<&Self>) -> Result<Self, CertificatesError> {
        let (certificates, keys) = (options.certificates.len(), options.keys.len());
        if certificates != keys || certificates == 0 {
            return Err(CertificatesError::Count { certificates, keys });
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut files = Vec::new();
        let mut pairs = Vec::new();
        for (certificate, key) in options.certificates.iter().zip(&options.keys) {
            let pair = read_pair(certificate, key, &provider)?;
            let not_after_s = pair.cert.first().and_then(|der| u64::try_from(x509::not_after_s(der)?).ok());
            files.push(CertificateFile { path: certificate.clone(), not_after_s });
            pairs.push(Arc::new(pair));
        }
        // Keys of tickets rotate by themselves, every six hours; a ticket is good for twelve at most.
        let ticketer = match before {
            Some(before) => Arc::clone(&before.inner.ticketer),
            None => aws_lc_rs::Ticketer::new().map_err(CertificatesError::Setup)?,
        };
        let cache = match before {
            Some(before) if before.inner.cache.0 == options.cache_max => before.inner.cache.clone(),
            _ => (options.cache_max, new_cache(options.cache_max)),
        };
        let versions = match options.min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12][..],
            MinVersion::Tls13 => &[&TLS13],
        };
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(CertificatesError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(names::Chooser(pairs)));
        tls.ticketer = Arc::clone(&ticketer);
        tls.session_storage = Arc::clone(&cache.1);
        // A client has one session with us at a time: one ticket is enough for the next.
        tls.send_tls13_tickets = 1;
        let mut wss = tls.clone();
        wss.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { inner: Arc::new(Inner { tls: Arc::new(tls), wss: Arc::new(wss), files, ticketer, cache }) })
    }

    /// The certificates in use, in order.
    pub fn files(&self) -> &[CertificateFile] {
        &self.inner.files
    }

    pub(crate) fn server_config(&self, websocket: bool) -> Arc<ServerConfig> {
        Arc::clone(if websocket { &self.inner.wss } else { &self.inner.tls })
    }
}

fn new_cache(max: usize) -> Arc<dyn StoresServerSessions> {
    if max == 0 { Arc::new(NoServerSessionStorage {}) } else { ServerSessionMemoryCache::new(max) }
}

fn read_pair(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, CertificatesError> {
    let read = |path: &Path, what| {
        let path = path.to_owned();
        move |source| CertificatesError::Read { path, what, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .and_then(|chain: Vec<_>| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(read(certificate, "a certificate"))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(read(key, "a private key"))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| CertificatesError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        why: match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "the key belongs to another certificate".to_owned(),
            other => other.to_string(),
        },
    })
}

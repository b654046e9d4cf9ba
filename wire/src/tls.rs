//! Both ends show a certificate of one authority, or nobody speaks.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::limits::HANDSHAKE_WAIT;

/// Where the three are, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This process's certificate, with the chain above it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority that the other side's certificate must come from.
    pub ca: PathBuf,
}

/// Why mutual TLS can't be had.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What stands in the files makes no configuration.
    #[error("the certificate, key and ca of [cluster] make no TLS configuration: {0}")]
    Unusable(#[from] tonic::transport::Error),
}

/// What both ends of a connection between parts need. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WireTls {
    identity: Identity,
    ca: Certificate,
}

impl WireTls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them can't be read.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source });
        Ok(Self::from_pem(read(&files.certificate)?, read(&files.key)?, read(&files.ca)?))
    }

    /// Of what stands in such files.
    pub fn from_pem(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>, ca: impl AsRef<[u8]>) -> Self {
        Self { identity: Identity::from_pem(certificate, key), ca: Certificate::from_pem(ca) }
    }

    /// For a listener: whoever shows no certificate of the authority is not spoken to.
    pub(crate) fn server(&self, handshake: Duration) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(self.identity.clone()).client_ca_root(self.ca.clone()).timeout(handshake)
    }

    /// For a connection: the listener's certificate must be the authority's, and name the host that is called.
    pub(crate) fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().identity(self.identity.clone()).ca_certificate(self.ca.clone()).timeout(HANDSHAKE_WAIT)
    }
}

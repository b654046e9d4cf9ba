//! Encryption, by rustls.

use std::fs;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Trusted;
use crate::connect::Endpoint;

/// Where systems keep the certificates that they trust: Debian's place, Red Hat's, Alpine's.
const SYSTEM: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Does the handshake.
pub(crate) async fn handshake(tcp: TcpStream, endpoint: &Endpoint, trusted: &Trusted) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(endpoint.host().to_owned())
        .map_err(|_| format!("{} is no name that a certificate can have", endpoint.host()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(trusted)?)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.map_err(|error| format!("no TLS: {error}. Is it the TLS port?"))
}

fn roots(trusted: &Trusted) -> Result<RootCertStore, String> {
    let pem = match trusted {
        Trusted::Pem(pem) => pem.clone(),
        Trusted::System => SYSTEM
            .iter()
            .find_map(|path| fs::read(path).ok())
            .ok_or("this system's certificates are not where they usually are: name them with Trusted::Pem")?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("the trusted certificates are no PEM: {error}"))?;
        // Among those of a system there may be odd ones; those that were named have to be right.
        let added = roots.add(certificate);
        if matches!(trusted, Trusted::Pem(_)) {
            added.map_err(|error| format!("a trusted certificate can't be used: {error}"))?;
        }
    }
    if roots.is_empty() {
        return Err("there is no trusted certificate".to_owned());
    }
    Ok(roots)
}

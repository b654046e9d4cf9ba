//! Which of several certificates a client is shown: the one for the name that it asks for (SNI), else the first.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a node, in order. Never empty.
#[derive(Debug)]
pub(super) struct Chooser(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.0.len() == 1 {
            return self.0.first().cloned();
        }
        // One for the name with a key that the client can check; a site may have an RSA and an ECDSA one.
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|name| {
            let mut named = self.0.iter().filter(|key| is_for(key, name)).peekable();
            let first = named.peek().copied();
            named.find(usable).or(first)
        });
        named.or_else(|| self.0.iter().find(usable)).or(self.0.first()).cloned()
    }
}

/// Whether a certificate is for `name`, by the rules that clients have (RFC 6125): names of the SAN, wildcards too.
fn is_for(key: &CertifiedKey, name: &str) -> bool {
    let Some(certificate) = key.cert.first() else { return false };
    match (ParsedCertificate::try_from(certificate), ServerName::try_from(name)) {
        (Ok(parsed), Ok(name)) => verify_server_name(&parsed, &name).is_ok(),
        _ => false,
    }
}

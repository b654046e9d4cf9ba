//! The bytes of a connection, blocking, with TLS or without.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Where systems keep the certificates that they trust: Debian's place, Red Hat's, Alpine's.
const SYSTEM: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub(super) enum Stream {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn plain(addr: &str) -> Result<Self> {
        connect(addr).map(Self::Plain)
    }

    /// Does the handshake with `addr`, a name and a port; trusted is what `ca` holds, or what the system trusts.
    pub(super) fn secure(addr: &str, ca: Option<&Path>, patience: Duration) -> Result<Self> {
        let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).with_context(|| format!("{host} is no name that a certificate can have"))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().context("no TLS")?;
        let config = builder.with_root_certificates(roots(ca)?).with_no_client_auth();
        let mut conn = ClientConnection::new(Arc::new(config), name).context("no TLS")?;
        let mut tcp = connect(addr)?;
        tcp.set_read_timeout(Some(patience))?;
        while conn.is_handshaking() {
            conn.complete_io(&mut tcp).with_context(|| format!("no TLS with {addr}: is it the TLS port, is --ca right?"))?;
        }
        Ok(Self::Secure(Box::new(StreamOwned::new(conn, tcp))))
    }

    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.set_read_timeout(Some(timeout)),
            Self::Secure(tls) => tls.get_ref().set_read_timeout(Some(timeout)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Secure(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Secure(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Secure(tls) => tls.flush(),
        }
    }
}

fn connect(addr: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr).with_context(|| format!("can't connect to {addr}: is a server running there?"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let file = match ca {
        Some(file) => file.to_owned(),
        None => SYSTEM
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .context("this system's certificates are not where they usually are: name a file with --ca")?,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&file).with_context(|| format!("can't read {}", file.display()))?;
    for certificate in certificates {
        let certificate = certificate.with_context(|| format!("{} is no file of certificates in PEM", file.display()))?;
        // Among those of a system there may be odd ones; those that were named have to be right.
        let added = roots.add(certificate);
        if ca.is_some() {
            added.with_context(|| format!("a certificate of {} can't be used", file.display()))?;
        }
    }
    if roots.is_empty() {
        bail!("there is no certificate in {}", file.display());
    }
    Ok(roots)
}

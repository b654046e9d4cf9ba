//! The client's half of TLS. Every session does a whole handshake: tickets of the ones before would flatter the server.
//!
//! The server's certificate is not looked at. That is for measuring on this machine only, and `--tls` is refused for any other.

use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// The name that is asked for: that of the certificate of `--spawn-server`.
pub(crate) const NAME: &str = "localhost";

/// What all sessions of a process share.
pub(super) fn config() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Anybody(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// One session's TLS.
pub(super) struct Tls(ClientConnection);

impl Tls {
    pub(super) fn new(config: Arc<ClientConfig>) -> Result<Self, Error> {
        let name = ServerName::try_from(NAME).map_err(|error| Error::General(error.to_string()))?;
        ClientConnection::new(config, name).map(Self)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Goes on with the handshake as far as what has come allows.
    pub(super) fn shake_hands(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.flush(stream)?;
        while self.0.is_handshaking() {
            match self.take(stream) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As reading from the stream, decrypted. A short read does not say that nothing is left.
    pub(super) fn read(&mut self, stream: &mut TcpStream, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(out) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                outcome => return outcome,
            }
            if self.take(stream)? == 0 {
                return Ok(0);
            }
        }
    }

    /// As writing to the stream, encrypted: all of it, or an error.
    pub(super) fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.0.writer().write_all(bytes)?;
        self.flush(stream)?;
        Ok(bytes.len())
    }

    /// Says that nothing follows.
    pub(super) fn close(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.0.send_close_notify();
        self.flush(stream)
    }

    fn take(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let count = self.0.read_tls(stream)?;
        self.0.process_new_packets().map_err(io::Error::other)?;
        self.flush(stream)?;
        Ok(count)
    }

    fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(stream)?;
        }
        Ok(())
    }
}

/// Trusts whoever answers; what is signed has to be right all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

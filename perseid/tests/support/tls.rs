//! Certificates in files, and a client behind TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::frame::{self, Frame};
use super::{PATIENCE, websocket};

/// Signs certificates, in a directory of its own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, dir: tempfile::tempdir().unwrap() };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `{label}.crt` and `{label}.key`, as they are or over what is there; gives the certificate.
    pub(crate) fn issue(&self, label: &str, names: &[&str]) -> CertificateDer<'static> {
        self.issue_with(label, names, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        label: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{label}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{label}.key")), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    /// The arguments that name these certificates.
    pub(crate) fn args(&self, labels: &[&str]) -> Vec<String> {
        let list = |end: &str| -> String {
            let paths: Vec<String> = labels.iter().map(|label| text(&self.path(&format!("{label}.{end}")))).collect();
            paths.join(",")
        };
        ["--set", &format!("tls.certificates={}", list("crt")), "--set", &format!("tls.keys={}", list("key"))]
            .map(str::to_owned)
            .into()
    }

    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A client behind TLS, on TCP or WebSocket, that speaks the classic protocol.
pub(crate) struct SecureClient {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    websocket: bool,
    input: Vec<u8>,
}

impl SecureClient {
    pub(crate) fn connect(addr: SocketAddr, websocket: bool, config: &Arc<ClientConfig>, name: &str) -> Self {
        Self::over(TcpStream::connect(addr).unwrap(), websocket, config, name)
    }

    /// The same over a connection that is there.
    pub(crate) fn over(tcp: TcpStream, websocket: bool, config: &Arc<ClientConfig>, name: &str) -> Self {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let conn = ClientConnection::new(config.clone(), name).unwrap();
        let mut client = Self { stream: StreamOwned::new(conn, tcp), websocket, input: Vec::new() };
        client.stream.conn.complete_io(&mut client.stream.sock).unwrap_or_else(|error| panic!("no handshake: {error}"));
        if websocket {
            client.stream.write_all(&websocket::upgrade("/sub")).unwrap();
            while !client.input.ends_with(b"\r\n\r\n") {
                client.read_some();
            }
            assert!(client.input.starts_with(b"HTTP/1.1 101 "));
            client.input.clear();
        }
        client
    }

    /// The certificate that it was shown.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(crate) fn authenticate(&mut self, auth: &Value) {
        let reply = self.ask(frame::AUTH, 1, auth.to_string().as_bytes());
        assert_eq!((reply.head(), reply.body.len()), ((1, frame::AUTH_REPLY, 1), 0));
    }

    pub(crate) fn ask(&mut self, op: i32, seq: i32, body: &[u8]) -> Frame {
        let frame = frame::classic(1, op, seq, body);
        let bytes = if self.websocket { websocket::message(websocket::BINARY, &frame) } else { frame };
        self.stream.write_all(&bytes).unwrap();
        self.next()
    }

    pub(crate) fn heartbeat(&mut self) -> i32 {
        let reply = self.ask(frame::HEARTBEAT, 9, &[]);
        i32::from_be_bytes(reply.body.try_into().unwrap())
    }

    /// The next frame; of a batch, which these tests do not make, the first.
    pub(crate) fn next(&mut self) -> Frame {
        loop {
            let frame = if self.websocket {
                websocket::take(&mut self.input).map(|(_, payload)| frame::all(&payload).remove(0))
            } else {
                frame::take(&mut self.input)
            };
            match frame {
                Some(frame) if frame.op == frame::RAW => return frame::all(&frame.body).remove(0),
                Some(frame) => return frame,
                None => self.read_some(),
            }
        }
    }

    /// Reads to the end; whether it was said with close_notify.
    pub(crate) fn end(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn read_some(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection ended");
        self.input.extend_from_slice(&buffer[..count]);
    }
}

//! The server's side of each transport.

use std::sync::{Arc, OnceLock};

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    WebSocket,
    Tls,
    SecureWebSocket,
}

pub(crate) const ALL: [Transport; 4] = [Transport::Tcp, Transport::WebSocket, Transport::Tls, Transport::SecureWebSocket];

impl Transport {
    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::WebSocket => "ws",
            Self::Tls => "tls",
            Self::SecureWebSocket => "wss",
        }
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(crate) enum Wire {
    Bytes(Box<dyn Stream>),
    Messages(Box<WebSocketStream<Box<dyn Stream>>>),
}

struct Identity {
    pem: String,
    acceptor: TlsAcceptor,
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Identity { pem: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
    })
}

/// What a client has to trust.
pub(crate) fn certificate() -> Vec<u8> {
    identity().pem.clone().into_bytes()
}

pub(crate) async fn accept(tcp: TcpStream, transport: Transport) -> Option<Wire> {
    let stream: Box<dyn Stream> = match transport {
        Transport::Tcp | Transport::WebSocket => Box::new(tcp),
        Transport::Tls | Transport::SecureWebSocket => Box::new(identity().acceptor.accept(tcp).await.ok()?),
    };
    Some(match transport {
        Transport::Tcp | Transport::Tls => Wire::Bytes(stream),
        Transport::WebSocket | Transport::SecureWebSocket => {
            Wire::Messages(Box::new(tokio_tungstenite::accept_async(stream).await.ok()?))
        }
    })
}

impl Wire {
    /// The next bytes; `None` at the end.
    pub(crate) async fn read(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(stream) => {
                let mut buffer = vec![0; 4096];
                let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
                buffer.truncate(count);
                Some(buffer)
            }
            Self::Messages(socket) => loop {
                match socket.next().await?.ok()? {
                    Message::Binary(message) => return Some(message.to_vec()),
                    Message::Close(_) => return None,
                    _ => {}
                }
            },
        }
    }

    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> Option<()> {
        match self {
            Self::Bytes(stream) => {
                stream.write_all(&bytes).await.ok()?;
                stream.flush().await.ok()
            }
            Self::Messages(socket) => socket.send(Message::Binary(bytes.into())).await.ok(),
        }
    }

    /// The orderly end after DISCONNECT.
    pub(crate) async fn close(&mut self) {
        match self {
            Self::Bytes(stream) => {
                let _ = stream.shutdown().await;
            }
            Self::Messages(socket) => {
                let _ = socket.send(Message::Close(None)).await;
            }
        }
    }
}

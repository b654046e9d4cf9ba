//! Where to connect to, and doing it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Trusted;
use crate::error::{Disconnect, Error};
use crate::transport::{self, Connection};

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    websocket: bool,
    secure: bool,
    /// A name or an address, IPv6 without brackets.
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        const FORM: Error = Error::Invalid("an address is tcp://host:port, tls://host:port, ws://host:port or wss://host:port");
        let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
        let (websocket, secure, port_default) = match scheme {
            "tcp" => (false, false, None),
            "tls" => (false, true, None),
            "ws" => (true, false, Some(80)),
            "wss" => (true, true, Some(443)),
            _ => return Err(FORM),
        };
        if websocket && !cfg!(feature = "websocket") {
            return Err(Error::Invalid("this build has no WebSocket: turn on the feature `websocket`"));
        }
        if secure && !cfg!(feature = "tls") {
            return Err(Error::Invalid("this build has no TLS: turn on the feature `tls`"));
        }
        let (authority, path) = match rest.split_once('/') {
            Some((_, path)) if !websocket && !path.is_empty() => return Err(FORM),
            Some((authority, path)) => (authority, path),
            None => (rest, ""),
        };
        let (host, port) = split_port(authority, port_default).ok_or(FORM)?;
        let path = if path.is_empty() { "/sub".to_owned() } else { format!("/{path}") };
        Ok(Self { websocket, secure, host, port, path })
    }

    /// `host:port` as it stands in a URL.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    #[cfg(feature = "tls")]
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Connects, with all handshakes below AUTH.
    pub(crate) async fn connect(&self, trusted: &Trusted, connect_ms: u64) -> Result<Connection, Disconnect> {
        match timeout(Duration::from_millis(connect_ms), self.open(trusted)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(what)) => Err(Disconnect::Lost(format!("no connection to {}: {what}", self.authority()))),
            Err(_) => Err(Disconnect::Lost(format!("no connection to {} within {connect_ms} ms", self.authority()))),
        }
    }

    async fn open(&self, trusted: &Trusted) -> Result<Connection, String> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        match (self.secure, self.websocket) {
            (false, false) => Ok(transport::tcp::start(tcp)),
            #[cfg(feature = "websocket")]
            (false, true) => transport::websocket::start(tcp, self).await,
            #[cfg(feature = "tls")]
            (true, websocket) => {
                let tls = transport::tls::handshake(tcp, self, trusted).await?;
                match websocket {
                    #[cfg(feature = "websocket")]
                    true => transport::websocket::start(tls, self).await,
                    _ => Ok(transport::tcp::start(tls)),
                }
            }
            #[cfg(not(all(feature = "websocket", feature = "tls")))]
            _ => {
                let _ = trusted;
                Err("this build has no such transport".to_owned())
            }
        }
    }
}

fn split_port(authority: &str, port_default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => port_default?,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let table = [
            ("tcp://127.0.0.1:3101", Some("127.0.0.1:3101")),
            ("tcp://[::1]:3101", Some("[::1]:3101")),
            ("tcp://localhost:1/", Some("localhost:1")),
            ("tcp://localhost", None),
            ("tcp://localhost:x", None),
            ("tcp://localhost:70000", None),
            ("tcp://localhost:1/sub", None),
            ("tcp://:1", None),
            ("http://localhost:1", None),
            ("localhost:1", None),
        ];
        for (url, authority) in table {
            assert_eq!(Endpoint::parse(url).ok().map(|endpoint| endpoint.authority()).as_deref(), authority, "{url}");
        }
    }

    #[cfg(all(feature = "websocket", feature = "tls"))]
    #[test]
    fn addresses_of_websockets() {
        for (url, authority, path) in [
            ("ws://a", "a:80", "/sub"),
            ("wss://a/", "a:443", "/sub"),
            ("wss://[::1]/x/y", "[::1]:443", "/x/y"),
            ("ws://a:8/sub", "a:8", "/sub"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.authority().as_str(), endpoint.path()), (authority, path), "{url}");
        }
    }
}

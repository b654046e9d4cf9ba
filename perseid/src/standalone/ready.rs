//! What is said when everything serves.

use std::net::SocketAddr;

use super::Standalone;

impl Standalone {
    /// The line for stdout when everything serves.
    pub fn ready_line(&self) -> String {
        let text = |addrs: &[SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        serde_json::json!({
            "ready": true,
            "pid": std::process::id(),
            "tcp": text(self.parts.comet.tcp()),
            "ws": text(self.parts.comet.ws()),
            "tls": text(self.parts.comet.tls()),
            "wss": text(self.parts.comet.wss()),
            "http": self.parts.http.first().map(ToString::to_string),
            "comet_grpc": self.wire.comet_grpc().map(|addr| addr.to_string()),
            "logic_grpc": self.wire.logic_grpc().map(|addr| addr.to_string()),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string()
    }
}

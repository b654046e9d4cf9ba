//! Connections to other parts.

use tonic::transport::{Channel, Endpoint, Error};

use crate::limits::{
    CONNECT_WAIT, CONNECTION_WINDOW_BYTES, HEADER_LIST_BYTES_MAX, KEEPALIVE_EVERY, KEEPALIVE_WAIT, STREAM_WINDOW_BYTES,
};
use crate::tls::WireTls;

/// How other parts are called.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    /// With mutual TLS; else in the clear.
    pub tls: Option<WireTls>,
}

impl Dial {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// It is no address, nobody listens there, or its certificate is not accepted.
    pub async fn connect(&self, host_port: &str) -> Result<Channel, Error> {
        self.endpoint(host_port)?.connect().await
    }

    /// A connection to `host:port` that is made when it is first used, and again when it was lost.
    ///
    /// # Errors
    /// It is no address.
    pub fn connect_lazy(&self, host_port: &str) -> Result<Channel, Error> {
        Ok(self.endpoint(host_port)?.connect_lazy())
    }

    fn endpoint(&self, host_port: &str) -> Result<Endpoint, Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{host_port}"))?
            .connect_timeout(CONNECT_WAIT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_WAIT)
            .keep_alive_while_idle(true);
        match &self.tls {
            Some(tls) => endpoint.tls_config(tls.client()),
            None => Ok(endpoint),
        }
    }
}

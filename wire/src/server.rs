//! A gRPC listener: bounded connections, bounded calls, bounded headers, and an end that does not wait for streams that
//! never end.

mod connection;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::limits::{
    CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, HANDSHAKE_WAIT, HEADER_LIST_BYTES_MAX, KEEPALIVE_EVERY, KEEPALIVE_WAIT,
    LOCAL_RESETS_MAX, PENDING_RESETS_MAX, SILENCE_WAIT, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::tls::{TlsError, WireTls};
use connection::Connection;

/// How long a listener rests when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long calls under way may take when the listener ends.
const END_WAIT: Duration = Duration::from_secs(2);

/// What listeners count.
#[derive(Debug, Default)]
pub struct ServerCounters {
    accepted: AtomicU64,
    open: AtomicU64,
    accept_errors: AtomicU64,
    timed_out: AtomicU64,
}

/// What listeners have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSnapshot {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Connections dropped because their peers said nothing for too long.
    pub timed_out: u64,
}

impl ServerCounters {
    /// The counts now.
    pub fn snapshot(&self) -> ServerSnapshot {
        ServerSnapshot {
            accepted: self.accepted.load(Relaxed),
            open: self.open.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
        }
    }
}

/// How long peers may say nothing.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// For the first words of a connection, and for a TLS handshake.
    handshake: Duration,
    /// Until they are asked whether they live.
    ping: Duration,
    /// Until they are dropped: whoever lives has answered by then.
    silence: Duration,
}

const WAITS: Waits = Waits { handshake: HANDSHAKE_WAIT, ping: KEEPALIVE_EVERY, silence: SILENCE_WAIT };

/// The services of both. A call that neither has is answered with UNIMPLEMENTED.
pub fn merge(own: Routes, others: Routes) -> Routes {
    // Two fallbacks can't be merged, and they are the same.
    Routes::from(own.into_axum_router().merge(others.into_axum_router().reset_fallback()))
}

/// Running listeners with the same services.
#[derive(Debug)]
pub struct GrpcServer {
    addrs: Vec<SocketAddr>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    counters: Arc<ServerCounters>,
}

impl GrpcServer {
    /// Serves `routes` on `listeners`, with mutual TLS if there is one. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// A listener, or the TLS configuration, that can't be used.
    pub fn start(listeners: Vec<StdListener>, routes: Routes, tls: Option<&WireTls>) -> Result<Self, StartError> {
        Self::start_with(listeners, routes, tls, WAITS)
    }

    fn start_with(listeners: Vec<StdListener>, routes: Routes, tls: Option<&WireTls>, waits: Waits) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let counters = Arc::new(ServerCounters::default());
        let mut server = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
            .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
            .http2_keepalive_interval(Some(waits.ping))
            .http2_keepalive_timeout(Some(KEEPALIVE_WAIT));
        if let Some(tls) = tls {
            server = server.tls_config(tls.server(waits.handshake)).map_err(TlsError::Unusable)?;
        }
        let (connections, incoming) = mpsc::channel(1);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut addrs = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            addrs.push(listener.local_addr()?);
            let accepting = Accepting {
                listener: TcpListener::from_std(listener)?,
                permits: permits.clone(),
                counters: counters.clone(),
                connections: connections.clone(),
                waits,
            };
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = accepting.run() => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        let router = server.add_routes(routes);
        let ended = stop.clone();
        let serving = tokio::spawn(async move {
            let serving = router.serve_with_incoming_shutdown(ReceiverStream::new(incoming), ended.cancelled());
            tokio::pin!(serving);
            let outcome = tokio::select! {
                outcome = &mut serving => outcome,
                () = async { ended.cancelled().await; tokio::time::sleep(END_WAIT).await } => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "a gRPC listener failed");
            }
        });
        Ok(Self { addrs, stop, serving, counters })
    }

    /// Addresses as bound.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<ServerCounters> {
        &self.counters
    }

    /// Takes nothing new, waits for calls under way for a moment, and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}

/// Why listeners could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket.
    #[error("can't listen: {0}")]
    Io(#[from] io::Error),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

struct Accepting {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    counters: Arc<ServerCounters>,
    connections: mpsc::Sender<io::Result<Connection>>,
    waits: Waits,
}

impl Accepting {
    async fn run(self) {
        // The semaphore is never closed.
        while let Ok(permit) = self.permits.clone().acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // A socket that refuses an option is gone anyway, and the first read will say so.
                    let _ = stream.set_nodelay(true);
                    self.counters.accepted.fetch_add(1, Relaxed);
                    let connection = Connection::new(stream, self.waits, self.counters.clone(), permit);
                    if self.connections.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    self.counters.accept_errors.fetch_add(1, Relaxed);
                    tracing::warn!(%error, "gRPC: can't accept connections; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

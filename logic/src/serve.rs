//! The HTTP listener: bounded connections, bounded headers in bounded time, and an end that waits for what is under way.
//!
//! Whose fault what is: a client that is slow or talks nonsense costs its own connection; a failed accept (no file
//! descriptors) pauses the listener and never ends it.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// How long a listener rests when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one connection, and all of them, may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at once, over all listeners; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// From the end of one request (or from connecting) to the end of the next one's headers, ms: bounds both who sends
    /// headers slowly and who keeps a connection for nothing.
    pub header_ms: u64,
    /// Request line and headers, and what is read of a body at once, bytes; at least 8,192.
    pub buffer_bytes_max: usize,
    /// How long a client may take nothing of an answer, ms.
    pub unread_ms: u64,
    /// How long the end waits for requests under way, ms.
    pub shutdown_ms: u64,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self { connections_max: 4096, header_ms: 60_000, buffer_bytes_max: 128 * 1024, unread_ms: 60_000, shutdown_ms: 10_000 }
    }
}

/// What all connections share.
struct Server {
    http: http1::Builder,
    router: Router,
    limits: ServeLimits,
    metrics: Arc<Metrics>,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    /// No new connections and requests.
    shutdown: CancellationToken,
    /// No connections.
    kill: CancellationToken,
}

/// Serves `router` on `listeners` until `shutdown`; then takes nothing new, waits for requests under way, and returns how
/// many connections had to be cut off.
///
/// # Errors
/// A listener that can't be used.
pub async fn serve(
    listeners: Vec<std::net::TcpListener>,
    router: Router,
    limits: ServeLimits,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> io::Result<usize> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_ms))
        // hyper panics below this.
        .max_buf_size(limits.buffer_bytes_max.max(8192));
    let server = Arc::new(Server {
        http,
        router,
        permits: Arc::new(Semaphore::new(limits.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
        limits,
        metrics,
        connections: TaskTracker::new(),
        shutdown: shutdown.clone(),
        kill: CancellationToken::new(),
    });
    let accepting = TaskTracker::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        accepting.spawn(accept(server.clone(), TcpListener::from_std(listener)?));
    }
    shutdown.cancelled().await;
    accepting.close();
    accepting.wait().await;
    Ok(server.finish().await)
}

async fn accept(server: Arc<Server>, listener: TcpListener) {
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = server.permits.clone().acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = server.shutdown.cancelled() => None,
        };
        match accepted {
            Some((permit, Ok((stream, peer)))) => {
                server.metrics.http.connections.fetch_add(1, Relaxed);
                server.connections.spawn(connection(server.clone(), stream, peer, permit));
            }
            Some((_, Err(error))) => server.accept_failed(&error).await,
            None => return,
        }
    }
}

impl Server {
    async fn accept_failed(&self, error: &io::Error) {
        self.metrics.http.accept_errors.fetch_add(1, Relaxed);
        // The client gave up before it was accepted: the next one may be fine.
        let of_one_client = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
        if !of_one_client {
            tracing::warn!(%error, "http: can't accept connections; trying again");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    fn prepare(&self, stream: &TcpStream) {
        // A socket that refuses an option is gone anyway, and the first read will say so.
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(Duration::from_millis(self.limits.unread_ms)));
    }

    async fn finish(&self) -> usize {
        self.connections.close();
        let wait = Duration::from_millis(self.limits.shutdown_ms);
        if tokio::time::timeout(wait, self.connections.wait()).await.is_ok() {
            return 0;
        }
        let cut_off = self.connections.len();
        self.kill.cancel();
        self.connections.wait().await;
        cut_off
    }
}

/// The other end of the connection that a request came on: an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

async fn connection(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
    server.prepare(&stream);
    let open = &server.metrics.http.open;
    open.fetch_add(1, Relaxed);
    let router = TowerToHyperService::new(server.router.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    let mut http = pin!(server.http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = http.as_mut() => Some(ended),
        () = server.shutdown.cancelled() => {
            http.as_mut().graceful_shutdown();
            tokio::select! {
                ended = http => Some(ended),
                () = server.kill.cancelled() => None,
            }
        }
    };
    let counters = &server.metrics.http;
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) if error.is_timeout() => {
            counters.timed_out.fetch_add(1, Relaxed);
        }
        Some(Err(_)) | None => {
            counters.broken.fetch_add(1, Relaxed);
        }
    }
    open.fetch_sub(1, Relaxed);
    drop(permit);
}

//! A connection of a listener: it counts until it ends, and it ends if its peer says nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::{ServerCounters, Waits};

/// What a peer has to say before it counts as one: HTTP/2's preface and the head of its SETTINGS, or a part of a ClientHello.
const FIRST_BYTES: usize = 24 + 9;

/// Until when a peer may say nothing. Pings are answered by whoever lives, so there is no such thing as a quiet peer.
#[derive(Debug)]
struct Patience {
    waits: Waits,
    begun: Instant,
    heard: Instant,
    bytes: usize,
}

impl Patience {
    fn new(waits: Waits, now: Instant) -> Self {
        Self { waits, begun: now, heard: now, bytes: 0 }
    }

    fn hear(&mut self, bytes: usize, now: Instant) {
        if bytes > 0 {
            self.bytes = self.bytes.saturating_add(bytes);
            self.heard = now;
        }
    }

    fn ends_at(&self) -> Instant {
        // The first words have one deadline: they can't be drawn out byte by byte.
        if self.bytes < FIRST_BYTES { self.begun + self.waits.handshake } else { self.heard + self.waits.silence }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    patience: Patience,
    /// Looks after the patience; what was heard since it was set moves it when it is over.
    alarm: Pin<Box<Sleep>>,
    counters: Arc<ServerCounters>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Counts it as open.
    pub(super) fn new(stream: TcpStream, waits: Waits, counters: Arc<ServerCounters>, permit: OwnedSemaphorePermit) -> Self {
        counters.open.fetch_add(1, Relaxed);
        let patience = Patience::new(waits, Instant::now());
        let alarm = Box::pin(sleep_until(patience.ends_at()));
        Self { stream, patience, alarm, counters, _permit: permit }
    }

    /// Ready when the peer has said nothing for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let until = self.patience.ends_at();
            if until <= Instant::now() {
                self.counters.timed_out.fetch_add(1, Relaxed);
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer says nothing"));
            }
            self.alarm.as_mut().reset(until);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                self.patience.hear(buf.filled().len().saturating_sub(before), Instant::now());
                Poll::Ready(Ok(()))
            }
            Poll::Pending => self.poll_silence(cx).map(Err),
            failed => failed,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn patience() {
        let (ms, begun) = (Duration::from_millis, Instant::now());
        let mut patience = Patience::new(Waits { handshake: ms(50), ping: ms(100), silence: ms(300) }, begun);
        let mut ends = Vec::new();
        // Bytes one by one, then all that a peer has to say first, then more, then nothing at all.
        for (bytes, at_ms) in [(0, 0), (1, 10), (1, 40), (FIRST_BYTES - 2, 45), (1, 100), (0, 200)] {
            patience.hear(bytes, begun + ms(at_ms));
            ends.push((patience.ends_at() - begun).as_millis());
        }
        assert_eq!(ends, [50, 50, 50, 345, 400, 400]);
    }
}

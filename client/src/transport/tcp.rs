//! Frames one after the other: over TCP, and over TLS on it.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;

use super::{Connection, Heard, TaskEnd, pair};
use crate::error::Disconnect;

/// The most that is read at once, bytes.
const READ_BYTES: usize = 64 * 1024;

/// Starts the connection's task on an open stream.
pub(crate) fn start<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> Connection {
    let (connection, end) = pair();
    tokio::spawn(run(stream, end));
    connection
}

async fn run<S: AsyncRead + AsyncWrite>(stream: S, end: TaskEnd) {
    let (read, write) = split(stream);
    let heard = end.heard.clone();
    let why = tokio::select! {
        why = reading(read, &end.heard) => why,
        why = writing(write, end.to_write, &end.waiting_bytes) => why,
        () = TaskEnd::outlived(heard.clone()) => return,
    };
    // Nobody may be listening any more.
    let _ = heard.send(Heard::Ended(Disconnect::Lost(why))).await;
}

async fn reading<S: AsyncRead>(mut read: ReadHalf<S>, heard: &mpsc::Sender<Heard>) -> String {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return "the server closed the connection".to_owned(),
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                if heard.send(Heard::Bytes(bytes)).await.is_err() {
                    // The client has let go; what it wrote last may still be on its way.
                    std::future::pending::<()>().await;
                }
            }
            Err(error) => return format!("the connection broke: {error}"),
        }
    }
}

async fn writing<S: AsyncWrite>(
    mut write: WriteHalf<S>,
    mut to_write: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting_bytes: &std::sync::atomic::AtomicUsize,
) -> String {
    while let Some(frames) = to_write.recv().await {
        if let Err(error) = write.write_all(&frames).await {
            return format!("the connection broke: {error}");
        }
        // A stream of TLS keeps what was written until it is told to let go.
        if to_write.is_empty()
            && let Err(error) = write.flush().await
        {
            return format!("the connection broke: {error}");
        }
        waiting_bytes.fetch_sub(frames.len(), Ordering::Relaxed);
    }
    let _ = write.shutdown().await;
    "closed by this client".to_owned()
}

//! Connections: bytes in, bytes out, nothing else.
//!
//! Each is a task with two channels, whatever it runs over. What it hears goes through a short queue, so that a client that
//! does not take it does not read; what it is to write waits until the network takes it, and is bounded by who writes.
//! It ends when either side does: dropping a [`Connection`] writes what still waits and closes.

pub(crate) mod tcp;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use perseid_protocol::frame::{Frame, FrameError};
use perseid_protocol::session::client::Session;
use tokio::sync::mpsc;

use crate::error::Disconnect;

/// Chunks that may wait to be handled: a TCP read or a WebSocket message each.
const HEARD_MAX: usize = 4;

/// How long the last bytes of a connection that the client has given up may take.
const LINGER: Duration = Duration::from_secs(5);

/// What a connection hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Bytes of a stream: frames may begin and end anywhere.
    Bytes(Vec<u8>),
    /// A message: whole frames.
    #[cfg(feature = "websocket")]
    Message(bytes::Bytes),
    /// Its end, and why.
    Ended(Disconnect),
}

/// The client's end of a connection.
pub(crate) struct Connection {
    heard: mpsc::Receiver<Heard>,
    to_write: mpsc::UnboundedSender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// The begin of a frame whose end has not come yet.
    partial: Vec<u8>,
}

/// The task's end.
pub(crate) struct TaskEnd {
    pub(crate) heard: mpsc::Sender<Heard>,
    pub(crate) to_write: mpsc::UnboundedReceiver<Vec<u8>>,
    pub(crate) waiting_bytes: Arc<AtomicUsize>,
}

pub(crate) fn pair() -> (Connection, TaskEnd) {
    let (heard_sender, heard) = mpsc::channel(HEARD_MAX);
    let (to_write, write_receiver) = mpsc::unbounded_channel();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let connection = Connection { heard, to_write, waiting_bytes: Arc::clone(&waiting_bytes), partial: Vec::new() };
    (connection, TaskEnd { heard: heard_sender, to_write: write_receiver, waiting_bytes })
}

impl TaskEnd {
    /// Waits until the client has let go, and then as long as its last bytes may take.
    pub(crate) async fn outlived(heard: mpsc::Sender<Heard>) {
        heard.closed().await;
        tokio::time::sleep(LINGER).await;
    }
}

impl Connection {
    /// Writes whole frames, some time.
    pub(crate) fn write(&self, frames: Vec<u8>) {
        self.waiting_bytes.fetch_add(frames.len(), Ordering::Relaxed);
        // A task that has ended says so where it is read.
        let _ = self.to_write.send(frames);
    }

    /// What was to be written and is not, bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        self.heard.recv().await.unwrap_or_else(|| Heard::Ended(Disconnect::Lost("the connection ended".to_owned())))
    }

    /// Takes what was heard apart into frames.
    ///
    /// # Errors
    /// What is no frame; all before it were given.
    pub(crate) fn frames(&mut self, heard: Heard, mut each: impl FnMut(&Frame<'_>)) -> Result<(), FrameError> {
        match heard {
            Heard::Bytes(bytes) => {
                self.partial.extend_from_slice(&bytes);
                let used = take_frames(&self.partial, &mut each)?;
                self.partial.drain(..used);
                Ok(())
            }
            #[cfg(feature = "websocket")]
            Heard::Message(message) => match take_frames(&message, &mut each)? {
                used if used == message.len() => Ok(()),
                used => Err(FrameError::Cut { wrapper_bytes: message.len() - used }),
            },
            Heard::Ended(_) => Ok(()),
        }
    }
}

fn take_frames(input: &[u8], each: &mut impl FnMut(&Frame<'_>)) -> Result<usize, FrameError> {
    let mut used = 0;
    while let Some(frame) = Session::decode(input.get(used..).unwrap_or_default())? {
        used += frame.len;
        each(&frame);
    }
    Ok(used)
}

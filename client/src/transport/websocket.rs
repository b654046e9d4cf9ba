//! Frames in binary messages.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use perseid_protocol::CloseReason;
use perseid_protocol::limits::{MESSAGE_BYTES_MAX, SERVER_FRAME_BYTES_MAX};
use perseid_protocol::session::client::Session;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::{Connection, Heard, TaskEnd, pair};
use crate::connect::Endpoint;
use crate::error::{Disconnect, Farewell};

/// The longest message that is taken from a server, bytes: a few frames of the largest kind.
const FROM_SERVER_BYTES_MAX: usize = 4 * SERVER_FRAME_BYTES_MAX;

/// Does the upgrade, and starts the connection's task.
pub(crate) async fn start<S>(stream: S, endpoint: &Endpoint) -> Result<Connection, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits =
        WebSocketConfig::default().max_message_size(Some(FROM_SERVER_BYTES_MAX)).max_frame_size(Some(FROM_SERVER_BYTES_MAX));
    // Encrypted or not is the stream's affair.
    let url = format!("ws://{}{}", endpoint.authority(), endpoint.path());
    let (socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(limits))
        .await
        .map_err(|error| format!("the WebSocket was not accepted: {error}"))?;
    let (connection, end) = pair();
    let outlived = TaskEnd::outlived(end.heard.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = run(socket, end) => {}
            () = outlived => {}
        }
    });
    Ok(connection)
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>, mut end: TaskEnd) {
    let why = loop {
        // A client that does not take what was heard must not be read for; it may write all the same.
        let room = end.heard.capacity() > 0 || end.heard.is_closed();
        tokio::select! {
            frames = end.to_write.recv() => match frames {
                Some(frames) => {
                    let outcome = write(&mut socket, &frames).await;
                    end.waiting_bytes.fetch_sub(frames.len(), Ordering::Relaxed);
                    if let Err(error) = outcome {
                        break Disconnect::Lost(format!("the connection broke: {error}"));
                    }
                }
                None => {
                    let _ = socket.close(None).await;
                    return;
                }
            },
            message = socket.next(), if room => match hear(message) {
                Ok(Some(message)) => {
                    let _ = end.heard.try_send(Heard::Message(message));
                }
                Ok(None) => {}
                Err(why) => break why,
            },
            permit = end.heard.reserve(), if !room => drop(permit),
        }
    };
    // Nobody may be listening any more.
    let _ = end.heard.send(Heard::Ended(why)).await;
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    frames: &[u8],
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    for message in messages(frames) {
        socket.feed(Message::Binary(Bytes::copy_from_slice(message))).await?;
    }
    socket.flush().await
}

/// Cuts frames into messages that a server takes; a frame does not straddle two.
fn messages(frames: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Ok(Some(frame)) = Session::decode(frames.get(at..).unwrap_or_default()) {
        if at > begin && at + frame.len - begin > MESSAGE_BYTES_MAX {
            messages.extend(frames.get(begin..at));
            begin = at;
        }
        at += frame.len;
    }
    messages.extend(frames.get(begin..at).filter(|message| !message.is_empty()));
    messages
}

fn hear(message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> Result<Option<Bytes>, Disconnect> {
    match message {
        Some(Ok(Message::Binary(message))) => Ok(Some(message)),
        Some(Ok(Message::Text(_))) => Err(Disconnect::Breach("a text message".to_owned())),
        Some(Ok(Message::Close(frame))) => Err(closed(frame)),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(Disconnect::Lost(format!("the connection broke: {error}"))),
        None => Err(Disconnect::Lost("the server closed the connection".to_owned())),
    }
}

fn closed(frame: Option<CloseFrame>) -> Disconnect {
    let Some(frame) = frame else { return Disconnect::Lost("the server closed the WebSocket".to_owned()) };
    let code = u16::from(frame.code);
    let reason = frame.reason.as_str().to_owned();
    if !(4000..5000).contains(&code) {
        return Disconnect::Lost(format!("the server closed the WebSocket: {code} {reason}"));
    }
    let message = CloseReason::from_code(code).map_or("", CloseReason::advice).to_owned();
    Disconnect::Told(Farewell { code, reason, message, retry_after_ms: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseid_protocol::frame::{Header, put_extended};

    #[test]
    fn messages_hold_whole_frames() {
        let mut frames = Vec::new();
        for _ in 0..40 {
            put_extended(&mut frames, &Header::default(), &[7; 60_000]);
        }
        let messages = messages(&frames);
        assert_eq!(messages.concat(), frames);
        assert_eq!(messages.len(), 3);
        for message in &messages {
            assert!(message.len() <= MESSAGE_BYTES_MAX && message.len() % 60_072 == 0);
        }
        assert!(super::messages(&[]).is_empty());
    }
}

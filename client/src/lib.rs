//! Perseid's client: an application sees each message once and in order, whatever happens to network and server.
//!
//! ```no_run
//! use perseid_client::{Client, Config, Event, FileStorage};
//!
//! # async fn example() -> Result<(), perseid_client::Error> {
//! let config = Config::new("tcp://127.0.0.1:3101", 1001)?.device("laptop").storage(FileStorage::new("1001.perseid"));
//! let (client, mut events) = Client::connect(config).await?;
//!
//! // Stored now, sent as soon as there is a session, once.
//! let sending = client.send_direct(1002, "hello").await?;
//! println!("accepted as {}", sending.await?.id);
//!
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Message(message) => println!("{} from {}: {:?}", message.at.pos, message.from, message.body),
//!         Event::Skipped(skipped) => println!("reload what is older than {}", skipped.to),
//!         Event::Closed { reason } => println!("{reason}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! **Receiving.** Each stored message is given once and in the order of the user's inbox. Pushes that come late, twice or not
//! at all are put right by reading the inbox (SYNC) from the cursor; after a lost connection the client comes back and reads
//! on. What the server has no more is said with [`Event::Skipped`]: nothing is missing silently.
//!
//! **The cursor** moves past an event when the application asks for the next one, or when [`Client::ack`] says so
//! ([`Config::acks_by_hand`]). It is stored, and then acknowledged to the server, at most once in 200 ms or in 50 messages. So
//! a program that is killed sees its last messages again: at least once. An application that writes [`Position`]s down
//! together with what it makes of the messages drops those that it knows, and so has each exactly once; one that implements
//! [`Storage`] over the same database keeps both in one place.
//!
//! **Sending.** A message gets an id (`cid`) and is stored before [`Client::send_direct`] returns, and it goes out under that
//! id until the server has answered: over lost connections, restarts and the server's refusals that pass. Before anything is
//! sent again on a new session the inbox is read to its head, and what has come back is done. In each conversation messages
//! go in the order of the calls. What the server refuses for good ([`Refusal::Blocked`], …) is the result of the [`Sending`],
//! or an [`Event::Outcome`] for a message of an earlier life of the program.
//!
//! **Rooms** are joined again from the last frame seen; what the server's ring has lost is said with [`Event::RoomGap`].
//!
//! **Coming back.** After each lost connection the client waits a random time within what the server advises, then longer
//! and longer. It stays away when the server says so (codes from 4500 on, [`Event::Closed`]), until [`Client::set_token`] or
//! [`Client::connect_again`].
//!
//! **Bounds.** What waits for the application, for the network, beyond a gap and in the outbox is bounded in bytes, each by
//! its own limit of [`Config`]. A slow application gets no more messages until it has taken some, and misses none; what is not
//! stored is dropped then, and counted ([`Event::Dropped`]).
//!
//! # Several conversations on a new device
//!
//! ```no_run
//! # use perseid_client::{Client, Error, From};
//! # async fn example(client: Client) -> Result<(), Error> {
//! let mut after = None;
//! loop {
//!     let page = client.heads(after, 0).await?;
//!     for head in &page.heads {
//!         let newest = client.pull(head.kind, head.conv, From::Before(0), 20).await?;
//!         println!("{} unread, {} shown", head.conv_pos - head.read_pos, newest.items.len());
//!     }
//!     after = page.heads.last().copied();
//!     if !page.more {
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Inside
//!
//! The rules are a machine without socket, clock and task (`core`), tested by a seeded simulation; `driver` carries out what
//! it says; `transport` is bytes in and bytes out, over TCP, WebSocket (feature `websocket`) and TLS (feature `tls`).

mod client;
mod config;
mod connect;
mod core;
mod driver;
mod error;
mod event;
mod events;
mod json;
mod page;
mod storage;
mod transport;

pub use crate::client::{Client, Sending};
pub use crate::config::{Config, Trusted};
pub use crate::core::{Counts, Joined, Start};
pub use crate::error::{Disconnect, Error, Farewell, Refused};
pub use crate::event::{
    Change, ConversationHead, Ephemeral, Event, Message, Position, Push, RoomFrame, RoomGap, Sent, Skipped, What,
};
pub use crate::events::Events;
pub use crate::page::{From, HeadsPage, Item, Page};
pub use crate::storage::{FileStorage, MemoryStorage, OutboxEntry, Record, Storage, Stored};
pub use perseid_protocol::frame::kind;
pub use perseid_protocol::{CloseReason, Refusal};

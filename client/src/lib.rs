//! Perseid's client.

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

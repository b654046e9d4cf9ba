//! Stored messages, as clients and businesses see them: the whole program, over both transports.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "stored/errors.rs"]
mod errors;
#[path = "stored/groups.rs"]
mod groups;
#[path = "stored/inbox.rs"]
mod inbox;
#[path = "stored/messages.rs"]
mod messages;
#[path = "stored/person.rs"]
mod person;
#[path = "stored/rooms.rs"]
mod rooms;

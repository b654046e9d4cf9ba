//! Everything again, over TLS: the tests of both transports, with clients that encrypt.

// Each module brings the support along, which is what makes its clients encrypt.
#![allow(clippy::unwrap_used, clippy::duplicate_mod)]

#[path = "auth.rs"]
mod auth;
#[path = "collapse.rs"]
mod collapse;
#[path = "conformance.rs"]
mod conformance;
#[path = "delivery.rs"]
mod delivery;
#[path = "door.rs"]
mod door;
#[path = "expiry.rs"]
mod expiry;
#[path = "inbox.rs"]
mod inbox;
#[path = "lifecycle.rs"]
mod lifecycle;
#[path = "limits.rs"]
mod limits;
#[path = "noise.rs"]
mod noise;
#[path = "priority.rs"]
mod priority;
#[path = "room_recovery.rs"]
mod room_recovery;
#[path = "sessions.rs"]
mod sessions;
#[path = "slow_clients.rs"]
mod slow_clients;
#[path = "slow_inboxes.rs"]
mod slow_inboxes;
#[path = "stored.rs"]
mod stored;
#[path = "websocket.rs"]
mod websocket;

//! Everything again, over TLS: the tests of both transports, with clients that encrypt.

#![allow(clippy::unwrap_used)]

#[path = "auth.rs"]
mod auth;
#[path = "conformance.rs"]
mod conformance;
#[path = "delivery.rs"]
mod delivery;
#[path = "lifecycle.rs"]
mod lifecycle;
#[path = "noise.rs"]
mod noise;
#[path = "sessions.rs"]
mod sessions;
#[path = "slow_clients.rs"]
mod slow_clients;
#[path = "websocket.rs"]
mod websocket;

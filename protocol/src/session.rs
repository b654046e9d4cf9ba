//! The rules of a session, for both ends, as machines without socket or clock.
//!
//! ```text
//!            AUTH                    accepted
//! AwaitingAuth ──▶ Authenticating ─────────────▶ Live ──▶ Ended
//!      │ any other frame │ refused                 │ silence, bad frame, kick, drain, …
//!      └────────────────▶ Ended ◀──────────────────┘
//! ```
//!
//! The driver feeds frames (`handle_frame`), the outcome of AUTH (`handle_auth`) and time (`poll_timeout`,
//! `handle_timeout`), and carries out what it is told.

pub mod client;
pub mod server;
pub mod stored;

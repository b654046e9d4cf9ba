//! Perseid's client protocol: frames, operations, close codes, limits and the rules of a session.
//!
//! Everything here is a value or a function of values: no socket, no task, no clock (time is an argument, in ms).
//! The same code serves the comet, the tools and the Rust SDK.
//!
//! Reading order: [`frame`] (bytes ⇄ frames), [`operation`] (the table of operations), [`close`] (why a session ends),
//! [`limits`] (every bound), [`auth`] and [`room`] (what stands in the bodies), [`session`] (the rules),
//! [`push`] (what travels from job to comet), [`trace`] (which request a push belongs to), [`calendar`] (days as
//! numbers), [`origin`] (whose web pages may come).

pub mod auth;
pub mod calendar;
pub mod close;
pub mod frame;
pub mod key;
pub mod limits;
pub mod operation;
pub mod operations;
pub mod origin;
pub mod push;
pub mod refusal;
pub mod room;
pub mod session;
pub mod trace;

pub use close::CloseReason;
pub use frame::{Extension, FrameError, Header};
pub use key::SessionKey;
pub use operation::op;
pub use refusal::Refusal;

//! Bytes in, bytes out, and nothing else.

pub(crate) mod forwarded;
pub(crate) mod listener;
pub(crate) mod pages;
pub(crate) mod proxy;
pub(crate) mod sys;
pub mod tls;
pub mod websocket;

pub use listener::{is_in_use, patiently};

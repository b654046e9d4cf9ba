//! Bytes in, bytes out, and nothing else.

pub(crate) mod listener;
pub(crate) mod sys;
pub mod tls;
pub mod websocket;

//! Perseid's client.

mod core;
mod error;
mod event;
mod json;
mod storage;

pub use crate::core::{Counts, Joined, Start};
pub use error::{Disconnect, Error, Farewell, Refused};
pub use event::*;
pub use storage::*;

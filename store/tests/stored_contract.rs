//! What every store of stored messages must do, whatever it stands on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "stored_contract/basics.rs"]
mod basics;
#[path = "stored_contract/bench.rs"]
mod bench;

//! What Perseid's parts remember, behind traits: who is online and where ([`SessionRegistry`]), and stored messages ([`stored`]).
//!
//! One trait, [`SessionRegistry`], with one contract test (`tests/registry_contract.rs`), and one implementation so far:
//! [`MemoryRegistry`], for one process that holds everything. An implementation over a shared store goes behind the same
//! trait and the same contract test.
//!
//! **The rule of the crate**: values in, values out. No call hands out a guard or a reference into the store, so no caller
//! can hold a lock by accident.

mod memory;
mod platform;
mod row;
mod sessions;
pub mod stored;
mod tell;
mod verdict;
mod wait;

pub use memory::MemoryRegistry;
pub use sessions::{Counts, KeyTaken, NewSession, Restored, SessionRegistry, SessionRow, Takeover};
pub use verdict::Verdict;

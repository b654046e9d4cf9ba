//! Sessions: child processes of one thread each that hold connections, read
//! what is pushed to them, and check it.

pub(crate) mod check;
pub(crate) mod classic;
mod client;
mod control;
pub(crate) mod messages;
mod timer;
pub(crate) mod websocket;
mod worker;

pub(crate) use control::{Connected, Fleet, FleetCounters, FleetSpec, Outcome};
pub(crate) use worker::{WORKER_WORD, main as worker_main};

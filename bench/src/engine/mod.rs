//! Sessions: child processes of one thread each that hold connections, read
//! what is pushed to them, and check it.

mod books;
pub(crate) mod check;
pub(crate) mod classic;
mod client;
mod connect;
mod control;
pub(crate) mod messages;
mod outcome;
mod reading;
pub(crate) mod stored;
mod talk;
mod timer;
pub(crate) mod tls;
pub(crate) mod websocket;
mod worker;

pub(crate) use control::{Fleet, FleetCounters, FleetSpec};
pub(crate) use outcome::{Connected, Outcome};
pub(crate) use worker::{WORKER_WORD, main as worker_main};

//! Job: reads pushes from the event log and hands them to the comets.
//!
//! ```text
//!  log ──records──▶ JobConsumer ──▶ Dispatcher ──deliveries per comet──▶ Lane (one for each comet)
//!                                       │                                  in process: a call into the comet
//!                                    Routes: who is online, and where       else: QueuedLane = queue + thread + transport
//! ```
//!
//! Stored messages take a way of their own, through the store: [`inbox`]. They share routes and lanes.
//!
//! [`dispatch`] decides who gets what, [`lane`] is the way to one comet, [`driver`] joins both to the log, and [`metrics`]
//! counts: every session, key, user or comet that a push was for ends as a delivery or as a drop with a reason.
//!
//! **Invariants**: what goes to one comet goes in the order of the log. Nothing here blocks the log's thread. A record that
//! makes no sense is counted and skipped. Everything that waits is bounded in bytes.
//!
//! Not here: sockets, frames, and what a session accepts (the comet knows).

pub mod dispatch;
pub mod driver;
pub mod inbox;
pub mod lane;
pub mod metrics;
mod outlet;

pub use dispatch::{Batches, Counts, Dead, Dispatcher, Routes, Unheard};
pub use driver::JobConsumer;
pub use lane::{
    BreakerState, Lane, LaneConfig, LaneCounters, LaneError, Lanes, QueuedLane, RoomInterest, Transport, TransportError,
};
pub use metrics::{DropReason, Metrics, MetricsSnapshot};
pub use outlet::relay;

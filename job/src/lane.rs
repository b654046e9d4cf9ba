//! The way to one comet.
//!
//! In the standalone a lane is a call into the comet. A lane over anything that can wait is a [`QueuedLane`]: a queue bounded in
//! bytes ([`queue::LaneQueue`], pure) whose own thread feeds a [`Transport`]. So a comet that hangs costs its own lane's bound
//! and nobody else anything.
//!
//! A drop on a lane is never the end of a stored message: one bit is remembered, and when the comet is back it is told to
//! `resync`, that is, to have its extended sessions look for what they missed.

mod breaker;
mod lanes;
pub mod queue;
mod queued;
mod retry;

use std::sync::Arc;
use std::time::Instant;

use perseid_protocol::push::Delivery;
use thiserror::Error;

pub use breaker::BreakerState;
pub use lanes::Lanes;
pub use queue::{LaneConfig, LaneCounters, LaneQueue};
pub use queued::QueuedLane;

/// Why a lane did not take all of a batch. What it dropped stood at the batch's end, so the order of the rest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LaneError {
    /// Too much is waiting.
    #[error("the lane is full: {dropped} deliveries dropped")]
    Full {
        /// Deliveries dropped.
        dropped: usize,
    },
    /// The comet can't be reached now.
    #[error("the lane is broken: {dropped} deliveries dropped")]
    Broken {
        /// Deliveries dropped.
        dropped: usize,
    },
}

/// The rooms that a comet has reported.
pub trait RoomInterest: Send + Sync {
    /// Whether it may hold `room`. Says yes while that is not known.
    fn holds(&self, room: &str) -> bool;
}

/// A way to one comet.
pub trait Lane: Send + Sync {
    /// The comet at its end.
    fn node(&self) -> u32;

    /// The rooms that the comet holds, where that is known; `None`: it gets the pushes to every room.
    fn room_interest(&self) -> Option<Arc<dyn RoomInterest>> {
        None
    }

    /// Takes a batch, in order after all before it. Never blocks; `Ok` means taken, not delivered.
    ///
    /// # Errors
    /// How much of it was dropped, and why.
    fn deliver(&self, batch: Vec<Delivery>) -> Result<(), LaneError>;

    /// Has the comet look what its extended sessions have missed. In one process nothing is lost without the end of all
    /// sessions: there it is nothing.
    fn resync(&self) {}
}

/// Why a transport did not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    /// Surely nothing arrived: trying again shows nothing twice.
    #[error("not sent")]
    NotSent,
    /// Some or all may have arrived, but the comet knows it by its sequence number: trying again shows nothing twice.
    #[error("it is unknown what arrived, and may be sent again")]
    Again,
    /// Some or all may have arrived (a deadline passed, a stream broke): it must not be sent again.
    #[error("it is unknown what arrived")]
    Unknown,
}

/// What carries a batch to a comet. May block until the deadline; it has a thread of its own.
pub trait Transport: Send + 'static {
    /// Sends a batch and waits until the comet has taken it. `sequence` names it: it grows from batch to batch, and stays when
    /// one is tried again.
    ///
    /// # Errors
    /// See [`TransportError`].
    fn send(&mut self, sequence: u64, batch: &[Delivery], deadline: Instant) -> Result<(), TransportError>;

    /// Tells the comet that deliveries were dropped.
    ///
    /// # Errors
    /// As for [`Transport::send`]; it is told again later.
    fn resync(&mut self, deadline: Instant) -> Result<(), TransportError>;
}

//! The way from a job to a comet in another process.

mod lane;
mod rooms;

pub use lane::{CometLane, LaneSettings};

//! Stored messages: what stands in the topic `log` is applied to the store, and told to those who are online.
//!
//! ```text
//!  record ─[meaning]─▶ step in its conversation ─[project]─▶ steps at users ─[show]─▶ deliveries
//!              └──────────────────── [progress] ────────────────────┘
//! ```
//!
//! **The rule**: the log is the truth. Who begins, begins at the smallest guard and skips what the guards cover; a restart, a
//! store that lost writes, one that was restored and one that was wiped are the same code.

mod driver;
mod hints;
mod meaning;
mod metrics;
pub mod progress;
mod project;
mod show;

pub use driver::{CatchUpError, Inbox, InboxJob, Ports, StartError};
pub use meaning::{RoomKeep, Senseless};
pub use metrics::{InboxMetrics, InboxSnapshot};
pub use show::{Applied, Hint, RoomFrame, Showing, Shown, ShownCounts, What, show};

//! What runs beside a logic and a job: who of the comets is there, what they ask, and what they hold.

mod comets;
mod nodes;
mod service;

pub use comets::{CometLaneInfo, Comets, CometsConfig};
pub use nodes::AllNodes;
pub use service::LogicService;
pub(crate) use service::unix_ms;

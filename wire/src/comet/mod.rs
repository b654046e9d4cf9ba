//! What runs beside a comet in a process of its own: its link to logic, and the service that takes pushes.

mod interest;
mod link;
mod push_service;
mod requests;
mod stream;

pub use interest::Interest;
pub use link::{LinkConfig, LinkSnapshot, RemoteLink};
pub use push_service::{PushCounters, PushService, PushSnapshot};
pub use stream::CometNode;
pub(crate) use stream::{VERSION, unreachable_because};

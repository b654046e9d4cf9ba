//! goim's own services, number by number, so that a goim cluster can be replaced one part at a time.

mod comet_service;
mod comets;
mod lane;
mod logic_service;

pub use comet_service::CometService;
pub use comets::{GoimComets, GoimConfig};
pub use logic_service::LogicService;

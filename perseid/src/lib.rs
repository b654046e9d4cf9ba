//! The program `perseid`: command line, configuration, and the composition of the parts.

pub mod admin;
pub mod certificates;
pub mod chat;
pub mod cli;
pub mod clock;
pub mod comet_role;
pub mod commands;
pub mod config;
pub mod console;
pub mod doctor;
pub mod gate;
pub mod grpc;
pub mod limits;
pub mod metrics;
mod pages;
pub mod parts;
pub mod process;
pub mod standalone;
pub mod stats;
pub mod telemetry;
pub mod traces;

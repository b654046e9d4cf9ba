//! The program `perseid`: command line, configuration, and the composition of the parts.

pub mod cli;
pub mod commands;
pub mod config;
pub mod telemetry;

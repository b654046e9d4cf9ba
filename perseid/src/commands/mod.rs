//! One module for each command.

pub mod api_token;
pub mod bench;
pub mod comet;
pub mod config;
mod connection;
pub mod doctor;
mod inbox;
pub mod listen;
mod printer;
pub mod push;
pub mod send;
pub mod standalone;
mod stream;
pub mod token;

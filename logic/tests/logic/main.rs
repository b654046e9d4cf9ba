//! Logic over a fake log and fake comets: accepting pushes, the APIs over HTTP and gRPC, the listener.
#![allow(clippy::unwrap_used)] // a test may panic

mod accept;
mod access;
mod as_json;
mod fakes;
mod goim;
mod groups;
mod grpc;
mod guard;
mod health;
mod manage;
mod openapi;
mod read;
mod serve;
mod stored;
mod traces;
mod v1;

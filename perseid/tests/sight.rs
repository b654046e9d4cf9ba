//! What operators look at: metrics and their documentation, the dashboard and the alerts made of them, the level of the log,
//! profiles, `perseid doctor`.

#![allow(clippy::unwrap_used)]

mod support;

#[path = "sight/admin.rs"]
mod admin;
#[path = "sight/doctor.rs"]
mod doctor;
#[path = "sight/exported.rs"]
mod exported;
#[path = "sight/profile.rs"]
mod profile;
#[path = "sight/promql.rs"]
mod promql;
#[path = "sight/rules.rs"]
mod rules;

//! Disks that are full, that fail, and that give back other bytes than they were given: what was acknowledged is there
//! afterwards, what can go on goes on, and what can't is refused with a reason.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "disk/acknowledged.rs"]
mod acknowledged;
#[path = "disk/damage.rs"]
mod damage;
#[path = "disk/faults.rs"]
mod faults;
#[path = "disk/full.rs"]
mod full;
#[path = "disk/log.rs"]
mod log;
#[path = "stored/person.rs"]
mod person;
#[path = "disk/standing.rs"]
mod standing;
#[path = "disk/stop.rs"]
mod stop;
#[path = "disk/store.rs"]
mod store;

//! What the end-to-end tests share: the real binary, an HTTP client, and clients of both protocol levels.
//!
//! All of it is written against the documents and not with the product's own codec: a second implementation, so that a
//! mistake on both ends of one does not cancel out.

// Each test binary uses its own part of this.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

pub(crate) mod client;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod measure;
pub(crate) mod receiver;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod websocket;

use std::time::{Duration, Instant};

pub(crate) use client::{BOTH, Client, End, Serves, Transport};
pub(crate) use frame::{Extended, Frame};
pub(crate) use http::{Http, Response};
pub(crate) use receiver::{Receiver, Says};
pub(crate) use server::Server;

/// How long anything may take before a test gives up: far above what it takes, because machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `look` gives something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `look` gives `expected`; says the last value otherwise.
pub(crate) fn until_eq<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, mut look: impl FnMut() -> T) {
    let started = Instant::now();
    loop {
        let found = look();
        if found == *expected {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: {expected:?} expected, after {PATIENCE:?} still {found:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

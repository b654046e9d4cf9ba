//! The wall clock, read at the edges only.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, ms since 1970.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

//! One bound in bytes for everything that waits in this process.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what waits against the node's bound. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) const fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Moves an account from `before` to `after` bytes.
    pub(crate) fn change(&self, before: usize, after: usize) {
        if after >= before {
            self.add(after - before);
        } else {
            self.sub(before - after);
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.used() > self.max
    }

    /// Whether `bytes` more would be too much.
    pub(crate) fn is_over_with(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) > self.max
    }
}

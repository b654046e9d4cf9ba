//! One clock for all processes of a run: `CLOCK_MONOTONIC`, in nanoseconds.
//!
//! It has the same value in every process of a machine, so a message stamped in
//! one of them can be read in another without any correction.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::num::NonZeroU64;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MILLI: u64 = 1_000_000;

/// Now, in nanoseconds since an arbitrary start common to all processes.
#[inline]
pub(crate) fn now_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

/// CPU time that the calling thread has used, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// Sleeps until `at_ns`; returns at once when that has passed.
pub(crate) fn sleep_until(at_ns: u64) {
    let at = to_timespec(at_ns);
    // Interrupted sleeps are taken up again: the time is absolute.
    while now_ns() < at_ns {
        if clock_nanosleep_absolute(ClockId::Monotonic, &at).is_ok() {
            break;
        }
    }
}

/// Makes sleeps of the calling thread exact: by default the kernel may add 50 µs.
pub(crate) fn exact_sleeps() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Seconds, possibly fractional, as nanoseconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn seconds_ns(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}

pub(crate) fn to_timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / SECOND).cast_signed(), tv_nsec: (ns % SECOND).cast_signed() }
}

fn to_ns(time: Timespec) -> u64 {
    time.tv_sec.cast_unsigned() * SECOND + time.tv_nsec.cast_unsigned()
}

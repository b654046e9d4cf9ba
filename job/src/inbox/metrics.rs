//! What is counted of stored messages. Written by the driver, read by anybody at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::progress::Tally;
use super::show::ShownCounts;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of stored messages in a job.
        #[derive(Debug, Default)]
        pub struct InboxMetrics {
            $(pub(super) $name: AtomicU64,)*
        }

        /// What [`InboxMetrics`] held at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct InboxSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl InboxMetrics {
            /// All counters now; each for itself is exact, together they may be a batch apart.
            pub fn snapshot(&self) -> InboxSnapshot {
                InboxSnapshot { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// The last offset of the log that is applied.
    offset,
    /// The last durable offset that the job was told of.
    told,
    /// Age of the last record when it was applied, ms.
    lag_ms,
    /// Runs of records that were applied on the log's thread.
    inline,
    /// Runs of records that went to the job's own thread.
    cold,
    /// Runs that came while too much waited: they were read from the log again.
    overflows,
    /// Steps that the store did not take at once.
    retries,
    /// Times that the store had lost something, and the partition was loaded again.
    reloads,
    /// Records that repeat an earlier one.
    duplicates,
    /// Records that came to nothing; their senders were told.
    rejected,
    /// Records that made no sense.
    dead,
    /// Entries of inboxes.
    entries,
    /// Entries that had been applied before: their users got a hint.
    repeated,
    /// Hints to sessions that their inbox or a channel has something new.
    hints,
    /// Sessions that were ended because what they were shown no longer held.
    ended,
    /// 1: nothing is applied any more until a person has looked.
    stopped,
}

impl InboxSnapshot {
    /// Durable records that are not applied yet.
    pub fn lag_records(&self) -> u64 {
        self.told.saturating_sub(self.offset)
    }
}

impl InboxMetrics {
    pub(super) fn add(&self, counter: impl Fn(&Self) -> &AtomicU64, count: u64) {
        if count > 0 {
            counter(self).fetch_add(count, Relaxed);
        }
    }

    pub(super) fn applied(&self, upto: u64, tally: &Tally, counts: &ShownCounts) {
        self.offset.store(upto, Relaxed);
        self.add(|it| &it.duplicates, tally.duplicates);
        self.add(|it| &it.rejected, tally.rejected);
        self.add(|it| &it.entries, counts.fresh);
        self.add(|it| &it.repeated, counts.repeated);
        self.add(|it| &it.hints, counts.hints);
        self.add(|it| &it.ended, counts.ended);
    }
}

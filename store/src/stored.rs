//! Stored messages: inboxes and timelines with dense positions, projected from the event log.
//!
//! [`Store`] is the port; what it is given and what it gives are values: [`conv`], [`step`] (what jobs apply), [`read`] (what
//! logic asks). One contract test (`tests/stored_contract.rs`) holds for every implementation.

mod cache;
pub mod config;
pub mod conv;
mod conv_bucket;
mod conv_rules;
mod cursors;
mod dedupe;
mod embedded;
mod engine;
pub mod event;
mod found;
mod group_rules;
mod guards;
mod keys;
mod kv;
mod lists;
mod memory;
pub mod read;
mod reads;
mod reserve;
mod rows;
pub mod step;
mod sweep;
pub mod testing;
mod user_bucket;
#[cfg(test)]
mod whole;

pub use config::{Clock, Retention, StoredConfig};
pub use embedded::{
    Condition, DURATIONS_SECONDS, DiskFault, DiskUse, Durations, EmbeddedConfig, EmbeddedCounters, EmbeddedStore, OnCondition,
    OpenError,
};
pub use memory::{MemoryConfig, MemoryStore};

use conv::Conv;
use read::{
    DeviceCursor, GroupView, HeadsPage, InboxPage, InboxView, Message, OpenInbox, OpenedInbox, OutOfRange, PageBound, Pull,
    PullError, Reserve, Reserved, StoreDown, TimelinePage,
};
use step::{ConvDone, ConvOp, Loaded, Prepare, Step, StepError, UserDone, UserItem};

use crate::Verdict;
use crate::stored::conv::ConvKind;

/// Shorthand: the answer, or the store is down.
pub type Answer<T> = Verdict<Result<T, StoreDown>>;

/// A projection of the event log that remembers what it has applied.
///
/// Answers are [`Verdict`]s: a store in the process has most of them at once. Every call is atomic within one bucket; no call
/// needs two. A read never answers below what a step has answered before it.
pub trait Store: Send + Sync + 'static {
    /// The bucket of a conversation.
    fn conv_bucket(&self, conv: Conv) -> u32;

    /// The bucket of a user.
    fn user_bucket(&self, mid: u64) -> u32;

    // ---- what jobs apply

    /// What all buckets know of a partition.
    fn load(&self, partition: u32) -> Answer<Loaded>;

    /// Makes the buckets ready for what the partition brings.
    fn prepare(&self, prepare: Prepare) -> Verdict<Result<(), StepError>>;

    /// Applies what happens in the conversations of one bucket; an outcome for every item, in their order.
    fn conv(&self, step: Step<ConvOp>) -> Verdict<Result<Vec<ConvDone>, StepError>>;

    /// Applies what happens to the users of one bucket; an outcome for every item, in their order. `again`: positions of these
    /// offsets may have been shown and been lost since, so every user concerned gets a new epoch.
    fn user(&self, step: Step<UserItem>, again: bool) -> Verdict<Result<Vec<UserDone>, StepError>>;

    /// Applies retention, and moves the guards of idle buckets up to `low_water`: all below it was applied.
    fn sweep(&self, partition: u32, low_water: u64, now_ms: u64) -> Answer<()>;

    /// Whether steps on these can be answered without waiting for a disk or a network.
    fn is_warm(&self, convs: &[Conv], mids: &[u64]) -> bool;

    /// The last offset of a partition whose effects survive whatever happens to this process and its machine: the log may
    /// forget what is not above it.
    fn durable(&self, partition: u32) -> u64;

    /// Why it does not work now, for people; `None`: it does.
    fn trouble(&self) -> Option<String> {
        None
    }

    // ---- what logic asks before it writes to the log

    /// May this be written, and under which id?
    fn reserve(&self, reserve: Reserve) -> Answer<Reserved>;

    // ---- inboxes

    /// A session begins to use an inbox. Answered when the cursor that it tells survives this process.
    fn open_inbox(&self, open: OpenInbox) -> Answer<OpenedInbox>;

    /// Where an inbox stands.
    fn inbox(&self, mid: u64) -> Answer<InboxView>;

    /// The messages after a position; 0: from the floor.
    fn sync(&self, mid: u64, after: u64, bound: PageBound) -> Answer<Result<InboxPage, OutOfRange>>;

    /// A device has stored all up to `pos`; gives what holds, which never goes back. Answered when it survives this process.
    fn ack(&self, mid: u64, device: &str, pos: u64, now_ms: u64) -> Answer<Result<u64, OutOfRange>>;

    /// A user's devices, the longest unused first.
    fn devices(&self, mid: u64) -> Answer<Vec<DeviceCursor>>;

    /// Position of a message in an inbox, if it is there: looks back from the head, through `rows_max` rows at most.
    fn find(&self, mid: u64, id: u64, rows_max: usize) -> Answer<Option<u64>>;

    // ---- conversations

    /// A part of a timeline.
    fn pull(&self, pull: Pull) -> Answer<Result<TimelinePage, PullError>>;

    /// One row of a timeline, if it is kept.
    fn row(&self, conv: Conv, pos: u64) -> Answer<Option<Message>>;

    /// Newest position of a conversation; 0: nothing ever came.
    fn head(&self, conv: Conv) -> Answer<u64>;

    /// A user's conversations after (`kind`, `conv`), at most `limit`; `only`: of this kind.
    fn heads(&self, mid: u64, after: (u16, u64), only: Option<ConvKind>, limit: usize) -> Answer<HeadsPage>;

    /// What `by` has read of a conversation, as the user `mid` was told.
    fn read_pos(&self, mid: u64, conv: Conv, by: u64) -> Answer<u64>;

    /// A group or channel; `None`: there is none.
    fn group(&self, id: u64) -> Answer<Option<GroupView>>;

    /// Whether a user is a member of a group or channel now.
    fn is_member(&self, id: u64, mid: u64) -> Answer<bool>;

    /// Whether `by` blocks `peer`.
    fn is_blocked(&self, by: u64, peer: u64) -> Answer<bool>;
}

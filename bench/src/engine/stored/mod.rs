//! Stored messages: extended sessions that write to one another, read their
//! inboxes, and check what comes.

pub(crate) mod account;
mod bits;
mod header;
mod inbox;
mod ledger;
pub(crate) mod plan;
mod speech;
mod visit;

pub(crate) use header::{Head, OP_SYNC};
pub(crate) use inbox::{From, Inbox};
pub(crate) use ledger::{Ledger, Seen};
pub(crate) use speech::Speech;
pub(crate) use visit::Visit;

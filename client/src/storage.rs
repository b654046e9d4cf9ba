//! What a client keeps: its cursor, and what the user has sent that was not acknowledged yet.
//!
//! [`MemoryStorage`] forgets with the process, [`FileStorage`] survives its kill. An application with a database of its own
//! implements [`Storage`] over it.

mod file;
mod memory;

use std::io;

use bytes::Bytes;

pub use file::FileStorage;
pub use memory::MemoryStorage;

use crate::event::Position;

/// A message that waits for its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its id, made once: every try carries it.
    pub cid: u64,
    /// `kind` of its conversation.
    pub kind: u16,
    /// The conversation: the peer's mid or the group's id.
    pub conv: u64,
    /// Whether it does not count as unread.
    pub quiet: bool,
    /// When it was first put on the wire, unix ms; 0: never.
    pub sent_ms: u64,
    /// What to send.
    pub body: Bytes,
}

impl OutboxEntry {
    /// About how much memory it takes, bytes.
    pub(crate) fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        self.body.len().saturating_add(FIXED)
    }
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The application has processed all up to here.
    Cursor(Position),
    /// A message to send; always before it is sent.
    Queued(OutboxEntry),
    /// A message is about to be sent for the first time.
    Sent {
        /// Its `cid`.
        cid: u64,
        /// When, unix ms.
        at_ms: u64,
    },
    /// A message is done with: acknowledged, or failed for good.
    Done {
        /// Its `cid`.
        cid: u64,
    },
}

/// All that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// How far the application has processed the inbox; epoch 0: nothing yet.
    pub cursor: Position,
    /// Messages without acknowledgement, oldest first.
    pub outbox: Vec<OutboxEntry>,
}

impl Stored {
    /// Carries out a change.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Cursor(position) => self.cursor = *position,
            Record::Queued(entry) => self.outbox.push(entry.clone()),
            Record::Sent { cid, at_ms } => {
                if let Some(entry) = self.outbox.iter_mut().find(|entry| entry.cid == *cid) {
                    entry.sent_ms = *at_ms;
                }
            }
            Record::Done { cid } => self.outbox.retain(|entry| entry.cid != *cid),
        }
    }
}

/// Where a client keeps what must survive it. Calls may block: they are made on a thread for that.
///
/// A client is the only user of its storage while it lives.
pub trait Storage: Send + 'static {
    /// Everything that was saved.
    ///
    /// # Errors
    /// It can't be read, or it is damaged: the client does not start.
    fn load(&mut self) -> io::Result<Stored>;

    /// Saves changes, in order. When this returns they are kept over a kill of the process (and, if the storage says so,
    /// over a loss of power): only then are messages sent, and cursors acknowledged.
    ///
    /// # Errors
    /// They could not be saved: the client closes itself, because it can keep no promise any more.
    fn save(&mut self, records: &[Record]) -> io::Result<()>;
}

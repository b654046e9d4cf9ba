//! Errors: whose fault, whether to retry, what to do next.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Offset;

/// Why a record was not, or not surely, appended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The caller's fault; the same record will always be refused.
    #[error("{what} of {bytes} bytes is larger than {bytes_max}")]
    TooLarge {
        /// `"value"` or `"key"`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The queue before the disk is full. Not written; retry later.
    #[error("the log's queue is full")]
    Overloaded,
    /// Surely not written: the log is closed, has no space, or was poisoned by a failed write.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// The write or sync that carried the record failed: it may be there after a restart, or not.
    #[error("it is unknown whether the record was written: {0}")]
    Unknown(String),
}

/// Why a log can't be opened, or a consumer can't be started.
#[derive(Debug, Error)]
pub enum LogError {
    /// Another process, or another handle of this one, has the directory.
    #[error("the log in {} is in use by another process; stop that one first", dir.display())]
    InUse {
        /// The log's directory.
        dir: PathBuf,
    },
    /// Bytes that were durable once are not what was written. Never repaired silently.
    #[error("{} is damaged at byte {position}, where offset {expected} should be: {found}. {advice}", segment.display())]
    Damaged {
        /// The file.
        segment: PathBuf,
        /// The first byte that is wrong.
        position: u64,
        /// The offset of the record that should be there.
        expected: Offset,
        /// What was found instead.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A consumer has seen records which the log no longer has: its end was lost or replaced.
    #[error(
        "consumer {consumer} has consumed offset {stored}, but the log ends at {end}: acknowledged records are missing. \
         Restore the log's directory as a whole; or, to give the missing records up, delete the consumer's stored \
         offset and everything that was projected from this log"
    )]
    ConsumerAhead {
        /// The consumer's name.
        consumer: String,
        /// Its stored offset.
        stored: Offset,
        /// The last offset of the log.
        end: Offset,
    },
    /// Both copies of a consumer's stored offset are unreadable.
    #[error(
        "the stored offset in {} is damaged. Delete the file to start that consumer anew (it may see records again, \
         or miss some)", path.display()
    )]
    ConsumerDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The name breaks the rule of [`EventLog::subscribe`](crate::EventLog::subscribe).
    #[error("{name:?} is not a consumer name: 1 to 64 characters of a-z 0-9 _ -")]
    ConsumerName {
        /// The name given.
        name: String,
    },
    /// A consumer of this name is running, or has run, in this process.
    #[error("a consumer named {name} is subscribed already")]
    AlreadySubscribed {
        /// The name given.
        name: String,
    },
    /// A setting is out of bounds.
    #[error("log configuration: {0}")]
    Config(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The operating system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl LogError {
    /// For `map_err`: what was tried, and on which path.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

//! Errors: whose fault, and whether another try can help.

use std::net::IpAddr;
use std::path::PathBuf;

/// Whose fault a failed call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Ours: the configuration, or what was to be sent.
    Ours,
    /// The other server's, or the network's.
    Theirs,
    /// Nobody's: there is too much to do.
    Load,
}

/// Why a call has no answer. An answer of any status is none of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// The URL or a header can't be sent.
    #[error("{0}")]
    BadRequest(String),
    /// The target is in no network that may be called. Nothing was sent to it.
    #[error("{host} is at {address}, which is {why}: allow its network if that is meant")]
    Refused {
        /// The host of the URL.
        host: String,
        /// The (first) address of the host that was refused.
        address: IpAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Its name has no address now.
    #[error("the name of the server can't be resolved: {0}")]
    Resolve(String),
    /// No connection, or no TLS over it. Nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke, or spoke no HTTP. The server may have got the request.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The deadline passed. The server may have got the request.
    #[error("no answer within {deadline_ms} ms")]
    Deadline {
        /// The deadline, ms.
        deadline_ms: u64,
    },
    /// The deadline passed before it was this call's turn. Nothing was sent.
    #[error("{concurrency_max} calls were under way during the whole deadline")]
    Busy {
        /// How many calls may be under way.
        concurrency_max: usize,
    },
    /// The body of the answer is longer than is read.
    #[error("the answer is longer than {bytes_max} bytes")]
    TooLarge {
        /// How much is read.
        bytes_max: usize,
    },
}

impl OutboundError {
    pub(crate) fn refused(host: &str, address: IpAddr, why: &'static str) -> Self {
        Self::Refused { host: host.to_owned(), address, why }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::BadRequest(_) | Self::Refused { .. } => Fault::Ours,
            Self::Busy { .. } => Fault::Load,
            Self::Resolve(_) | Self::Connect(_) | Self::Broken(_) | Self::Deadline { .. } | Self::TooLarge { .. } => {
                Fault::Theirs
            }
        }
    }

    /// Whether the same call may get an answer later. A refused target is worth another try too: the name may have been
    /// made to point elsewhere.
    #[must_use]
    pub const fn retry(&self) -> bool {
        !matches!(self, Self::BadRequest(_) | Self::TooLarge { .. })
    }

    /// One word for metrics and logs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Refused { .. } => "refused_target",
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Deadline { .. } => "deadline",
            Self::Busy { .. } => "busy",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of further root certificates can't be used.
    #[error("{}: {why}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP library has no use for this.
    #[error("no HTTP client: {0}")]
    Client(String),
}

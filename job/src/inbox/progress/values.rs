//! What the machine asks for, what it is told, and what follows.

use perseid_store::stored::read::StoreDown;
use perseid_store::stored::step::{ConvDone, ConvOp, ConvOutcome, Loaded, Prepare, Step, StepError, UserDone, UserItem};

use super::{Ends, Stop};
use crate::inbox::show::Applied;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the store what its buckets know of the partition, then the log for its ends.
    Load,
    /// Have the buckets made ready.
    Prepare(Prepare),
    /// Give records from this offset on.
    Records {
        /// The first.
        from: u64,
    },
    /// Take a step in conversations.
    Conv(Step<ConvOp>),
    /// Take a step at users; the flag: positions may have been shown and lost.
    User(Step<UserItem>, bool),
    /// Nothing more, until a person has looked.
    Stopped(Stop),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// For [`Next::Load`]: `ends` as they were after the store had answered, and the time, unix ms.
    Loaded(Result<Loaded, StoreDown>, Ends, u64),
    /// For [`Next::Prepare`].
    Prepared(Result<(), StepError>),
    /// For [`Next::Conv`].
    Conv(Result<Vec<ConvDone>, StepError>),
    /// For [`Next::User`].
    User(Result<Vec<UserDone>, StepError>),
}

/// What follows for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: go on.
    Nothing,
    /// Comets have to be told.
    Applied(Applied),
    /// Sessions of the users of these buckets have to look where their inboxes stand.
    Unsure(Vec<u32>),
    /// The store does not take it now. The same again, later.
    Later(String),
    /// The store has lost something: the partition is loaded again.
    Again(StepError),
}

/// What records came to, other than messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// They repeat an earlier one.
    pub duplicates: u64,
    /// They came to nothing.
    pub rejected: u64,
}

impl Tally {
    pub(super) fn of(dones: &[ConvDone]) -> Self {
        let mut tally = Self::default();
        for done in dones {
            match done.outcome {
                ConvOutcome::Duplicate { .. } => tally.duplicates += 1,
                ConvOutcome::Rejected(_) => tally.rejected += 1,
                _ => {}
            }
        }
        tally
    }
}

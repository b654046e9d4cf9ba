//! Deliberate bugs, to see that the simulation finds them. Outside of this crate's own tests none of them exists.

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Applies what is at or below the cursor again.
    ApplyOld,
    /// Applies what is beyond a gap.
    ApplyBeyondGap,
    /// Does not look at the heads that the server names.
    IgnoreHeads,
    /// Sends again before the inbox was read to its head.
    ResendBeforeSync,
    /// A retry gets a new `cid`.
    NewCidOnRetry,
    /// After a refusal the next message is sent, and the refused one later.
    SkipRefused,
    /// Goes on with the old cursor in a new epoch.
    KeepCursorInNewEpoch,
    /// Says that a message is stored when it was handed to the application.
    AckWhenDelivered,
}

#[cfg(test)]
pub(crate) const ALL: [Mutation; 8] = [
    Mutation::ApplyOld,
    Mutation::ApplyBeyondGap,
    Mutation::IgnoreHeads,
    Mutation::ResendBeforeSync,
    Mutation::NewCidOnRetry,
    Mutation::SkipRefused,
    Mutation::KeepCursorInNewEpoch,
    Mutation::AckWhenDelivered,
];

#[cfg(test)]
thread_local! {
    static CURRENT: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Puts a bug into this thread's machines, or takes it out.
#[cfg(test)]
pub(crate) fn set(mutation: Option<Mutation>) {
    CURRENT.with(|current| current.set(mutation));
}

/// Whether the bug is in.
#[cfg(test)]
pub(crate) fn is(mutation: Mutation) -> bool {
    CURRENT.with(|current| current.get() == Some(mutation))
}

/// Whether the bug is in: never.
#[cfg(not(test))]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}

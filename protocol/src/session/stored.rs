//! Stored messages, as far as a session's rules know them: who is pushed what, and which requests are answered.

use crate::frame::Header;
use crate::operation::op;

/// What a session gets of its user's inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Inbox {
    /// Nothing, ever: a guest, a classic session, a node that keeps no messages.
    #[default]
    None,
    /// Nothing yet. What its client said it has can't be, and its first SYNC tells it so.
    Foreign,
    /// Nothing before its client has read on to the head.
    Withholding,
    /// Every message as it comes.
    Live,
}

impl Inbox {
    /// What holds after AUTH: `live` says that the client has everything, `foreign` that what it has can't be.
    pub const fn greeted(live: bool, foreign: bool) -> Self {
        match (live, foreign) {
            (_, true) => Self::Foreign,
            (true, false) => Self::Live,
            (false, false) => Self::Withholding,
        }
    }

    /// What holds after a page of SYNC was sent; `more` follows it or not.
    #[must_use]
    pub const fn synced(self, more: bool) -> Self {
        match self {
            Self::Foreign | Self::Withholding if !more => Self::Live,
            other => other,
        }
    }

    /// What holds after the client was told that its epoch is another one.
    #[must_use]
    pub const fn epoch_told(self) -> Self {
        match self {
            Self::Foreign => Self::Withholding,
            other => other,
        }
    }
}

/// Whether a request of an extended session about stored messages is answered when it was done.
pub const fn wants_reply(request: &Header) -> bool {
    match request.op {
        op::EPHEMERAL => false,
        op::ACK => request.seq != 0,
        _ => true,
    }
}

/// Whether it is answered when it is refused.
pub const fn wants_refusal(request: &Header) -> bool {
    !matches!(request.op, op::EPHEMERAL | op::ACK) || request.seq != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_from_the_first_page_that_nothing_follows() {
        // (live, foreign) of AUTH, what was then sent, what holds.
        enum Sent {
            Page { more: bool },
            EpochChanged,
        }
        use Sent::{EpochChanged, Page};
        let table: [(bool, bool, &[Sent], Inbox); 9] = [
            (true, false, &[], Inbox::Live),
            (false, false, &[], Inbox::Withholding),
            (false, true, &[], Inbox::Foreign),
            (true, true, &[], Inbox::Foreign),
            (false, false, &[Page { more: true }], Inbox::Withholding),
            (false, false, &[Page { more: true }, Page { more: false }], Inbox::Live),
            (false, true, &[EpochChanged], Inbox::Withholding),
            (false, true, &[EpochChanged, Page { more: false }], Inbox::Live),
            (true, false, &[Page { more: true }, EpochChanged], Inbox::Live),
        ];
        for (nth, (live, foreign, sent, holds)) in table.into_iter().enumerate() {
            let after = sent.iter().fold(Inbox::greeted(live, foreign), |inbox, sent| match sent {
                Page { more } => inbox.synced(*more),
                EpochChanged => inbox.epoch_told(),
            });
            assert_eq!(after, holds, "row {nth}");
        }
        assert_eq!(Inbox::None.synced(false).epoch_told(), Inbox::None);
    }

    #[test]
    fn who_is_answered() {
        // (op, seq), whether done and refused are told.
        let table = [
            ((op::SEND_MSG, 0), (true, true)),
            ((op::SYNC, 0), (true, true)),
            ((op::ACK, 0), (false, false)),
            ((op::ACK, 1), (true, true)),
            ((op::EPHEMERAL, 0), (false, false)),
            ((op::EPHEMERAL, -1), (false, true)),
            ((op::RECALL, i32::MIN), (true, true)),
        ];
        for ((op, seq), told) in table {
            let header = Header { op, seq, ..Header::default() };
            assert_eq!((wants_reply(&header), wants_refusal(&header)), told, "op {op}, seq {seq}");
        }
    }
}

//! What a push says of its own delivery, where it has to wait.

use perseid_protocol::frame::flag;
use perseid_protocol::push::{Priority, Push};

/// When it is too late, what replaces it, and who goes for whom where not all can wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Unix ms at which it is too late; 0 = never.
    pub(crate) expires_at_ms: u64,
    /// A later one of the same kind with the same number replaces it; 0: none does, and it replaces none.
    pub(crate) collapse: u64,
    pub(crate) priority: Priority,
}

impl Terms {
    /// The terms of a push. One that has a position replaces nothing: its client would see a gap.
    pub(crate) const fn of(push: &Push) -> Self {
        let counted = push.pos != 0 || push.flags & flag::STORED != 0;
        let collapse = if counted { 0 } else { push.collapse };
        Self { expires_at_ms: push.expires_at_ms, collapse, priority: push.priority }
    }

    pub(crate) const fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires_at_ms != 0 && unix_ms >= self.expires_at_ms
    }
}

/// Bytes by [`Priority`].
pub(crate) type Weights = [usize; Priority::ALL.len()];

/// What is to be dropped of each priority so that a number of bytes is free: all of what matters least before any of what
/// matters more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shares(Weights);

impl Shares {
    /// Of what weighs `weights`, nothing that matters more than `most`.
    pub(crate) fn of(bytes: usize, most: Priority, weights: &Weights) -> Self {
        let mut wanted = bytes;
        let mut shares = Weights::default();
        for ((share, weight), priority) in shares.iter_mut().zip(weights).zip(Priority::ALL) {
            if priority <= most {
                *share = wanted;
                wanted = wanted.saturating_sub(*weight);
            }
        }
        Self(shares)
    }

    /// Whether a frame goes. Asked of all, oldest first.
    pub(crate) const fn take(&mut self, priority: Priority, len: usize) -> bool {
        let share = &mut self.0[priority as usize];
        let goes = *share > 0;
        *share = share.saturating_sub(len);
        goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low, Normal};

    #[test]
    fn what_matters_least_goes_first_and_of_that_the_oldest() {
        let frames = [(Normal, 4), (Low, 4), (High, 4), (Low, 4), (Normal, 4), (High, 4)];
        let weights = [8, 8, 8];
        for (bytes, most, gone) in [
            (0, High, &[][..]),
            (1, High, &[1]),
            (4, Low, &[1]),
            (5, Low, &[1, 3]),
            (8, Normal, &[1, 3]),
            (9, Normal, &[0, 1, 3]),
            (9, Low, &[1, 3]),
            (16, High, &[0, 1, 3, 4]),
            (17, High, &[0, 1, 2, 3, 4]),
            (usize::MAX, Normal, &[0, 1, 3, 4]),
            (usize::MAX, High, &[0, 1, 2, 3, 4, 5]),
        ] {
            let mut shares = Shares::of(bytes, most, &weights);
            let goes: Vec<usize> = (0..frames.len()).filter(|at| shares.take(frames[*at].0, frames[*at].1)).collect();
            assert_eq!(goes, gone, "{bytes} bytes, up to {most:?}");
        }
    }

    #[test]
    fn what_has_a_position_is_not_replaced() {
        let push = Push { collapse: 5, priority: High, expires_at_ms: 7, ..Push::default() };
        assert_eq!(Terms::of(&push), Terms { expires_at_ms: 7, collapse: 5, priority: High });
        for counted in [Push { pos: 1, ..push.clone() }, Push { flags: flag::STORED, ..push }] {
            assert_eq!(Terms::of(&counted), Terms { expires_at_ms: 7, collapse: 0, priority: High });
        }
    }

    #[test]
    fn too_late_is_at_the_time_itself() {
        for (expires_at_ms, is_expired) in [(0, false), (9, true), (10, true), (11, false)] {
            assert_eq!(Terms { expires_at_ms, ..Terms::default() }.is_expired(10), is_expired, "{expires_at_ms}");
        }
    }
}

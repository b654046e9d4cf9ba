//! When the members of a channel are told that it has something new: at once, then at most once a second, and the last always.
//! Pure.

use std::collections::HashMap;

use super::show::Hint;

/// Between two hints of one channel, ms.
const BETWEEN_MS: u64 = 1_000;
/// Channels of which something is remembered. Beyond, one that was hinted at lately may be so again too early.
const CHANNELS_MAX: usize = 65_536;

/// See the module.
#[derive(Default)]
pub(super) struct Hints {
    channels: HashMap<u64, Channel>,
}

struct Channel {
    waiting: Option<Hint>,
    not_before_ms: u64,
}

impl Hints {
    /// A channel has something new.
    pub(super) fn add(&mut self, hint: Hint, now_ms: u64) {
        if self.channels.len() >= CHANNELS_MAX {
            self.channels.retain(|_, channel| channel.waiting.is_some());
        }
        let channel = self.channels.entry(hint.group).or_insert(Channel { waiting: None, not_before_ms: now_ms });
        if channel.waiting.is_none_or(|waiting| waiting.pos < hint.pos) {
            channel.waiting = Some(hint);
        }
    }

    /// Takes those that are due.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Hint> {
        let mut due = Vec::new();
        self.channels.retain(|_, channel| {
            if now_ms < channel.not_before_ms {
                // A clock that was put back must not silence a channel.
                channel.not_before_ms = channel.not_before_ms.min(now_ms.saturating_add(BETWEEN_MS));
                return true;
            }
            let Some(hint) = channel.waiting.take() else { return false };
            channel.not_before_ms = now_ms.saturating_add(BETWEEN_MS);
            due.push(hint);
            true
        });
        due
    }

    /// In how many ms the next one is due; `None`: nothing waits.
    pub(super) fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        let waiting = self.channels.values().filter(|channel| channel.waiting.is_some());
        waiting.map(|channel| channel.not_before_ms.saturating_sub(now_ms).min(BETWEEN_MS)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(group: u64, pos: u64) -> Hint {
        Hint { group, pos, id: pos }
    }

    #[test]
    fn the_first_at_once_and_the_last_always() {
        let mut hints = Hints::default();
        hints.add(hint(1, 5), 100);
        assert_eq!(hints.wait_ms(100), Some(0));
        assert_eq!(hints.due(100), [hint(1, 5)]);
        for (pos, now_ms) in [(6, 200), (8, 300), (7, 400)] {
            hints.add(hint(1, pos), now_ms);
            assert_eq!(hints.due(now_ms), []);
        }
        assert_eq!(hints.wait_ms(400), Some(700));
        assert_eq!(hints.due(1_100), [hint(1, 8)]);
        assert_eq!(hints.wait_ms(1_100), None);
    }

    #[test]
    fn what_is_quiet_is_forgotten() {
        let mut hints = Hints::default();
        hints.add(hint(1, 5), 100);
        assert_eq!(hints.due(100).len(), 1);
        assert!(hints.due(1_100).is_empty() && hints.channels.is_empty());
    }

    #[test]
    fn a_clock_put_back_silences_nobody() {
        let mut hints = Hints::default();
        hints.add(hint(1, 5), 1_000_000);
        hints.due(1_000_000);
        hints.add(hint(1, 6), 10);
        assert_eq!(hints.due(10), []);
        assert_eq!(hints.due(1_010), [hint(1, 6)]);
    }
}

//! When to come back after a lost connection: always at a random time, later and later while it does not work.

use super::random::Random;
use crate::error::Disconnect;

/// Upper end of the wait until a server says otherwise, ms.
const RECONNECT_MS: u64 = 10_000;
/// Upper end of the wait after the first loss in a long while, ms.
const QUICK_MS: u64 = 1_000;
/// What a long while is, ms.
const LONG_WHILE_MS: u64 = 300_000;
/// No wait is longer than this, unless the server asks for it, ms.
const WAIT_MS_MAX: u64 = 300_000;

#[derive(Debug)]
pub(crate) struct Reconnect {
    reconnect_ms: u64,
    /// Losses since the last session.
    losses: u32,
    last_loss_ms: Option<u64>,
}

impl Reconnect {
    pub(crate) const fn new() -> Self {
        Self { reconnect_ms: RECONNECT_MS, losses: 0, last_loss_ms: None }
    }

    /// A session began; its server advises `reconnect_ms`.
    pub(crate) const fn handle_ready(&mut self, reconnect_ms: u64) {
        self.losses = 0;
        if reconnect_ms > 0 {
            self.reconnect_ms = reconnect_ms;
        }
    }

    /// A connection was lost or could not be made: how long to wait, ms; `None`: stay away until something changes.
    pub(crate) fn handle_lost(&mut self, why: &Disconnect, now_ms: u64, random: &mut Random) -> Option<u64> {
        if !why.comes_back() {
            return None;
        }
        let advice_ms = match why {
            Disconnect::Told(farewell) => farewell.retry_after_ms,
            _ => None,
        };
        let quiet = self.last_loss_ms.is_none_or(|last_ms| now_ms.saturating_sub(last_ms) >= LONG_WHILE_MS);
        self.last_loss_ms = Some(now_ms);
        let window_ms = match (advice_ms, self.losses) {
            (Some(advice_ms), 0) => advice_ms,
            (None, 0) if quiet => QUICK_MS.min(self.reconnect_ms),
            (None, 0) => self.reconnect_ms,
            (advice_ms, losses) => {
                let base_ms = self.reconnect_ms.max(advice_ms.unwrap_or(0));
                base_ms.saturating_mul(1 << (losses - 1).min(16)).min(WAIT_MS_MAX.max(base_ms))
            }
        };
        self.losses = self.losses.saturating_add(1);
        Some(random.up_to(window_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Farewell;

    fn told(code: u16, retry_after_ms: Option<u64>) -> Disconnect {
        Disconnect::Told(Farewell { code, reason: String::new(), message: String::new(), retry_after_ms })
    }

    /// The longest wait of many draws, with the shortest: the window is [0, that].
    fn window(losses: u32, last_loss_ms: Option<u64>, why: &Disconnect) -> u64 {
        let mut random = Random::new(3);
        let waits: Vec<u64> = (0..2_000)
            .map(|_| {
                let mut policy = Reconnect { reconnect_ms: 8_000, losses, last_loss_ms };
                policy.handle_lost(why, 1_000_000, &mut random).unwrap()
            })
            .collect();
        let (min, max) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*min < max / 50, "full jitter begins at 0: {min} to {max}");
        max.next_multiple_of(1_000)
    }

    #[test]
    fn windows() {
        let lost = Disconnect::Lost(String::new());
        let recently = Some(999_000);
        assert_eq!(window(0, None, &lost), 1_000, "the first loss in a long while");
        assert_eq!(window(0, Some(700_000), &lost), 1_000, "the last one was five minutes ago");
        assert_eq!(window(0, recently, &lost), 8_000, "the server's advice");
        assert_eq!(window(1, recently, &lost), 8_000);
        assert_eq!(window(2, recently, &lost), 16_000);
        assert_eq!(window(4, recently, &lost), 64_000);
        assert_eq!(window(40, recently, &lost), WAIT_MS_MAX);
        assert_eq!(window(0, None, &told(4001, Some(30_000))), 30_000, "a drain's own pace, also the first time");
        assert_eq!(window(1, recently, &told(4008, Some(30_000))), 30_000);
    }

    #[test]
    fn some_ends_are_final_and_a_session_begins_anew() {
        let mut random = Random::new(1);
        let mut policy = Reconnect::new();
        for code in [4500, 4503, 4507] {
            assert_eq!(policy.handle_lost(&told(code, Some(5)), 0, &mut random), None);
        }
        assert_eq!(policy.handle_lost(&Disconnect::Asked, 0, &mut random), None);
        for _ in 0..9 {
            policy.handle_lost(&Disconnect::Silent, 0, &mut random);
        }
        policy.handle_ready(100);
        assert!(policy.handle_lost(&Disconnect::Silent, 1, &mut random).unwrap() <= 100);
    }
}

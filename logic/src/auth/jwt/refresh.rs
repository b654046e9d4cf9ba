//! When a key set is fetched, and how long the last good one counts. Pure: time is an argument, ms on a clock that never jumps.

/// The first wait after a fetch that failed, ms; each further one is twice as long.
const RETRY_MS_MIN: u64 = 1_000;
/// The longest wait after a fetch that failed, ms.
const RETRY_MS_MAX: u64 = 60_000;

/// How often, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From a good fetch to the next.
    pub refresh_ms: u64,
    /// How long the keys of the last good fetch count; 0: for ever.
    pub stale_ms: u64,
    /// Tokens with keys that are not in the set cause a fetch at most this often.
    pub unknown_kid_ms: u64,
}

/// Decides when to fetch.
#[derive(Clone, Debug)]
pub(super) struct Refresh {
    timing: Timing,
    under_way: bool,
    /// What is under way may bring what was there before somebody asked for another.
    again: bool,
    /// When the next one begins, unless it is under way.
    due_ms: u64,
    began_ms: Option<u64>,
    good_ms: Option<u64>,
    /// In a row.
    failures: u32,
}

/// What a token is told whose key is not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hope {
    /// Wait for the fetch that is under way, or begins now.
    Wait,
    /// The set was fetched just now, and the key is not in it.
    None,
    /// Nobody knows: the last fetch failed. The next may be asked for in so many ms.
    Later(u64),
}

impl Refresh {
    /// The first fetch is due at once.
    pub(super) fn new(timing: Timing, now_ms: u64) -> Self {
        Self { timing, under_way: false, again: false, due_ms: now_ms, began_ms: None, good_ms: None, failures: 0 }
    }

    /// When [`Refresh::begin`] says yes, if nothing happens before; `None`: after the one that is under way.
    pub(super) fn due_ms(&self) -> Option<u64> {
        (!self.under_way).then_some(self.due_ms)
    }

    /// Whether a fetch begins now; then it is under way. There is never more than one.
    pub(super) fn begin(&mut self, now_ms: u64) -> bool {
        let begins = !self.under_way && now_ms >= self.due_ms;
        if begins {
            (self.under_way, self.began_ms) = (true, Some(now_ms));
        }
        begins
    }

    /// The fetch brought a set.
    pub(super) fn succeeded(&mut self, now_ms: u64) {
        (self.under_way, self.failures, self.good_ms) = (false, 0, Some(now_ms));
        self.next_in(now_ms, self.timing.refresh_ms);
    }

    /// The fetch brought nothing; the server may have said when to come back.
    pub(super) fn failed(&mut self, now_ms: u64, retry_after_ms: Option<u64>) {
        let doubled = RETRY_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_MS_MAX);
        let asked = retry_after_ms.unwrap_or(0);
        // Never less often than if all were well.
        let wait_ms = doubled.max(asked).min(self.timing.refresh_ms);
        self.under_way = false;
        self.failures = self.failures.saturating_add(1);
        self.next_in(now_ms, wait_ms);
    }

    fn next_in(&mut self, now_ms: u64, wait_ms: u64) {
        self.due_ms = if std::mem::take(&mut self.again) { now_ms } else { now_ms.saturating_add(wait_ms) };
    }

    /// A token came whose key is not in the set.
    pub(super) fn unknown(&mut self, now_ms: u64) -> Hope {
        let pause_over = self.began_ms.map_or(now_ms, |began_ms| began_ms.saturating_add(self.timing.unknown_kid_ms));
        if self.under_way || now_ms >= self.due_ms || now_ms >= pause_over {
            self.due_ms = self.due_ms.min(now_ms);
            return Hope::Wait;
        }
        if self.is_troubled() { Hope::Later(self.due_ms.min(pause_over) - now_ms) } else { Hope::None }
    }

    /// Somebody wants the set as it is now: the next fetch is due at once, and after one that is under way.
    pub(super) fn again(&mut self, now_ms: u64) {
        (self.due_ms, self.again) = (self.due_ms.min(now_ms), self.under_way);
    }

    /// Whether the last fetch failed, or there was none.
    pub(super) fn is_troubled(&self) -> bool {
        self.failures > 0 || self.good_ms.is_none()
    }

    /// How many fetches failed since the last good one.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when the keys of the last good fetch count.
    pub(super) fn counts_until_ms(&self) -> Option<u64> {
        let good_ms = self.good_ms?;
        Some(if self.timing.stale_ms == 0 { u64::MAX } else { good_ms.saturating_add(self.timing.stale_ms) })
    }

    /// Goes on with other times.
    pub(super) fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { refresh_ms: 300_000, stale_ms: 3_600_000, unknown_kid_ms: 10_000 };

    /// One that fetched its first set at 0.
    fn good() -> Refresh {
        let mut refresh = Refresh::new(TIMING, 0);
        assert!(refresh.begin(0));
        refresh.succeeded(0);
        refresh
    }

    #[test]
    fn fetches_at_once_then_each_period_and_never_two_at_a_time() {
        let mut refresh = Refresh::new(TIMING, 7);
        assert_eq!((refresh.due_ms(), refresh.is_troubled(), refresh.counts_until_ms()), (Some(7), true, None));
        assert!(refresh.begin(7) && !refresh.begin(8) && !refresh.begin(u64::MAX));
        assert_eq!(refresh.due_ms(), None);
        refresh.succeeded(50);
        assert_eq!((refresh.due_ms(), refresh.is_troubled()), (Some(300_050), false));
        assert_eq!(refresh.counts_until_ms(), Some(3_600_050));
        assert!(!refresh.begin(300_049) && refresh.begin(300_050));
    }

    #[test]
    fn failures_back_off_and_the_good_set_counts_for_its_time() {
        let mut refresh = good();
        let (mut now_ms, mut waits) = (300_000, Vec::new());
        for _ in 0..8 {
            assert!(refresh.begin(now_ms));
            refresh.failed(now_ms, None);
            waits.push(refresh.due_ms().unwrap() - now_ms);
            now_ms = refresh.due_ms().unwrap();
            assert_eq!(refresh.counts_until_ms(), Some(3_600_000));
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert!(refresh.begin(now_ms));
        refresh.succeeded(now_ms);
        assert_eq!((refresh.failures(), refresh.due_ms()), (0, Some(now_ms + 300_000)));
        for _ in 0..1_000 {
            refresh.failed(now_ms, None);
        }
        assert_eq!(refresh.due_ms(), Some(now_ms + 60_000));
    }

    #[test]
    fn a_server_may_ask_for_more_time_but_not_for_ever() {
        for (asked, waited) in [(None, 1_000), (Some(0), 1_000), (Some(90_000), 90_000), (Some(u64::MAX), 300_000)] {
            let mut refresh = good();
            refresh.failed(10, asked);
            assert_eq!(refresh.due_ms(), Some(10 + waited), "{asked:?}");
        }
    }

    #[test]
    fn unknown_keys_cause_one_fetch_in_a_while_however_many_come() {
        let mut refresh = good();
        let mut fetches = 0;
        for now_ms in 1..=60_000 {
            match refresh.unknown(now_ms) {
                Hope::Wait => assert_eq!(refresh.unknown(now_ms), Hope::Wait, "the next one waits for the same"),
                Hope::None => assert_eq!(refresh.due_ms().map(|due_ms| due_ms > now_ms), Some(true)),
                Hope::Later(_) => panic!("all is well"),
            }
            if refresh.begin(now_ms) {
                fetches += 1;
                assert_eq!(refresh.unknown(now_ms), Hope::Wait);
                refresh.succeeded(now_ms);
            }
        }
        assert_eq!(fetches, 6);
    }

    #[test]
    fn while_fetches_fail_an_unknown_key_may_be_right() {
        let mut refresh = good();
        assert_eq!(refresh.unknown(20_000), Hope::Wait);
        assert!(refresh.begin(20_000));
        refresh.failed(20_000, None);
        assert_eq!(refresh.unknown(20_400), Hope::Later(600));
        assert_eq!(refresh.unknown(21_000), Hope::Wait);
        for _ in 0..9 {
            refresh.failed(30_000, None);
        }
        // The waits are long now: whoever asks shortens them, but not below the pause.
        refresh.again(30_000);
        assert!(refresh.begin(30_000));
        refresh.failed(30_000, None);
        assert_eq!(refresh.unknown(30_001), Hope::Later(9_999));
        assert_eq!(refresh.unknown(40_000), Hope::Wait);
    }

    #[test]
    fn whoever_wants_the_set_of_now_gets_no_older_one() {
        let mut refresh = good();
        refresh.again(5);
        assert!(refresh.begin(5));
        refresh.again(6);
        assert!(!refresh.begin(6));
        refresh.succeeded(9);
        assert!(refresh.begin(9));
        refresh.succeeded(10);
        assert_eq!(refresh.due_ms(), Some(300_010));
    }

    #[test]
    fn for_ever_is_for_ever_and_new_times_count_at_once() {
        let mut refresh = good();
        refresh.set_timing(Timing { stale_ms: 0, ..TIMING });
        assert_eq!(refresh.counts_until_ms(), Some(u64::MAX));
        refresh.set_timing(Timing { stale_ms: 1, ..TIMING });
        assert_eq!(refresh.counts_until_ms(), Some(1));
    }
}

//! A retry budget: retries are a share of what is sent, so that they never become the load that breaks a comet.

/// One retry costs this many.
const RETRY_COST: u32 = 1000;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct RetryBudget {
    /// In thousandths of a retry.
    balance: u32,
    balance_max: u32,
    earned_by_send: u32,
}

impl RetryBudget {
    /// Full at `retries_max`; each success earns `permille` thousandths of a retry.
    pub(super) const fn new(retries_max: u32, permille: u32) -> Self {
        let balance_max = retries_max.saturating_mul(RETRY_COST);
        Self { balance: balance_max, balance_max, earned_by_send: permille }
    }

    pub(super) fn earn(&mut self) {
        self.balance = self.balance.saturating_add(self.earned_by_send).min(self.balance_max);
    }

    /// Takes one retry, if there is one.
    pub(super) const fn take(&mut self) -> bool {
        match self.balance.checked_sub(RETRY_COST) {
            Some(rest) => {
                self.balance = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_sends_earn_a_retry() {
        let mut budget = RetryBudget::new(2, 100);
        assert!(budget.take() && budget.take() && !budget.take());
        for _ in 0..9 {
            budget.earn();
        }
        assert!(!budget.take());
        budget.earn();
        assert!(budget.take() && !budget.take());
        for _ in 0..1000 {
            budget.earn();
        }
        assert!(budget.take() && budget.take() && !budget.take(), "no more than the maximum");
    }
}

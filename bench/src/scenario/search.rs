//! The highest rate that is carried: doubled until it is too much, then the
//! interval between the two is halved.

use anyhow::Result;

const DOUBLINGS_MAX: u32 = 12;
const HALVINGS: u32 = 4;

/// Tries rates from `first` on; `carried` says whether one was.
pub(super) fn most(first: f64, mut carried: impl FnMut(f64) -> Result<bool>) -> Result<()> {
    let (mut low, mut high) = (0.0, first);
    for _ in 0..DOUBLINGS_MAX {
        if !carried(high)? {
            break;
        }
        (low, high) = (high, high * 2.0);
    }
    let ceiling = high < first * f64::from(DOUBLINGS_MAX).exp2();
    if low > 0.0 && ceiling {
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            *(if carried(middle)? { &mut low } else { &mut high }) = middle;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(first: f64, limit: f64) -> Vec<f64> {
        let mut rates = Vec::new();
        let carried = |rate| {
            rates.push(rate);
            Ok(rate <= limit)
        };
        most(first, carried).unwrap();
        rates
    }

    #[test]
    fn doubled_then_halved() {
        assert_eq!(tried(10.0, 55.0), [10.0, 20.0, 40.0, 80.0, 60.0, 50.0, 55.0, 57.5]);
        assert_eq!(tried(10.0, 5.0), [10.0]);
        assert_eq!(tried(1.0, f64::MAX).len(), 12);
    }
}

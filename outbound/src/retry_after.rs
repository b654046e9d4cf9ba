//! The `Retry-After` header.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer waits are read as this long, ms.
const WAIT_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// How long to wait, ms: `Retry-After` as seconds or as a date. `None` where it is neither.
pub(crate) fn wait_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are no u64 are a wait longer than any.
        return Some(value.parse::<u64>().map_or(WAIT_MS_MAX, |seconds| seconds.saturating_mul(1_000).min(WAIT_MS_MAX)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let now = UNIX_EPOCH.checked_add(Duration::from_millis(now_ms))?;
    let wait = at.duration_since(now).unwrap_or_default();
    Some(u64::try_from(wait.as_millis()).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX))
}

/// Now, unix ms.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_nonsense() {
        let now_ms = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        for (value, wait) in [
            ("0", Some(0)),
            (" 120 ", Some(120_000)),
            ("99999999999999999999999", Some(WAIT_MS_MAX)),
            ("18446744073709551615", Some(WAIT_MS_MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10_000)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("Fri, 06 Nov 2099 08:40:00 GMT", Some(WAIT_MS_MAX)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(wait_ms(value, now_ms), wait, "{value}");
        }
    }
}

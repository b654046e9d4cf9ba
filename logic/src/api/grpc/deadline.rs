//! When a call over gRPC has taken too long: what the caller says, and what the node allows.

use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;

/// The answer has to reach a caller before it stops waiting: this part of its time, and no more than so much, is left for that.
const WAY_BACK_DIVISOR: u32 = 10;
const WAY_BACK_MAX: Duration = Duration::from_millis(100);

/// The earlier of the caller's deadline (`grpc-timeout`) and the node's own. What makes no sense counts for nothing.
pub(super) fn of(headers: &HeaderMap, own: Instant) -> Instant {
    let wanted = headers.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
    let wanted = wanted.map(|wanted| wanted - (wanted / WAY_BACK_DIVISOR).min(WAY_BACK_MAX));
    wanted.and_then(|wanted| Instant::now().checked_add(wanted)).map_or(own, |wanted| wanted.min(own))
}

/// Up to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, expected) in [
            ("1H", Some(3_600_000)),
            ("99999999H", Some(99_999_999 * 3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("250m", Some(250)),
            ("5000u", Some(5)),
            ("7000000n", Some(7)),
            ("0S", Some(0)),
            ("", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("1.5S", None),
            ("123456789S", None),
            ("5s", None),
            ("5€", None),
        ] {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_one_counts() {
        let own = Instant::now() + Duration::from_secs(10);
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            of(&headers, own) - Instant::now()
        };
        assert_eq!(with("5S"), Duration::from_millis(4_900));
        assert_eq!(with("100m"), Duration::from_millis(90));
        assert_eq!(with("1H"), Duration::from_secs(10));
        assert_eq!(with("soon"), Duration::from_secs(10));
        assert_eq!(of(&HeaderMap::new(), own), own);
    }
}

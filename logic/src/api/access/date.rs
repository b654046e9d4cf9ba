//! Dates of the token file (RFC 3339) to unix time and back.

use perseid_protocol::calendar::{LAST_S, date_of, days_from_epoch};
use toml::value::{Date, Datetime, Offset, Time};

const DAY_S: i64 = 86_400;

/// Unix time of a date, ms; one without a time of day begins it, one without an offset is UTC. `None` before 1970.
pub(super) fn unix_ms(date: &Datetime) -> Option<u64> {
    let day = date.date?;
    let seconds = date
        .time
        .map_or(0, |time| (i64::from(time.hour) * 60 + i64::from(time.minute)) * 60 + i64::from(time.second.unwrap_or(0)));
    let offset_s = match date.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes) * 60,
        Some(Offset::Z) | None => 0,
    };
    let seconds = days_from_epoch(i64::from(day.year), i64::from(day.month), i64::from(day.day)) * DAY_S + seconds - offset_s;
    u64::try_from(seconds).ok().map(|seconds| seconds * 1000)
}

/// The date of a unix time, in UTC, to the second; the end of the year 9999 for all that is later.
pub(super) fn of(unix_ms: u64) -> Datetime {
    // Below 2^63 / 1000 in any case.
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX).min(LAST_S);
    let (year, month, day) = date_of(seconds.div_euclid(DAY_S));
    let of_day = seconds.rem_euclid(DAY_S);
    let small = |number: i64| u8::try_from(number).unwrap_or_default();
    Datetime {
        date: Some(Date { year: u16::try_from(year).unwrap_or(9999), month: small(month), day: small(day) }),
        time: Some(Time {
            hour: small(of_day / 3600),
            minute: small(of_day / 60 % 60),
            second: Some(small(of_day % 60)),
            nanosecond: None,
        }),
        offset: Some(Offset::Z),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-21T13:45:00Z", 1_795_268_700),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            let date: Datetime = text.parse().unwrap();
            assert_eq!(unix_ms(&date), Some(seconds * 1000), "{text}");
            assert_eq!(of(seconds * 1000).to_string(), text);
        }
        assert_eq!(of(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn offsets_days_and_what_is_no_date() {
        let ms = |text: &str| unix_ms(&text.parse().unwrap());
        assert_eq!(ms("2000-01-01T02:00:00+02:00"), ms("2000-01-01T00:00:00Z"));
        assert_eq!(ms("2000-01-01"), ms("2000-01-01T00:00:00"));
        assert_eq!((ms("12:00:00"), ms("1969-12-31")), (None, None));
    }
}

//! Days of the Gregorian calendar, as numbers from 1970-01-01. For dates in files and certificates; time stays in ms.

/// 9999-12-31T23:59:59Z, unix s: nothing that is written with four digits is later.
pub const LAST_S: i64 = 253_402_300_799;

/// Years are counted from March, so that leap days come last. So many days are from 0000-03-01 to 1970-01-01.
const MARCH_OF_0_DAYS: i64 = 719_468;
/// After 400 years it begins anew.
const ERA_DAYS: i64 = 146_097;

/// Days from 1970-01-01 to a day; months and days count from 1. Days past the end of a month are in the next one.
pub fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - MARCH_OF_0_DAYS
}

/// Year, month and day of a day that is so many days from 1970-01-01.
pub fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + MARCH_OF_0_DAYS;
    let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_are_known() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((1950, 1, 1), -7305),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
            ((2100, 2, 28), 47_540),
            ((2100, 3, 1), 47_541),
            ((9999, 12, 31), LAST_S / 86_400),
        ] {
            assert_eq!((days_from_epoch(date.0, date.1, date.2), date_of(days)), (days, date));
        }
    }

    /// Every day of 400 years is the one after the day before it.
    #[test]
    fn no_day_is_missing() {
        let mut before = date_of(-1);
        for days in 0..=ERA_DAYS {
            let (year, month, day) = date_of(days);
            assert_eq!(days_from_epoch(year, month, day), days);
            let (last_year, last_month, last_day) = before;
            let follows = (year, month, day) == (last_year, last_month, last_day + 1)
                || (day == 1 && (28..=31).contains(&last_day) && (year, month) == (last_year, last_month + 1))
                || ((month, day, last_month, last_day) == (1, 1, 12, 31) && year == last_year + 1);
            assert!(follows, "{before:?} and {:?}", (year, month, day));
            before = (year, month, day);
        }
    }
}

//! What a profile is asked for with: the query string, checked.

/// The longest profile, s.
const SECONDS_MAX: u64 = 60;
/// Without `seconds`.
const SECONDS_DEFAULT: u64 = 5;
/// The most samples in a second of CPU time.
const HZ_MAX: u64 = 999;
/// Without `hz`: not in step with what happens every 10 ms.
const HZ_DEFAULT: u64 = 99;

/// Reads `seconds`, which is all that there is.
///
/// # Errors
/// What is wrong with the query, in words.
pub(super) fn seconds(query: Option<&str>) -> Result<u64, String> {
    let [seconds] = numbers(query, [("seconds", SECONDS_DEFAULT, SECONDS_MAX)])?;
    Ok(seconds)
}

/// Reads `seconds` and `hz`.
///
/// # Errors
/// What is wrong with the query, in words.
#[cfg_attr(not(feature = "profile"), allow(dead_code))] // the build that can't profile is tested with the same tables
pub(super) fn seconds_and_hz(query: Option<&str>) -> Result<(u64, u64), String> {
    let [seconds, hz] = numbers(query, [("seconds", SECONDS_DEFAULT, SECONDS_MAX), ("hz", HZ_DEFAULT, HZ_MAX)])?;
    Ok((seconds, hz))
}

/// Reads whole numbers from 1; each parameter is a name, what it is when left out, and the most it may be.
fn numbers<const N: usize>(query: Option<&str>, known: [(&str, u64, u64); N]) -> Result<[u64; N], String> {
    let mut given = [None; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = known.iter().position(|(other, ..)| *other == name) else {
            let known = known.map(|(name, ..)| name).join(" and ");
            return Err(format!("a parameter is not known here: there is {known}"));
        };
        if given[at].is_some() {
            return Err(format!("{name} must be given once"));
        }
        let max = known[at].2;
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|number| digits && (1..=max).contains(number));
        given[at] = Some(number.ok_or_else(|| format!("{name} must be a whole number, 1 to {max}"))?);
    }
    Ok(std::array::from_fn(|at| given[at].unwrap_or(known[at].1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked() {
        for (query, expected) in [
            (None, Ok((5, 99))),
            (Some(""), Ok((5, 99))),
            (Some("&"), Ok((5, 99))),
            (Some("seconds=1"), Ok((1, 99))),
            (Some("seconds=60&hz=999"), Ok((60, 999))),
            (Some("hz=1"), Ok((5, 1))),
            (Some("seconds=0"), Err("1 to 60")),
            (Some("seconds=61"), Err("1 to 60")),
            (Some("seconds="), Err("1 to 60")),
            (Some("seconds"), Err("1 to 60")),
            (Some("seconds=-1"), Err("1 to 60")),
            (Some("seconds=+1"), Err("1 to 60")),
            (Some("seconds=1.5"), Err("1 to 60")),
            (Some("seconds=18446744073709551617"), Err("1 to 60")),
            (Some("hz=0"), Err("1 to 999")),
            (Some("hz=1000"), Err("1 to 999")),
            (Some("seconds=1&seconds=1"), Err("once")),
            (Some("second=1"), Err("seconds and hz")),
        ] {
            match (seconds_and_hz(query), expected) {
                (Ok(asked), Ok(expected)) => assert_eq!(asked, expected, "{query:?}"),
                (Err(said), Err(words)) => assert!(said.contains(words), "{query:?}: {words} in {said}"),
                (got, _) => panic!("{query:?}: {got:?}"),
            }
        }
        assert_eq!(seconds(Some("seconds=7")), Ok(7));
        assert!(seconds(Some("hz=7")).is_err_and(|said| said.ends_with("there is seconds")));
    }
}

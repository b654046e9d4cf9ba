//! As much of a certificate (RFC 5280) as has to be read to say when it ends. Whether it is valid is rustls' to judge.

/// When a certificate ends, unix s; `None` if that can't be made out.
pub(super) fn not_after_s(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    // serialNumber, signature, issuer; then validity: notBefore, notAfter.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, not_after) = any_element(validity)?.1;
    let (tag, (text, _)) = any_element(not_after)?;
    time_s(tag, text)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

type Element<'a> = (&'a [u8], &'a [u8]);

/// The content of the element at the start, which has this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<Element<'_>> {
    let (found, element) = any_element(bytes)?;
    (found == tag).then_some(element)
}

/// Tag, content, and what follows.
fn any_element(bytes: &[u8]) -> Option<(u8, Element<'_>)> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    Some((tag, rest.split_at_checked(len)?))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280 section 4.1.2.5).
fn time_s(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, len: usize| text.get(from..from + len)?.parse::<i64>().ok();
    let (year, at) = match tag {
        UTC_TIME => {
            let year = number(0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        GENERALIZED_TIME => (number(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (number(at, 2)?, number(at + 2, 2)?);
    let (hour, minute, second) = (number(at + 4, 2)?, number(at + 6, 2)?, number(at + 8, 2)?);
    if text.len() != at + 10 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    u64::try_from(days_from_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

/// Days since 1970-01-01 in the Gregorian calendar, reckoned in years that begin in March.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (tag, text, second) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "260301000001Z", Some(1_772_323_201)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "20240229120000Z", Some(1_709_208_000)),
            (UTC_TIME, "500101000000Z", None), // before 1970
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "70+101000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (INTEGER, "700101000000Z", None),
        ] {
            assert_eq!(time_s(tag, text.as_bytes()), second, "{text}");
        }
    }

    #[test]
    fn a_certificate_cut_anywhere_is_none_or_the_same() {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der();
        let whole = Some(1_927_843_200);
        assert_eq!(not_after_s(der), whole);
        for len in 0..der.len() {
            assert_eq!(not_after_s(&der[..len]), None, "{len}");
        }
        for at in 0..der.len().min(300) {
            for flip in [0x01, 0x80, 0xff] {
                let mut bent = der.to_vec();
                bent[at] ^= flip;
                let _ = not_after_s(&bent); // whatever it is, it is no panic
            }
        }
    }
}

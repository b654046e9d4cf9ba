//! The little of an X.509 certificate (RFC 5280) that operators are told of: its dates, its names, whether it is its own issuer.
//! Whether it is valid is rustls' to judge; this reads past what it does not know, and gives `None` where it makes no sense.

use std::net::{Ipv4Addr, Ipv6Addr};

use perseid_protocol::calendar::days_from_epoch;

/// What a certificate says.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Unix seconds.
    pub not_before_s: i64,
    /// Unix seconds.
    pub not_after_s: i64,
    /// Names and addresses of subjectAltName.
    pub names: Vec<String>,
    /// It is its own issuer.
    pub self_signed: bool,
}

mod tag {
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const OCTETS: u8 = 0x04;
    pub(super) const OID: u8 = 0x06;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const GENERALIZED_TIME: u8 = 0x18;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const DNS_NAME: u8 = 0x82;
    pub(super) const IP_ADDRESS: u8 = 0x87;
    pub(super) const VERSION: u8 = 0xa0;
    pub(super) const EXTENSIONS: u8 = 0xa3;
}

/// 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// What stands in front of the names.
struct Head<'a> {
    issuer: &'a [u8],
    not_before_s: i64,
    not_after_s: i64,
    rest: Reader<'a>,
}

/// When a certificate ends, unix seconds. Its names may be of any kind.
pub fn not_after_s(der: &[u8]) -> Option<i64> {
    head(der).map(|head| head.not_after_s)
}

/// Reads a certificate.
pub fn read(der: &[u8]) -> Option<Said> {
    let Head { issuer, not_before_s, not_after_s, mut rest } = head(der)?;
    let subject = rest.take(tag::SEQUENCE)?;
    let mut names = Vec::new();
    while let Some((kind, value)) = rest.any() {
        if kind == tag::EXTENSIONS {
            names = alt_names(value)?;
        }
    }
    Some(Said { not_before_s, not_after_s, names, self_signed: issuer == subject })
}

fn head(der: &[u8]) -> Option<Head<'_>> {
    let mut fields = Reader(Reader(der).take(tag::SEQUENCE)?);
    let mut rest = Reader(fields.take(tag::SEQUENCE)?);
    rest.take_if(tag::VERSION);
    // Serial number, algorithm.
    rest.any()?;
    rest.any()?;
    let issuer = rest.take(tag::SEQUENCE)?;
    let mut validity = Reader(rest.take(tag::SEQUENCE)?);
    let (not_before_s, not_after_s) = (time(validity.any()?)?, time(validity.any()?)?);
    Some(Head { issuer, not_before_s, not_after_s, rest })
}

fn alt_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Reader(Reader(extensions).take(tag::SEQUENCE)?);
    while let Some((kind, extension)) = extensions.any() {
        let mut extension = Reader(extension);
        if kind != tag::SEQUENCE || extension.take(tag::OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        extension.take_if(tag::BOOLEAN);
        let mut list = Reader(Reader(extension.take(tag::OCTETS)?).take(tag::SEQUENCE)?);
        return Some(std::iter::from_fn(|| list.any()).filter_map(name).collect());
    }
    Some(Vec::new())
}

fn name((kind, value): (u8, &[u8])) -> Option<String> {
    match kind {
        tag::DNS_NAME => Some(String::from_utf8_lossy(value).into_owned()),
        tag::IP_ADDRESS => match <[u8; 4]>::try_from(value) {
            Ok(v4) => Some(Ipv4Addr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(value).ok().map(|v6| Ipv6Addr::from(v6).to_string()),
        },
        _ => None,
    }
}

/// `YYMMDDHHMMSSZ`, with years from 1950, or `YYYYMMDDHHMMSSZ`.
fn time((kind, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let (year, rest) = match kind {
        tag::UTC_TIME => (two(text, 0).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, text.get(2..)?),
        tag::GENERALIZED_TIME => (two(text, 0)? * 100 + two(text, 2)?, text.get(4..)?),
        _ => return None,
    };
    let field = |at, range: std::ops::RangeInclusive<i64>| two(rest, at).filter(|value| range.contains(value));
    let (month, day) = (field(0, 1..=12)?, field(2, 1..=31)?);
    let (hour, minute, second) = (field(4, 0..=23)?, field(6, 0..=59)?, field(8, 0..=59)?);
    (rest.get(10..) == Some("Z")).then(|| ((days_from_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn two(text: &str, at: usize) -> Option<i64> {
    text.get(at..at + 2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Takes one DER element after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and what is in it.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&kind, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // Four bytes of length are more than any certificate has.
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((kind, value))
    }

    /// The next element, which must have this tag.
    fn take(&mut self, kind: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// Skips the next element if it has this tag.
    fn take_if(&mut self, kind: u8) {
        if self.0.first() == Some(&kind) {
            self.any();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let utc = |text: &str| time((tag::UTC_TIME, text.as_bytes()));
        let general = |text: &str| time((tag::GENERALIZED_TIME, text.as_bytes()));
        assert_eq!(
            (utc("700101000000Z"), utc("491231235959Z"), utc("500101000000Z")),
            (Some(0), Some(2_524_607_999), Some(-631_152_000))
        );
        assert_eq!((general("20000229120000Z"), general("20000301000000Z")), (Some(951_825_600), Some(951_868_800)));
        assert_eq!((general("21000301000000Z"), general("99991231235959Z")), (Some(4_107_542_400), Some(253_402_300_799)));
        for wrong in [
            "",
            "7001010000Z",
            "700101000000",
            "701301000000Z",
            "700132000000Z",
            "70010100000xZ",
            "700101240000Z",
            "700101006000Z",
            "700101000060Z",
            "700101000000Zx",
            "+00101000000Z",
        ] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
        assert_eq!(time((0x13, b"700101000000Z")), None);
    }

    #[test]
    fn a_certificate_cut_anywhere_or_with_any_byte_changed_does_no_harm() {
        let names = ["a.example".to_owned(), "*.b.example".to_owned(), "10.1.2.3".to_owned(), "2001:db8::1".to_owned()];
        let der = rcgen::generate_simple_self_signed(names.clone()).unwrap().cert.der().to_vec();
        let said = read(&der).unwrap();
        assert_eq!((&said.names[..], said.self_signed), (&names[..], true));
        assert!(said.not_before_s < said.not_after_s);
        assert_eq!(not_after_s(&der), Some(said.not_after_s));
        for end in 0..der.len() {
            assert_eq!((read(&der[..end]), not_after_s(&der[..end])), (None, None), "{end}");
        }
        for at in 0..der.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[at] = value;
                read(&changed);
            }
        }
    }

    #[test]
    fn issuers_differ_from_whom_they_vouch_for() {
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(rcgen::CertificateParams::new(Vec::new()).unwrap(), &key);
        let mut params = rcgen::CertificateParams::new(["c.example".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "somebody else");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2060, 12, 31);
        let der = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap();
        let expected = Said {
            not_before_s: 1_767_225_600,
            not_after_s: 2_871_676_800,
            names: vec!["c.example".to_owned()],
            self_signed: false,
        };
        assert_eq!(read(der.der()), Some(expected));
    }
}

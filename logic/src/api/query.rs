//! Query strings as Go's `net/url` and gin read them, with their words for what is wrong.

use std::borrow::Cow;

use super::gostring::quote;

/// The parameters of a request, in order.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads a query string. As in Go, a pair with a bad escape or a semicolon counts for nothing.
    ///
    /// # Errors
    /// A parameter that is no UTF-8, which Go would carry on and we can't.
    pub(super) fn parse(query: Option<&'a str>) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(name), Some(value)) = (unescape(name), unescape(value)) {
                pairs.push((utf8(name)?, utf8(value)?));
            }
        }
        Ok(Self(pairs))
    }

    /// The first value of a parameter; empty when there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// The value of a parameter, also an empty one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// Checks that nothing else is there, and nothing twice: for requests that would do too much without a parameter.
    ///
    /// # Errors
    /// What is not known, or there twice.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), String> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&&**name) {
                return Err(format!("{} is no parameter here: there are {}", quote(name), known.join(", ")));
            }
            if self.0[..at].iter().any(|(other, _)| other == name) {
                return Err(format!("{name} must be given once"));
            }
        }
        Ok(())
    }

    /// All values of a parameter.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// A 32-bit integer; 0 when there is none.
    pub(super) fn int32(&self, name: &str) -> Result<i32, String> {
        let number = parse_int(self.text(name))?;
        i32::try_from(number).map_err(|_| out_of_range(self.text(name)))
    }

    /// A 64-bit integer; 0 when there is none.
    pub(super) fn int64(&self, name: &str) -> Result<i64, String> {
        parse_int(self.text(name))
    }

    /// All values of a parameter as 64-bit integers.
    pub(super) fn int64s(&self, name: &str) -> Result<Vec<i64>, String> {
        self.texts(name).map(parse_int).collect()
    }
}

/// Says what is missing, as gin's validator does; `fields` are names of goim's structs with whether each is missing.
pub(super) fn required(fields: &[(&str, bool)]) -> Result<(), String> {
    let missing: Vec<String> = fields
        .iter()
        .filter(|(_, missing)| *missing)
        .map(|(field, _)| format!("Key: '{field}' Error:Field validation for '{field}' failed on the 'required' tag"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
}

/// As Go's `strconv.ParseInt(text, 10, 64)`; empty is 0, as gin has it.
fn parse_int(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text)));
    }
    text.parse().map_err(|_| out_of_range(text))
}

fn out_of_range(text: &str) -> String {
    format!("strconv.ParseInt: parsing {}: value out of range", quote(text))
}

fn unescape(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(Cow::Owned(out))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn utf8(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, String> {
    let not_utf8 = || "a parameter is no UTF-8".to_owned();
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| not_utf8()),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| not_utf8()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_as_go_reads_them() {
        let query = Query::parse(Some("a=1&b=x+y%20z&a=2&c&=d&bad=%zz&half=%4&semi;colon=1&%61%3d=%26&e=1=2")).unwrap();
        assert_eq!(query.texts("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((query.text("a"), query.text("b"), query.text("c"), query.text("")), ("1", "x y z", "", "d"));
        assert_eq!((query.text("bad"), query.text("half"), query.texts("colon").count()), ("", "", 0));
        assert_eq!((query.text("a="), query.text("e")), ("&", "1=2"));
        assert!(Query::parse(Some("a=%ff")).is_err());
        assert_eq!(Query::parse(None).unwrap().text("a"), "");
    }

    #[test]
    fn numbers_as_go_reads_them() {
        for (text, value) in [("", 0), ("7", 7), ("-7", -7), ("%2B7", 7), ("007", 7), ("-0", 0), ("2147483647", i32::MAX)] {
            let text = format!("n={text}");
            assert_eq!(Query::parse(Some(&text)).unwrap().int32("n"), Ok(value), "{text}");
        }
        for (text, shown) in
            [("abc", "abc"), ("1.5", "1.5"), ("1,2", "1,2"), ("0x1", "0x1"), ("-", "-"), ("1_0", "1_0"), ("%201", " 1")]
        {
            let error = format!("strconv.ParseInt: parsing \"{shown}\": invalid syntax");
            let text = format!("n={text}");
            assert_eq!(Query::parse(Some(&text)).unwrap().int64("n"), Err(error), "{text}");
        }
        for text in ["2147483648", "-2147483649", "9223372036854775808", "99999999999999999999999"] {
            let error = format!("strconv.ParseInt: parsing \"{text}\": value out of range");
            let text = format!("n={text}");
            assert_eq!(Query::parse(Some(&text)).unwrap().int32("n"), Err(error), "{text}");
        }
        let extremes = Query::parse(Some("n=9223372036854775807&n=-9223372036854775808&n=")).unwrap();
        assert_eq!(extremes.int64s("n"), Ok(vec![i64::MAX, i64::MIN, 0]));
    }

    #[test]
    fn what_is_missing() {
        assert_eq!(required(&[("Op", false)]), Ok(()));
        let both = "Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag\n\
                    Key: 'Room' Error:Field validation for 'Room' failed on the 'required' tag";
        assert_eq!(required(&[("Op", true), ("Type", false), ("Room", true)]), Err(both.to_owned()));
    }

    proptest! {
        #[test]
        fn anything_can_be_asked(query in "\\PC{0,60}") {
            if let Ok(query) = Query::parse(Some(&query)) {
                let _ = (query.int32("a"), query.int64s("n"), query.text("x").len());
            }
        }

        #[test]
        fn what_was_escaped_comes_back(value in "\\PC{0,40}") {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let query = format!("a={escaped}");
            let query = Query::parse(Some(&query)).unwrap();
            prop_assert_eq!(query.text("a"), value);
        }
    }
}

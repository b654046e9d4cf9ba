//! The types of keys: what each accepts, in TOML and as text, and what it says about itself.

mod address;
mod counts;
mod filter;
mod lists;

use std::ops::Range;

use toml::de::DeValue;

use super::bytes::ByteSize;
use super::nearest::nearest;
use super::value::Value;

/// The longest text of a key, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// The type of a key with its bounds (inclusive).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number in `unit` (empty for a plain count).
    Integer {
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
        /// What is counted; empty for a plain count.
        unit: &'static str,
    },
    /// A size: an integer or `"64KiB"`.
    Bytes {
        /// The least allowed, in bytes.
        min: u64,
        /// The most allowed, in bytes.
        max: u64,
    },
    /// A number with a fraction.
    Number {
        /// The least allowed.
        min: f64,
        /// The most allowed.
        max: f64,
    },
    /// Any text without control characters.
    Text,
    /// A file or directory; relative ones belong to the working directory.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A filter of the log, in the syntax of tracing's `EnvFilter`.
    Filter,
    /// A list of `IP:PORT`.
    Addresses,
    /// A list of networks: `10.0.0.0/8`, or one address.
    Networks,
    /// A list of texts.
    Texts,
    /// Counts by name: `{ name = 1 }`.
    Counts {
        /// The most allowed.
        max: u64,
    },
}

/// A whole number without a unit.
pub(super) const fn count(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max, unit: "" }
}

/// A whole number in a unit.
pub(super) const fn integer(min: u64, max: u64, unit: &'static str) -> Kind {
    Kind::Integer { min, max, unit }
}

/// A time in milliseconds.
pub(super) const fn millis(min: u64, max: u64) -> Kind {
    integer(min, max, "ms")
}

/// A size in bytes.
pub(super) const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max }
}

/// A number with a fraction.
pub(super) const fn number(min: f64, max: f64) -> Kind {
    Kind::Number { min, max }
}

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wrong {
    /// What is wrong with it.
    pub(super) what: String,
    /// What would be right.
    pub(super) hint: Option<String>,
    /// Which part of the file it is, if not the whole value.
    pub(super) span: Option<Range<usize>>,
}

impl Wrong {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, span: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

type Parsed = Result<Value, Vec<Wrong>>;

impl Kind {
    /// What the key takes, for people: `integer, 1 to 60000 ms`.
    pub fn describe(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Integer { min, max, unit } => {
                let space = if unit.is_empty() { "" } else { " " };
                format!("integer, {min} to {max}{space}{unit}")
            }
            Self::Bytes { min, max } => {
                format!("size, {} to {}", ByteSize(*min), ByteSize(*max))
            }
            Self::Number { min, max } => format!("number, {min:?} to {max:?}"),
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::Filter => "log filter".to_owned(),
            Self::Addresses => "list of IP:PORT".to_owned(),
            Self::Networks => "list of networks".to_owned(),
            Self::Texts => "list of texts".to_owned(),
            Self::Counts { max } => format!("{{ name = count, … }}, counts 1 to {max}"),
        }
    }

    /// Reads a value as it stands in the environment, in `--set`, in an option or in the table. Who quotes a text or brackets a
    /// list, as in the file, is understood too.
    pub(super) fn parse_text(&self, text: &str) -> Parsed {
        if let Some(parsed) = self.parse_quoted(text.trim()) {
            return parsed;
        }
        let one = match self {
            Self::Flag => match text.trim() {
                "true" => Ok(Value::Flag(true)),
                "false" => Ok(Value::Flag(false)),
                other => Err(Wrong::new(format!("`{}` is not true or false", short(other)))),
            },
            Self::Integer { .. } => self.integer_of_text(text.trim()),
            Self::Bytes { .. } => self.bytes_of_text(text),
            Self::Number { .. } => match text.trim().parse() {
                Ok(value) => self.bounded_number(value),
                Err(_) => Err(Wrong::new(format!("`{}` is not a number", short(text)))),
            },
            Self::Text | Self::Path | Self::Choice(_) | Self::Filter => self.text_of_text(text),
            Self::Addresses | Self::Networks | Self::Texts => {
                let parts = text.split(',').map(str::trim);
                let parts = parts.filter(|part| !part.is_empty());
                return self.list(parts.map(|part| (part, None)));
            }
            Self::Counts { max } => return counts::of_text(text, *max),
        };
        one.map_err(|wrong| vec![wrong])
    }

    /// A text in quotes or a list in brackets, if that is what stands there whole: then it is what the file would have.
    fn parse_quoted(&self, text: &str) -> Option<Parsed> {
        let is_text = matches!(self, Self::Text | Self::Path | Self::Choice(_) | Self::Filter | Self::Bytes { .. });
        let is_list = matches!(self, Self::Addresses | Self::Networks | Self::Texts);
        let quoted = is_text && text.starts_with(['"', '\'']);
        // An address of version 6 begins with a bracket too, and is no list.
        let bracketed = is_list && text.starts_with('[') && text.ends_with(']');
        if !(quoted || bracketed) {
            return None;
        }
        let value = DeValue::parse(text).ok()?;
        // Places in this text would be taken for places in the file.
        let placeless = |wrongs: Vec<Wrong>| wrongs.into_iter().map(|wrong| Wrong { span: None, ..wrong }).collect();
        Some(self.parse_toml(value.get_ref()).map_err(placeless))
    }

    /// Reads a value of the TOML file.
    pub(super) fn parse_toml(&self, value: &DeValue<'_>) -> Parsed {
        let one = match (self, value) {
            (Self::Flag, DeValue::Boolean(value)) => Ok(Value::Flag(*value)),
            (Self::Integer { .. }, DeValue::Integer(value)) => match i128::from_str_radix(value.as_str(), value.radix()) {
                Ok(value) => self.bounded_integer(value),
                Err(_) => Err(self.out_of_bounds(value.as_str())),
            },
            (Self::Bytes { .. }, DeValue::Integer(value)) => match u64::from_str_radix(value.as_str(), value.radix()) {
                Ok(value) => self.bounded_bytes(ByteSize(value)),
                Err(_) => Err(self.out_of_bounds(value.as_str())),
            },
            (Self::Bytes { .. }, DeValue::String(text)) => self.bytes_of_text(text),
            (Self::Number { .. }, DeValue::Float(value)) => match value.as_str().parse() {
                Ok(value) => self.bounded_number(value),
                Err(_) => Err(Wrong::new(format!("`{}` is not a number", value.as_str()))),
            },
            (Self::Number { .. }, DeValue::Integer(value)) => match i32::from_str_radix(value.as_str(), value.radix()) {
                Ok(value) => self.bounded_number(value.into()),
                Err(_) => Err(self.out_of_bounds(value.as_str())),
            },
            (Self::Text | Self::Path | Self::Choice(_) | Self::Filter, DeValue::String(text)) => self.text_of_text(text),
            (Self::Addresses | Self::Networks | Self::Texts, DeValue::Array(items)) => {
                let mut texts = Vec::with_capacity(items.len());
                let mut wrongs = Vec::new();
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::String(text) => texts.push((text.as_ref(), Some(item.span()))),
                        other => wrongs.push(Wrong {
                            span: Some(item.span()),
                            ..Wrong::new(format!("expected a string, found {}", type_name(other)))
                        }),
                    }
                }
                let parsed = self.list(texts.into_iter());
                return match parsed {
                    parsed if wrongs.is_empty() => parsed,
                    Ok(_) => Err(wrongs),
                    Err(more) => Err(wrongs.into_iter().chain(more).collect()),
                };
            }
            (Self::Counts { max }, DeValue::Table(table)) => return counts::of_table(table, *max),
            (kind, other) => Err(kind.wrong_type(other)),
        };
        one.map_err(|wrong| vec![wrong])
    }

    fn list<'a>(&self, texts: impl Iterator<Item = (&'a str, Option<Range<usize>>)>) -> Parsed {
        match self {
            Self::Networks => lists::networks(texts),
            Self::Texts => lists::texts(texts),
            _ => address::list(texts),
        }
    }

    fn wrong_type(&self, found: &DeValue<'_>) -> Wrong {
        let wrong = Wrong::new(format!("expected {}, found {}", self.describe(), type_name(found)));
        match (self, found) {
            (Self::Addresses | Self::Networks | Self::Texts, DeValue::String(text)) => {
                wrong.hint(format!("write it as a list: [\"{}\"]", short(text)))
            }
            (_, DeValue::String(text)) => match self.parse_text(text) {
                Ok(value) => wrong.hint(format!("write it without quotes: {value}")),
                Err(wrongs) => Wrong { hint: wrongs.into_iter().find_map(|wrong| wrong.hint), ..wrong },
            },
            (Self::Text | Self::Path | Self::Choice(_) | Self::Filter, _) => wrong.hint("write it in quotes"),
            _ => wrong,
        }
    }

    fn integer_of_text(&self, text: &str) -> Result<Value, Wrong> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '_') {
            return match text.replace('_', "").parse() {
                Ok(value) => self.bounded_integer(value),
                Err(_) => Err(self.out_of_bounds(text)),
            };
        }
        let wrong = Wrong::new(format!("`{}` is not a whole number", short(text)));
        match (self, millis_of(text)) {
            (Self::Integer { unit: "ms", .. }, Some(ms)) => {
                Err(wrong.hint(format!("the unit is ms, and only the number is written: {ms}")))
            }
            _ => Err(wrong),
        }
    }

    fn bytes_of_text(&self, text: &str) -> Result<Value, Wrong> {
        if text.trim().starts_with('-') {
            return Err(self.out_of_bounds(text.trim()));
        }
        match text.parse() {
            Ok(size) => self.bounded_bytes(size),
            Err(why) => Err(Wrong::new(format!("`{}` is not a size", short(text))).hint(why)),
        }
    }

    fn text_of_text(&self, text: &str) -> Result<Value, Wrong> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Wrong::new(format!("longer than {TEXT_BYTES_MAX} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(Wrong::new("holds control characters"));
        }
        match self {
            Self::Path if text.is_empty() => return Err(Wrong::new("an empty path")),
            Self::Choice(words) if !words.contains(&text) => {
                let wrong = Wrong::new(format!("`{}` is not one of: {}", short(text), words.join(", ")));
                return Err(match nearest(text, words.iter().copied()) {
                    Some(word) => wrong.hint(format!("did you mean `{word}`?")),
                    None => wrong,
                });
            }
            Self::Filter => filter::check(text)?,
            _ => {}
        }
        Ok(Value::Text(text.to_owned()))
    }

    fn bounded_integer(&self, value: i128) -> Result<Value, Wrong> {
        match (self, u64::try_from(value)) {
            (Self::Integer { min, max, .. }, Ok(value)) if (*min..=*max).contains(&value) => Ok(Value::Integer(value)),
            _ => Err(self.out_of_bounds(&value.to_string())),
        }
    }

    fn bounded_bytes(&self, size: ByteSize) -> Result<Value, Wrong> {
        match self {
            Self::Bytes { min, max } if (*min..=*max).contains(&size.0) => Ok(Value::Bytes(size)),
            _ => Err(self.out_of_bounds(&size.to_string())),
        }
    }

    fn bounded_number(&self, value: f64) -> Result<Value, Wrong> {
        match self {
            Self::Number { min, max } if (*min..=*max).contains(&value) => Ok(Value::Number(value)),
            _ => Err(self.out_of_bounds(&value.to_string())),
        }
    }

    fn out_of_bounds(&self, found: &str) -> Wrong {
        Wrong::new(format!("{} is out of bounds: {}", short(found), self.describe()))
    }
}

/// What a TOML value is called.
fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `30s`, `1.5 h` in milliseconds, to help those who wrote a unit.
fn millis_of(text: &str) -> Option<u64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 1.0,
        "s" | "sec" => 1e3,
        "m" | "min" => 60e3,
        "h" => 3600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    let ms = number.trim().parse::<f64>().ok()? * scale;
    // Below 2^53 a float holds the integer exactly.
    (ms.fract() == 0.0 && (0.0..9e15).contains(&ms)).then_some(ms as u64)
}

/// What was found, cut so that a page of text does not fill the report.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(parsed: Parsed) -> (String, Option<String>) {
        let wrong = parsed.unwrap_err().remove(0);
        (wrong.what, wrong.hint)
    }

    #[test]
    fn durations_with_units_are_refused_with_the_number_to_write() {
        let kind = millis(1, 60_000);
        assert_eq!(kind.parse_text("30_000"), Ok(Value::Integer(30_000)));
        let (what, hint) = first(kind.parse_text("30s"));
        assert_eq!(what, "`30s` is not a whole number");
        assert!(hint.unwrap().ends_with("30000"));
        assert!(first(kind.parse_text("0")).0.contains("out of bounds"));
        assert!(first(kind.parse_text("-5")).0.contains("out of bounds"));
        assert!(first(kind.parse_text(&"9".repeat(99))).0.contains("out of bounds"));
        for text in ["", "-", "_", "1e3", "0x10", "1 2"] {
            assert!(kind.parse_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quotes_and_brackets_as_in_the_file() {
        for text in ["/a b", r#""/a b""#, "'/a b'", r#" "/a b" "#] {
            assert_eq!(Kind::Path.parse_text(text), Ok(Value::Text("/a b".into())), "{text}");
        }
        assert_eq!(Kind::Choice(&["text", "json"]).parse_text(r#""json""#), Ok(Value::Text("json".into())));
        let two = Ok(Value::Texts(vec!["a".into(), "b".into()]));
        for text in ["a,b", r#"["a", "b"]"#, "['a','b']"] {
            assert_eq!(Kind::Texts.parse_text(text), two, "{text}");
        }
        assert_eq!(Kind::Texts.parse_text("[]"), Ok(Value::Texts(Vec::new())));
        let address = Kind::Addresses.parse_text("[::1]:5");
        assert!(address.is_ok() && address == Kind::Addresses.parse_text(r#"["[::1]:5"]"#), "{address:?}");
        // What is half of it is a text like any other.
        assert_eq!(Kind::Text.parse_text(r#""a"#), Ok(Value::Text(r#""a"#.into())));
        assert!(Kind::Choice(&["text"]).parse_text("'jsno'").is_err());
        assert!(first(Kind::Texts.parse_text("[1]")).0.contains("expected a string"));
    }

    #[test]
    fn choices_numbers_flags_and_text() {
        let choice = Kind::Choice(&["text", "json"]);
        assert_eq!(choice.parse_text("json"), Ok(Value::Text("json".into())));
        assert_eq!(first(choice.parse_text("jsno")).1.as_deref(), Some("did you mean `json`?"));
        let share = number(0.05, 1.0);
        assert_eq!(share.parse_text("1"), Ok(Value::Number(1.0)));
        for text in ["NaN", "inf", "0.01", "-1", "x"] {
            assert!(share.parse_text(text).is_err(), "{text}");
        }
        for text in ["1", "yes", "TRUE", ""] {
            assert!(Kind::Flag.parse_text(text).is_err(), "{text}");
        }
        assert!(Kind::Path.parse_text("").is_err());
        assert!(Kind::Text.parse_text("a\nb").is_err());
        assert!(Kind::Text.parse_text(&"a".repeat(5000)).is_err());
    }
}

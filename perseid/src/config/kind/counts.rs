//! Counts by name: `{ live = 100, match = 50 }`.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{Parsed, Wrong, short, type_name};
use crate::config::value::Value;

/// More names than this are a mistake.
const NAMES_MAX: usize = 64;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Reads the counts of a table in the file, or everything that is wrong with it.
pub(super) fn of_table(table: &DeTable<'_>, max: u64) -> Parsed {
    let mut counts = Counts::new(max);
    for (name, value) in table {
        let count = match value.get_ref() {
            DeValue::Integer(count) => {
                u64::from_str_radix(count.as_str(), count.radix()).map_err(|_| Wrong::new(format!("{count} is out of bounds")))
            }
            other => Err(Wrong::new(format!("expected a count, found {}", type_name(other)))),
        };
        let put = count.and_then(|count| counts.put(name.get_ref(), count));
        counts.wrongs.extend(put.err().map(|wrong| Wrong { span: Some(value.span()), ..wrong }));
    }
    counts.finish()
}

/// Reads them from a text: `live=100,match=50`, with or without the braces of TOML.
pub(super) fn of_text(text: &str, max: u64) -> Parsed {
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let mut counts = Counts::new(max);
    for part in inner.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once('=').map(|(name, count)| (name.trim().trim_matches('"'), count.trim().parse()));
        let put =
            match pair {
                Some((name, Ok(count))) => counts.put(name, count),
                _ => Err(Wrong::new(format!("`{}` is no count with a name", short(part)))
                    .hint("write name=count, with commas between")),
            };
        counts.wrongs.extend(put.err());
    }
    counts.finish()
}

struct Counts {
    max: u64,
    counts: BTreeMap<String, u64>,
    wrongs: Vec<Wrong>,
}

impl Counts {
    const fn new(max: u64) -> Self {
        Self { max, counts: BTreeMap::new(), wrongs: Vec::new() }
    }

    fn put(&mut self, name: &str, count: u64) -> Result<(), Wrong> {
        let good = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !good {
            return Err(Wrong::new(format!("`{}` is no name: 1 to {NAME_BYTES_MAX} printable characters", short(name))));
        }
        if count == 0 || count > self.max {
            return Err(Wrong::new(format!("{count} is out of bounds: 1 to {}", self.max)));
        }
        self.counts.insert(name.to_owned(), count);
        Ok(())
    }

    fn finish(mut self) -> Parsed {
        if self.counts.len() > NAMES_MAX {
            self.wrongs.push(Wrong::new(format!("more than {NAMES_MAX} names")));
        }
        if self.wrongs.is_empty() { Ok(Value::Counts(self.counts)) } else { Err(self.wrongs) }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::kind::Kind;

    #[test]
    fn counts_of_texts() {
        let kind = Kind::Counts { max: 1000 };
        for text in ["live=100, match = 50", "{live = 100, match=50}", r#"{ "live" = 100, match = 50, }"#] {
            assert_eq!(kind.parse_text(text).unwrap().to_string(), "{ live = 100, match = 50 }", "{text}");
        }
        assert_eq!(kind.parse_text("").unwrap().to_string(), "{}");
        for text in ["live", "live=x", "live=0", "live=1001", "=5", "a b=5"] {
            assert_eq!(kind.parse_text(text).unwrap_err().len(), 1, "{text}");
        }
    }
}

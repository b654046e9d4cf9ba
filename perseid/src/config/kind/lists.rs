//! Lists of networks and of texts.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::{Parsed, Wrong, short};
use crate::config::value::Value;

/// More items than this are a mistake.
const ITEMS_MAX: usize = 256;
/// The longest item, in bytes.
const ITEM_BYTES_MAX: usize = 4096;

/// All networks of a list (an address alone is one of itself), or everything that is wrong with it.
pub(super) fn networks<'a>(texts: impl Iterator<Item = (&'a str, Option<Range<usize>>)>) -> Parsed {
    items(texts, Value::Networks, |text| match text.parse::<IpNet>() {
        Ok(network) => Ok(network.trunc()),
        Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| {
            let wrong = Wrong::new(format!("`{}` is not a network", short(text)));
            wrong.hint("write an address, or a network with the length of its prefix: 10.0.0.0/8, fd00::/8")
        }),
    })
}

/// All texts of a list, or everything that is wrong with it.
pub(super) fn texts<'a>(texts: impl Iterator<Item = (&'a str, Option<Range<usize>>)>) -> Parsed {
    items(texts, Value::Texts, |text| {
        if text.is_empty() || text.len() > ITEM_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Wrong::new(format!(
                "`{}` is empty, longer than {ITEM_BYTES_MAX} bytes, or holds control characters",
                short(text)
            )));
        }
        Ok(text.to_owned())
    })
}

fn items<'a, T>(
    texts: impl Iterator<Item = (&'a str, Option<Range<usize>>)>,
    value: impl FnOnce(Vec<T>) -> Value,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Parsed {
    let mut list = Vec::new();
    let mut wrongs = Vec::new();
    for (text, span) in texts {
        match parse(text) {
            Ok(item) => list.push(item),
            Err(wrong) => wrongs.push(Wrong { span, ..wrong }),
        }
    }
    if list.len() + wrongs.len() > ITEMS_MAX {
        wrongs.push(Wrong::new(format!("more than {ITEMS_MAX} items")));
    }
    if wrongs.is_empty() { Ok(value(list)) } else { Err(wrongs) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kind::Kind;

    #[test]
    fn networks_and_texts() {
        let parsed = Kind::Networks.parse_text("127.0.0.1, 10.1.2.3/8, fd00::/8").unwrap();
        assert_eq!(parsed.to_string(), r#"["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]"#);
        let wrongs = Kind::Networks.parse_text("10.0.0.0/33,localhost,1.2.3.4:5").unwrap_err();
        assert_eq!(wrongs.len(), 3);
        assert_eq!(Kind::Texts.parse_text("").unwrap(), Value::Texts(vec![]));
        assert_eq!(Kind::Texts.parse_text("a, b c").unwrap().to_string(), r#"["a", "b c"]"#);
        assert!(Kind::Texts.parse_text(&vec!["x"; ITEMS_MAX + 1].join(",")).is_err());
    }
}

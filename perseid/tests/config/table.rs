//! The table, the structs and the documentation say the same.

use std::collections::BTreeMap;

use perseid::config::{Kind, RELATIONS, SECTIONS, Settings, Sources, Value, keys, load, markdown};

use super::{good, sources};

#[test]
fn defaults_are_valid() {
    let loaded = good(&Sources::default());
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.entries.len(), keys().count());
}

#[test]
fn names_are_unique_and_documented() {
    let mut paths: Vec<String> = keys().map(|key| key.path()).collect();
    let mut options: Vec<&str> = keys().filter_map(|key| key.option).collect();
    for list in [&mut paths, &mut options.iter().map(|o| (*o).to_owned()).collect()] {
        let before = list.len();
        list.sort();
        list.dedup();
        assert_eq!(list.len(), before);
    }
    options.sort();
    for section in SECTIONS {
        assert!(section.doc().ends_with('.'), "{}", section.name);
        assert!(!section.keys.is_empty());
    }
    for key in keys() {
        assert!(key.doc().ends_with('.'), "{}", key.path());
        assert!(key.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    }
}

/// Units come last in names, and are the key's.
#[test]
fn names_end_in_their_unit() {
    for key in keys() {
        let unit_in_name = match key.kind {
            Kind::Integer { unit: "ms", .. } => key.name.ends_with("_ms") || key.name.ends_with("_ms_max"),
            Kind::Integer { unit: "µs", .. } => key.name.ends_with("_us"),
            Kind::Bytes { .. } => {
                key.name.ends_with("_bytes") || key.name.ends_with("_bytes_max") || key.name.starts_with("bytes_")
            }
            _ => !key.name.contains("_ms") && !key.name.contains("_bytes") && !key.name.ends_with("_us"),
        };
        assert!(unit_in_name, "{}", key.path());
    }
}

/// A value of the key that is not its default.
fn another(path: &str, kind: &Kind, default: &Value) -> String {
    match (kind, default) {
        (Kind::Flag, Value::Flag(value)) => (!value).to_string(),
        (Kind::Integer { min, max, .. } | Kind::Bytes { min, max }, value) => {
            let default = value.as_integer().unwrap();
            let other = if default < *max { default + 1 } else { default - 1 };
            assert!((*min..=*max).contains(&other), "{path}");
            other.to_string()
        }
        (Kind::Number { min, max }, Value::Number(value)) => if value == max { min } else { max }.to_string(),
        (Kind::Texts, _) if path == "jwt.bind" => "device_id".to_owned(),
        (Kind::Text, _) if path == "trace.endpoint" => "http://127.0.0.1:4317".to_owned(),
        (Kind::Text, _) if path.ends_with("url") => "https://example.org/".to_owned(),
        (Kind::Texts, _) if path == "events.keep" || path == "hooks.events" => "upstream".to_owned(),
        (Kind::Texts, _) if path == "hooks.urls" => "https://a.example/hook".to_owned(),
        (Kind::Texts, _) if path.ends_with(".origins") => "https://a.example".to_owned(),
        (Kind::Texts, _) if path == "comet.proxy_protocol" => "ws".to_owned(),
        (Kind::Networks, _) => "10.1.0.0/16".to_owned(),
        (Kind::Text | Kind::Texts, _) if path.starts_with("cluster.") => "name=host:1".to_owned(),
        (Kind::Text | Kind::Path | Kind::Texts, _) => "another".to_owned(),
        (Kind::Filter, _) => "warn".to_owned(),
        (Kind::Choice(words), Value::Text(word)) => {
            let other = words.iter().find(|other| **other != word.as_str());
            (*other.unwrap_or(&words[0])).to_owned()
        }
        (Kind::Addresses, _) => "127.0.0.1:0".to_owned(),
        (Kind::Counts { max }, _) => format!("live={max}"),
        (kind, value) => panic!("{path}: {kind:?} has the default {value:?}"),
    }
}

/// The fields of the settings by path, from their debug text: structs stand at four spaces,
/// fields at eight, and what is deeper belongs to the field above.
fn fields(settings: &Settings) -> BTreeMap<String, String> {
    let (mut fields, mut section, mut path) = (BTreeMap::new(), String::new(), String::new());
    for line in format!("{settings:#?}").lines() {
        let depth = line.len() - line.trim_start().len();
        match (depth, line.trim().split_once(": ")) {
            (4, Some((name, _))) => section = name.to_owned(),
            (8, Some((name, value))) => {
                path = format!("{section}.{name}");
                fields.insert(path.clone(), value.to_owned());
            }
            (12.., _) => fields.get_mut(&path).unwrap().push_str(line.trim()),
            _ => {}
        }
    }
    fields
}

#[test]
fn the_fields_are_the_keys() {
    let fields: Vec<String> = fields(&Settings::default()).into_keys().collect();
    let mut paths: Vec<String> = keys().map(|key| key.path()).collect();
    paths.sort();
    assert_eq!(fields, paths);
}

/// Every key moves the field of its name, and no other.
#[test]
fn every_key_reaches_its_field() {
    let roomy = [
        "logic.push_bytes_max=1KiB",
        "comet.body_bytes_max=1KiB",
        "comet.auth_bytes_max=1KiB",
        "jwt.key_file=key.pem",
        "tls.certificates=a",
        "tls.keys=a",
        "comet.proxies=10.9.0.0/16",
        "hooks.secret_file=secrets",
        "cluster.certificate=a",
        "cluster.key=a",
        "cluster.ca=a",
    ];
    for base in [&[][..], &roomy] {
        let before = good(&sources("", &[], base));
        for entry in &before.entries {
            let path = entry.key.path();
            if path == "trace.endpoint" && !perseid::traces::HAS_EXPORTER {
                continue;
            }
            let set = format!("{path}={}", another(&path, &entry.key.kind, &entry.value));
            let after = match load(&sources("", &[], &[base, &[set.as_str()]].concat())) {
                Ok(after) => after,
                // Two sizes that are equal by default can't be moved apart, a TLS port needs a certificate.
                // With room, and with one, they can.
                Err(_) if base.is_empty() => continue,
                Err(problems) => panic!("{problems}"),
            };
            let (fields_before, fields_after) = (fields(&before.settings), fields(&after.settings));
            let moved: Vec<&String> = fields_before.keys().filter(|path| fields_before[*path] != fields_after[*path]).collect();
            assert_eq!(moved, [&path], "{set}");
        }
    }
}

/// No value within the bounds of a key is too large for the type of its field.
#[test]
fn every_bound_fits_its_field() {
    for key in keys() {
        let ends = match key.kind {
            Kind::Integer { min, max, .. } | Kind::Bytes { min, max } => [min.to_string(), max.to_string()],
            Kind::Number { min, max } => [min.to_string(), max.to_string()],
            _ => continue,
        };
        for end in ends {
            let set = format!("{}={end}", key.path());
            if let Err(problems) = load(&sources("", &[], &[&set])) {
                let text = problems.to_string();
                assert!(!text.contains("out of bounds") && !text.contains("does not fit"), "{text}");
            }
        }
        for beyond in ["-1", "99999999999999999999999999999999999999999999"] {
            let set = format!("{}={beyond}", key.path());
            assert!(load(&sources("", &[], &[&set])).is_err(), "{set}");
        }
    }
}

#[test]
fn relations_are_between_numeric_keys() {
    let defaults = good(&Sources::default());
    for relation in RELATIONS {
        for path in [relation.larger, relation.smaller] {
            let entry = defaults.entries.iter().find(|entry| entry.key.path() == path);
            let entry = entry.unwrap_or_else(|| panic!("no key {path}"));
            assert!(entry.value.as_integer().is_some(), "{path}");
        }
    }
}

#[test]
fn the_documentation_is_in_sync() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let found = std::fs::read_to_string(path).unwrap();
    assert!(found == markdown(), "docs/configuration.md is old; write it with: perseid config docs");
    for key in keys() {
        assert!(found.contains(&format!("| `{}` |", key.name)), "{}", key.path());
    }
}

//! `config print`: the effective values, each with where it came from.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::Loaded;
use super::settings::SECTIONS;

/// All values as a TOML file that would give the same settings, origins as comments.
pub fn text(loaded: &Loaded) -> String {
    let rendered: Vec<(&str, &str, String, String)> = loaded
        .entries
        .iter()
        .map(|entry| {
            let origin = entry.origin.to_string().replace('\n', " ");
            (entry.key.section, entry.key.name, entry.value.to_string(), origin)
        })
        .collect();
    let name_width = rendered.iter().map(|row| row.1.len()).max().unwrap_or(0);
    // A long list of addresses must not push every origin to the far right.
    let value_width = rendered.iter().map(|row| row.2.chars().count()).filter(|width| *width <= 40).max();
    let value_width = value_width.unwrap_or(0);
    let mut out = String::new();
    for section in SECTIONS {
        let gap = if out.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{gap}[{}]", section.name);
        for (_, name, value, origin) in rendered.iter().filter(|row| row.0 == section.name) {
            let _ = writeln!(out, "{name:name_width$} = {value:value_width$}  # {origin}");
        }
    }
    out
}

/// All values as `{"section": {"key": {"value": …, "origin": {"kind": …}}}}`.
pub fn json(loaded: &Loaded) -> Json {
    let mut sections = Map::new();
    for section in SECTIONS {
        let entries = loaded.entries.iter().filter(|entry| entry.key.section == section.name);
        let keys: Map<String, Json> = entries
            .map(|entry| {
                let value = json!({"value": entry.value.to_json(), "origin": entry.origin.to_json()});
                (entry.key.name.to_owned(), value)
            })
            .collect();
        sections.insert(section.name.to_owned(), keys.into());
    }
    sections.into()
}

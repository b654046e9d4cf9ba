//! The layer of the TOML file.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::key::Section;
use super::layers::{Layers, unknown_key, unknown_section};
use super::problem::{Origin, Position, Problem};
use super::settings::{SECTIONS, keys};

/// A configuration longer than this is some other file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration file as it was read, or why it was not.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its path, as given.
    pub path: String,
    /// Its text, or the reason why there is none.
    pub text: Result<String, String>,
}

impl ConfigFile {
    /// Reads a file. That it cannot be read is reported by [`load`](super::load), with the rest.
    pub fn read(path: &Path) -> Self {
        Self { path: path.display().to_string(), text: read_bounded(path).map_err(|error| error.to_string()) }
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("longer than 1 MiB"));
    }
    Ok(text)
}

impl Layers {
    /// Reads the file's values over the defaults.
    pub(super) fn file(&mut self, file: &ConfigFile) {
        let text = match &file.text {
            Ok(text) => text,
            Err(error) => {
                self.torn = true;
                self.problems.push(Problem {
                    place: Origin::File { path: file.path.clone(), position: None },
                    subject: String::new(),
                    what: format!("can't be read: {error}"),
                    hint: None,
                });
                return;
            }
        };
        let before = self.problems.len();
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut syntax: Vec<Problem> = errors
            .iter()
            .map(|error| Problem {
                place: place(&file.path, text, error.span().unwrap_or(0..0)),
                subject: String::new(),
                what: error.message().replace('\n', ", "),
                // What the parser takes for a bad number is most often a text or an address.
                hint: (error.message().contains("float") || error.message().contains("literal"))
                    .then(|| "texts and addresses stand in quotes".to_owned()),
            })
            .collect();
        // Behind the first mistake of a line the parser guesses.
        syntax.sort_by(|a, b| a.place.cmp(&b.place));
        syntax.dedup_by_key(|problem| line(problem));
        self.torn = !syntax.is_empty();
        self.sections(&file.path, text, table.get_ref());
        // What a line with a syntax error seemed to hold is not worth a second report.
        let torn_lines: Vec<usize> = syntax.iter().filter_map(line).collect();
        let mut found = self.problems.split_off(before);
        found.retain(|problem| line(problem).is_none_or(|line| !torn_lines.contains(&line)));
        found.extend(syntax);
        found.sort_by(|a, b| a.place.cmp(&b.place));
        self.problems.extend(found);
    }

    fn sections(&mut self, path: &str, text: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = place(path, text, name.span());
            let name = name.get_ref().as_ref();
            let section = SECTIONS.iter().find(|section| section.name == name);
            match (section, value.get_ref()) {
                (Some(section), DeValue::Table(entries)) => self.entries(path, text, section, entries),
                (Some(_), _) => self.problems.push(Problem {
                    place: at,
                    subject: name.to_owned(),
                    what: "is a section, not a key".to_owned(),
                    hint: Some(format!("write [{name}] on a line of its own, its keys below")),
                }),
                (None, DeValue::Table(_)) => self.problems.push(unknown_section(name, at)),
                (None, _) => self.problems.push(match keys().find(|key| key.name == name) {
                    Some(key) => Problem { hint: Some(format!("it stands below [{}]", key.section)), ..unknown_key(name, at) },
                    None => unknown_key(name, at),
                }),
            }
        }
    }

    fn entries(&mut self, path: &str, text: &str, section: &Section, entries: &DeTable<'_>) {
        for (name, value) in entries {
            let at = place(path, text, name.span());
            let Some(key) = section.keys.iter().find(|key| key.name == name.get_ref().as_ref()) else {
                let full = format!("{}.{}", section.name, name.get_ref());
                self.problems.push(unknown_key(&full, at));
                continue;
            };
            match key.kind.parse_toml(value.get_ref()) {
                Ok(value) => self.put(key, at, Ok(value)),
                // Each at the part of the value that it is about.
                Err(wrongs) => {
                    for wrong in wrongs {
                        let span = wrong.span.clone().unwrap_or(value.span());
                        self.put(key, place(path, text, span), Err(vec![wrong]));
                    }
                }
            }
        }
    }
}

fn place(path: &str, text: &str, span: Range<usize>) -> Origin {
    Origin::File { path: path.to_owned(), position: Some(Position::of(text, span.start)) }
}

fn line(problem: &Problem) -> Option<usize> {
    match &problem.place {
        Origin::File { position, .. } => position.map(|at| at.line),
        _ => None,
    }
}

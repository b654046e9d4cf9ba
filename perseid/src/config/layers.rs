//! The layers: defaults < file < environment < `--set` and the options of their own.

use std::collections::HashMap;
use std::ffi::OsString;

use super::key::Key;
use super::kind::Wrong;
use super::nearest::nearest;
use super::problem::{Origin, Problem, Problems};
use super::rules;
use super::settings::{SECTIONS, Settings, WSS_DEFAULT, keys};
use super::value::Value;
use super::{Entry, Loaded};

/// The prefix of the environment's variables.
pub(super) const ENV_PREFIX: &str = "PERSEID_";

/// The values found so far, one for each key in the order of the table, and all that is wrong.
pub(super) struct Layers {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    /// Paths of keys of which some layer was wrong: what they would be is not known.
    doubtful: Vec<String>,
    /// The file could not be read as a whole, so any key may be other than it seems.
    pub(super) torn: bool,
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    /// The defaults.
    pub(super) fn new() -> Self {
        let mut layers =
            Self { entries: Vec::new(), index: HashMap::new(), doubtful: Vec::new(), torn: false, problems: Vec::new() };
        for key in keys() {
            layers.index.insert(key.path(), layers.entries.len());
            match key.kind.parse_text(key.default) {
                Ok(value) => layers.entries.push(Entry { key, value, origin: Origin::Default }),
                Err(wrongs) => layers.wrong(key, &Origin::Default, wrongs),
            }
        }
        layers
    }

    pub(super) fn find(&self, path: &str) -> Option<&'static Key> {
        self.index.get(path).and_then(|at| self.entries.get(*at)).map(|entry| entry.key)
    }

    /// Puts a value over the lower layers', or notes what is wrong with it.
    pub(super) fn put(&mut self, key: &Key, origin: Origin, parsed: Result<Value, Vec<Wrong>>) {
        match parsed {
            Ok(value) => {
                let at = self.index.get(&key.path()).copied();
                if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
                    entry.value = value;
                    entry.origin = origin;
                }
            }
            Err(wrongs) => self.wrong(key, &origin, wrongs),
        }
    }

    fn wrong(&mut self, key: &Key, origin: &Origin, wrongs: Vec<Wrong>) {
        self.doubtful.push(key.path());
        self.problems.extend(wrongs.into_iter().map(|wrong| Problem {
            place: origin.clone(),
            subject: key.path(),
            what: wrong.what,
            hint: wrong.hint,
        }));
    }

    /// The environment: `PERSEID_SECTION__KEY`. Other programs' variables are ignored, and so is
    /// what has no `__` (Kubernetes puts PERSEID_PORT there for a service of that name), unless
    /// it is a key but for the second underscore.
    pub(super) fn environment(&mut self, env: &[(String, OsString)]) {
        for (name, value) in env {
            if !name.starts_with(ENV_PREFIX) {
                continue;
            }
            let origin = Origin::Env(name.clone());
            match (keys().find(|key| key.env() == *name), value.to_str()) {
                (Some(key), Some(text)) => self.put(key, origin, key.kind.parse_text(text)),
                (Some(key), None) => self.problems.push(Problem {
                    place: origin,
                    subject: key.path(),
                    what: "the value is not UTF-8".to_owned(),
                    hint: None,
                }),
                (None, _) => self.unknown_variable(name, origin),
            }
        }
    }

    fn unknown_variable(&mut self, name: &str, origin: Origin) {
        let names: Vec<String> = keys().map(Key::env).collect();
        let meant = if name.contains("__") {
            nearest(name, names.iter().map(String::as_str))
        } else {
            match names.iter().find(|known| known.replace("__", "_") == name) {
                Some(known) => Some(known.as_str()),
                None => return,
            }
        };
        self.problems.push(Problem {
            place: origin,
            subject: String::new(),
            what: "no key has this variable".to_owned(),
            hint: Some(match meant {
                Some(meant) => format!("did you mean {meant}?"),
                None => "variables are PERSEID_SECTION__KEY; `perseid config print` lists the keys".to_owned(),
            }),
        });
    }

    /// `--set section.key=value`; of several for one key the last wins.
    pub(super) fn set(&mut self, texts: &[String]) {
        for text in texts {
            let origin = Origin::Set(text.clone());
            let Some((path, value)) = text.split_once('=') else {
                self.problems.push(Problem {
                    place: origin,
                    subject: String::new(),
                    what: "no `=` in it".to_owned(),
                    hint: Some("write --set section.key=value".to_owned()),
                });
                continue;
            };
            match self.find(path.trim()) {
                Some(key) => self.put(key, origin, key.kind.parse_text(value.trim())),
                None => self.problems.push(unknown_key(path.trim(), origin)),
            }
        }
    }

    /// The options of their own. They stand beside `--set`, so the two may not disagree.
    pub(super) fn options(&mut self, options: &[(&'static str, Vec<String>)]) {
        for (option, values) in options {
            let Some(key) = keys().find(|key| key.option == Some(*option)) else {
                continue;
            };
            let origin = Origin::Option(option);
            let parsed = key.kind.parse_text(&values.join(","));
            let below = self.entry(&key.path());
            if let (Ok(value), Some(Entry { value: set, origin: Origin::Set(text), .. })) = (&parsed, below)
                && value != set
            {
                let what = format!("--set {text} says something else");
                self.problems.push(Problem {
                    place: origin.clone(),
                    subject: key.path(),
                    what,
                    hint: Some("give only one of them".to_owned()),
                });
            }
            self.put(key, origin, parsed);
        }
    }

    fn entry(&self, path: &str) -> Option<&Entry> {
        self.index.get(path).and_then(|at| self.entries.get(*at))
    }

    /// Defaults that follow from other keys.
    fn derive_defaults(&mut self) {
        let has_certificates = self.entry("tls.certificates").is_some_and(|entry| entry.value != Value::Texts(Vec::new()));
        if let Some(entry) = self.index.get("comet.wss").and_then(|at| self.entries.get_mut(*at))
            && has_certificates
            && entry.origin == Origin::Default
        {
            entry.value = Value::Addresses(vec![WSS_DEFAULT]);
        }
    }

    /// The settings, if nothing is wrong with any layer and no two keys contradict one another.
    pub(super) fn finish(mut self) -> Result<Loaded, Problems> {
        self.derive_defaults();
        let settings = Settings::from_values(self.entries.iter().map(|entry| &entry.value));
        match &settings {
            Some(settings) if !self.torn => {
                let broken = rules::check(settings, &self.entries, &self.doubtful);
                self.problems.extend(broken);
            }
            Some(_) => {}
            None => self.problems.push(Problem {
                place: Origin::Default,
                subject: String::new(),
                what: "the table of keys does not fit the settings: a mistake in this program".to_owned(),
                hint: None,
            }),
        }
        match settings {
            Some(settings) if self.problems.is_empty() => Ok(Loaded { settings, entries: self.entries }),
            _ => Err(Problems(self.problems)),
        }
    }
}

/// What to say about a path that is no key.
pub(super) fn unknown_key(path: &str, place: Origin) -> Problem {
    let (section, name) = path.split_once('.').unwrap_or(("", path));
    let known = SECTIONS.iter().find(|known| known.name == section);
    let elsewhere = || keys().find(|key| key.name == name).map(Key::path);
    let paths: Vec<String> = keys().map(Key::path).collect();
    let meant = match known {
        Some(known) => {
            nearest(name, known.keys.iter().map(|key| key.name)).map(|name| format!("{section}.{name}")).or_else(elsewhere)
        }
        None => elsewhere().or_else(|| nearest(path, paths.iter().map(String::as_str)).map(str::to_owned)),
    };
    Problem {
        place,
        subject: path.to_owned(),
        what: "unknown key".to_owned(),
        hint: Some(match (meant, known) {
            (Some(meant), _) => format!("did you mean {meant}?"),
            (None, Some(known)) => {
                let names: Vec<&str> = known.keys.iter().map(|key| key.name).collect();
                format!("{section} has: {}", names.join(", "))
            }
            (None, None) => format!("the sections are: {}", section_names()),
        }),
    }
}

/// What to say about a name that is no section.
pub(super) fn unknown_section(name: &str, place: Origin) -> Problem {
    let meant = nearest(name, SECTIONS.iter().map(|section| section.name));
    Problem {
        place,
        subject: name.to_owned(),
        what: "unknown section".to_owned(),
        hint: Some(match meant {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("the sections are: {}", section_names()),
        }),
    }
}

fn section_names() -> String {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    names.join(", ")
}

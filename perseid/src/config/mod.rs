//! The configuration: read once into typed [`Settings`], all mistakes reported together.
//!
//! One table of keys (`settings.rs`) gives the structs, the checks, `config print` and
//! docs/configuration.md. [`load`] is pure: what the file, the environment and the command line
//! say is its argument.
//!
//! | file | |
//! |---|---|
//! | `settings.rs` | the list of keys; `table.rs` makes table and structs of it |
//! | `key.rs`, `kind.rs`, `value.rs`, `bytes.rs` | a key, its type, its value |
//! | `layers.rs`, `file.rs` | defaults < file < environment < command line |
//! | `rules.rs` | contradictions between keys |
//! | `problem.rs`, `nearest.rs` | what is wrong, where, and what was meant |
//! | `print.rs`, `docs.rs` | for people |

mod bytes;
mod docs;
mod file;
mod key;
mod kind;
mod layers;
mod nearest;
mod print;
mod problem;
mod rules;
mod settings;
mod table;
mod value;

use std::ffi::OsString;

pub use bytes::ByteSize;
pub use docs::markdown;
pub use file::ConfigFile;
pub use key::{Apply, Key, Section};
pub use kind::Kind;
pub use nearest::nearest;
pub use print::{json, text};
pub use problem::{Origin, Position, Problem, Problems};
pub use rules::{LISTENER_KINDS, RELATIONS, Relation};
pub use settings::{
    Cluster, Comet, Events, Goim, Hooks, Job, Jwt, Limit, Log, Logic, Node, Room, SECTIONS, Settings, Telemetry, Tls, Trace, keys,
};
pub use value::{Auth, History, HookFailure, LogFormat, Post, TlsVersion, Value};

/// Everything that may say something about the configuration, below to above.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<ConfigFile>,
    /// The environment; only `PERSEID_*` matters.
    pub env: Vec<(String, OsString)>,
    /// The texts of `--set`, in order.
    pub set: Vec<String>,
    /// The options of keys that were given, with their values: `("--tcp", ["127.0.0.1:0"])`.
    pub options: Vec<(&'static str, Vec<String>)>,
}

/// A valid configuration and where each value came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The typed values.
    pub settings: Settings,
    /// The same by key, in the order of the table.
    pub entries: Vec<Entry>,
}

/// The effective value of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: &'static Key,
    /// Its value.
    pub value: Value,
    /// Where the value came from.
    pub origin: Origin,
}

/// A key whose value differs between two configurations.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The key; its [`Apply`] says whether SIGHUP is enough.
    pub key: &'static Key,
    /// The value before.
    pub before: Value,
    /// The value after.
    pub after: Value,
}

/// Puts the layers together.
///
/// # Errors
///
/// Everything that is wrong, of all layers and between keys, at once.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut layers = layers::Layers::new();
    if let Some(file) = &sources.file {
        layers.file(file);
    }
    layers.environment(&sources.env);
    layers.set(&sources.set);
    layers.options(&sources.options);
    layers.finish()
}

/// Whether a text is a filter of the log, as `telemetry.level` takes it.
///
/// # Errors
///
/// What is wrong with it, and what was meant perhaps.
pub fn check_filter(text: &str) -> Result<(), String> {
    let wrong = |wrong: kind::Wrong| match wrong.hint {
        Some(hint) => format!("{}; {hint}", wrong.what),
        None => wrong.what,
    };
    match Kind::Filter.parse_text(text) {
        Ok(_) => Ok(()),
        Err(wrongs) => Err(wrongs.into_iter().map(wrong).collect::<Vec<_>>().join("; ")),
    }
}

impl Loaded {
    /// What differs in a configuration that was read later, in the order of the table.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let pairs = self.entries.iter().zip(&later.entries);
        pairs
            .filter(|(before, after)| before.value != after.value)
            .map(|(before, after)| Change { key: before.key, before: before.value.clone(), after: after.value.clone() })
            .collect()
    }
}

impl Default for Settings {
    /// The defaults of the table.
    fn default() -> Self {
        match load(&Sources::default()) {
            Ok(loaded) => loaded.settings,
            // The table is a constant, and the test `defaults_are_valid` loads it.
            Err(problems) => unreachable!("{problems}"),
        }
    }
}

//! The configuration, from its layers to the binary's exit status.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "config/binary.rs"]
mod binary;
#[path = "config/errors.rs"]
mod errors;
#[path = "config/layers.rs"]
mod layers;
#[path = "config/table.rs"]
mod table;

use perseid::config::{ConfigFile, Loaded, Origin, Position, Problem, Sources, load};

/// A configuration from what a file, the environment and `--set` say.
fn sources(toml: &str, env: &[(&str, &str)], set: &[&str]) -> Sources {
    Sources {
        file: (!toml.is_empty()).then(|| ConfigFile { path: "p.toml".to_owned(), text: Ok(toml.to_owned()) }),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        options: Vec::new(),
    }
}

/// Loads what must be right.
fn good(sources: &Sources) -> Loaded {
    load(sources).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Loads what must be wrong.
fn bad(sources: &Sources) -> Vec<Problem> {
    match load(sources) {
        Ok(_) => panic!("accepted: {sources:?}"),
        Err(problems) => problems.0,
    }
}

/// A place in the file of [`sources`].
fn at(line: usize, column: usize) -> Origin {
    Origin::File { path: "p.toml".to_owned(), position: Some(Position { line, column }) }
}

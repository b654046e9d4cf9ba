//! Where values come from, and what is wrong with them.

use std::fmt;

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The position of a byte of `text`.
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let before = &text[..text.floor_char_boundary(byte)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// Where a value comes from. The order is that of precedence: a later one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// The configuration file, as a whole if there is no position.
    File {
        /// Its path, as given.
        path: String,
        /// The place in it.
        position: Option<Position>,
    },
    /// This environment variable.
    Env(String),
    /// `--set` with this text.
    Set(String),
    /// This option of its own.
    Option(&'static str),
}

impl Origin {
    /// The origin as JSON: `kind`, and what names the place.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::json;
        match self {
            Self::Default => json!({"kind": "default"}),
            Self::File { path, position } => json!({
                "kind": "file",
                "file": path,
                "line": position.map(|at| at.line),
                "column": position.map(|at| at.column),
            }),
            Self::Env(name) => json!({"kind": "env", "name": name}),
            Self::Set(text) => json!({"kind": "set", "text": text}),
            Self::Option(option) => json!({"kind": "option", "name": option}),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File { path, position } => match position {
                Some(Position { line, column }) => write!(f, "{path}:{line}:{column}"),
                None => write!(f, "{path}"),
            },
            Self::Env(name) => write!(f, "env {name}"),
            Self::Set(text) => write!(f, "--set {text}"),
            Self::Option(option) => write!(f, "{option}"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Origin,
    /// The key or section it is about; empty if it is about the whole place.
    pub subject: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it, if that can be said.
    pub hint: Option<String>,
}

impl Problem {
    /// The problem as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "place": self.place.to_json(),
            "key": self.subject,
            "problem": self.what,
            "hint": self.hint,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        write!(f, "{}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with the configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 error in the configuration:")?,
            n => write!(f, "{n} errors in the configuration:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {}", problem.to_string().replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a\nüb\n";
        for (byte, line, column) in [(0, 1, 1), (1, 1, 2), (2, 2, 1), (3, 2, 1), (4, 2, 2), (6, 3, 1), (99, 3, 1)] {
            assert_eq!(Position::of(text, byte), Position { line, column }, "byte {byte}");
        }
    }

    #[test]
    fn later_layers_are_greater() {
        let file = Origin::File { path: "a".into(), position: None };
        let layers = [Origin::Default, file, Origin::Env("Z".into()), Origin::Set("a".into()), Origin::Option("--a")];
        assert!(layers.is_sorted());
    }
}

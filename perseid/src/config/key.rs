//! One row of the table of keys.

use super::kind::Kind;

/// One key of the configuration: everything that is known of it, in one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name in the section, and the name of the field in the section's struct.
    pub name: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// The default, written as in `--set`.
    pub default: &'static str,
    /// The command line option of its own, with its dashes.
    pub option: Option<&'static str>,
    /// When a changed value takes effect.
    pub apply: Apply,
    pub(super) doc: &'static [&'static str],
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// SIGHUP reads it again.
    Reload,
    /// At the next start.
    Restart,
}

/// One section of the configuration.
#[derive(Debug)]
pub struct Section {
    /// Its name in the file.
    pub name: &'static str,
    /// Its keys, in the order of the documentation.
    pub keys: &'static [Key],
    pub(super) doc: &'static [&'static str],
}

impl Key {
    /// `section.key`, as in `--set`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `PERSEID_SECTION__KEY`.
    pub fn env(&self) -> String {
        format!("PERSEID_{}__{}", self.section, self.name).to_uppercase()
    }

    /// One paragraph about it.
    pub fn doc(&self) -> String {
        paragraph(self.doc)
    }
}

impl Section {
    /// One paragraph about it.
    pub fn doc(&self) -> String {
        paragraph(self.doc)
    }
}

fn paragraph(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

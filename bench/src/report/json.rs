//! The complete results, for programs.

use super::Report;
use anyhow::{Context, Result};
use std::path::Path;

pub(super) fn write(report: &Report, path: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

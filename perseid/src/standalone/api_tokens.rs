//! The file of the API tokens, read at the start and at SIGHUP.

use std::path::Path;

use anyhow::{Context, Result, bail};
use perseid_logic::Tokens;
use perseid_logic::access::FILE_BYTES_MAX;

/// Reads it.
///
/// # Errors
/// A file that can't be read, or makes no sense: with its name, and the place in it.
pub(super) fn read(file: &Path) -> Result<Tokens> {
    let context = || format!("can't read the API tokens in {}", file.display());
    let bytes = std::fs::metadata(file).with_context(context)?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{}: it has {bytes} bytes, more than {FILE_BYTES_MAX}", context());
    }
    let text = std::fs::read_to_string(file).with_context(context)?;
    Tokens::parse(&text).map_err(|what| anyhow::anyhow!("{}: {what}", context()))
}

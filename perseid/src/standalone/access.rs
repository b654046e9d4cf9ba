//! Who may call the API: nobody without a token, unless the node was told to be open.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use perseid_logic::access::FILE_BYTES_MAX;
use perseid_logic::{Access, Metrics, Tokens};

use crate::config::{Auth, Settings};

/// Who may call the API.
pub(super) fn open(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Access> {
    let file = &settings.logic.api_tokens;
    if !file.as_os_str().is_empty() {
        return Ok(Access::with_tokens(read_tokens(file)?, metrics.clone()));
    }
    Ok(match settings.logic.auth {
        Auth::Insecure => Access::open(metrics.clone()),
        // Nobody may, and the answers say what is missing.
        Auth::Jwt | Auth::Hook => Access::with_tokens(Tokens::default(), metrics.clone()),
    })
}

/// Reads the file of the API tokens, at the start and at SIGHUP.
///
/// # Errors
/// A file that can't be read, or makes no sense: with its name, and the place in it.
pub(super) fn read_tokens(file: &Path) -> Result<Tokens> {
    let context = || format!("can't read the API tokens in {}", file.display());
    let bytes = std::fs::metadata(file).with_context(context)?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{}: it has {bytes} bytes, more than {FILE_BYTES_MAX}", context());
    }
    let text = std::fs::read_to_string(file).with_context(context)?;
    Tokens::parse(&text).map_err(|what| anyhow::anyhow!("{}: {what}", context()))
}

//! Filters of the log.

use tracing_subscriber::EnvFilter;

use super::{Wrong, short};
use crate::config::nearest::nearest;

/// `EnvFilter` takes any bare word as the name of a module, so a misspelt level would silence
/// everything; a bare word that looks like a level is refused here.
pub(super) fn check(text: &str) -> Result<(), Wrong> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    if text.trim().is_empty() {
        return Err(Wrong::new("an empty filter").hint("`info` is the default, `off` is silence"));
    }
    for word in text.split(',').map(str::trim) {
        let level = word.rsplit('=').next().unwrap_or(word);
        let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
        if let (false, Some(meant)) = (is_level, nearest(level, LEVELS)) {
            return Err(Wrong::new(format!("`{}` is not a level", short(level))).hint(format!("did you mean `{meant}`?")));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Wrong::new(format!("not a log filter: {error}")).hint("for example `info` or `info,perseid_comet=debug`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::kind::Kind;

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        for text in ["info", "WARN", "info,perseid_comet=debug", "perseid_comet", "off"] {
            assert!(Kind::Filter.parse_text(text).is_ok(), "{text}");
        }
        for text in ["", "inof", "debgu", "perseid=trce", "info,wran", "a=b=c"] {
            assert!(Kind::Filter.parse_text(text).is_err(), "{text}");
        }
    }
}

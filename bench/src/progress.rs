//! The bar on the terminal. It goes to standard error, so that standard output
//! holds the report alone.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// A progress bar, or nothing where nobody watches.
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new(0);
        let style = "{msg:<28} [{bar:32}] {pos}/{len} {elapsed_precise}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(Some(bar))
    }

    pub(crate) fn hidden() -> Self {
        Self(None)
    }

    /// A new piece of work of `len` steps.
    pub(crate) fn begin(&self, what: &str, len: u64) {
        if let Some(bar) = &self.0 {
            bar.reset();
            bar.set_length(len);
            bar.set_message(what.to_owned());
        }
    }

    pub(crate) fn set(&self, position: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(position);
        }
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

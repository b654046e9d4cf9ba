//! Logs of the process, on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, Telemetry};

/// Why there is no log.
#[derive(Debug)]
pub enum TelemetryError {
    /// The level is no filter; the configuration's check excludes it.
    Level(ParseError),
    /// The process has a log already.
    Installed(TryInitError),
    /// The log is gone, at the end of the process.
    Gone(reload::Error),
}

impl std::fmt::Display for TelemetryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Level(error) => write!(f, "not a log filter: {error}"),
            Self::Installed(error) => write!(f, "the process has a log already: {error}"),
            Self::Gone(error) => write!(f, "the log is gone: {error}"),
        }
    }
}

impl std::error::Error for TelemetryError {}

/// Changes the level of the running process.
#[derive(Debug, Clone)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
}

impl LogLevel {
    /// Logs by another filter from now on (`telemetry.level`).
    ///
    /// # Errors
    ///
    /// A text that is no filter changes nothing.
    pub fn set(&self, level: &str) -> Result<(), TelemetryError> {
        self.handle.reload(filter(level)?).map_err(TelemetryError::Gone)
    }
}

/// Starts the log of the process: once, before anything else.
///
/// # Errors
///
/// A level that is no filter, or a log that was started before.
pub fn init(settings: &Telemetry) -> Result<LogLevel, TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter(&settings.level)?);
    let terminal = io::stderr().is_terminal();
    let text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let lines = fmt::layer().with_writer(io::stderr);
    let lines =
        if text { lines.with_ansi(terminal && colours_wanted()).boxed() } else { lines.json().flatten_event(true).boxed() };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(TelemetryError::Installed)?;
    Ok(LogLevel { handle })
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder().parse(level).map_err(TelemetryError::Level)
}

/// <https://no-color.org>
fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    /// The only test of this process that installs a log.
    #[test]
    fn the_level_can_be_changed_and_a_bad_one_changes_nothing() {
        let settings = Telemetry { level: "error".to_owned(), ..Settings::default().telemetry };
        let level = init(&settings).unwrap();
        assert!(!tracing::enabled!(tracing::Level::INFO));
        level.set("info").unwrap();
        assert!(tracing::enabled!(tracing::Level::INFO));
        assert!(matches!(level.set("a=b=c"), Err(TelemetryError::Level(_))));
        assert!(tracing::enabled!(tracing::Level::INFO));
        assert!(matches!(init(&settings), Err(TelemetryError::Installed(_))));
    }
}

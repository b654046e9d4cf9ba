//! Logs of the process, on stderr.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Changes the level of the running process: by the configuration, or for a while by somebody who looks for something.
#[derive(Debug, Clone)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    levels: Arc<Mutex<Levels>>,
}

/// What is logged now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelState {
    /// What counts now.
    pub level: String,
    /// What the configuration says (`telemetry.level`).
    pub configured: String,
    /// When the configured one counts again, unix ms; `None`: it does, or nobody said when.
    pub reverts_at_ms: Option<u64>,
}

impl LogLevel {
    /// Logs by another filter from now on, as the configuration says (`telemetry.level`); what somebody asked for in between
    /// counts no more.
    ///
    /// # Errors
    ///
    /// A text that is no filter changes nothing.
    pub fn set(&self, level: &str) -> Result<(), TelemetryError> {
        self.change(level, |levels| levels.configure(level)).map(drop)
    }

    /// Logs by another filter until [`LogLevel::revert`] is told the number that this gives, or until the next
    /// [`LogLevel::set`]. `until_ms` only says when that is meant to be, unix ms.
    ///
    /// # Errors
    ///
    /// A text that is no filter changes nothing.
    pub fn override_with(&self, level: &str, until_ms: Option<u64>) -> Result<u64, TelemetryError> {
        self.change(level, |levels| levels.override_with(level, until_ms))
    }

    /// Goes back to the configured filter, unless there was another change since the one with this number.
    ///
    /// # Errors
    ///
    /// The log is gone.
    pub fn revert(&self, change: u64) -> Result<bool, TelemetryError> {
        let mut levels = self.levels();
        let Some(configured) = levels.revert(change) else { return Ok(false) };
        self.handle.reload(filter(&configured)?).map_err(TelemetryError::Gone)?;
        Ok(true)
    }

    /// What counts now.
    pub fn state(&self) -> LevelState {
        self.levels().state()
    }

    /// Filter and state change together, or not at all.
    fn change(&self, level: &str, change: impl FnOnce(&mut Levels) -> u64) -> Result<u64, TelemetryError> {
        let filter = filter(level)?;
        let mut levels = self.levels();
        self.handle.reload(filter).map_err(TelemetryError::Gone)?;
        Ok(change(&mut levels))
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        // Each change is whole before anything in it could panic.
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which level counts. Pure.
#[derive(Debug, Default)]
struct Levels {
    configured: String,
    /// What was asked for in between, and until when.
    asked: Option<(String, Option<u64>)>,
    changes: u64,
}

impl Levels {
    fn new(configured: &str) -> Self {
        Self { configured: configured.to_owned(), ..Self::default() }
    }

    fn configure(&mut self, level: &str) -> u64 {
        self.configured = level.to_owned();
        self.asked = None;
        self.changes += 1;
        self.changes
    }

    fn override_with(&mut self, level: &str, until_ms: Option<u64>) -> u64 {
        self.asked = Some((level.to_owned(), until_ms));
        self.changes += 1;
        self.changes
    }

    /// The level to go back to, if this change is the last one.
    fn revert(&mut self, change: u64) -> Option<String> {
        (self.changes == change).then(|| {
            self.asked = None;
            self.changes += 1;
            self.configured.clone()
        })
    }

    fn state(&self) -> LevelState {
        let (level, reverts_at_ms) = match &self.asked {
            Some((level, until_ms)) => (level.clone(), *until_ms),
            None => (self.configured.clone(), None),
        };
        LevelState { level, configured: self.configured.clone(), reverts_at_ms }
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
    Ok(LogLevel { handle, levels: Arc::new(Mutex::new(Levels::new(&settings.level))) })
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

    fn state(level: &str, configured: &str, reverts_at_ms: Option<u64>) -> LevelState {
        LevelState { level: level.to_owned(), configured: configured.to_owned(), reverts_at_ms }
    }

    #[test]
    fn the_last_change_counts_and_only_its_end_reverts() {
        let mut levels = Levels::new("info");
        assert_eq!(levels.state(), state("info", "info", None));
        let first = levels.override_with("debug", Some(5));
        assert_eq!(levels.state(), state("debug", "info", Some(5)));
        let second = levels.override_with("trace", None);
        assert_eq!(levels.revert(first), None, "it was changed since");
        assert_eq!(levels.state(), state("trace", "info", None));
        assert_eq!(levels.revert(second).as_deref(), Some("info"));
        assert_eq!(levels.revert(second), None);
        let third = levels.override_with("debug", Some(5));
        levels.configure("warn");
        assert_eq!(levels.state(), state("warn", "warn", None), "the configuration was read again");
        assert_eq!(levels.revert(third), None);
    }

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

        let change = level.override_with("debug", Some(7)).unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(matches!(level.override_with("a=b=c", None), Err(TelemetryError::Level(_))));
        assert_eq!(level.state().reverts_at_ms, Some(7), "what made no sense changed nothing");
        assert!(level.revert(change).unwrap());
        assert!(!tracing::enabled!(tracing::Level::DEBUG) && tracing::enabled!(tracing::Level::INFO));
        assert!(matches!(init(&settings), Err(TelemetryError::Installed(_))));
    }
}

//! `GET` and `PUT /v1/log-level`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use perseid_logic::reason::Reason;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::problem::problem;
use crate::clock::unix_ms;
use crate::config::check_filter;
use crate::telemetry::{LevelState, LogLevel, TelemetryError};

/// The longest filter, bytes.
const LEVEL_BYTES_MAX: usize = 1024;
/// The longest time that a level may be asked for, s: who needs it for longer changes the configuration.
const FOR_S_MAX: u64 = 86_400;

/// No request here needs more, bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long its body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Levels {
    level: LogLevel,
    /// What goes back to the configured level when the time is over: of the last change only.
    reverting: Arc<Mutex<Option<AbortHandle>>>,
}

impl Levels {
    pub(super) fn new(level: LogLevel) -> Self {
        Self { level, reverting: Arc::default() }
    }

    fn apply(&self, asked: &Asked) -> Result<(), TelemetryError> {
        let until_ms = asked.for_s.map(|seconds| unix_ms().saturating_add(seconds * 1000));
        let change = self.level.override_with(&asked.level, until_ms)?;
        let later = asked.for_s.map(|seconds| {
            let level = self.level.clone();
            let task = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                match level.revert(change) {
                    Ok(true) => tracing::info!(level = level.state().level, "the log level is the configured one again"),
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, "the log level was not changed back"),
                }
            });
            task.abort_handle()
        });
        let before = std::mem::replace(&mut *self.reverting.lock().unwrap_or_else(PoisonError::into_inner), later);
        if let Some(before) = before {
            before.abort();
        }
        Ok(())
    }
}

/// The level of the log: what is in force, and what is configured.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // a description of what [`document`] writes
struct LogLevelState {
    level: String,
    configured: String,
    /// When the configured one comes back, unix ms.
    #[schema(required)]
    reverts_at_ms: Option<u64>,
}

/// Another level.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // a description of what [`Asked`] reads
struct LogLevelChange {
    /// A level, or a filter: `info,perseid_logic=debug`; at most 1,024 bytes.
    level: String,
    /// For so long, s; without it until it is changed again.
    #[schema(minimum = 1, maximum = 86400)]
    for_s: Option<u64>,
}

/// The level of the log.
#[utoipa::path(
    get, path = "/v1/log-level", operation_id = "getLogLevel", tag = "process",
    responses((status = 200, description = "The level.", body = LogLevelState)),
)]
pub(super) async fn show(State(levels): State<Levels>) -> Response {
    Json(document(&levels.level.state())).into_response()
}

/// Change the level of the log.
#[utoipa::path(
    put, path = "/v1/log-level", operation_id = "setLogLevel", tag = "process",
    request_body(content = LogLevelChange, example = json!({ "level": "debug", "for_s": 600 })),
    responses((status = 200, description = "The level now.", body = LogLevelState)),
)]
pub(super) async fn change(State(levels): State<Levels>, body: Body) -> Response {
    let body = match tokio::time::timeout(BODY_WITHIN, to_bytes(body, REQUEST_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return problem(Reason::TooLarge, "the body has more than 16 KiB, or broke off"),
        Err(_) => return problem(Reason::BadRequest, "the body did not come in time"),
    };
    let asked = match Asked::parse(&body) {
        Ok(asked) => asked,
        Err(detail) => return problem(Reason::BadRequest, &detail),
    };
    match levels.apply(&asked) {
        Ok(()) => {
            tracing::info!(level = asked.level, for_s = asked.for_s, "the log level was changed over HTTP");
            Json(document(&levels.level.state())).into_response()
        }
        Err(error @ TelemetryError::Level(_)) => problem(Reason::BadRequest, &error.to_string()),
        Err(error) => problem(Reason::Unavailable, &error.to_string()),
    }
}

fn document(state: &LevelState) -> Value {
    json!({ "level": state.level, "configured": state.configured, "reverts_at_ms": state.reverts_at_ms })
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    level: String,
    for_s: Option<u64>,
}

impl Asked {
    fn parse(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
        let object = value.as_object().ok_or("the body must be an object: {\"level\": \"debug\", \"for_s\": 600}")?;
        if let Some(unknown) = object.keys().find(|key| !["level", "for_s"].contains(&key.as_str())) {
            return Err(format!("unknown field {unknown:?}: there are level and for_s"));
        }
        let level = object.get("level").and_then(Value::as_str).ok_or("level must be there, a text")?;
        if level.len() > LEVEL_BYTES_MAX {
            return Err(format!("level has more than {LEVEL_BYTES_MAX} bytes"));
        }
        check_filter(level)?;
        let for_s = match object.get("for_s") {
            None | Some(Value::Null) => None,
            Some(seconds) => {
                let seconds = seconds.as_u64().filter(|seconds| (1..=FOR_S_MAX).contains(seconds));
                Some(seconds.ok_or_else(|| format!("for_s must be a whole number, 1 to {FOR_S_MAX}"))?)
            }
        };
        Ok(Self { level: level.to_owned(), for_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked() {
        let asked = |level: &str, for_s| Ok(Asked { level: level.to_owned(), for_s });
        for (body, expected) in [
            (r#"{"level":"debug"}"#, asked("debug", None)),
            (r#"{"level":"debug","for_s":null}"#, asked("debug", None)),
            (r#"{"level":"info,perseid_comet=trace","for_s":86400}"#, asked("info,perseid_comet=trace", Some(86_400))),
            ("", Err("JSON")),
            ("7", Err("object")),
            ("{}", Err("level")),
            (r#"{"level":7}"#, Err("level")),
            (r#"{"level":""}"#, Err("empty")),
            (r#"{"level":"debgu"}"#, Err("did you mean `debug`")),
            (r#"{"level":"a=b=c"}"#, Err("filter")),
            (r#"{"level":"debug","for_s":0}"#, Err("for_s")),
            (r#"{"level":"debug","for_s":86401}"#, Err("for_s")),
            (r#"{"level":"debug","for_s":-1}"#, Err("for_s")),
            (r#"{"level":"debug","for_s":1.5}"#, Err("for_s")),
            (r#"{"level":"debug","fors":1}"#, Err("unknown field")),
        ] {
            match (Asked::parse(body.as_bytes()), expected) {
                (Ok(asked), Ok(expected)) => assert_eq!(asked, expected, "{body}"),
                (Err(said), Err(word)) => assert!(said.contains(word), "{body}: {word} in {said}"),
                (got, _) => panic!("{body}: {got:?}"),
            }
        }
        let long = format!(r#"{{"level":"{}"}}"#, "debug,".repeat(200));
        assert!(Asked::parse(long.as_bytes()).unwrap_err().contains("1024"));
    }
}

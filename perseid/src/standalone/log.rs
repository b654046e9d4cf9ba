//! The embedded event log, and what is read from it at the start.

use std::sync::Arc;

use anyhow::{Context, Result};
use perseid_comet::net::patiently;
use perseid_log::{Disk, EmbeddedConfig, EmbeddedLog, EventLog, LogError, Record, Topic};
use perseid_logic::Accept;
use perseid_rpc::{LogRecord, PushMsg};
use prost::Message;

use super::{stored, telling};
use crate::config::Settings;

/// The folder of the event log in the data directory.
const LOG_DIR: &str = "log";

pub(super) fn open(settings: &Settings, disk: Arc<dyn Disk>) -> Result<EmbeddedLog> {
    let dir = settings.node.data_dir.join(LOG_DIR);
    std::fs::create_dir_all(&dir).with_context(|| format!("can't make the data directory {}", dir.display()))?;
    let config = EmbeddedConfig {
        segment_bytes: settings.log.segment_bytes,
        rest_us: settings.log.rest_us,
        retention_bytes: settings.log.retention_bytes,
        retention_ms: settings.log.retention_ms,
        queue_bytes_max: settings.log.queue_bytes_max,
        cursor_bytes_max: settings.events.hold_bytes_max,
        cursor_ms_max: settings.events.hold_ms_max,
        held_by: telling::holder(settings).into_iter().chain([stored::HOLDER]).collect(),
        disk,
        ..EmbeddedConfig::default()
    };
    let is_held = |error: &LogError| matches!(error, LogError::InUse { .. });
    let log = patiently(is_held, || EmbeddedLog::open(&dir, config.clone())).context("can't open the event log")?;
    let status = log.status();
    if status.counters.torn_bytes > 0 {
        tracing::warn!(bytes = status.counters.torn_bytes, "a torn tail of the event log was cut off: never acknowledged");
    }
    Ok(log)
}

/// Idempotency keys hold over a restart, and ids go on above those that were given: the log knows them.
pub(super) fn restore(log: &dyn EventLog, accept: &Accept, since_ms: u64) -> Result<()> {
    let mut restore = |records: &[Record]| {
        for record in records.iter().filter(|record| record.ts_ms >= since_ms) {
            match record.topic {
                Topic::Push => {
                    if let Ok(push) = PushMsg::decode(record.value.clone()) {
                        accept.restore(&push, record.ts_ms);
                    }
                }
                Topic::Log => {
                    if let Ok(stored) = LogRecord::from_value(&record.value) {
                        accept.restore_stored(&stored);
                    }
                }
                Topic::Events => {}
            }
        }
    };
    log.replay(&mut restore).context("can't read the event log")?;
    Ok(())
}

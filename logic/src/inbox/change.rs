//! What the push API changes: groups, and who blocks whom. Answered when the log has it; [`until`](super::until) waits for more.

use perseid_log::Topic;
use perseid_rpc::{LogRecord, log_record};
use perseid_store::stored::Answer;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{PageBound, Pull, PullFrom};
use tokio::sync::oneshot;

use super::Inbox;
use crate::accept::PushError;
use crate::snowflake::LEAD_MS_MAX;

/// Where a change is looked for at the end of its timeline, rows: far more than come between two looks.
const ROWS_LOOKED_AT: usize = 64;

impl Inbox {
    /// Writes a change by `from`; gives its id when the log has it.
    ///
    /// # Errors
    /// As those of a push.
    pub(crate) async fn change(&self, conv: Conv, from: u64, body: log_record::Body, now_ms: u64) -> Result<u64, PushError> {
        let issued = self.parts.ids.next(now_ms);
        if issued.lead_ms > LEAD_MS_MAX {
            return Err(PushError::RateLimited { retry_after_ms: issued.lead_ms });
        }
        let record = LogRecord { id: issued.id, ts_ms: now_ms, from, body: Some(body), ..LogRecord::default() };
        let (tell, told) = oneshot::channel();
        // Whoever has gone needs no answer.
        let done = Box::new(move |result| drop(tell.send(result)));
        self.parts.log.append(Topic::Log, conv.to_string().as_bytes(), record.to_value(), done);
        match told.await {
            Ok(Ok(_)) => Ok(issued.id),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(crate::accept::forgotten()),
        }
    }

    /// Whether the event of a change stands in its timeline.
    pub(crate) fn shows(&self, conv: Conv, id: u64) -> Answer<bool> {
        let pull = Pull {
            conv,
            reader: 0,
            from: PullFrom::Before(0),
            since_joined: false,
            bound: PageBound { messages_max: ROWS_LOOKED_AT, bytes_max: usize::MAX },
        };
        let store = &self.parts.store;
        store.pull(pull).then(move |page| Ok(page?.is_ok_and(|page| page.messages.iter().any(|row| row.id == id))))
    }
}

//! Writing to the log, and what follows when the log has it.

use std::sync::Arc;

use perseid_log::{AppendError, Offset, Topic};
use perseid_rpc::LogRecord;
use perseid_store::stored::conv::Conv;

use super::answer::forgotten;
use super::marks::MarkKey;
use super::{Answerer, Inbox, Manner, StoredOutcome, StoredReply, Thread, lock};

/// What comes next with a request.
pub(super) enum Next {
    /// It is answered.
    Answer(StoredOutcome),
    /// It is written, and answered when the log has it.
    Write(Box<Write>),
}

impl From<StoredOutcome> for Next {
    fn from(outcome: StoredOutcome) -> Self {
        Self::Answer(outcome)
    }
}

/// Something to be written.
pub(super) struct Write {
    pub(super) record: LogRecord,
    pub(super) conv: Conv,
    pub(super) reply: StoredReply,
    pub(super) after: After,
}

/// What follows when the log has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    /// The answer.
    Answer,
    /// The table of read marks learns it, then the answer.
    Marked { key: MarkKey, pos: u64, silent: bool },
    /// It takes effect, then the answer.
    Recalled { conv: Conv, pos: u64 },
}

impl Inbox {
    pub(super) fn write(self: &Arc<Self>, manner: Manner, write: Write, answerer: Answerer) {
        let Write { record, conv, reply, after } = write;
        let completion = Completion { inbox: self.clone(), manner, reply, after, answerer: Some(answerer) };
        let key = conv.to_string();
        let done = move |result| completion.finish(result);
        self.parts.log.append(Topic::Log, key.as_bytes(), record.to_value(), Box::new(done));
    }
}

/// What happens when the log is done with a request. Dropped unfinished, it says that the outcome is unknown.
struct Completion {
    inbox: Arc<Inbox>,
    manner: Manner,
    reply: StoredReply,
    after: After,
    answerer: Option<Answerer>,
}

impl Completion {
    fn finish(mut self, result: Result<Offset, AppendError>) {
        let Some(answerer) = self.answerer.take() else { return };
        let (inbox, manner, reply) = (self.inbox.clone(), self.manner, std::mem::take(&mut self.reply));
        if let After::Marked { key, pos, silent } = self.after {
            lock(&inbox.marks).settled(key, pos, silent, result.is_ok());
            inbox.marks_wake.notify_one();
        }
        match (result, self.after) {
            (Ok(_), After::Recalled { conv, pos }) => inbox.await_recall(manner, conv, pos, reply, answerer),
            (Ok(_), _) => answerer(inbox.told(manner, Ok(reply)), Thread::Log),
            // A refusal may come from whatever thread asked.
            (Err(error), _) => answerer(inbox.told(manner, Err(error.into())), Thread::Other),
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(answerer) = self.answerer.take() {
            answerer(self.inbox.told(self.manner, Err(forgotten())), Thread::Other);
        }
    }
}

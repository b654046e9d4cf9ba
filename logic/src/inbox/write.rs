//! Writing to the log, and what follows when the log has it.

use std::sync::Arc;

use bytes::Bytes;
use perseid_log::{AppendError, Offset, Topic};
use perseid_protocol::frame::flag;
use perseid_protocol::trace::Open;
use perseid_rpc::LogRecord;
use perseid_store::stored::conv::Conv;

use super::answer::forgotten;
use super::marks::MarkKey;
use super::{Answerer, Inbox, Manner, StoredOutcome, StoredRefusal, StoredReply, Thread, lock};

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
    /// Of the request, if it is traced: ends with the answer.
    pub(super) span: Option<Box<Open>>,
}

/// Ends the span of a request, by how it was answered.
pub(super) fn end(span: &mut Option<Box<Open>>, outcome: &StoredOutcome) {
    if let Some(mut span) = span.take() {
        if let Ok(reply) = outcome {
            span.set("perseid.push.id", reply.ext.id);
        }
        span.end_with(outcome.as_ref().err().map(|refused| refused.refusal.word()));
    }
}

/// What follows when the log has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    /// The answer to a message, which says whether the log had it before.
    Sent,
    /// The table of read marks learns it, then the answer.
    Marked { key: MarkKey, pos: u64, silent: bool },
    /// It takes effect, then the answer.
    Recalled { conv: Conv, pos: u64 },
}

impl Inbox {
    pub(super) fn write(self: &Arc<Self>, manner: Manner, write: Write, answerer: Answerer) {
        let Write { mut record, conv, reply, after, span } = write;
        let append = self.parts.traces.append(span.as_ref().map(|span| span.context())).map(Box::new);
        if let Some(append) = &append {
            record.trace = Bytes::copy_from_slice(&append.context().to_record());
        }
        let completion = Completion { inbox: self.clone(), manner, reply, after, answerer: Some(answerer), append, span };
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
    /// Of the log's work, and of the request.
    append: Option<Box<Open>>,
    span: Option<Box<Open>>,
}

impl Completion {
    /// The log has ended its work on a record that is traced.
    fn appended(&mut self, result: &Result<Offset, AppendError>) {
        let Some(mut append) = self.append.take() else { return };
        append.set("perseid.push.id", self.reply.ext.id);
        match result {
            Ok(offset) => append.set("perseid.log.offset", *offset),
            Err(error) => append.end_with(Some(StoredRefusal::from(error.clone()).refusal.word())),
        }
    }

    fn finish(mut self, result: Result<Offset, AppendError>) {
        let Some(answerer) = self.answerer.take() else { return };
        self.appended(&result);
        let mut span = self.span.take();
        let (inbox, manner, mut reply) = (self.inbox.clone(), self.manner, std::mem::take(&mut self.reply));
        if let After::Marked { key, pos, silent } = self.after {
            lock(&inbox.marks).settled(key, pos, silent, result.is_ok());
            inbox.marks_wake.notify_one();
        }
        if let (Ok(_), After::Sent) = (&result, self.after)
            && !lock(&inbox.accepted).insert(reply.ext.id)
        {
            reply.ext.flags |= flag::DUPLICATE;
        }
        match (result, self.after) {
            (Ok(_), After::Recalled { conv, pos }) => inbox.await_recall(manner, conv, pos, reply, answerer),
            (Ok(_), _) => {
                let outcome = inbox.told(manner, Ok(reply));
                end(&mut span, &outcome);
                answerer(outcome, Thread::Log);
            }
            // A refusal may come from whatever thread asked.
            (Err(error), _) => {
                let outcome = inbox.told(manner, Err(error.into()));
                end(&mut span, &outcome);
                answerer(outcome, Thread::Other);
            }
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

//! What happens when the log is done with a push.

use std::sync::{Arc, Mutex, PoisonError};

use perseid_log::{AppendError, Offset};
use perseid_protocol::trace::Open;
use tokio::sync::oneshot;

use super::record::Accepted;
use super::retries::RetryKey;
use super::sent::Sent;
use super::{Outcome, PushAnswer, PushError, Shared, forgotten};
use crate::metrics::TargetKind;

/// What happens when the log is done with a push, on the log's thread. Dropped unfinished, it says that the outcome is unknown.
pub(super) struct Completion {
    shared: Arc<Shared>,
    retry: Option<RetryKey>,
    tell: Option<oneshot::Sender<Outcome>>,
    answer: PushAnswer,
    kind: TargetKind,
    now_ms: u64,
    span: Option<Open>,
    /// What is remembered of it.
    sent: Option<Sent>,
    /// Recipients for whom it is written, if that are some and not all.
    partly: usize,
}

impl Completion {
    pub(super) fn new(
        shared: Arc<Shared>,
        retry: Option<RetryKey>,
        tell: oneshot::Sender<Outcome>,
        push: &Accepted,
        span: Option<Open>,
    ) -> Self {
        let kind = push.request.target.kind();
        let sent = Sent::of(&push.request, push.now_ms);
        let (answer, now_ms) = (push.answer, push.now_ms);
        Self { shared, retry, tell: Some(tell), answer, kind, now_ms, span, sent: Some(sent), partly: 0 }
    }

    /// It is another answer than it seemed at first.
    pub(super) const fn set_answer(&mut self, answer: PushAnswer) {
        self.answer = answer;
    }

    pub(super) fn finish(mut self, result: Result<Offset, AppendError>) {
        match result {
            Ok(offset) => {
                self.shared.metrics.pushed(self.kind);
                if let Some(span) = &mut self.span {
                    span.set("perseid.push.id", self.answer.id);
                    span.set("perseid.log.offset", offset);
                }
                if let Some(sent) = self.sent.take() {
                    self.shared.sent.put(self.answer.id, sent.answered(self.answer.recipients));
                }
                self.settle(Ok(self.answer));
            }
            Err(error) => self.settle(Err(error.into())),
        }
    }

    /// It was written before.
    pub(super) fn repeat(mut self) {
        self.shared.metrics.idempotent_hit();
        self.settle(Ok(PushAnswer { duplicate: true, ..self.answer }));
    }

    /// It is not written.
    pub(super) fn refuse(mut self, error: PushError) {
        self.settle(Err(error));
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(tell) = self.tell.take() else { return };
        if let Some(mut span) = self.span.take() {
            span.end_with(outcome.as_ref().err().map(|error| error.reason().word()));
        }
        if let Err(error) = &outcome {
            self.shared.metrics.refused(error.reason());
        }
        if let Some(retry) = self.retry.take() {
            let answer = PushAnswer { duplicate: false, ..self.answer };
            let (waiting, evicted) = match &outcome {
                Err(_) if self.partly > 0 => (self.shared.retries().settle_partly(&retry, &answer, self.partly, self.now_ms), 0),
                outcome => self.shared.retries().settle(&retry, outcome.as_ref().ok().map(|_| &answer), self.now_ms),
            };
            self.shared.metrics.idempotency_evicted(evicted);
            for other in waiting {
                let duplicate = outcome.clone().map(|answer| PushAnswer { duplicate: true, ..answer });
                // Whoever has gone needs no answer.
                let _ = other.send(duplicate);
            }
        }
        let _ = tell.send(outcome);
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.settle(Err(forgotten()));
    }
}

/// A push in several records: done when all are.
pub(super) struct Parts(Mutex<PartsState>);

struct PartsState {
    completion: Option<Completion>,
    /// Of each: the recipients it is for, and what became of it.
    parts: Vec<(usize, Option<Result<Offset, AppendError>>)>,
    open: usize,
    /// Recipients that were done before.
    done: usize,
}

impl Parts {
    pub(super) fn new(completion: Completion, sizes: impl Iterator<Item = usize>, done: usize) -> Arc<Self> {
        let parts: Vec<_> = sizes.map(|size| (size, None)).collect();
        let open = parts.len();
        Arc::new(Self(Mutex::new(PartsState { completion: Some(completion), parts, open, done })))
    }

    /// One of them is in the log, or refused.
    pub(super) fn finish(&self, part: usize, result: Result<Offset, AppendError>) {
        // Every change is whole before anything in it could panic.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, outcome @ None)) = state.parts.get_mut(part) {
            *outcome = Some(result);
            state.open -= 1;
        }
        if state.open > 0 {
            return;
        }
        let Some(mut completion) = state.completion.take() else { return };
        let (partly, result) = state.whole();
        drop(state);
        completion.partly = partly;
        completion.finish(result);
    }
}

impl PartsState {
    /// Recipients for whom it is surely written, from the first on, and the outcome of the whole: unknown, as soon as some have
    /// it and others do not.
    fn whole(&mut self) -> (usize, Result<Offset, AppendError>) {
        let written = self.parts.iter().take_while(|(_, outcome)| matches!(outcome, Some(Ok(_))));
        let partly = self.done + written.map(|(size, _)| size).sum::<usize>();
        let is_some = self.done > 0 || self.parts.iter().any(|(_, outcome)| matches!(outcome, Some(Ok(_))));
        let failed = self.parts.iter_mut().find_map(|(_, outcome)| outcome.take_if(|outcome| outcome.is_err()));
        match failed {
            Some(Err(error)) if is_some => {
                let message = format!("a part of the recipients has it, and then: {error}; send it again with the same id");
                (partly, Err(AppendError::Unknown(message)))
            }
            Some(error) => (0, error),
            None => (partly, self.parts.pop().and_then(|(_, outcome)| outcome).unwrap_or(Ok(0))),
        }
    }
}

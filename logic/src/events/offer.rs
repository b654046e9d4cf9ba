//! An append whose refusal may come at once, on this thread and under this thread's locks, or later, on the log's.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use perseid_log::{AppendError, EventLog, Offset, Topic};

/// What became of an offer.
pub(super) enum Offered {
    /// The log has it already. `done` is not called.
    Durable(Offset),
    /// The log did not take it. `done` is not called.
    Refused(AppendError),
    /// `done` will be called, once, on another thread.
    Coming,
}

enum Stage<F> {
    /// The append has not returned.
    Offering(F),
    /// It was answered before it returned.
    Answered(Result<Offset, AppendError>),
    /// It has returned, and was not answered.
    Coming(F),
    Over,
}

/// The log's end of it. Dropped unanswered, it says that the outcome is unknown.
struct Answer<F: FnOnce(Result<Offset, AppendError>)>(Arc<Mutex<Stage<F>>>);

impl<F: FnOnce(Result<Offset, AppendError>)> Answer<F> {
    fn give(&self, result: Result<Offset, AppendError>) {
        let mut stage = lock(&self.0);
        match mem::replace(&mut *stage, Stage::Over) {
            Stage::Offering(_) => *stage = Stage::Answered(result),
            Stage::Coming(done) => {
                drop(stage);
                done(result);
            }
            // Answered before: once is enough.
            before @ Stage::Answered(_) => *stage = before,
            Stage::Over => {}
        }
    }
}

impl<F: FnOnce(Result<Offset, AppendError>)> Drop for Answer<F> {
    fn drop(&mut self) {
        self.give(Err(AppendError::Unknown("the log stopped before it answered".to_owned())));
    }
}

/// Appends events. Whoever calls this may hold locks that `done` takes.
pub(super) fn offer(
    log: &dyn EventLog,
    key: &[u8],
    value: Bytes,
    done: impl FnOnce(Result<Offset, AppendError>) + Send + 'static,
) -> Offered {
    let stage = Arc::new(Mutex::new(Stage::Offering(done)));
    let answer = Answer(stage.clone());
    log.append(Topic::Events, key, value, Box::new(move |result| answer.give(result)));
    let mut stage = lock(&stage);
    match mem::replace(&mut *stage, Stage::Over) {
        Stage::Offering(done) => {
            *stage = Stage::Coming(done);
            Offered::Coming
        }
        Stage::Answered(Ok(offset)) => Offered::Durable(offset),
        Stage::Answered(Err(error)) => Offered::Refused(error),
        // Only this function makes the others.
        Stage::Coming(_) | Stage::Over => Offered::Refused(AppendError::Unknown("no answer".to_owned())),
    }
}

fn lock<T>(stage: &Mutex<T>) -> MutexGuard<'_, T> {
    // Replaced whole; nobody panics in between.
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

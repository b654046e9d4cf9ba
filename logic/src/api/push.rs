//! Pushing, the same for every API: what is left to them is to read a request and to write the answer.

use axum::extract::Request;
use perseid_protocol::trace::Trace;
use tokio::time::Instant;

use super::access::Caller;
use super::draft::Draft;
use super::problem::Problem;
use super::{Api, now_ms};
use crate::accept::{Pending, PushAnswer};
use crate::traces::Traced;

/// What an API knows of a call besides what it says.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    /// What it belongs to.
    pub(super) trace: Option<Trace>,
    /// When the answer is too late.
    pub(super) deadline: Instant,
}

impl Call {
    /// Of a request over HTTP.
    pub(super) fn of(request: &Request, deadline: Instant, trace: Option<Trace>) -> Self {
        Self { caller: Caller::of(request), trace, deadline }
    }
}

impl Api {
    /// Pushes one message; answered when the log has it.
    pub(super) async fn push(&self, call: &Call, draft: Draft) -> Result<PushAnswer, Problem> {
        let pending = self.submit(call, Ok(draft), now_ms())?;
        Ok(self.settled(pending, call.deadline).await?)
    }

    /// Pushes several in their order, each judged by itself; each problem is counted. The batch as a whole is refused when it has
    /// too many or none, or when the quota is used up.
    pub(super) async fn push_batch(
        &self,
        call: &Call,
        drafts: impl ExactSizeIterator<Item = Result<Draft, Problem>>,
    ) -> Result<Vec<Result<PushAnswer, Problem>>, Problem> {
        let batch_max = self.config().batch_max;
        if !(1..=batch_max).contains(&drafts.len()) {
            return Err(Problem::bad(format!("messages must hold 1 to {batch_max} messages")));
        }
        self.access.charge(&call.caller, drafts.len() - 1)?;
        let now_ms = now_ms();
        // All are on their way before the first is waited for.
        let pending: Vec<_> = drafts.map(|draft| self.submit(call, draft, now_ms)).collect();
        let mut outcomes = Vec::with_capacity(pending.len());
        for pending in pending {
            let outcome = match pending {
                Ok(pending) => self.settled(pending, call.deadline).await.map_err(Problem::from),
                Err(problem) => Err(problem),
            };
            outcomes.push(outcome.inspect_err(|problem| self.count(problem)));
        }
        Ok(outcomes)
    }

    fn submit(&self, call: &Call, draft: Result<Draft, Problem>, now_ms: u64) -> Result<Pending, Problem> {
        Ok(self.accept.submit(draft?.into_request(call.caller.account(), call.trace)?, now_ms))
    }
}

impl Traced {
    /// As [`Traced::end`], by what `work` gives.
    pub(super) async fn through<T>(self, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        let outcome = work.await;
        self.end(outcome.as_ref().err().map(|problem| problem.reason.word()));
        outcome
    }
}

//! Spans of what the job does for records that are sampled. For all others: a look at an empty list.
//!
//! ```text
//! job.project ──┬─ job.conv      the step in its conversation
//!               ├─ job.user      the step at its users; several, if they are many
//!               └─ job.dispatch ── comet.write
//! ```

use std::sync::Arc;

use perseid_protocol::trace::{Open, SpanKind, Spans};

use crate::inbox::progress::Sampled;
use crate::inbox::show::{Applied, What};

/// Sampled records that are being applied.
#[derive(Default)]
pub(super) struct Traced {
    spans: Option<Arc<dyn Spans>>,
    records: Vec<Record>,
}

struct Record {
    offset: u64,
    id: u64,
    project: Open,
}

impl Traced {
    pub(super) fn new(spans: Option<Arc<dyn Spans>>) -> Self {
        Self { spans, records: Vec::new() }
    }

    /// These begin to be applied.
    pub(super) fn begin(&mut self, sampled: Vec<Sampled>) {
        let Some(spans) = &self.spans else { return };
        self.records.extend(sampled.into_iter().map(|Sampled { offset, id, trace }| {
            let mut project = Open::begin(spans, "job.project", SpanKind::Consumer, trace);
            project.set("perseid.push.id", id);
            project.set("perseid.log.offset", offset);
            Record { offset, id, project }
        }));
    }

    /// A step with these records begins; it ends when what this gives is dropped.
    pub(super) fn step(&self, name: &'static str, offsets: impl Iterator<Item = u64> + Clone) -> Vec<Open> {
        let Some(spans) = self.spans.as_ref().filter(|_| !self.records.is_empty()) else { return Vec::new() };
        let of_step = self.records.iter().filter(|record| offsets.clone().any(|offset| offset == record.offset));
        of_step.map(|record| Open::begin(spans, name, SpanKind::Internal, record.project.context())).collect()
    }

    /// They will be applied once more, from the beginning.
    pub(super) fn again(&mut self) {
        for record in &mut self.records {
            record.project.end_with(Some("AGAIN"));
        }
        self.records.clear();
    }

    /// They are applied: what is told of them belongs to what this gives, which ends when it was handed over.
    pub(super) fn applied(&mut self, applied: &mut Applied) -> Vec<Open> {
        let Some(spans) = self.spans.as_ref().filter(|_| !self.records.is_empty()) else { return Vec::new() };
        let mut dispatches = Vec::new();
        let records = std::mem::take(&mut self.records);
        let (done, rest): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.offset <= applied.upto);
        self.records = rest;
        for record in done {
            let mut dispatch = Open::begin(spans, "job.dispatch", SpanKind::Consumer, record.project.context());
            dispatch.set("perseid.push.id", record.id);
            dispatch.set("perseid.inboxes", applied.dones.iter().filter(|done| done.offset == record.offset).count());
            for shown in applied.shown.iter_mut().filter(|shown| shown.offset == record.offset) {
                shown.trace = Some(dispatch.context());
                if let What::Room(frame) = &mut shown.what {
                    Arc::make_mut(&mut Arc::make_mut(frame).push).trace = Some(dispatch.context());
                }
            }
            dispatches.push(dispatch);
        }
        dispatches
    }
}

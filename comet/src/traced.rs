//! The span of a push on its way to the sockets of this node: it ends when the last worker is through with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use perseid_protocol::push::Push;
use perseid_protocol::trace::{Open, SpanKind, Spans};

/// A sampled push, shared by all commands that carry it. Dropped with the last of them, it ends its span.
#[derive(Debug)]
pub(crate) struct Traced {
    span: Open,
    /// Sessions that it was written to, or queued for.
    sessions: AtomicU64,
}

impl Traced {
    /// It was put to so many sessions.
    pub(crate) fn add(&self, sessions: usize) {
        self.sessions.fetch_add(sessions as u64, Ordering::Relaxed);
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.span.set("perseid.sessions", *self.sessions.get_mut());
    }
}

/// Begins spans for the pushes of a batch: one for each push, to however many of its sessions it goes.
pub(crate) struct Tracing<'a> {
    spans: Option<&'a Arc<dyn Spans>>,
    /// Deliveries of one push stand together.
    last: Option<(Arc<Push>, Arc<Traced>)>,
}

impl<'a> Tracing<'a> {
    pub(crate) fn new(spans: Option<&'a Arc<dyn Spans>>) -> Self {
        Self { spans, last: None }
    }

    /// `None` for a push that is not sampled.
    pub(crate) fn of(&mut self, push: &Arc<Push>) -> Option<Arc<Traced>> {
        let trace = push.sampled()?;
        if let Some((_, traced)) = self.last.as_ref().filter(|(last, _)| Arc::ptr_eq(last, push)) {
            return Some(Arc::clone(traced));
        }
        let mut span = Open::begin(self.spans?, "comet.write", SpanKind::Internal, trace);
        span.set("perseid.push.id", push.id);
        let traced = Arc::new(Traced { span, sessions: AtomicU64::new(0) });
        self.last = Some((Arc::clone(push), Arc::clone(&traced)));
        Some(traced)
    }
}

/// Pushes of a room whose spans go on until every member had his turn.
#[derive(Debug, Default)]
pub(crate) struct Passing {
    /// Each with whether it came while a pass was under way: the next one is its own.
    traced: Vec<(Arc<Traced>, bool)>,
}

/// Spans of one room that may go on; another ends when it was put into the ring.
const PASSING_MAX: usize = 64;

impl Passing {
    pub(crate) fn add(&mut self, traced: Arc<Traced>, in_pass: bool) {
        if self.traced.len() < PASSING_MAX {
            self.traced.push((traced, in_pass));
        }
    }

    /// A pass has ended.
    pub(crate) fn end_pass(&mut self) {
        if !self.traced.is_empty() {
            self.traced.retain_mut(|(_, waits)| std::mem::take(waits));
        }
    }
}

//! What a part did for a sampled trace, as a value; and who takes it.

use std::fmt::Debug;
use std::sync::Arc;

use super::{SpanId, Trace, TraceId};

/// Who calls whom in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Serves a request.
    Server,
    /// Writes something that another reads later.
    Producer,
    /// Reads what another wrote.
    Consumer,
    /// Neither.
    Internal,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A word of ours.
    Word(&'static str),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

/// A piece of work that has ended. Holds no text of users or callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What was done: `api.push` or `client.send`, `log.append`, `job.project`, `job.conv`, `job.user`, `job.dispatch`,
    /// `comet.write`.
    pub name: &'static str,
    /// See [`SpanKind`].
    pub kind: SpanKind,
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// Whose child it is; `None`: the trace begins with it.
    pub parent: Option<SpanId>,
    /// When it began, unix ns.
    pub start_ns: u64,
    /// When it ended, unix ns.
    pub end_ns: u64,
    /// More of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed: a word; `None`: it did not.
    pub error: Option<&'static str>,
}

/// Takes the spans of a process, and has what the parts do not: a clock and random numbers. Never waits.
pub trait Spans: Debug + Send + Sync {
    /// Now, unix ns.
    fn now_ns(&self) -> u64;

    /// The id of a new span.
    fn span_id(&self) -> SpanId;

    /// The id of a new trace.
    fn trace_id(&self) -> TraceId;

    /// Takes a span that has ended, or drops it and counts that.
    fn record(&self, span: Span);
}

/// Work that goes on. Dropping it ends its span.
#[derive(Debug)]
pub struct Open {
    span: Span,
    spans: Arc<dyn Spans>,
}

impl Open {
    /// Begins a span that belongs to `trace`.
    pub fn begin(spans: &Arc<dyn Spans>, name: &'static str, kind: SpanKind, trace: Trace) -> Self {
        let (id, start_ns) = (spans.span_id(), spans.now_ns());
        let Trace { id: trace, parent, .. } = trace;
        let span = Span { name, kind, trace, id, parent, start_ns, end_ns: start_ns, attributes: Vec::new(), error: None };
        Self { span, spans: Arc::clone(spans) }
    }

    /// The context of what this span causes.
    pub const fn context(&self) -> Trace {
        Trace { id: self.span.trace, parent: Some(self.span.id), sampled: true }
    }

    /// Says more of it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.span.attributes.push((name, value.into()));
    }

    /// It failed, or did not.
    pub const fn end_with(&mut self, error: Option<&'static str>) {
        self.span.error = error;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let attributes = std::mem::take(&mut self.span.attributes);
        // A clock that was set back makes no span of a negative length.
        let end_ns = self.spans.now_ns().max(self.span.start_ns);
        self.spans.record(Span { attributes, end_ns, ..self.span });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Kept {
        clock_ns: AtomicU64,
        spans: Mutex<Vec<Span>>,
    }

    impl Spans for Kept {
        fn now_ns(&self) -> u64 {
            self.clock_ns.load(Ordering::Relaxed)
        }

        fn span_id(&self) -> SpanId {
            SpanId::new([9; 8]).unwrap()
        }

        fn trace_id(&self) -> TraceId {
            TraceId::new([8; 16]).unwrap()
        }

        fn record(&self, span: Span) {
            self.spans.lock().unwrap().push(span);
        }
    }

    #[test]
    fn a_span_ends_when_its_work_is_dropped() {
        let kept = Arc::new(Kept::default());
        let spans: Arc<dyn Spans> = kept.clone();
        kept.clock_ns.store(100, Ordering::Relaxed);
        let caller = Trace { id: spans.trace_id(), parent: SpanId::new([1; 8]), sampled: true };
        let mut open = Open::begin(&spans, "log.append", SpanKind::Producer, caller);
        assert_eq!(open.context(), Trace { parent: SpanId::new([9; 8]), ..caller });
        open.set("n", 7_u64);
        open.end_with(Some("UNKNOWN"));
        kept.clock_ns.store(130, Ordering::Relaxed);
        assert!(kept.spans.lock().unwrap().is_empty());
        drop(open);
        kept.clock_ns.store(90, Ordering::Relaxed);
        let other = Open::begin(&spans, "x", SpanKind::Internal, Trace { parent: None, ..caller });
        kept.clock_ns.store(80, Ordering::Relaxed);
        drop(other);

        let spans = kept.spans.lock().unwrap();
        let [first, second] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((first.start_ns, first.end_ns, first.parent, first.error), (100, 130, SpanId::new([1; 8]), Some("UNKNOWN")));
        assert_eq!(first.attributes, [("n", Value::Number(7))]);
        assert_eq!((second.start_ns, second.end_ns, second.parent), (90, 90, None));
    }
}

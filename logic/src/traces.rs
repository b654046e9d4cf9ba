//! Which requests are traced, and the spans of a push's way into the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderMap;
use perseid_protocol::trace::{Open, Ratio, SpanKind, Spans, Trace};

use crate::accept::PushError;

/// Makes spans for requests that are sampled: those whose caller says so, and a share of those whose caller says nothing.
/// Without anybody to tell it makes none, and passes on what callers say.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    spans: Option<Arc<dyn Spans>>,
    /// See [`Ratio::bits`].
    ratio: Arc<AtomicU64>,
}

impl Traces {
    /// Tells `spans`; of the traces that begin here, this share.
    pub fn new(spans: Arc<dyn Spans>, ratio: Ratio) -> Self {
        Self { spans: Some(spans), ratio: Arc::new(AtomicU64::new(ratio.bits())) }
    }

    /// Another share from now on.
    pub fn reload(&self, ratio: Ratio) {
        self.ratio.store(ratio.bits(), Ordering::Relaxed);
    }

    /// A request begins; `route` names it.
    pub(crate) fn enter(&self, headers: &HeaderMap, route: &'static str) -> Traced {
        let caller = caller(headers);
        let Some(spans) = &self.spans else { return Traced { caller, span: None } };
        let Some(trace) = caller.or_else(|| self.sample(&**spans)).filter(|trace| trace.sampled) else {
            return Traced { caller, span: None };
        };
        let mut span = Open::begin(spans, "api.push", SpanKind::Server, trace);
        span.set("http.route", route);
        // Until it is said how it ended.
        span.end_with(Some("ABANDONED"));
        Traced { caller, span: Some(span) }
    }

    /// A client sends a message: a trace of its own, if it is one of those that are sampled.
    pub(crate) fn send(&self) -> Option<Box<Open>> {
        let spans = self.spans.as_ref()?;
        let trace = self.sample(&**spans)?;
        let mut span = Open::begin(spans, "client.send", SpanKind::Server, trace);
        span.end_with(Some("ABANDONED"));
        Some(Box::new(span))
    }

    /// A trace that begins here, if it is one of those that are sampled.
    fn sample(&self, spans: &dyn Spans) -> Option<Trace> {
        let ratio = Ratio::from_bits(self.ratio.load(Ordering::Relaxed));
        let id = (!ratio.is_zero()).then(|| spans.trace_id())?;
        ratio.samples(id).then_some(Trace { id, parent: None, sampled: true })
    }

    /// A push is given to the log.
    pub(crate) fn append(&self, trace: Option<Trace>) -> Option<Open> {
        let trace = trace.filter(|trace| trace.sampled)?;
        Some(Open::begin(self.spans.as_ref()?, "log.append", SpanKind::Producer, trace))
    }
}

/// The trace that a caller gives; a second header, or one that makes no sense, is none.
fn caller(headers: &HeaderMap) -> Option<Trace> {
    let mut values = headers.get_all("traceparent").iter();
    let trace = Trace::parse_traceparent(values.next()?.as_bytes())?;
    values.next().is_none().then_some(trace)
}

/// A request that pushes. Dropped without an end, its caller has gone.
#[derive(Debug)]
pub(crate) struct Traced {
    caller: Option<Trace>,
    span: Option<Open>,
}

impl Traced {
    /// The context of what it causes.
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.span.as_ref().map(Open::context).or(self.caller)
    }

    /// It ended: well, or for a reason.
    pub(crate) fn end(self, error: Option<&'static str>) {
        if let Some(mut span) = self.span {
            span.end_with(error);
        }
    }

    /// As [`Traced::end`], by what became of the push.
    pub(crate) fn end_by<T>(self, outcome: &Result<T, PushError>) {
        self.end(outcome.as_ref().err().map(|error| error.reason().word()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn one_header_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(caller(&headers), None);
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(caller(&headers), Trace::parse_traceparent(GOOD.as_bytes()));
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(caller(&headers), None, "which of them?");
    }

    #[test]
    fn without_anybody_to_tell_what_callers_say_is_passed_on() {
        let traces = Traces::default();
        traces.reload(Ratio::new(1.0));
        assert_eq!(traces.enter(&HeaderMap::new(), "x").trace(), None);
        let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), GOOD.parse().unwrap())]);
        let call = traces.enter(&headers, "x");
        assert_eq!(call.trace(), Trace::parse_traceparent(GOOD.as_bytes()));
        assert!(traces.append(call.trace()).is_none());
    }
}

//! Traces: which request a push belongs to (W3C Trace Context), in its three forms, and the port through which the parts
//! tell what they did for it. No part knows who listens.
//!
//! ```text
//! traceparent ─▶ [Trace] ─25 bytes in the record─▶ job ─in the push─▶ comet
//!                  │                                │                  │
//!              api.push ──▶ log.append ──▶ job.dispatch ──▶ comet.write      spans, each the child of the one before
//!  stored:  client.send ──▶ log.append ──▶ job.project ──▶ job.conv, job.user, job.dispatch ──▶ comet.write
//! ```
//!
//! Invariant: a push that is not sampled costs one branch wherever a span could be made.

mod context;
mod sampling;
mod span;

pub use context::{SpanId, Trace, TraceId};
pub use sampling::Ratio;
pub use span::{Open, Span, SpanKind, Spans, Value};

//! Traces: what callers say, what begins here, and the spans of a push's way into the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use perseid_log::AppendError;
use perseid_logic::{Accept, Access, Api, Config, Traces, router};
use perseid_protocol::trace::{Ratio, Span, SpanId, SpanKind, Spans, Trace, TraceId};
use tower::ServiceExt;

use crate::fakes::{Mode, World};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const MESSAGE: &str = r#"{"to":{"mids":[7]},"body":"x"}"#;

/// Keeps spans; its clock and its ids count up, and every trace that it names is sampled by any ratio.
#[derive(Debug, Default)]
struct Kept {
    count: AtomicU64,
    spans: Mutex<Vec<Span>>,
}

impl Spans for Kept {
    fn now_ns(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn span_id(&self) -> SpanId {
        SpanId::new((self.now_ns() + 1).to_be_bytes()).unwrap()
    }

    fn trace_id(&self) -> TraceId {
        TraceId::new([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap()
    }

    fn record(&self, span: Span) {
        self.spans.lock().unwrap().push(span);
    }
}

struct Traced {
    world: World,
    kept: Arc<Kept>,
    traces: Traces,
    router: Router,
}

impl Traced {
    fn new(ratio: f64) -> Self {
        let (world, kept) = (World::new(), Arc::new(Kept::default()));
        let traces = Traces::new(kept.clone(), Ratio::new(ratio));
        let World { log, nodes, registry, metrics, .. } = &world;
        let config = Config::default();
        let accept = Accept::new(log.clone(), registry.clone(), nodes.counts_rooms(), metrics.clone(), &config);
        let accept = Arc::new(accept.with_traces(traces.clone()));
        let access = Arc::new(Access::open(metrics.clone()));
        let api = Api::new(accept, registry.clone(), log.clone(), nodes.clone(), metrics.clone(), access, config);
        let router = router(Arc::new(api.with_traces(traces.clone())), Router::new());
        Self { world, kept, traces, router }
    }

    /// Posts; gives the spans that it made, in the order of their ends.
    async fn post(&self, path: &str, traceparent: Option<&str>, body: &'static str) -> Vec<Span> {
        let mut request = Request::post(path);
        if let Some(value) = traceparent {
            request = request.header("traceparent", value);
        }
        self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        std::mem::take(&mut *self.kept.spans.lock().unwrap())
    }

    fn recorded(&self) -> Option<Trace> {
        Trace::from_record(&self.world.log.last().trace)
    }
}

#[tokio::test]
async fn every_way_in_makes_a_chain() {
    let traced = Traced::new(0.0);
    let caller = Trace::parse_traceparent(CALLER.as_bytes()).unwrap();
    for (path, body) in [
        ("/v1/messages", MESSAGE),
        ("/v1/messages:batch", r#"{"messages":[{"to":{"mids":[7]},"body":"x"}]}"#),
        ("/goim/push/keys?operation=1000&keys=a", "x"),
        ("/goim/push/mids?operation=1000&mids=7", "x"),
        ("/goim/push/room?operation=1000&type=live&room=1", "x"),
        ("/goim/push/all?operation=1000&speed=0", "x"),
    ] {
        let spans = traced.post(path, Some(CALLER), body).await;
        let [append, push] = &spans[..] else { panic!("{path}: {spans:?}") };
        assert_eq!((push.name, push.kind, push.parent), ("api.push", SpanKind::Server, caller.parent), "{path}");
        assert_eq!((append.name, append.kind, append.parent), ("log.append", SpanKind::Producer, Some(push.id)), "{path}");
        assert_eq!((push.trace, append.trace, push.error, append.error), (caller.id, caller.id, None, None), "{path}");
        assert!(push.start_ns < append.start_ns && append.end_ns < push.end_ns, "{path}");
        assert_eq!(traced.recorded(), Some(Trace { parent: Some(append.id), ..caller }), "{path}: as it is carried on");
    }
}

#[tokio::test]
async fn who_decides() {
    let traced = Traced::new(0.0);
    assert_eq!(traced.post("/v1/messages", None, MESSAGE).await, []);
    assert_eq!(traced.recorded(), None);
    // The caller has decided; its trace goes on all the same.
    traced.traces.reload(Ratio::new(1.0));
    assert_eq!(traced.post("/v1/messages", Some(UNSAMPLED), MESSAGE).await, []);
    assert_eq!(traced.recorded(), Trace::parse_traceparent(UNSAMPLED.as_bytes()));
    // Nobody has, and what makes no sense is nobody.
    for nobody in [None, Some("00-x"), Some(&CALLER[..54])] {
        let spans = traced.post("/v1/messages", nobody, MESSAGE).await;
        assert_eq!((spans.len(), spans[1].parent), (2, None), "{nobody:?}");
        assert_eq!(traced.recorded().unwrap().parent, Some(spans[0].id));
    }
    traced.traces.reload(Ratio::new(0.0));
    assert_eq!(traced.post("/v1/messages", None, MESSAGE).await, []);
}

#[tokio::test]
async fn spans_say_why_a_push_failed() {
    let traced = Traced::new(1.0);
    let errors = |spans: Vec<Span>| spans.iter().map(|span| (span.name, span.error)).collect::<Vec<_>>();
    for (path, body) in [("/v1/messages", "{"), ("/v1/messages", r#"{"to":{"mids":[]},"body":"x"}"#)] {
        assert_eq!(errors(traced.post(path, None, body).await), [("api.push", Some("BAD_REQUEST"))], "{body}");
    }
    assert_eq!(errors(traced.post("/goim/push/keys?operation=7", None, "x").await), [("api.push", Some("BAD_REQUEST"))]);
    traced.world.log.set(Mode::Refuse(AppendError::Overloaded));
    let unavailable = Some("UNAVAILABLE");
    let spans = traced.post("/v1/messages", None, MESSAGE).await;
    assert_eq!(errors(spans), [("log.append", unavailable), ("api.push", unavailable)]);
}

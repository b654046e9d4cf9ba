//! What logic counts. Plain atomics; whoever exports them takes a [`MetricsSnapshot`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use perseid_log::HistogramSnapshot;

use perseid_outbound::OutboundError;
use perseid_protocol::Refusal;

use crate::reason::Reason;

/// Upper bounds of the buckets for the duration of a request, s.
const BOUNDS_SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];
const BOUNDS_NS: [u64; 14] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// Declares an enum whose values are labels: all of them in order, and their words.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($value:ident => $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // the words say it
        pub enum $name { $($value),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// The label in metrics.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }
    };
}

labels!(
    /// A route of the HTTP APIs, or a method of the one over gRPC.
    Route {
        GoimPushKeys => "goim_push_keys",
        GoimPushMids => "goim_push_mids",
        GoimPushRoom => "goim_push_room",
        GoimPushAll => "goim_push_all",
        GoimOnlineTop => "goim_online_top",
        GoimOnlineRoom => "goim_online_room",
        GoimOnlineTotal => "goim_online_total",
        GoimNodesWeighted => "goim_nodes_weighted",
        GoimNodesInstances => "goim_nodes_instances",
        Messages => "messages",
        MessagesBatch => "messages_batch",
        Nodes => "nodes",
        User => "user",
        UsersOnline => "users_online",
        Rooms => "rooms",
        Room => "room",
        Kick => "kick",
        Node => "node",
        Drain => "drain",
        DrainProgress => "drain_progress",
        Message => "message",
        Inbox => "inbox",
        Block => "block",
        Unblock => "unblock",
        Group => "group",
        GroupPut => "group_put",
        GroupDelete => "group_delete",
        GroupConvert => "group_convert",
        GroupMembers => "group_members",
        GroupMessages => "group_messages",
        Events => "events",
        GrpcPush => "grpc_push",
        GrpcPushBatch => "grpc_push_batch",
        GrpcGetMessage => "grpc_get_message",
        GrpcGetInbox => "grpc_get_inbox",
        GrpcBlock => "grpc_block",
        GrpcUnblock => "grpc_unblock",
        GrpcGetGroup => "grpc_get_group",
        GrpcPutGroup => "grpc_put_group",
        GrpcDeleteGroup => "grpc_delete_group",
        GrpcConvertGroup => "grpc_convert_group",
        GrpcChangeMembers => "grpc_change_members",
        GrpcListGroupMessages => "grpc_list_group_messages",
        GrpcGetUser => "grpc_get_user",
        GrpcUsersOnline => "grpc_users_online",
        GrpcKick => "grpc_kick",
        GrpcListRooms => "grpc_list_rooms",
        GrpcGetRoom => "grpc_get_room",
        GrpcListNodes => "grpc_list_nodes",
        GrpcGetNode => "grpc_get_node",
        GrpcDrainNode => "grpc_drain_node",
        GrpcGetDrain => "grpc_get_drain",
        Healthz => "healthz",
        Readyz => "readyz",
        Other => "other",
    }
);

labels!(
    /// Whom a push is for.
    TargetKind { Keys => "keys", Mids => "mids", Notice => "notice", Group => "group", Room => "room", All => "all" }
);

labels!(
    /// What clients ask of stored messages.
    StoredOp {
        Send => "send",
        Sync => "sync",
        Ack => "ack",
        Pull => "pull",
        Read => "read",
        Heads => "heads",
        Recall => "recall",
        Ephemeral => "ephemeral",
    }
);

labels!(
    /// What became of it.
    StoredResult {
        Done => "ok",
        BadRequest => "bad_request",
        PermissionDenied => "permission_denied",
        NotMember => "not_member",
        Conflict => "conflict",
        TooOld => "too_old",
        EpochChanged => "epoch_changed",
        Blocked => "blocked",
        RateLimited => "rate_limited",
        Unsupported => "unsupported",
        Unavailable => "unavailable",
        Unknown => "unknown",
    }
);

impl StoredResult {
    /// A refusal.
    pub const fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadRequest => Self::BadRequest,
            Refusal::PermissionDenied => Self::PermissionDenied,
            Refusal::NotMember => Self::NotMember,
            Refusal::Conflict => Self::Conflict,
            Refusal::TooOld => Self::TooOld,
            Refusal::EpochChanged => Self::EpochChanged,
            Refusal::Blocked => Self::Blocked,
            Refusal::RateLimited => Self::RateLimited,
            Refusal::Unsupported => Self::Unsupported,
            Refusal::Unavailable => Self::Unavailable,
            Refusal::Unknown => Self::Unknown,
        }
    }
}

labels!(
    /// Whether a call to the API was let in.
    AccessOutcome {
        Accepted => "accepted",
        Anonymous => "anonymous",
        NoToken => "no_token",
        Malformed => "malformed",
        UnknownToken => "unknown_token",
        ExpiredToken => "expired_token",
        MissingScope => "missing_scope",
        OverQuota => "over_quota",
        ForeignHost => "foreign_host",
        ForeignOrigin => "foreign_origin",
    }
);

labels!(
    /// What became of an AUTH.
    AuthOutcome {
        Accepted => "accepted",
        Malformed => "malformed",
        Refused => "refused",
        KeyTaken => "key_taken",
        Failed => "failed",
    }
);

labels!(
    /// Why a client was not let in, or not renewed.
    AuthRefusal {
        NoToken => "no_token",
        Malformed => "malformed",
        Algorithm => "algorithm",
        UnknownKey => "unknown_key",
        Signature => "signature",
        Claims => "claims",
        Expired => "expired",
        NotYet => "not_yet",
        Lifetime => "lifetime",
        Audience => "audience",
        Issuer => "issuer",
        Subject => "subject",
        Bound => "bound",
        KeysUnavailable => "keys_unavailable",
        HookRefused => "hook_refused",
        HookFailed => "hook_failed",
        HookBusy => "hook_busy",
        OtherUser => "other_user",
        UserLimit => "user_limit",
    }
);

labels!(
    /// Why a call to a server of somebody else brought nothing that can be used.
    CallFailure {
        Status => "status",
        Answer => "answer",
        TooLarge => "too_large",
        Deadline => "deadline",
        Connection => "connection",
        Target => "target",
        Busy => "busy",
    }
);

impl From<&OutboundError> for CallFailure {
    fn from(error: &OutboundError) -> Self {
        match error {
            OutboundError::TooLarge { .. } => Self::TooLarge,
            OutboundError::Deadline { .. } => Self::Deadline,
            OutboundError::Busy { .. } => Self::Busy,
            OutboundError::Refused { .. } | OutboundError::BadRequest(_) => Self::Target,
            _ => Self::Connection,
        }
    }
}

labels!(
    /// What became of an AUTH that the hook was to decide, where nothing failed.
    HookOutcome {
        Accepted => "accepted",
        Refused => "refused",
        Cached => "cached",
        Shared => "shared",
        Full => "full",
        Breaker => "breaker",
    }
);

labels!(
    /// What kind of operation a client sent upstream.
    UpstreamClass { SendMsg => "send_msg", Protocol => "protocol", Reserved => "reserved", Business => "business" }
);

impl UpstreamClass {
    /// The class of an operation.
    pub const fn of(op: i32) -> Self {
        match op {
            4 => Self::SendMsg,
            33..=999 => Self::Reserved,
            1000.. => Self::Business,
            _ => Self::Protocol,
        }
    }
}

#[derive(Default)]
struct Histogram {
    counts: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    fn observe(&self, ns: u64) {
        let bucket = BOUNDS_NS.iter().position(|&bound| ns <= bound).unwrap_or(BOUNDS_NS.len());
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            bounds_seconds: &BOUNDS_SECONDS,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum_seconds: self.sum_ns.load(Relaxed) as f64 / 1e9,
        }
    }
}

/// Logic's counters.
pub struct Metrics {
    requests: [Histogram; Route::ALL.len()],
    refusals: [AtomicU64; Reason::ALL.len()],
    access: [AtomicU64; AccessOutcome::ALL.len()],
    kicked: AtomicU64,
    pushes: [AtomicU64; TargetKind::ALL.len()],
    auths: [AtomicU64; AuthOutcome::ALL.len()],
    auth_refusals: [AtomicU64; AuthRefusal::ALL.len()],
    jwks: JwksCounters,
    hook: [AtomicU64; HookOutcome::ALL.len()],
    hook_failed: [AtomicU64; CallFailure::ALL.len()],
    hook_took: Histogram,
    upstream: [AtomicU64; UpstreamClass::ALL.len()],
    upstream_bytes: AtomicU64,
    stored: [[AtomicU64; StoredResult::ALL.len()]; StoredOp::ALL.len()],
    replaced: AtomicU64,
    idempotent_hits: AtomicU64,
    idempotency_evicted: AtomicU64,
    pub(crate) http: HttpCounters,
}

/// Counters of the key set that is fetched.
#[derive(Default)]
struct JwksCounters {
    good: AtomicU64,
    failed: [AtomicU64; CallFailure::ALL.len()],
    keys: AtomicU64,
    fetched_ms: AtomicU64,
}

/// Counters of the HTTP listener.
#[derive(Default)]
pub struct HttpCounters {
    pub(crate) connections: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) broken: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: std::array::from_fn(|_| Histogram::default()),
            refusals: Default::default(),
            access: Default::default(),
            kicked: AtomicU64::new(0),
            pushes: Default::default(),
            auths: Default::default(),
            auth_refusals: Default::default(),
            jwks: JwksCounters::default(),
            hook: Default::default(),
            hook_failed: Default::default(),
            hook_took: Histogram::default(),
            upstream: Default::default(),
            upstream_bytes: AtomicU64::new(0),
            stored: Default::default(),
            replaced: AtomicU64::new(0),
            idempotent_hits: AtomicU64::new(0),
            idempotency_evicted: AtomicU64::new(0),
            http: HttpCounters::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn request(&self, route: Route, took: Duration) {
        self.requests[route as usize].observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a refused request of HTTP or gRPC.
    pub fn refused(&self, reason: Reason) {
        self.refusals[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn access(&self, outcome: AccessOutcome) {
        self.access[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn kicked(&self, sessions: u64) {
        self.kicked.fetch_add(sessions, Relaxed);
    }

    pub(crate) fn pushed(&self, kind: TargetKind) {
        self.pushes[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn auth(&self, outcome: AuthOutcome) {
        self.auths[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn auth_refused(&self, cause: AuthRefusal) {
        self.auth_refusals[cause as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn jwks_fetched(&self, keys: usize, now_ms: u64) {
        self.jwks.good.fetch_add(1, Relaxed);
        self.jwks.keys.store(keys as u64, Relaxed);
        self.jwks.fetched_ms.store(now_ms, Relaxed);
    }

    pub(crate) fn jwks_failed(&self, why: CallFailure) {
        self.jwks.failed[why as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn hook(&self, outcome: HookOutcome) {
        self.hook[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn hook_failed(&self, why: CallFailure) {
        self.hook_failed[why as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn hook_took(&self, took: Duration) {
        self.hook_took.observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn session_replaced(&self) {
        self.replaced.fetch_add(1, Relaxed);
    }

    pub(crate) fn received(&self, op: i32, bytes: usize) {
        self.upstream[UpstreamClass::of(op) as usize].fetch_add(1, Relaxed);
        self.upstream_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn stored(&self, op: StoredOp, result: StoredResult) {
        self.stored[op as usize][result as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn idempotent_hit(&self) {
        self.idempotent_hits.fetch_add(1, Relaxed);
    }

    pub(crate) fn idempotency_evicted(&self, count: u64) {
        self.idempotency_evicted.fetch_add(count, Relaxed);
    }

    /// All of it at this moment.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            requests: Route::ALL.iter().zip(&self.requests).map(|(route, all)| (route.word(), all.snapshot())).collect(),
            refusals: Reason::ALL.iter().zip(&self.refusals).map(|(reason, n)| (reason.word(), n.load(Relaxed))).collect(),
            access: AccessOutcome::ALL.iter().zip(&self.access).map(|(outcome, n)| (outcome.word(), n.load(Relaxed))).collect(),
            sessions_kicked: self.kicked.load(Relaxed),
            pushes: TargetKind::ALL.iter().zip(&self.pushes).map(|(kind, n)| (kind.word(), n.load(Relaxed))).collect(),
            auths: AuthOutcome::ALL.iter().zip(&self.auths).map(|(outcome, n)| (outcome.word(), n.load(Relaxed))).collect(),
            auth_refusals: AuthRefusal::ALL
                .iter()
                .zip(&self.auth_refusals)
                .map(|(why, n)| (why.word(), n.load(Relaxed)))
                .collect(),
            jwks_fetches: std::iter::once(("ok", self.jwks.good.load(Relaxed)))
                .chain(CallFailure::ALL.iter().zip(&self.jwks.failed).map(|(why, n)| (why.word(), n.load(Relaxed))))
                .collect(),
            hook: HookOutcome::ALL
                .iter()
                .zip(&self.hook)
                .map(|(outcome, n)| (outcome.word(), n.load(Relaxed)))
                .chain(CallFailure::ALL.iter().zip(&self.hook_failed).map(|(why, n)| (why.word(), n.load(Relaxed))))
                .collect(),
            hook_took: self.hook_took.snapshot(),
            jwks_keys: self.jwks.keys.load(Relaxed),
            jwks_fetched_ms: self.jwks.fetched_ms.load(Relaxed),
            upstream: UpstreamClass::ALL.iter().zip(&self.upstream).map(|(class, n)| (class.word(), n.load(Relaxed))).collect(),
            upstream_bytes: self.upstream_bytes.load(Relaxed),
            stored: StoredOp::ALL
                .iter()
                .zip(&self.stored)
                .flat_map(|(op, results)| {
                    let words = StoredResult::ALL.iter().zip(results);
                    words.map(|(result, n)| (op.word(), result.word(), n.load(Relaxed)))
                })
                .collect(),
            sessions_replaced: self.replaced.load(Relaxed),
            idempotent_hits: self.idempotent_hits.load(Relaxed),
            idempotency_evicted: self.idempotency_evicted.load(Relaxed),
            http_connections: self.http.connections.load(Relaxed),
            http_open: self.http.open.load(Relaxed),
            http_accept_errors: self.http.accept_errors.load(Relaxed),
            http_timed_out: self.http.timed_out.load(Relaxed),
            http_broken: self.http.broken.load(Relaxed),
        }
    }
}

/// Logic's counters at one moment. All only grow, but `http_open`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsSnapshot {
    /// Durations of HTTP requests by route.
    pub requests: Vec<(&'static str, HistogramSnapshot)>,
    /// Refused requests and messages by reason.
    pub refusals: Vec<(&'static str, u64)>,
    /// Calls that need a scope, by whether they were let in.
    pub access: Vec<(&'static str, u64)>,
    /// Sessions told to end through the API.
    pub sessions_kicked: u64,
    /// Pushes that the log has, by kind of target; duplicates are not among them.
    pub pushes: Vec<(&'static str, u64)>,
    /// AUTHs by what became of them.
    pub auths: Vec<(&'static str, u64)>,
    /// Clients that were not let in or not renewed, by why.
    pub auth_refusals: Vec<(&'static str, u64)>,
    /// Fetches of `jwt.jwks_url` by what they brought.
    pub jwks_fetches: Vec<(&'static str, u64)>,
    /// AUTHs that the hook was to decide, by what became of them.
    pub hook: Vec<(&'static str, u64)>,
    /// How long its calls took.
    pub hook_took: HistogramSnapshot,
    /// Keys that the last good one brought.
    pub jwks_keys: u64,
    /// When that was, unix ms; 0: never.
    pub jwks_fetched_ms: u64,
    /// Frames from clients for the business, by class of operation.
    pub upstream: Vec<(&'static str, u64)>,
    /// Their bodies, bytes.
    pub upstream_bytes: u64,
    /// Requests about stored messages that were answered: what was asked, what became of it.
    pub stored: Vec<(&'static str, &'static str, u64)>,
    /// Sessions that a newer one with the same key replaced.
    pub sessions_replaced: u64,
    /// Pushes answered from an earlier one with the same idempotency key.
    pub idempotent_hits: u64,
    /// Idempotency keys forgotten before their time, for want of memory.
    pub idempotency_evicted: u64,
    /// HTTP connections accepted.
    pub http_connections: u64,
    /// HTTP connections open now.
    pub http_open: u64,
    /// Accepts that failed.
    pub http_accept_errors: u64,
    /// HTTP connections closed because they were idle, or their headers did not come in time.
    pub http_timed_out: u64,
    /// HTTP connections that ended by an error: bad HTTP, a reset, cut off at the end.
    pub http_broken: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_tables_of_bounds_agree() {
        for (ns, seconds) in BOUNDS_NS.iter().zip(BOUNDS_SECONDS) {
            assert!((*ns as f64 / 1e9 - seconds).abs() < 1e-12);
        }
        assert!(BOUNDS_NS.is_sorted());
    }

    #[test]
    fn what_is_counted_is_found_in_the_snapshot() {
        let metrics = Metrics::default();
        metrics.request(Route::Messages, Duration::from_micros(100));
        metrics.request(Route::Messages, Duration::from_secs(99));
        metrics.refused(Reason::Unknown);
        metrics.pushed(TargetKind::All);
        metrics.received(1000, 7);
        let snapshot = metrics.snapshot();
        let (_, messages) = snapshot.requests.iter().find(|(route, _)| *route == "messages").unwrap();
        assert_eq!((messages.counts[0], messages.counts[14], messages.count()), (1, 1, 2));
        assert_eq!(snapshot.refusals.last(), Some(&("UNKNOWN", 1)));
        assert_eq!(snapshot.pushes.last(), Some(&("all", 1)));
        assert_eq!((snapshot.upstream.last(), snapshot.upstream_bytes), (Some(&("business", 1)), 7));
    }

    #[test]
    fn classes_of_operations() {
        let classes = [4, 0, 32, -5, i32::MIN, 33, 999, 1000, i32::MAX].map(|op| UpstreamClass::of(op).word());
        let expected =
            ["send_msg", "protocol", "protocol", "protocol", "protocol", "reserved", "reserved", "business", "business"];
        assert_eq!(classes, expected);
    }
}

//! Logic: who a client is, who is online, and the push API for business services.
//!
//! Reading order: [`service`] (what comets ask), [`inbox`] (stored messages), [`auth`] and [`nodes`] (ports), [`accept`] (the
//! one way in for pushes), [`api`] (HTTP: goim's routes and v1; v1 over gRPC), [`mod@serve`] (the listener), [`metrics`].
//!
//! **Invariants**: a push is answered as accepted only after the event log has it; all APIs push through
//! [`Accept`], and clients send through [`Inbox`]; time comes in as an argument, but in [`api`] and where
//! [`auth`] calls others, which read the clock.
//!
//! Not here: delivery (job and comet), and what a record looks like on disk (log).

pub mod accept;
pub mod api;
pub mod auth;
pub mod config;
pub mod events;
pub mod inbox;
pub mod metrics;
pub mod nodes;
pub mod reason;
pub mod serve;
pub mod service;
pub mod snowflake;
pub mod traces;

pub use accept::{Accept, PushAnswer, PushError, PushRequest, RoomOnline, SentBook, Target, Undelivered};
pub use api::access::{self, Access, Scope, Tokens};
pub use api::grpc::grpc_services;
pub use api::{Api, describe, router, router_with};
pub use auth::hook::{HookAuth, HookConfig};
pub use auth::jwt::{JwksUrl, JwtAuth, JwtConfig};
pub use auth::{AuthContext, AuthError, Authenticator, Identity, InsecureAuth};
pub use config::{Config, GoimConfig, History, StoredConfig};
pub use events::{Feed, FeedSnapshot, Presence, StillPace, Wanted};
pub use inbox::{
    Answerer, Greeting, Inbox, InboxParts, Relay, RoomTail, StoredOutcome, StoredRefusal, StoredReply, StoredRequest, Thread,
};
pub use metrics::{Metrics, MetricsSnapshot};
pub use nodes::{DrainProgress, NodeInfo, NodeRole, Nodes, Totals, UnknownNode};
pub use perseid_store::Verdict;
pub use serve::{Peer, ServeLimits, serve};
pub use service::{ConnectError, ConnectRequest, Connected, Logic, RenewRequest, SessionLimits, Upstream};
pub use traces::Traces;

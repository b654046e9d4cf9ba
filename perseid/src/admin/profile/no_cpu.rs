//! In place of `cpu.rs` where the feature `profile` is missing.

use axum::response::Response;
use perseid_logic::reason::Reason;

use super::{Profiles, problem};

/// Says what to build instead.
pub(super) async fn answer(_profiles: Profiles, _query: Option<String>) -> Response {
    const DETAIL: &str = "this build has no profiler of stacks: build with cargo build --release --features profile. \
        GET /v1/profile/threads is in every build";
    problem(Reason::Unsupported, DETAIL)
}

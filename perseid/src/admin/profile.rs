//! `GET /v1/profile/…`: where the CPU time of the process goes. One profile at a time.

mod asked;
#[cfg_attr(not(feature = "profile"), path = "profile/no_cpu.rs")]
mod cpu;
mod slot;
mod threads;

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use perseid_logic::reason::Reason;

use super::problem::problem;
use slot::{Slot, Turn};
use threads::Threads;
use tokio_util::sync::CancellationToken;

const LEAVING: &str = "the node is leaving";

/// What profiles share.
#[derive(Clone)]
pub(super) struct Profiles {
    slot: Slot,
    /// Ends profiles: the process does not wait for them.
    stop: CancellationToken,
}

impl Profiles {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { slot: Slot::default(), stop }
    }

    /// The turn for a profile, if nobody else has it.
    fn take(&self, seconds: u64) -> Result<Turn, Busy> {
        self.slot.take(Instant::now(), Duration::from_secs(seconds)).map_err(|wait_s| Busy { wait_s })
    }

    /// Waits; whether so long, or until the process leaves.
    async fn wait(&self, seconds: u64) -> bool {
        self.stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(seconds))).await.is_some()
    }
}

/// Another profile is being taken, for so long still.
struct Busy {
    wait_s: u64,
}

impl IntoResponse for Busy {
    fn into_response(self) -> Response {
        let mut busy = problem(Reason::RateLimited, "another profile is being taken, and there is one at a time");
        busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from(self.wait_s));
        busy
    }
}

/// What the CPU does, thread by thread.
#[utoipa::path(
    get, path = "/v1/profile/threads", operation_id = "profileThreads", tag = "process",
    params(("seconds" = Option<u64>, Query, minimum = 1, maximum = 60, description = "How long; 5 when left out.")),
    responses((status = 200, description = "The threads, the dearest first.", body = Threads)),
)]
pub(super) async fn threads(State(profiles): State<Profiles>, RawQuery(query): RawQuery) -> Response {
    let seconds = match asked::seconds(query.as_deref()) {
        Ok(seconds) => seconds,
        Err(detail) => return problem(Reason::BadRequest, &detail),
    };
    let _turn = match profiles.take(seconds) {
        Ok(turn) => turn,
        Err(busy) => return busy.into_response(),
    };
    match measure(profiles.wait(seconds)).await {
        Ok(Some(answer)) => Json(answer.document()).into_response(),
        Ok(None) => problem(Reason::Unavailable, LEAVING),
        Err(error) => problem(Reason::Unavailable, &format!("the threads can't be read: {error}")),
    }
}

async fn measure(over: impl Future<Output = bool>) -> std::io::Result<Option<Threads>> {
    let (before, started) = (tokio::task::spawn_blocking(threads::read).await??, Instant::now());
    if !over.await {
        return Ok(None);
    }
    let (took, after) = (started.elapsed(), tokio::task::spawn_blocking(threads::read).await??);
    Ok(Some(Threads::between(&before, after, took, rustix::param::clock_ticks_per_second())))
}

/// What the CPU does, as stacks.
///
/// Folded stacks, `thread;frame;…;frame count` in each line, as flame graph tools read them. Only in a build with the feature `profile`.
#[utoipa::path(
    get, path = "/v1/profile/cpu", operation_id = "profileCpu", tag = "process",
    params(
        ("seconds" = Option<u64>, Query, minimum = 1, maximum = 60, description = "How long; 5 when left out."),
        ("hz" = Option<u64>, Query, minimum = 1, maximum = 999, description = "Samples in a second of CPU time; 99 when left out."),
    ),
    responses(
        (status = 200, description = "Folded stacks; empty if the process did nothing.", body = String, content_type = "text/plain"),
        (status = 501, description = "This build has no profiler."),
    ),
)]
pub(super) async fn cpu(State(profiles): State<Profiles>, RawQuery(query): RawQuery) -> Response {
    cpu::answer(profiles, query).await
}

/// What the memory is used for: not known here.
#[utoipa::path(
    get, path = "/v1/profile/heap", operation_id = "profileHeap", tag = "process",
    responses((status = 501, description = "The allocator can't say; what to use instead.")),
)]
pub(super) async fn heap() -> Response {
    let pid = std::process::id();
    let detail = format!("the allocator (the C library's) keeps no profile: use heaptrack --pid {pid} on this machine");
    problem(Reason::Unsupported, &detail)
}

//! v1: what happened, read from the log by whoever asks: `GET /v1/events`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use perseid_log::{LogReader, Offset, Record, Topic};
use perseid_rpc::{Event, EventKind, EventView, Events};
use prost::Message;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::query::Query;
use super::{Api, json};
use crate::events::Feed;
use crate::metrics::Route;
use crate::reason::Reason;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// Above this an answer takes no further events, bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How often one look at the log reads, about 1 MiB each; then it says how far it came.
const READS_MAX: usize = 64;
/// The longest time that a request may wait for events, ms.
const WAIT_MS_MAX: u64 = 60_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many requests may read the log at a time, and how many may wait for events.
pub(super) const READERS_MAX: usize = 4;
pub(super) const WAITERS_MAX: usize = 256;

/// What is asked for.
struct Question {
    after: Offset,
    limit: usize,
    kinds: Vec<EventKind>,
    wait_ms: u64,
}

/// Events, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Events)]
pub(super) struct Answer<'a> {
    #[schema(value_type = Vec<EventJson>)]
    events: Vec<EventView<'a>>,
    /// Where to go on: as `after` of the next request.
    next: String,
    /// Records, of any kind, that the log no longer had.
    skipped: u64,
}

/// An event. `op` and `body_base64` come with `upstream`, the rest with sessions; `reason` only when one ends.
#[derive(ToSchema)]
#[schema(as = Event)]
#[allow(dead_code)] // a description of what [`EventView`] writes
struct EventJson {
    id: String,
    /// `session.online`, `session.offline`, `upstream`.
    r#type: String,
    /// Unix ms.
    ts_ms: u64,
    mid: i64,
    key: String,
    session: String,
    op: Option<i32>,
    body_base64: Option<String>,
    platform: Option<String>,
    device: Option<String>,
    address: Option<String>,
    since_ms: Option<u64>,
    sessions: Option<u64>,
    reason: Option<String>,
}

/// What was found.
#[derive(Default)]
struct Found {
    events: Vec<Event>,
    next: Offset,
    skipped: u64,
    /// The look ended before the log did.
    more: bool,
}

impl Question {
    fn parse(query: &Query<'_>) -> Result<Self, Problem> {
        let number = |name: &'static str, default: u64, max: u64| match query.text(name) {
            "" => Ok(default),
            text => {
                let number = text.parse().ok().filter(|number| *number <= max);
                number.ok_or_else(|| Problem::bad(format!("{name} must be a number from 0 to {max}")))
            }
        };
        let limit = number("limit", LIMIT_DEFAULT as u64, LIMIT_MAX as u64)?;
        if limit == 0 {
            return Err(Problem::bad("limit must be at least 1"));
        }
        let kinds = match query.text("types") {
            "" => EventKind::PUBLIC.to_vec(),
            list => list.split(',').map(|word| kind_of(word.trim())).collect::<Result<_, _>>()?,
        };
        let (after, wait_ms) = (number("after", 0, Offset::MAX - 1)?, number("wait_ms", 0, WAIT_MS_MAX)?);
        // No more than the bound, which fits.
        Ok(Self { after, limit: usize::try_from(limit).unwrap_or(LIMIT_MAX), kinds, wait_ms })
    }
}

fn kind_of(word: &str) -> Result<EventKind, Problem> {
    EventKind::from_word(word).ok_or_else(|| {
        let known: Vec<_> = EventKind::PUBLIC.into_iter().filter_map(EventKind::word).collect();
        Problem::bad(format!("types must be some of: {}", known.join(",")))
    })
}

/// Events after a place in the log, oldest first.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "listEvents", tag = "events",
    params(
        ("after" = Option<u64>, Query, description = "Where to go on: `next` of the answer before; default 0, the oldest."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "At most so many; default 100."),
        ("types" = Option<String>, Query, description = "Only these, separated by commas."),
        ("wait_ms" = Option<u32>, Query, maximum = 60000, description = "How long to wait if there are none; default 0."),
    ),
    responses((status = 200, description = "What happened.", body = Answer<'static>)),
)]
pub(super) async fn events(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let work = async {
        let Some(feed) = &api.events else {
            return Err(Problem::new(Reason::Unsupported, "this node writes no events: set events.keep, or hooks.urls"));
        };
        let query = Query::parse(uri.query()).map_err(Problem::bad)?;
        let question = Question::parse(&query)?;
        let found = answer(&api, feed, question).await?;
        let events = found.events.iter().map(EventView).collect();
        Ok(json(&Answer { events, next: found.next.to_string(), skipped: found.skipped }))
    };
    api.answer(Route::Events, work).await
}

async fn answer(api: &Api, feed: &Arc<Feed>, question: Question) -> Result<Found, Problem> {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(question.wait_ms);
    let mut newest = feed.newest();
    let question = Arc::new(question);
    let mut after = question.after;
    let mut skipped = 0;
    loop {
        // Before it is read, so that what comes meanwhile is not overlooked.
        newest.mark_unchanged();
        let mut found = look(api, feed, question.clone(), after).await?;
        skipped += found.skipped;
        found.skipped = skipped;
        if !found.events.is_empty() || question.wait_ms == 0 || tokio::time::Instant::now() >= deadline {
            return Ok(found);
        }
        after = found.next;
        if found.more {
            continue;
        }
        let Ok(_waiter) = api.event_waiters.try_acquire() else {
            let problem = Problem::new(Reason::RateLimited, "too many requests wait for events: ask without wait_ms, or later");
            return Err(Problem { retry_after_ms: Some(1000), ..problem });
        };
        while !newest.has_changed().unwrap_or(false) {
            if tokio::time::Instant::now() >= deadline || api.is_draining() {
                return Ok(found);
            }
            // Now and then it is looked at whether this node leaves.
            let look_again = deadline.min(tokio::time::Instant::now() + LOOK_EVERY);
            let _ = tokio::time::timeout_at(look_again, newest.changed()).await.map(|_| newest.mark_changed());
        }
    }
}

/// Reads the log, on a thread that may wait for the disk.
async fn look(api: &Api, feed: &Arc<Feed>, question: Arc<Question>, after: Offset) -> Result<Found, Problem> {
    let unavailable = |why: String| Problem::new(Reason::Unavailable, format!("the event log can't be read: {why}"));
    // Never closed.
    let _reader = api.event_readers.acquire().await.map_err(|error| unavailable(error.to_string()))?;
    let feed = feed.clone();
    let read = tokio::task::spawn_blocking(move || collect(&mut *feed.reader(after + 1), &question, after));
    let found = read.await.map_err(|error| unavailable(error.to_string()))?;
    found.map_err(|error| unavailable(error.to_string()))
}

fn collect(reader: &mut dyn LogReader, question: &Question, after: Offset) -> Result<Found, perseid_log::LogError> {
    let mut found = Found { next: after, ..Found::default() };
    let mut bytes = 0;
    for _ in 0..READS_MAX {
        let mut records = VecDeque::from(reader.read()?);
        if records.is_empty() {
            return Ok(found);
        }
        while let Some(record) = records.pop_front() {
            found.skipped += record.offset.saturating_sub(found.next + 1);
            let events = wanted(&record, &question.kinds);
            // A record is given whole, or not at all: its place is where the next request goes on.
            let too_much = found.events.len() + events.len() > question.limit || bytes >= ANSWER_BYTES_MAX;
            if too_much && !found.events.is_empty() && !events.is_empty() {
                return Ok(found);
            }
            bytes += events.iter().map(Message::encoded_len).sum::<usize>();
            found.next = record.offset;
            found.events.extend(events);
        }
        if found.events.len() >= question.limit {
            return Ok(found);
        }
    }
    Ok(Found { more: true, ..found })
}

fn wanted(record: &Record, kinds: &[EventKind]) -> Vec<Event> {
    if record.topic != Topic::Events {
        return Vec::new();
    }
    // What makes no sense was reported when it was read at the start, or by webhooks.
    let events = Events::decode(record.value.clone()).unwrap_or_default().events;
    events.into_iter().filter(|event| kinds.contains(&event.kind())).collect()
}

//! What the job counts of stored messages, and what is counted of their store.

use std::fmt;

use perseid_log::HistogramSnapshot;
use perseid_store::stored::{DURATIONS_SECONDS, Durations, EmbeddedStore, Store};

use super::Out;
use crate::parts::Parts;

pub(super) fn put(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let inbox = parts.stored.as_ref().map(|stored| stored.job.snapshot()).unwrap_or_default();
    out.gauge("job_inbox_offset", "Offset up to which stored messages are applied", inbox.offset)?;
    out.gauge("job_inbox_lag_records", "Durable records that are not applied yet", inbox.lag_records())?;
    out.gauge("job_inbox_lag_ms", "Age of the last record when it was applied", inbox.lag_ms)?;
    out.gauge("job_inbox_stopped", "1 while nothing is applied until somebody has looked", inbox.stopped)?;
    let runs = [("inline", inbox.inline), ("cold", inbox.cold), ("overflow", inbox.overflows)];
    let runs = runs.map(|(way, count)| (vec![("way", way)], count));
    out.counters("job_inbox_runs", "Runs of records by where they were applied", runs)?;
    let records = [("duplicate", inbox.duplicates), ("rejected", inbox.rejected), ("dead", inbox.dead)];
    let records = records.map(|(outcome, count)| (vec![("outcome", outcome)], count));
    out.counters("job_inbox_records", "Records that became no message", records)?;
    let entries = [("fresh", inbox.entries), ("repeated", inbox.repeated)].map(|(state, count)| (vec![("state", state)], count));
    out.counters("job_inbox_entries", "Entries of inboxes that comets were told of", entries)?;
    out.counter("job_inbox_hints", "Hints to sessions that an inbox or a channel has something new", inbox.hints)?;
    out.counter("job_inbox_ended", "Sessions ended because what they were shown no longer held", inbox.ended)?;
    out.counter("job_inbox_retries", "Times that the store did not take a step at once", inbox.retries)?;
    out.counter("job_inbox_reloads", "Times that the store had lost something", inbox.reloads)?;
    parts.stored.as_ref().map_or(Ok(()), |stored| store(out, &stored.store))
}

fn store(out: &mut Out<'_>, store: &EmbeddedStore) -> fmt::Result {
    let counters = store.counters();
    out.gauge(
        "store_down",
        "1 while the store's disk fails, or what it has lost is being applied again",
        store.trouble().is_some().into(),
    )?;
    out.counter("store_failures", "Times that the store's disk failed", counters.failures)?;
    out.counter("store_reopened", "Times that the store was opened anew after that", counters.reopened)?;
    out.gauge("store_uncommitted_bytes", "Bytes applied and not yet given to the disk", counters.uncommitted_bytes)?;
    out.gauge("store_disk_bytes", "Bytes of the store on disk", counters.disk_bytes)?;
    out.counter("store_rows", "Rows written", counters.rows)?;
    let cold = [("read", counters.cold), ("refused", counters.cold_refused)].map(|(fate, count)| (vec![("fate", fate)], count));
    out.counters("store_cold", "Questions that needed the store's disk", cold)?;
    out.gauge("store_reads_waiting", "Questions that wait for the store's disk", counters.reads_waiting)?;
    out.histogram("store_commit_duration_seconds", "One commit", &histogram(&counters.commits))?;
    out.histogram("store_persist_duration_seconds", "One sync of what was committed", &histogram(&counters.persists))
}

fn histogram(durations: &Durations) -> HistogramSnapshot {
    HistogramSnapshot {
        bounds_seconds: &DURATIONS_SECONDS,
        counts: durations.counts.to_vec(),
        sum_seconds: durations.sum_seconds,
    }
}

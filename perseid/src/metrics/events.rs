//! What events and webhooks count.

use std::fmt;

use perseid_hooks::HookSnapshot;
use perseid_logic::FeedSnapshot;

use super::Out;
use crate::clock::unix_ms;
use crate::parts::Parts;

pub(super) fn put(out: &mut Out<'_>, parts: &Parts) -> fmt::Result {
    let feed = parts.feed.as_ref().map(|feed| feed.snapshot());
    let by_type = |values: fn(&FeedSnapshot) -> &Vec<(&'static str, u64)>| -> Vec<_> {
        feed.iter().flat_map(values).map(|(word, count)| (vec![("type", *word)], *count)).collect()
    };
    out.counters("events_written", "Events that the log has", by_type(|feed| &feed.written))?;
    out.counters("events_refused", "Times that the log did not take an event", by_type(|feed| &feed.refused))?;
    out.gauge("events_waiting", "Ends of sessions that wait for the log", feed.as_ref().map_or(0, |feed| feed.waiting))?;
    let crashed = feed.as_ref().map_or(0, |feed| feed.crashed);
    out.counter("events_crashed", "Sessions whose end was found out at the start, after a crash", crashed)?;

    let hooks: Vec<_> = parts.hooks.iter().map(|hook| hook.snapshot(unix_ms())).collect();
    let of = |value: fn(&HookSnapshot) -> u64| -> Vec<_> {
        hooks.iter().map(|hook| (vec![("hook", hook.name.as_str()), ("target", hook.origin.as_str())], value(hook))).collect()
    };
    let by_reason = |values: fn(&HookSnapshot) -> &Vec<(&'static str, u64)>| {
        let mut all = Vec::new();
        for hook in &hooks {
            let labels = |word| vec![("hook", hook.name.as_str()), ("target", hook.origin.as_str()), ("reason", word)];
            all.extend(values(hook).iter().map(|(word, count)| (labels(*word), *count)));
        }
        all
    };
    out.counters("hooks_delivered", "Events that a webhook has", of(|hook| hook.delivered))?;
    out.counters("hooks_requests", "Requests to webhooks", of(|hook| hook.requests))?;
    out.counters("hooks_retried", "Requests that were not the first with their events", of(|hook| hook.retried))?;
    out.counters("hooks_failed", "Requests that did not deliver", by_reason(|hook| &hook.failed))?;
    out.counters("hooks_dropped", "Events given up; of deleted the records of the log", by_reason(|hook| &hook.dropped))?;
    out.gauges("hooks_lag_records", "Records between a webhook and the newest event", of(|hook| hook.lag_records))?;
    out.gauges("hooks_lag_ms", "Age of the oldest event that waits for a webhook", of(|hook| hook.lag_ms))?;
    out.gauges("hooks_breaker_open", "1 while a webhook gets one event at a time", of(|hook| hook.breaker_open.into()))
}

//! What connections between parts count.

use std::fmt;

use perseid_wire::comet::{PushCounters, RemoteLink};
use perseid_wire::logic::CometLaneInfo;
use perseid_wire::server::ServerSnapshot;

use super::Out;
use crate::parts::WireParts;

pub(super) fn put(out: &mut Out<'_>, wire: &WireParts) -> fmt::Result {
    listeners(out, wire)?;
    if let Some((comets, goim)) = &wire.comets {
        let mut lanes_of_all = comets.lane_infos();
        lanes_of_all.extend(goim.lane_infos());
        lanes(out, &lanes_of_all)?;
        let help = "Deliveries that waited for a comet that is gone for good";
        out.counter("wire_lane_abandoned", help, comets.abandoned())?;
        let refused = goim.refused().map(|(what, count)| (vec![("what", what)], count));
        out.counters("wire_goim_refused", "What goim's comets told of, and found no place", refused)?;
    }
    match &wire.comet {
        Some((to_logic, from_jobs)) => link(out, to_logic).and_then(|()| pushes(out, from_jobs)),
        None => Ok(()),
    }
}

fn listeners(out: &mut Out<'_>, wire: &WireParts) -> fmt::Result {
    let counts: Vec<_> = wire.listeners.iter().map(|(of, counters)| (*of, counters.snapshot())).collect();
    let each = |value: fn(&ServerSnapshot) -> u64| -> Vec<_> {
        counts.iter().map(|(of, counts)| (vec![("listener", *of)], value(counts))).collect()
    };
    out.counters("wire_connections_accepted", "gRPC connections accepted", each(|counts| counts.accepted))?;
    out.gauges("wire_connections_inflight", "gRPC connections open", each(|counts| counts.open))?;
    let help = "gRPC connections dropped because nothing was heard on them";
    out.counters("wire_connections_timed_out", help, each(|counts| counts.timed_out))?;
    out.counters("wire_accept_errors", "gRPC accepts that failed; the listener paused", each(|counts| counts.accept_errors))
}

fn lanes(out: &mut Out<'_>, lanes: &[CometLaneInfo]) -> fmt::Result {
    let each = |value: fn(&CometLaneInfo) -> u64| -> Vec<_> {
        lanes.iter().map(|lane| (vec![("comet", lane.name.as_str())], value(lane))).collect()
    };
    let connected = lanes.iter().filter_map(|lane| Some((vec![("comet", lane.name.as_str())], lane.connected?.into())));
    out.gauges("wire_comet_connected", "1 while a comet's stream to logic is open", connected)?;
    out.counters("wire_lane_offered", "Deliveries for a comet elsewhere", each(|lane| lane.counters.offered))?;
    out.counters("wire_lane_sent", "Those that were taken there", each(|lane| lane.counters.sent))?;
    let dropped = lanes.iter().flat_map(|lane| {
        let counters = &lane.counters;
        [
            ("full", counters.dropped_full),
            ("unreachable", counters.dropped_broken),
            ("unknown", counters.dropped_unknown),
            ("offline", lane.offline),
            ("expired", lane.expired),
        ]
        .map(|(reason, count)| (vec![("comet", lane.name.as_str()), ("reason", reason)], count))
    });
    out.counters("wire_lane_dropped", "Those that were not, by why", dropped)?;
    out.counters("wire_lane_retries", "Batches sent again", each(|lane| lane.counters.retries))?;
    out.counters("wire_lane_breaker_opened", "Times a lane's breaker opened", each(|lane| lane.counters.opens))?;
    out.counters("wire_lane_resyncs", "Resyncs that the comet has taken", each(|lane| lane.counters.resyncs))?;
    out.counters("wire_lane_streams", "Streams opened to it", each(|lane| lane.streams))?;
    out.gauges("wire_lane_broken", "1 while a lane's breaker is open", each(|lane| lane.broken.into()))?;
    out.gauges("wire_lane_waiting", "Deliveries that wait in a lane", each(|lane| lane.waiting.0))?;
    out.gauges("wire_lane_waiting_bytes", "Their bytes", each(|lane| lane.waiting.1))
}

fn link(out: &mut Out<'_>, link: &RemoteLink) -> fmt::Result {
    let link = link.snapshot();
    out.gauge("wire_link_up", "1 while a logic is there", link.is_up.into())?;
    out.counter("wire_link_streams", "Streams that a logic has welcomed", link.streams)?;
    out.gauge("wire_link_waiting", "Questions without an answer", link.waiting)?;
    out.gauge("wire_link_waiting_bytes", "Their bytes", link.waiting_bytes)?;
    let refused =
        [("away", link.refused_away), ("full", link.refused_full), ("late", link.refused_late), ("lost", link.refused_lost)];
    let refused = refused.map(|(reason, count)| (vec![("reason", reason)], count));
    out.counters("wire_link_refused", "Questions that logic did not answer, by why", refused)?;
    out.counter("wire_link_answers", "Answers of logic", link.answers)?;
    out.counter("wire_link_answers_late", "Those that came when nobody waited any more", link.answers_late)
}

fn pushes(out: &mut Out<'_>, counters: &PushCounters) -> fmt::Result {
    let counts = counters.snapshot();
    out.counter("wire_push_streams", "Streams that jobs have opened", counts.streams)?;
    out.counter("wire_push_batches", "Batches taken", counts.batches)?;
    out.counter("wire_push_deliveries", "Deliveries in them", counts.deliveries)?;
    out.counter("wire_push_repeated", "Batches that came again, and were not delivered again", counts.repeated)?;
    out.counter("wire_push_malformed", "Deliveries dropped because they made no sense", counts.malformed)?;
    out.counter("wire_push_resyncs", "Times that a job said it has lost something", counts.resyncs)
}

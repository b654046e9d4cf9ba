//! Events that are read and not delivered, and the bodies of requests.

use std::collections::VecDeque;

use bytes::Bytes;
use perseid_log::{Offset, Record, Topic};
use perseid_rpc::{Event, EventKind, EventView, Events};
use prost::Message;
use serde::Serialize;

/// What an event takes in a request beside its body, about.
const EVENT_BYTES: usize = 256;

/// Events in the order of the log. The caller reads no more while there are enough for a request, so what is here is bounded
/// by one read of the log.
#[derive(Default)]
pub(crate) struct Pending {
    events: VecDeque<(Offset, Event)>,
    bytes: usize,
    /// Up to here the log was read.
    read: Offset,
}

#[derive(Serialize)]
struct Body<'a> {
    events: Vec<EventView<'a>>,
}

fn bytes_of(event: &Event) -> usize {
    EVENT_BYTES + event.key.len() + event.body.len() * 4 / 3
}

impl Pending {
    pub(crate) const fn new(read: Offset) -> Self {
        Self { events: VecDeque::new(), bytes: 0, read }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn first(&self) -> Option<&Event> {
        self.events.front().map(|(_, event)| event)
    }

    /// Takes records of the log; gives how many are missing before them, and how many made no sense.
    pub(crate) fn take(&mut self, records: &[Record], wants: impl Fn(EventKind) -> bool) -> Taken {
        let mut taken = Taken::default();
        if let Some(first) = records.first() {
            taken.missing = first.offset.saturating_sub(self.read + 1);
        }
        for record in records {
            self.read = record.offset;
            if record.topic != Topic::Events {
                continue;
            }
            let Ok(events) = Events::decode(record.value.clone()) else {
                taken.nonsense += 1;
                continue;
            };
            for event in events.events.into_iter().filter(|event| wants(event.kind())) {
                self.bytes += bytes_of(&event);
                self.events.push_back((record.offset, event));
            }
        }
        taken
    }

    /// Up to here nothing is left to do.
    pub(crate) fn passed(&self) -> Offset {
        self.events.front().map_or(self.read, |(offset, _)| offset - 1)
    }

    /// How many of the first events make a request within these bounds; one always does, if there is one.
    pub(crate) fn fitting(&self, events_max: usize, bytes_max: usize) -> usize {
        let mut bytes = 0;
        let fits = |(_, event): &&(Offset, Event)| {
            bytes += bytes_of(event);
            bytes <= bytes_max
        };
        let count = self.events.iter().take(events_max).take_while(fits).count();
        count.max(1).min(self.events.len())
    }

    /// The body of a request with the first `count` events.
    pub(crate) fn body(&self, count: usize) -> Bytes {
        let events = self.events.iter().take(count).map(|(_, event)| EventView(event)).collect();
        // Maps with text keys always serialize.
        Bytes::from(serde_json::to_vec(&Body { events }).unwrap_or_default())
    }

    /// Removes the first events, and gives them.
    pub(crate) fn remove(&mut self, count: usize) -> Vec<Event> {
        let gone: Vec<Event> = self.events.drain(..count.min(self.events.len())).map(|(_, event)| event).collect();
        self.bytes -= gone.iter().map(bytes_of).sum::<usize>();
        if self.events.is_empty() {
            // What a burst needed is given back.
            self.events.shrink_to(64);
        }
        gone
    }

    /// How many of the first events are older than this time, unix ms.
    pub(crate) fn older_than(&self, ts_ms: u64) -> usize {
        self.events.iter().take_while(|(_, event)| event.ts_ms < ts_ms).count()
    }
}

/// What was found in records beside events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Records that are no longer in the log.
    pub(crate) missing: u64,
    /// Records that can't be read.
    pub(crate) nonsense: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: Offset, topic: Topic, events: Vec<Event>) -> Record {
        Record { offset, topic, ts_ms: 0, value: Bytes::from(Events { events }.encode_to_vec()) }
    }

    fn event(kind: EventKind, id: u64, body: usize) -> Event {
        Event { id, kind: kind.into(), body: vec![0; body].into(), ts_ms: id, ..Event::default() }
    }

    #[test]
    fn what_is_wanted_in_order_and_how_far_it_is() {
        use EventKind::{SessionOffline as Off, SessionOnline as On, SessionStill as Still, Upstream as Up};
        let mut pending = Pending::new(10);
        let records = [
            record(11, Topic::Push, vec![event(On, 1, 0)]),
            record(12, Topic::Events, vec![event(Off, 2, 0), event(On, 3, 0)]),
            record(13, Topic::Events, vec![event(Still, 0, 0)]),
            record(14, Topic::Events, vec![event(Up, 4, 3)]),
            Record { value: Bytes::from_static(&[0xff]), ..record(15, Topic::Events, Vec::new()) },
            record(16, Topic::Push, Vec::new()),
        ];
        let wants = |kind: EventKind| kind.word().is_some();
        assert_eq!(pending.take(&records, wants), Taken { missing: 0, nonsense: 1 });
        assert_eq!((pending.len(), pending.passed()), (3, 11));
        assert_eq!(pending.remove(1)[0].id, 2);
        assert_eq!(pending.passed(), 11, "half of a record is none");
        assert_eq!(pending.older_than(4), 1);
        pending.remove(1);
        assert_eq!(pending.passed(), 13);
        let body = String::from_utf8(pending.body(5).to_vec()).unwrap();
        assert!(body.starts_with(r#"{"events":[{"id":"4","type":"upstream""#) && body.ends_with(r#""body_base64":"AAAA"}]}"#));
        pending.remove(9);
        assert_eq!((pending.len(), pending.bytes(), pending.passed()), (0, 0, 16));
        let later = [record(20, Topic::Events, vec![event(Up, 5, 0)])];
        assert_eq!(pending.take(&later, |kind| kind != Up), Taken { missing: 3, nonsense: 0 });
        assert_eq!((pending.len(), pending.passed()), (0, 20), "not wanted");
    }

    #[test]
    fn requests_are_bounded_but_never_empty() {
        let mut pending = Pending::new(0);
        assert_eq!(pending.fitting(10, 1000), 0);
        let sizes = [9_000, 100, 100, 100];
        let events = (1..).zip(sizes).map(|(id, size)| event(EventKind::Upstream, id, size)).collect();
        pending.take(&[record(1, Topic::Events, events)], |_| true);
        assert_eq!(pending.fitting(10, 1000), 1, "too large alone");
        pending.remove(1);
        let two = 2 * (EVENT_BYTES + 133);
        for (events_max, bytes_max, fitting) in [(10, two, 2), (10, two - 1, 1), (1, two, 1), (10, 9999, 3), (10, 0, 1)] {
            assert_eq!(pending.fitting(events_max, bytes_max), fitting, "{events_max} {bytes_max}");
        }
    }
}

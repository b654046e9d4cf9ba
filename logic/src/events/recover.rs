//! After a crash: sessions that the log has a beginning of, and no end.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use perseid_log::{AppendError, Offset, Topic};
use perseid_protocol::push::SessionAddr;
use perseid_rpc::{Event, EventKind, Events};
use prost::Message;

#[cfg(doc)]
use super::Presence;
use super::offer::{Offered, offer};
use super::{Feed, unit};

/// Why a session ended whose node ended without a farewell.
pub(super) const CRASH: &str = "CRASH";

/// Ends in one record, and records on their way at a time.
const CHUNK: usize = 100;
const AHEAD_MAX: usize = 16;

/// What the log says of sessions, read from its beginning. One entry for each session that is online: no more than the lives
/// before this one ever had at a time.
#[derive(Default)]
pub(super) struct Unpaired {
    online: HashMap<SessionAddr, Event>,
    last_id: u64,
}

impl Unpaired {
    pub(super) fn take(&mut self, event: Event) {
        self.last_id = self.last_id.max(event.id);
        let (kind, addr) = (event.kind(), addr_of(&event));
        match kind {
            EventKind::SessionOnline | EventKind::SessionStill => _ = self.online.insert(addr, event),
            EventKind::SessionOffline => _ = self.online.remove(&addr),
            EventKind::Upstream | EventKind::Unknown => {}
        }
    }

    /// The ends that are missing, oldest session first. `id` makes ids.
    pub(super) fn ends(self, now_ms: u64, mut id: impl FnMut() -> u64) -> Vec<Event> {
        let mut left: HashMap<i64, u32> = HashMap::new();
        let mut ends: Vec<Event> = self.online.into_values().collect();
        ends.sort_by_key(|event| (event.since_ms, addr_of(event)));
        for event in ends.iter().filter(|event| event.mid > 0) {
            *left.entry(event.mid).or_default() += 1;
        }
        for event in &mut ends {
            let sessions = left.get_mut(&event.mid).map_or(0, |count| {
                *count -= 1;
                *count
            });
            let begun = std::mem::take(event);
            *event = Event {
                id: id(),
                kind: EventKind::SessionOffline.into(),
                ts_ms: now_ms,
                reason: CRASH.to_owned(),
                sessions,
                ..begun
            };
        }
        ends
    }
}

fn addr_of(event: &Event) -> SessionAddr {
    SessionAddr {
        node: event.node,
        incarnation: event.incarnation,
        // Written from 16 bits.
        worker: event.worker as u16,
        slot: event.slot,
        generation: event.generation,
    }
}

impl Feed {
    /// Goes on where the log ends, and writes the ends of the sessions that were online when the process ended without a farewell, and waits until they are
    /// durable; gives how many they were. `own`: whether the sessions of a comet ended with this process; those of others may
    /// live, and have time to say so ([`Presence::give_up_unconfirmed`]). To be called before any session begins. Blocks.
    ///
    /// # Errors
    /// A log that can't be read, or takes nothing, for people. What was written by then is not written again.
    pub fn recover(self: &Arc<Self>, own: impl Fn(u32) -> bool) -> Result<usize, String> {
        let mut unpaired = Unpaired::default();
        let mut reader = self.log.reader(0);
        loop {
            let records = reader.read().map_err(|error| error.to_string())?;
            if records.is_empty() {
                break;
            }
            for record in records.iter().filter(|record| record.topic == Topic::Events) {
                self.wrote(record.offset, &[]);
                match Events::decode(record.value.clone()) {
                    Ok(record) => record.events.into_iter().for_each(|event| unpaired.take(event)),
                    Err(error) => tracing::error!(offset = record.offset, %error, "a record of events makes no sense"),
                }
            }
        }
        self.ids.go_on_after(unpaired.last_id);
        if !self.wanted.sessions {
            return Ok(0);
        }
        let others: HashMap<_, _> = unpaired.online.extract_if(|addr, _| !own(addr.node)).collect();
        *self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner) = others;
        let now_ms = self.now_ms();
        let ends = unpaired.ends(now_ms, || self.ids.next(now_ms).id);
        self.write_ends(&ends)?;
        self.crashed.fetch_add(ends.len() as u64, Relaxed);
        Ok(ends.len())
    }

    fn write_ends(&self, ends: &[Event]) -> Result<(), String> {
        let mut ahead: Vec<Receiver<Result<Offset, AppendError>>> = Vec::new();
        for chunk in ends.chunks(CHUNK) {
            let value = Bytes::from(Events { events: chunk.to_vec() }.encode_to_vec());
            let unit = chunk.first().map(|event| unit(event.mid, &event.key)).unwrap_or_default();
            let (tell, told) = channel();
            let tell_now = tell.clone();
            // Received below, unless that has failed already.
            let done = move |result| _ = tell.send(result);
            match offer(&*self.log, &unit, value, done) {
                Offered::Coming => {}
                Offered::Durable(offset) => _ = tell_now.send(Ok(offset)),
                Offered::Refused(error) => _ = tell_now.send(Err(error)),
            }
            ahead.push(told);
            if ahead.len() == AHEAD_MAX {
                self.await_ends(&mut ahead)?;
            }
        }
        self.await_ends(&mut ahead)
    }

    fn await_ends(&self, ahead: &mut Vec<Receiver<Result<Offset, AppendError>>>) -> Result<(), String> {
        for told in ahead.drain(..) {
            // An offer is always answered.
            let offset = told.recv().map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            self.wrote(offset, &[]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, slot: u32, mid: i64) -> Event {
        Event { kind: kind.into(), slot, mid, id: u64::from(slot), since_ms: u64::from(slot), ..Event::default() }
    }

    #[test]
    fn what_has_a_beginning_and_no_end() {
        use EventKind::{SessionOffline as Off, SessionOnline as On, SessionStill as Still, Upstream};
        let mut unpaired = Unpaired::default();
        for (kind, slot, mid) in [
            (On, 1, 7),
            (On, 2, 7),
            (On, 3, 0),
            (Off, 2, 7),
            (On, 4, 7),
            (Upstream, 9, 7),
            (Still, 1, 7),
            (Still, 5, 8),
            // An end of a session whose beginning is not there any more.
            (Off, 6, 9),
        ] {
            unpaired.take(event(kind, slot, mid));
        }
        assert_eq!(unpaired.last_id, 9);
        let mut id = 100;
        let ends = unpaired.ends(5, || {
            id += 1;
            id
        });
        let found: Vec<_> = ends.iter().map(|end| (end.slot, end.mid, end.sessions, end.id, end.ts_ms)).collect();
        assert_eq!(found, [(1, 7, 1, 101, 5), (3, 0, 0, 102, 5), (4, 7, 0, 103, 5), (5, 8, 0, 104, 5)]);
        assert!(ends.iter().all(|end| end.kind() == Off && end.reason == "CRASH"));
    }
}

//! Those who read at their own pace: readers, and cursors that remember how far they came.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Mutex};

use super::CONSUMERS_NAME;
use super::consumer::{CURSOR, Slot, is_name};
use super::reader::Reader;
use super::shared::Shared;
use crate::{ConsumerState, Cursor, LogError, LogReader, Offset, Record, Start, lock};

/// See [`LogReader`].
pub(super) struct OwnReader {
    shared: Arc<Shared>,
    next: Offset,
    /// Where it reads; `None` until it begins, and when its place was deleted.
    reader: Option<Reader>,
}

impl OwnReader {
    pub(super) fn new(shared: Arc<Shared>, from: Offset) -> Self {
        Self { shared, next: from.max(1), reader: None }
    }

    fn first(&self) -> Offset {
        lock(&self.shared.segments).first().map_or(1, |segment| segment.first())
    }

    /// A place in the segment of `next`, or at the oldest record if that is gone.
    fn place(&mut self) -> Option<Reader> {
        self.reader.take().or_else(|| {
            let segments = lock(&self.shared.segments).clone();
            self.next = self.next.max(segments.first().map_or(1, |segment| segment.first()));
            Reader::at(&segments, self.next)
        })
    }
}

impl LogReader for OwnReader {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        let mut records = Vec::new();
        loop {
            let durable = self.shared.durable.load(Acquire);
            if self.next > durable {
                return Ok(records);
            }
            let Some(mut reader) = self.place() else { return Ok(records) };
            let shared = Arc::clone(&self.shared);
            let read = reader.read(|| lock(&shared.segments).clone(), durable, &mut records);
            self.next = reader.next();
            match read {
                Ok(()) => self.reader = Some(reader),
                // What follows was deleted while this was read; or it is damaged, which is met again after these records.
                Err(_) if self.next < self.first() || !records.is_empty() => {}
                Err(error) => return Err(error),
            }
            if !records.is_empty() {
                shared.meters.reread.fetch_add(records.len() as u64, Relaxed);
                return Ok(records);
            }
        }
    }

    fn next(&self) -> Offset {
        self.next
    }
}

/// See [`Cursor`].
pub(super) struct OwnPace {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    /// Held while it is stored.
    storing: Mutex<()>,
}

impl OwnPace {
    pub(super) fn open(shared: Arc<Shared>, name: &str, start: Start) -> Result<Self, LogError> {
        if !is_name(name) {
            return Err(LogError::ConsumerName { name: name.to_owned() });
        }
        if shared.stopping.load(Relaxed) {
            return Err(LogError::Closed);
        }
        let mut cursors = lock(&shared.cursors);
        let known = cursors.iter().find(|slot| slot.name == name).cloned();
        let slot = match known {
            Some(slot) if *lock(&slot.state) != ConsumerState::Absent => {
                return Err(LogError::AlreadySubscribed { name: name.to_owned() });
            }
            Some(slot) => slot,
            None => {
                let offset = match start {
                    Start::Earliest => lock(&shared.segments).first().map_or(1, |segment| segment.first()) - 1,
                    Start::Latest => shared.durable.load(Acquire),
                };
                let dir = shared.dir.join(CONSUMERS_NAME);
                let slot = Arc::new(Slot::create(&dir, name, CURSOR, &*shared.config.disk, offset)?);
                cursors.push(Arc::clone(&slot));
                slot
            }
        };
        slot.set_state(ConsumerState::Cursor);
        drop(cursors);
        Ok(Self { shared, slot, storing: Mutex::default() })
    }
}

impl Cursor for OwnPace {
    fn offset(&self) -> Offset {
        self.slot.offset()
    }

    fn store(&self, offset: Offset) -> Result<(), LogError> {
        let _storing = lock(&self.storing);
        let path = self.shared.dir.join(CONSUMERS_NAME);
        match self.slot.store(&*self.shared.config.disk, offset) {
            Ok(()) => {
                self.shared.consumer_moved();
                Ok(())
            }
            Err(error) => {
                // A disk that takes no offset takes no records either: say so now, not at the next one.
                self.shared.poison(&format!("the offset of cursor {} can't be stored: {error}", self.slot.name));
                Err(LogError::io("store an offset in", &path)(error))
            }
        }
    }
}

impl Drop for OwnPace {
    fn drop(&mut self) {
        self.slot.set_state(ConsumerState::Absent);
    }
}

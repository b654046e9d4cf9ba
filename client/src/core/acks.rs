//! How far the application has processed the inbox, and when storage and server are told: at most once in 200 ms or in 50
//! messages.

use super::mutation::{self, Mutation};
use crate::event::Position;

/// The longest that a processed message waits to be acknowledged, ms.
pub(crate) const ACK_MS: u64 = 200;
/// As many processed messages are acknowledged at once.
pub(crate) const ACK_ITEMS: u64 = 50;

#[derive(Debug)]
pub(crate) struct Acks {
    processed: Position,
    told: Position,
    due_ms: u64,
}

impl Acks {
    pub(crate) const fn new(stored: Position) -> Self {
        Self { processed: stored, told: stored, due_ms: u64::MAX }
    }

    /// The position up to which the application is done.
    pub(crate) const fn processed(&self) -> Position {
        self.processed
    }

    /// The application is done with all up to `position`; `delivered` is the last that it was given.
    pub(crate) fn handle_processed(&mut self, position: Position, delivered: Position, now_ms: u64) {
        // What belongs to an epoch that is over has no meaning any more; nobody is done with what he was not given.
        if position.epoch != delivered.epoch || position.pos > delivered.pos {
            return;
        }
        if position.epoch == self.processed.epoch && position.pos <= self.processed.pos {
            return;
        }
        self.processed = position;
        self.due_ms = self.due_ms.min(now_ms.saturating_add(ACK_MS));
        if position.epoch != self.told.epoch || position.pos - self.told.pos >= ACK_ITEMS {
            self.due_ms = now_ms;
        }
    }

    /// Everything given to the application counts as processed: where a new device begins.
    pub(crate) fn start_at(&mut self, position: Position, now_ms: u64) {
        self.processed = position;
        self.due_ms = now_ms;
    }

    /// The position to store, and then to tell the server, if that is due.
    pub(crate) fn take_due(&mut self, delivered: Position, now_ms: u64) -> Option<Position> {
        if mutation::is(Mutation::AckWhenDelivered) && self.processed != delivered {
            self.processed = delivered;
            self.due_ms = now_ms;
        }
        (now_ms >= self.due_ms).then(|| self.take())
    }

    /// The same, due or not, if there is anything to tell: before AUTH, and at the end.
    pub(crate) fn take_any(&mut self) -> Option<Position> {
        (self.due_ms != u64::MAX).then(|| self.take())
    }

    pub(crate) const fn poll_timeout(&self) -> u64 {
        self.due_ms
    }

    const fn take(&mut self) -> Position {
        self.due_ms = u64::MAX;
        self.told = self.processed;
        self.processed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(pos: u64) -> Position {
        Position { epoch: 1, pos }
    }

    #[test]
    fn one_for_fifty_or_for_200_ms() {
        let mut acks = Acks::new(at(0));
        for pos in 1..ACK_ITEMS {
            acks.handle_processed(at(pos), at(100), pos);
        }
        assert_eq!(acks.take_due(at(100), ACK_ITEMS), None);
        assert_eq!(acks.poll_timeout(), 1 + ACK_MS);
        acks.handle_processed(at(ACK_ITEMS), at(100), 60);
        assert_eq!(acks.take_due(at(100), 60), Some(at(ACK_ITEMS)));
        assert_eq!((acks.take_due(at(100), 9_999), acks.take_any()), (None, None));
        acks.handle_processed(at(51), at(100), 1_000);
        assert_eq!(acks.take_due(at(100), 1_199), None);
        assert_eq!(acks.take_due(at(100), 1_200), Some(at(51)));
    }

    #[test]
    fn it_never_goes_back_and_never_ahead() {
        let mut acks = Acks::new(at(10));
        for position in [at(9), at(10), at(21), Position { epoch: 0, pos: 15 }] {
            acks.handle_processed(position, at(20), 0);
            assert_eq!((acks.take_any(), acks.processed()), (None, at(10)), "{position:?}");
        }
    }

    #[test]
    fn a_new_epoch_counts_from_its_own_start() {
        let mut acks = Acks::new(at(500));
        let begun = Position { epoch: 2, pos: 3 };
        acks.handle_processed(begun, begun, 7);
        assert_eq!(acks.take_due(begun, 7), Some(begun));
    }
}

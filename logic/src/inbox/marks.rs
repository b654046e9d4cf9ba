//! Read marks: told at most once a second for a user and a conversation, and the last always. Pure: time is an argument.
//!
//! ```text
//!            READ            READ (silent)              a second is over
//! nothing ─────────▶ told ──────────────▶ untold ───────────────────────▶ told
//!    ▲                │ a second is over
//!    └────────────────┘
//! ```

use std::collections::{HashMap, VecDeque};

use perseid_store::stored::conv::Conv;

/// Who reads, and what.
pub(super) type MarkKey = (u64, Conv);

/// Nobody is told of the same mark more often, ms.
const PAUSE_MS: u64 = 1_000;
/// Users and conversations that were told of within the last second; what is above that waits.
const MARKS_MAX: usize = 1 << 18;

/// Positions of one user in one conversation, within a second after somebody was told.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// When somebody was told, unix ms.
    told_ms: u64,
    /// The furthest that the log has.
    known: u64,
    /// The furthest that the log has and nobody was told; 0: none.
    untold: u64,
}

/// What to do with a READ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It changes nothing: this is what holds.
    Holds(u64),
    /// To be written, and told or not.
    Write { silent: bool },
    /// Too many at once.
    Full,
}

/// The marks of the last second.
pub(super) struct Marks {
    of: HashMap<MarkKey, Mark>,
    /// When each may be told again: one entry for each mark, about in order.
    due: VecDeque<(u64, MarkKey)>,
    marks_max: usize,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self { of: HashMap::new(), due: VecDeque::new(), marks_max: MARKS_MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// A user has read up to `pos`; the store knows of `holds`.
    pub(super) fn ask(&mut self, key: MarkKey, pos: u64, holds: u64, now_ms: u64) -> Asked {
        let room = self.of.len() < self.marks_max;
        match self.of.get_mut(&key) {
            _ if pos <= holds => Asked::Holds(holds),
            Some(mark) if pos <= mark.known => Asked::Holds(mark.known),
            Some(mark) if is_over(mark.told_ms, now_ms) => {
                mark.told_ms = now_ms;
                Asked::Write { silent: false }
            }
            Some(_) => Asked::Write { silent: true },
            None if room => {
                self.put(key, Mark { told_ms: now_ms, known: 0, untold: 0 });
                Asked::Write { silent: false }
            }
            None => Asked::Full,
        }
    }

    /// The log has a mark, or refused it.
    pub(super) fn settled(&mut self, key: MarkKey, pos: u64, silent: bool, is_written: bool) {
        if !is_written {
            return;
        }
        match self.of.get_mut(&key) {
            Some(mark) => {
                mark.known = mark.known.max(pos);
                if silent {
                    mark.untold = mark.untold.max(pos);
                } else if mark.untold <= pos {
                    mark.untold = 0;
                }
            }
            // It took longer than the second: it is due.
            None if silent => self.put(key, Mark { told_ms: 0, known: pos, untold: pos }),
            None => {}
        }
    }

    /// What is to be told now. What could not be told is due again a second later.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<(MarkKey, u64)> {
        let mut tell = Vec::new();
        for _ in 0..self.due.len() {
            let Some((due_ms, key)) = self.due.front().copied() else { break };
            // A clock that went back: nothing is due later than this.
            if due_ms > now_ms && due_ms <= now_ms.saturating_add(PAUSE_MS) {
                break;
            }
            self.due.pop_front();
            let Some(mark) = self.of.get_mut(&key) else { continue };
            if !is_over(mark.told_ms, now_ms) {
                self.due.push_back((mark.told_ms.saturating_add(PAUSE_MS), key));
            } else if mark.untold == 0 {
                self.of.remove(&key);
            } else {
                mark.told_ms = now_ms;
                tell.push((key, mark.untold));
                self.due.push_back((now_ms.saturating_add(PAUSE_MS), key));
            }
        }
        tell
    }

    /// A mark of the life before, in the order of the log: one that nobody was told of is due.
    pub(super) fn restore(&mut self, key: MarkKey, pos: u64, silent: bool) {
        match self.of.get_mut(&key) {
            Some(mark) if silent => mark.untold = mark.untold.max(pos),
            Some(mark) if mark.untold <= pos => {
                self.of.remove(&key);
            }
            None if silent => self.put(key, Mark { told_ms: 0, known: 0, untold: pos }),
            _ => {}
        }
    }

    fn put(&mut self, key: MarkKey, mark: Mark) {
        let due_ms = mark.told_ms.saturating_add(PAUSE_MS);
        self.of.insert(key, mark);
        match mark.told_ms {
            0 => self.due.push_front((0, key)),
            _ => self.due.push_back((due_ms, key)),
        }
    }
}

/// Whether somebody may be told again.
const fn is_over(told_ms: u64, now_ms: u64) -> bool {
    now_ms >= told_ms.saturating_add(PAUSE_MS) || told_ms > now_ms.saturating_add(PAUSE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: MarkKey = (7, Conv::Group(4));

    /// Asks, and has the log take it.
    fn read(marks: &mut Marks, key: MarkKey, pos: u64, now_ms: u64) -> Asked {
        let asked = marks.ask(key, pos, 0, now_ms);
        if let Asked::Write { silent } = asked {
            marks.settled(key, pos, silent, true);
        }
        asked
    }

    #[test]
    fn the_first_is_told_and_the_last_a_second_later() {
        let mut marks = Marks::new();
        assert_eq!(read(&mut marks, KEY, 1, 10_000), Asked::Write { silent: false });
        assert_eq!(read(&mut marks, KEY, 2, 10_001), Asked::Write { silent: true });
        assert_eq!(read(&mut marks, KEY, 4, 10_900), Asked::Write { silent: true });
        assert_eq!(read(&mut marks, KEY, 3, 10_901), Asked::Holds(4));
        assert_eq!(marks.due(10_999), []);
        assert_eq!(marks.due(11_000), [(KEY, 4)]);
        marks.settled(KEY, 4, false, true);
        assert_eq!(marks.due(11_500), []);
        assert_eq!(read(&mut marks, KEY, 5, 11_999), Asked::Write { silent: true });
        assert_eq!(marks.due(12_000), [(KEY, 5)]);
        marks.settled(KEY, 5, false, true);
        assert_eq!(marks.due(13_000), []);
        assert!(marks.is_empty() && marks.of.is_empty());
        assert_eq!(read(&mut marks, KEY, 6, 13_001), Asked::Write { silent: false });
    }

    #[test]
    fn what_the_log_refused_is_asked_again() {
        let mut marks = Marks::new();
        assert_eq!(marks.ask(KEY, 5, 0, 10_000), Asked::Write { silent: false });
        marks.settled(KEY, 5, false, false);
        assert_eq!(marks.ask(KEY, 5, 0, 10_001), Asked::Write { silent: true });
        marks.settled(KEY, 5, true, false);
        assert_eq!(marks.due(11_000), [], "nothing is told that is not there");
        // One that the log takes, and whose telling it refuses, is told a second later.
        assert_eq!(read(&mut marks, KEY, 5, 12_000), Asked::Write { silent: false });
        assert_eq!(read(&mut marks, KEY, 6, 12_001), Asked::Write { silent: true });
        assert_eq!(marks.due(13_000), [(KEY, 6)]);
        marks.settled(KEY, 6, false, false);
        assert_eq!(marks.due(14_000), [(KEY, 6)]);
    }

    #[test]
    fn a_silent_one_that_took_longer_than_the_second_is_told_at_once() {
        let mut marks = Marks::new();
        assert_eq!(read(&mut marks, KEY, 1, 10_000), Asked::Write { silent: false });
        assert_eq!(marks.ask(KEY, 2, 0, 10_001), Asked::Write { silent: true });
        assert_eq!(marks.due(11_000), []);
        marks.settled(KEY, 2, true, true);
        assert_eq!(marks.due(11_001), [(KEY, 2)]);
    }

    #[test]
    fn it_is_bounded_and_says_so() {
        let mut marks = Marks { marks_max: 2, ..Marks::new() };
        for mid in 0..2 {
            assert_eq!(read(&mut marks, (mid, KEY.1), 1, 10_000), Asked::Write { silent: false });
        }
        assert_eq!(read(&mut marks, (3, KEY.1), 1, 10_000), Asked::Full);
        assert_eq!(marks.ask((3, KEY.1), 1, 1, 10_000), Asked::Holds(1));
        assert_eq!(marks.due(11_000), []);
        assert_eq!(read(&mut marks, (3, KEY.1), 1, 11_000), Asked::Write { silent: false });
    }

    #[test]
    fn a_clock_that_goes_back_holds_nothing_up() {
        let mut marks = Marks::new();
        assert_eq!(read(&mut marks, KEY, 1, 1_000_000), Asked::Write { silent: false });
        assert_eq!(read(&mut marks, KEY, 2, 1_000_001), Asked::Write { silent: true });
        assert_eq!(marks.due(5_000), [(KEY, 2)]);
    }

    proptest! {
        /// Whatever comes when: never told twice within a second, and at the end everybody knows the furthest.
        #[test]
        fn at_most_once_a_second_and_the_last_always(reads in prop::collection::vec((0u64..400, 1u64..50, any::<bool>()), 1..200)) {
            let (mut marks, mut now_ms) = (Marks::new(), 1_000_000);
            let (mut told_ms, mut told, mut furthest) = (0, 0, 0);
            let mut tell = |pos: u64, now_ms: u64| {
                let (before_ms, before) = (std::mem::replace(&mut told_ms, now_ms), told);
                told = before.max(pos);
                now_ms - before_ms
            };
            for (pause_ms, pos, works) in reads {
                now_ms += pause_ms;
                for (key, pos) in marks.due(now_ms) {
                    prop_assert!(tell(pos, now_ms) >= PAUSE_MS);
                    marks.settled(key, pos, false, true);
                }
                match marks.ask(KEY, pos, 0, now_ms) {
                    Asked::Write { silent } => {
                        if works {
                            furthest = furthest.max(pos);
                            if !silent {
                                prop_assert!(tell(pos, now_ms) >= PAUSE_MS);
                            }
                        }
                        marks.settled(KEY, pos, silent, works);
                    }
                    Asked::Holds(held) => prop_assert!(held >= pos && held <= furthest),
                    Asked::Full => prop_assert!(false, "one mark has room"),
                }
            }
            for _ in 0..3 {
                now_ms += PAUSE_MS;
                for (key, pos) in marks.due(now_ms) {
                    tell(pos, now_ms);
                    marks.settled(key, pos, false, true);
                }
            }
            prop_assert_eq!(told, furthest);
            prop_assert!(marks.is_empty());
        }
    }
}

//! What the sessions of one process saw: counts, latencies, marks. Apart from
//! the sessions, so that both can be borrowed while a frame is walked.

use super::check::Track;
use super::classic::{self, Sink};
use super::messages::{Opened, Phase, PhaseResult, Progress};
use super::stored::Visit;
use crate::payload::Stamp;
use crate::stats::Latency;

/// The figures, apart from the sessions so that both can be borrowed at once.
pub(super) struct Books {
    pub(super) phase: Phase,
    sample_mask: u64,
    pub(super) progress: Progress,
    pub(super) settled: u64,
    pub(super) opened: Opened,
    pub(super) open_latency: Latency,
    pub(super) result: PhaseResult,
    pub(super) latency: Latency,
    /// Extended sessions: their first SYNC, and heartbeats.
    pub(super) sync_latency: Latency,
    pub(super) beat_latency: Latency,
}

/// What one receiving call of one session brings.
pub(super) struct Reader<'a> {
    pub(super) track: &'a mut Track,
    pub(super) books: &'a mut Books,
    pub(super) now_ns: u64,
    pub(super) authenticated: bool,
    pub(super) pong: Option<Vec<u8>>,
    pub(super) bye: Option<u16>,
    /// The session, if it is an extended one.
    pub(super) visit: Option<Visit<'a>>,
}

impl Sink for Reader<'_> {
    #[inline]
    fn frame(&mut self, op: u32, header: &[u8], body: &[u8]) {
        if let Some(visit) = &mut self.visit
            && visit.frame(self.books, op, header, body, self.now_ns)
        {
            return;
        }
        match op {
            classic::OP_PUSH => self.books.message(self.track, body, self.now_ns),
            classic::OP_AUTH_REPLY => self.authenticated = true,
            classic::OP_HEARTBEAT_REPLY => self.books.progress.heartbeat_replies += 1,
            _ => {}
        }
    }

    #[cold]
    fn ping(&mut self, payload: &[u8]) {
        self.pong = Some(payload.to_vec());
    }

    #[cold]
    fn bye(&mut self, code: u16) {
        self.bye = Some(code);
    }
}

impl Books {
    pub(super) fn new() -> Self {
        let phase = Phase { marker: 0, from_ns: 0, to_ns: 0, sample_shift: 0, marks: 0 };
        Self {
            phase,
            sample_mask: 0,
            progress: Progress::default(),
            settled: 0,
            opened: Opened::default(),
            open_latency: Latency::default(),
            result: PhaseResult::default(),
            latency: Latency::default(),
            sync_latency: Latency::default(),
            beat_latency: Latency::default(),
        }
    }

    pub(super) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.sample_mask = (1 << phase.sample_shift.min(32)) - 1;
        self.progress.received = 0;
        self.latency = Latency::default();
        self.result = PhaseResult { first_us: vec![0; phase.marks], last_us: vec![0; phase.marks], ..PhaseResult::default() };
    }

    /// One message of operation 1000.
    #[inline]
    fn message(&mut self, track: &mut Track, body: &[u8], now_ns: u64) {
        let stamp = match Stamp::decode(body) {
            Some(stamp) if stamp.marker == self.phase.marker => stamp,
            _ => {
                self.result.foreign += 1;
                return;
            }
        };
        track.observe(stamp.seq, &mut self.result.tally);
        self.progress.received += 1;
        self.result.last_ns = now_ns;
        if stamp.due_ns < self.phase.from_ns || stamp.due_ns >= self.phase.to_ns {
            return;
        }
        let late_ns = now_ns.saturating_sub(stamp.due_ns);
        if self.result.in_window & self.sample_mask == 0 {
            self.latency.record(late_ns);
        }
        self.result.in_window += 1;
        if self.phase.marks > 0 {
            self.mark(stamp.seq, late_ns);
        }
    }

    /// First and last receiver. This process reads in the order of time, so
    /// the last one to come here is the last.
    #[inline]
    fn mark(&mut self, seq: u64, late_ns: u64) {
        let index = usize::try_from(seq.wrapping_sub(1)).unwrap_or(usize::MAX);
        let late_us = u32::try_from(late_ns / 1_000 + 1).unwrap_or(u32::MAX);
        if let (Some(first), Some(last)) = (self.result.first_us.get_mut(index), self.result.last_us.get_mut(index)) {
            if *first == 0 {
                *first = late_us;
            }
            *last = late_us;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(books: &mut Books, track: &mut Track, seq: u64, due_ns: u64, now_ns: u64) {
        let body = Stamp { marker: 5, seq, due_ns }.encode(0);
        books.message(track, &body, now_ns);
    }

    #[test]
    fn books_tell_window_marks_and_foreign_apart() {
        let (mut books, mut track) = (Books::new(), Track::default());
        books.begin(Phase { marker: 5, from_ns: 100, to_ns: 200, sample_shift: 0, marks: 8 });
        observe(&mut books, &mut track, 1, 50, 60);
        observe(&mut books, &mut track, 2, 150, 10_000_150);
        observe(&mut books, &mut track, 3, 250, 260);
        books.message(&mut track, &Stamp { marker: 4, seq: 1, due_ns: 150 }.encode(0), 151);
        books.message(&mut track, b"short", 151);
        assert_eq!(books.result.tally.received, 3);
        assert_eq!((books.result.in_window, books.result.foreign), (1, 2));
        assert_eq!(books.latency.count(), 1);
        assert_eq!(books.result.first_us[..3], [0, 10_001, 0]);
        // A second session gets it later.
        observe(&mut books, &mut Track::default(), 2, 150, 20_000_150);
        assert_eq!((books.result.first_us[1], books.result.last_us[1]), (10_001, 20_001));
    }

    #[test]
    fn sampling_thins_latencies_but_not_checks() {
        let (mut books, mut track) = (Books::new(), Track::default());
        books.begin(Phase { marker: 5, from_ns: 0, to_ns: 1000, sample_shift: 3, marks: 0 });
        for seq in 1..=64 {
            observe(&mut books, &mut track, seq, 10, 20);
        }
        assert_eq!((books.latency.count(), books.result.tally.received), (8, 64));
    }
}

//! How far the calling thread reaches for rows: anywhere, or into memory only.
//!
//! Who waits for a disk must hold nothing that others wait for. So what is done while a bucket is held is done with what is in
//! memory; what is missing is written down, the bucket is let go, the disk is asked, and all of it is done again with what was
//! found ([`super::Careful`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Broken, Key};

/// Rows that are asked for first, of a range.
const ROWS_FIRST: usize = 4;
/// When those are not enough, so many times as many are asked for.
const ROWS_FACTOR: usize = 8;

/// What is to be asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    /// The value of a key.
    Point(Key),
    /// The first rows of a range.
    Run(Range, usize),
}

/// The rows from one key to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) from: Key,
    pub(crate) to: Key,
    pub(crate) descending: bool,
}

/// What the disk has.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Point(Option<Bytes>),
    /// The rows, and whether there are no others.
    Run(Arc<[(Key, Bytes)]>, bool),
}

/// The first rows of a range, as of a commit, and whether there are no others.
#[derive(Debug)]
struct Run {
    since: u64,
    rows: Arc<[(Key, Bytes)]>,
    whole: bool,
}

/// One piece of work, which is done again until it misses nothing.
#[derive(Debug)]
pub(crate) struct Call {
    points: BTreeMap<Key, (u64, Option<Bytes>)>,
    runs: BTreeMap<Range, Run>,
    missed: Vec<Question>,
    /// The disk is asked for what is missing, and may be asked at once for what is read while nothing is held.
    may_wait: bool,
}

thread_local! {
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

impl Call {
    pub(crate) const fn new(may_wait: bool) -> Self {
        Self { points: BTreeMap::new(), runs: BTreeMap::new(), missed: Vec::new(), may_wait }
    }

    /// Takes note of what the disk has, as of the commit `since`.
    pub(crate) fn learn(&mut self, question: Question, since: u64, answer: Answer) {
        match (question, answer) {
            (Question::Point(key), Answer::Point(value)) => {
                self.points.insert(key, (since, value));
            }
            (Question::Run(range, _), Answer::Run(rows, whole)) => {
                self.runs.insert(range, Run { since, rows, whole });
            }
            // Nobody answers another question than was asked.
            (Question::Point(_), Answer::Run(..)) | (Question::Run(..), Answer::Point(_)) => {}
        }
    }

    pub(crate) fn take_missed(&mut self) -> Vec<Question> {
        let mut missed = std::mem::take(&mut self.missed);
        missed.sort_unstable();
        missed.dedup();
        missed
    }
}

/// Puts back what was there before, also after a panic.
struct Restore<'a> {
    call: &'a mut Call,
    before: Option<Call>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        let call = CALL.replace(self.before.take());
        if let Some(call) = call {
            *self.call = call;
        }
    }
}

/// Does the work with what the call knows. What it gives counts only if nothing was missed.
pub(crate) fn within<T>(call: &mut Call, work: impl FnOnce() -> T) -> T {
    let mine = std::mem::replace(call, Call::new(false));
    let _restore = Restore { before: CALL.replace(Some(mine)), call };
    work()
}

/// Does the work if that needs nothing but memory, else nothing of it.
pub(crate) fn in_memory<T>(work: impl FnOnce() -> T) -> Option<T> {
    let mut call = Call::new(false);
    let done = within(&mut call, work);
    call.missed.is_empty().then_some(done)
}

/// Whether something is missing: what is being done is done again, and must leave nothing behind.
pub(crate) fn has_missed() -> bool {
    CALL.with_borrow(|call| call.as_ref().is_some_and(|call| !call.missed.is_empty()))
}

/// What was done, unless something was missing.
pub(crate) fn whole<T>(done: T) -> Result<T, Broken> {
    if has_missed() { Err(Broken(String::new())) } else { Ok(done) }
}

/// Whether this thread may go to the disk now; `holds`: others wait for what it holds.
pub(crate) fn may_wait(holds: bool) -> bool {
    CALL.with_borrow(|call| call.as_ref().is_none_or(|call| call.may_wait && !holds))
}

/// Whether it is worth while to look what else is missing, after an error.
pub(crate) fn looks_on() -> bool {
    CALL.with_borrow(|call| call.as_ref().is_some_and(|call| call.may_wait && !call.missed.is_empty()))
}

/// All of these. What is missing of them is missed at once, not one after the other.
pub(crate) fn all<T>(some: impl IntoIterator<Item = Result<T, Broken>>) -> Result<Vec<T>, Broken> {
    let some = some.into_iter();
    let mut all = Vec::with_capacity(some.size_hint().0);
    let mut failed = Ok(());
    for one in some {
        match one {
            Ok(one) => all.push(one),
            Err(broken) if looks_on() => failed = Err(broken),
            Err(broken) => return Err(broken),
        }
    }
    failed.map(|()| all)
}

/// What the work gets where something is missing.
fn miss(call: &mut Call, question: Question) -> Broken {
    call.missed.push(question);
    Broken(String::new())
}

/// The value of a key, as far as the call knows it; `is_old`: what was found before this commit may be another now.
pub(crate) fn point(key: &Key, is_old: impl FnOnce(u64) -> bool) -> Result<Option<Bytes>, Broken> {
    CALL.with_borrow_mut(|call| {
        let Some(call) = call else { return Ok(None) };
        match call.points.get(key) {
            Some((since, value)) if !is_old(*since) => Ok(value.clone()),
            _ => Err(miss(call, Question::Point(*key))),
        }
    })
}

/// The rows of a range, as far as the call knows them.
pub(crate) fn run(range: Range, is_old: impl FnOnce(u64) -> bool) -> Rows {
    CALL.with_borrow(|call| match call.as_ref().and_then(|call| call.runs.get(&range)) {
        Some(run) if !is_old(run.since) => Rows { range, rows: run.rows.clone(), next: 0, is_over: run.whole },
        _ => Rows { range, rows: Arc::from([]), next: 0, is_over: false },
    })
}

/// Rows that a call knows. Where it knows no more, that is missing.
pub(crate) struct Rows {
    range: Range,
    rows: Arc<[(Key, Bytes)]>,
    next: usize,
    /// There are no others, or that was said.
    is_over: bool,
}

impl Iterator for Rows {
    type Item = Result<(Key, Bytes), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.rows.get(self.next) {
            self.next += 1;
            return Some(Ok(row.clone()));
        }
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let rows = self.rows.len().saturating_mul(ROWS_FACTOR).max(ROWS_FIRST);
        let missed = CALL.with_borrow_mut(|call| call.as_mut().map(|call| miss(call, Question::Run(self.range, rows))));
        missed.map(Err)
    }
}

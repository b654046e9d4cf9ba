//! A base that is read by nobody who holds a bucket.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::reach::{self, Answer, Call, Question, Range};
use super::{Base, BaseRows, Broken, Found, Key, Layer, SharedBase};

/// Rows of commits that are remembered for calls that are under way; a call that is slower asks the disk once more.
const ROWS_MAX: usize = 200_000;
/// How often one piece of work is done at most. Each time it learns more; only what is written without end could go on so long.
const TIMES_MAX: usize = 10_000;

/// What was committed while calls were under way: what they had found before may be another now.
#[derive(Default)]
struct Commits {
    /// Counts them.
    number: u64,
    /// Calls under way, by the number at which they began.
    calls: BTreeMap<u64, usize>,
    layers: VecDeque<(u64, Arc<Layer>)>,
    rows: usize,
    /// Of commits up to here it is not known any more what they held.
    forgotten: u64,
}

impl Commits {
    fn push(&mut self, layer: Arc<Layer>) {
        self.number += 1;
        self.rows += layer.len();
        self.layers.push_back((self.number, layer));
        self.tidy();
    }

    fn tidy(&mut self) {
        let needed = self.calls.keys().next().copied().unwrap_or(self.number);
        while let Some((number, rows)) = self.layers.front().map(|(number, layer)| (*number, layer.len()))
            && (number <= needed || self.rows > ROWS_MAX)
        {
            self.layers.pop_front();
            self.rows -= rows;
            self.forgotten = number;
        }
    }

    /// Whether what was found in a range, after the commit `since`, may be another now.
    fn is_old(&self, since: u64, from: Key, to: Key) -> bool {
        let touches = |(number, layer): &(u64, Arc<Layer>)| *number > since && layer.range(from..=to).next().is_some();
        since < self.forgotten || self.layers.iter().any(touches)
    }
}

/// See the module.
pub(crate) struct Careful {
    base: SharedBase,
    commits: Mutex<Commits>,
}

impl Careful {
    pub(crate) fn new(base: SharedBase) -> Arc<Self> {
        Arc::new(Self { base, commits: Mutex::default() })
    }

    /// For those who hold a bucket.
    pub(crate) fn held(self: &Arc<Self>) -> SharedBase {
        Arc::new(Reader { careful: self.clone(), holds: true })
    }

    /// For those who hold none.
    pub(crate) fn free(self: &Arc<Self>) -> SharedBase {
        Arc::new(Reader { careful: self.clone(), holds: false })
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These rows are in the base now. To be told before they are looked for there.
    pub(crate) fn committed(&self, layers: &[&Arc<Layer>]) {
        let mut commits = self.commits();
        layers.iter().filter(|layer| !layer.is_empty()).for_each(|layer| commits.push((*layer).clone()));
    }

    /// Does the work, again and again, until it needs nothing but memory and what was found for it. The disk is asked in between.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn run<T>(&self, mut work: impl FnMut() -> T) -> Result<T, Broken> {
        let mut call = Call::new(true);
        let under_way = UnderWay::begin(self);
        for _ in 0..TIMES_MAX {
            let done = reach::within(&mut call, &mut work);
            let missed = call.take_missed();
            if missed.is_empty() {
                return Ok(done);
            }
            for question in missed {
                let since = self.commits().number;
                call.learn(question, since, self.ask(&question)?);
            }
        }
        drop(under_way);
        Err(Broken("what was asked for changes faster than it can be read".to_owned()))
    }

    fn ask(&self, question: &Question) -> Result<Answer, Broken> {
        match question {
            Question::Point(key) => self.base.get(key).map(Answer::Point),
            Question::Run(Range { from, to, descending }, rows_max) => {
                let mut rows = self.base.range(*from, *to, *descending);
                let some: Vec<_> = rows.by_ref().take(*rows_max).collect::<Result<_, _>>()?;
                let whole = some.len() < *rows_max;
                Ok(Answer::Run(some.into(), whole))
            }
        }
    }
}

/// A call: what is committed meanwhile is remembered for it.
struct UnderWay<'a> {
    careful: &'a Careful,
    began: u64,
}

impl<'a> UnderWay<'a> {
    fn begin(careful: &'a Careful) -> Self {
        let mut commits = careful.commits();
        let began = commits.number;
        *commits.calls.entry(began).or_default() += 1;
        Self { careful, began }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut commits = self.careful.commits();
        if let Some(calls) = commits.calls.get_mut(&self.began) {
            *calls -= 1;
            if *calls == 0 {
                commits.calls.remove(&self.began);
            }
        }
        commits.tidy();
    }
}

/// The base, as far as the calling thread may reach.
struct Reader {
    careful: Arc<Careful>,
    holds: bool,
}

impl Base for Reader {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, Broken> {
        if reach::may_wait(self.holds) {
            return self.careful.base.get(key);
        }
        match self.careful.base.known(key) {
            Some(value) => Ok(value),
            None => reach::point(key, |since| self.careful.commits().is_old(since, *key, *key)),
        }
    }

    fn known(&self, key: &Key) -> Found {
        self.careful.base.known(key)
    }

    fn find(&self, keys: &[Key], found: &mut [Found]) -> Result<(), Broken> {
        if reach::may_wait(self.holds) {
            return self.careful.base.find(keys, found);
        }
        for (key, found) in keys.iter().zip(found).filter(|(_, found)| found.is_none()) {
            *found = Some(self.get(key)?);
        }
        Ok(())
    }

    fn range(&self, from: Key, to: Key, descending: bool) -> BaseRows<'_> {
        if reach::may_wait(self.holds) {
            return self.careful.base.range(from, to, descending);
        }
        let range = Range { from, to, descending };
        Box::new(reach::run(range, |since| self.careful.commits().is_old(since, from, to)))
    }
}

#[cfg(test)]
mod tests;

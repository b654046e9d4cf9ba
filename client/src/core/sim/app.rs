//! An application: what it was given, what it has processed, and what became of what it sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::core::{Reply, Token};
use crate::error::Error;
use crate::event::{Event, Position, Sent};

#[derive(Default)]
pub(super) struct App {
    /// The last position it was given in this life.
    pub(super) last: Option<Position>,
    /// The last position that it has processed, over all lives.
    pub(super) done: Position,
    /// Given, and not processed yet: when it will be.
    pub(super) busy: VecDeque<(u64, Position)>,
    /// What it has seen: (epoch, position) in the order given, this life.
    pub(super) seen: u64,
    /// Whose message is whose: token to body, this life.
    pub(super) calls: BTreeMap<Token, Bytes>,
    /// `cid` to body, over all lives.
    pub(super) cids: BTreeMap<u64, Bytes>,
    pub(super) outcomes: BTreeMap<Bytes, Result<Sent, Error>>,
    /// Of which the storage knows that they are done with.
    pub(super) settled: BTreeSet<Bytes>,
    /// In the order of sending: bodies that the storage had.
    pub(super) sent: Vec<Bytes>,
}

impl App {
    /// The program was killed; `stored` is where the next life begins.
    pub(super) fn restart(&mut self, stored: Position) -> Result<(), String> {
        if stored.epoch == self.done.epoch && stored.pos > self.done.pos {
            return Err(format!("the stored cursor {} is ahead of what was processed, {}", stored.pos, self.done.pos));
        }
        self.last = (stored.epoch != 0).then_some(stored);
        self.busy.clear();
        self.calls.clear();
        Ok(())
    }

    pub(super) fn tell(&mut self, event: &Event, at_ms: u64, truth: impl Fn(Position) -> Option<Bytes>) -> Result<(), String> {
        match event {
            Event::Message(message) => {
                self.follow(message.at)?;
                if truth(message.at).as_ref() != Some(&message.body) {
                    return Err(format!("{:?} holds {:?}, and not {:?}", message.at, truth(message.at), message.body));
                }
                self.seen += 1;
            }
            Event::Skipped(skipped) => self.last = Some(skipped.at),
            Event::Outcome { cid, result } => {
                let Some(body) = self.cids.get(cid).cloned() else {
                    return Err(format!("an outcome for a cid that was never minted: {cid}"));
                };
                return self.finish(body, result.clone());
            }
            Event::Closed { reason } => return Err(format!("it closed itself: {reason}")),
            _ => {}
        }
        if let Some(position) = event.position() {
            self.busy.push_back((at_ms, position));
        }
        Ok(())
    }

    fn follow(&mut self, at: Position) -> Result<(), String> {
        match self.last {
            Some(last) if last.epoch != at.epoch => return Err(format!("{at:?} after {last:?}, and nothing was said")),
            Some(last) if at.pos <= last.pos => return Err(format!("{at:?} again, after {last:?}")),
            Some(last) if at.pos != last.pos + 1 => return Err(format!("{at:?} after {last:?}: a gap")),
            _ => self.last = Some(at),
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, token: Token, answer: Result<Reply, Error>) -> Result<(), String> {
        let Some(body) = self.calls.remove(&token) else { return Err(format!("call {token} is answered twice")) };
        match answer {
            Ok(Reply::Sent(sent)) => self.finish(body, Ok(sent)),
            Ok(other) => Err(format!("the answer to a send is {other:?}")),
            Err(error) => self.finish(body, Err(error)),
        }
    }

    fn finish(&mut self, body: Bytes, result: Result<Sent, Error>) -> Result<(), String> {
        // A kill between the answer and its place in the storage tells it a second time, and then the same.
        match self.outcomes.insert(body.clone(), result.clone()) {
            Some(earlier) if earlier.is_ok() != result.is_ok() => {
                Err(format!("{body:?} ended twice: {earlier:?}, then {result:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Processes what is due; the last position that is done then.
    pub(super) fn process(&mut self, now_ms: u64) -> Option<Position> {
        let mut done = None;
        while let Some((_, position)) = self.busy.front().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.busy.pop_front();
            self.done = position;
            done = Some(position);
        }
        done
    }

    pub(super) fn next_ms(&self) -> u64 {
        self.busy.front().map_or(u64::MAX, |(at_ms, _)| *at_ms)
    }
}

//! Where clients come with their questions: who asks, who waits for whom, who is sent away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Memory;
use super::answer::{self, Decision, Failed, Refused};
use super::breaker::Breaker;
use super::cache::{Cache, Digest};
use crate::auth::call::Call;
use crate::metrics::{HookOutcome, Metrics};

/// How long it is remembered that somebody was refused, ms, and how many of those: enough that a client that comes back at once
/// does not ask again, and not so much that one that was let in meanwhile waits.
const REFUSED_MS_MAX: u64 = 2_000;
const REFUSED_MAX: usize = 4_096;
/// So many clients wait for questions that others asked.
const BEHIND_MAX: usize = 4_096;

type Settled = Result<Decision, Failed>;

/// What becomes of somebody who came.
pub(super) enum Place {
    /// It is remembered.
    Known(Decision),
    /// The hook is down, and not asked now.
    Failing(Failed),
    /// There is no place.
    Full,
    /// He asks.
    First(Lead),
    /// Somebody asks the same.
    Behind(Follower),
}

/// The desk.
pub(super) struct Desk {
    call: Arc<dyn Call>,
    metrics: Arc<Metrics>,
    memory: Memory,
    concurrency_max: usize,
    /// Of this desk alone: what is in memory tells nobody what was asked.
    hash: hmac::Key,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    accepted: Cache<Decision>,
    refused: Cache<Decision>,
    under_way: HashMap<Digest, watch::Receiver<Option<Settled>>>,
    behind: usize,
    breaker: Breaker,
}

/// Somebody who asks. If he goes away before the answer comes, those behind him learn that there is none.
pub(super) struct Lead {
    desk: Arc<Desk>,
    digest: Digest,
    question: Bytes,
    /// Unix ms when he came, and the same moment on the desk's clock.
    came_ms: (u64, u64),
    settled: watch::Sender<Option<Settled>>,
    has_settled: bool,
}

/// Somebody who waits for another's answer.
pub(super) struct Follower {
    desk: Arc<Desk>,
    settled: watch::Receiver<Option<Settled>>,
}

impl Desk {
    pub(super) fn new(
        call: Arc<dyn Call>,
        concurrency_max: usize,
        memory: Memory,
        metrics: Arc<Metrics>,
    ) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let state = State {
            accepted: Cache::new(memory.cache_max),
            refused: Cache::new(REFUSED_MAX),
            under_way: HashMap::new(),
            behind: 0,
            breaker: Breaker::default(),
        };
        let hash = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let (started, state) = (Instant::now(), Mutex::new(state));
        Ok(Self { call, metrics, memory, concurrency_max: concurrency_max.max(1), hash, started, state })
    }

    /// Somebody comes with a question.
    pub(super) fn come(self: &Arc<Self>, question: Bytes, unix_ms: u64) -> Place {
        let (digest, now_ms) = (self.digest(&question), self.now_ms());
        let mut state = self.state();
        if let Some(known) = state.accepted.get(&digest, now_ms).or_else(|| state.refused.get(&digest, now_ms)) {
            self.metrics.hook(HookOutcome::Cached);
            return Place::Known(known);
        }
        if let Some(settled) = state.under_way.get(&digest) {
            let settled = settled.clone();
            if state.behind >= BEHIND_MAX {
                return Place::Full;
            }
            state.behind += 1;
            self.metrics.hook(HookOutcome::Shared);
            return Place::Behind(Follower { desk: self.clone(), settled });
        }
        if state.under_way.len() >= self.concurrency_max {
            return Place::Full;
        }
        if let Err(wait_ms) = state.breaker.admit(now_ms) {
            self.metrics.hook(HookOutcome::Breaker);
            return Place::Failing(Failed { why: None, is_down: true, retry_after_ms: Some(wait_ms) });
        }
        let (settled, behind) = watch::channel(None);
        state.under_way.insert(digest, behind);
        let desk = self.clone();
        Place::First(Lead { desk, digest, question, came_ms: (unix_ms, now_ms), settled, has_settled: false })
    }

    fn digest(&self, question: &[u8]) -> Digest {
        let mut digest = [0; 32];
        // HMAC-SHA256 has as many bytes.
        digest.copy_from_slice(hmac::sign(&self.hash, question).as_ref());
        digest
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an answer is remembered from now on, ms.
    fn remembered_ms(&self, decision: &Decision, unix_ms: u64) -> u64 {
        match decision {
            Decision::Accepted { expires_at_ms: 0, .. } => self.memory.cache_ms,
            Decision::Accepted { expires_at_ms, .. } => self.memory.cache_ms.min(expires_at_ms.saturating_sub(unix_ms)),
            // Those may come back, and shall find out.
            Decision::Refused(Refused { reason, .. }) if reason.comes_back() => 0,
            Decision::Refused(_) => self.memory.cache_ms.min(REFUSED_MS_MAX),
        }
    }
}

impl Lead {
    /// Asks.
    pub(super) async fn ask(mut self) -> Settled {
        let began = Instant::now();
        let reply = self.desk.call.call(std::mem::take(&mut self.question)).await;
        self.desk.metrics.hook_took(began.elapsed());
        let (unix_ms, came_ms) = self.came_ms;
        let unix_ms = unix_ms.saturating_add(self.desk.now_ms().saturating_sub(came_ms));
        let why = reply.as_ref().err().map(ToString::to_string);
        let settled = answer::read(reply, unix_ms);
        self.settle(&settled, unix_ms, why);
        settled
    }

    fn settle(&mut self, settled: &Settled, unix_ms: u64, why: Option<String>) {
        self.has_settled = true;
        let (desk, now_ms) = (&self.desk, self.desk.now_ms());
        let mut state = desk.state();
        state.under_way.remove(&self.digest);
        match settled {
            Ok(decision) => {
                let until_ms = now_ms.saturating_add(desk.remembered_ms(decision, unix_ms));
                let accepted = matches!(decision, Decision::Accepted { .. });
                let cache = if accepted { &mut state.accepted } else { &mut state.refused };
                cache.put(self.digest, decision.clone(), until_ms, now_ms);
                desk.metrics.hook(if accepted { HookOutcome::Accepted } else { HookOutcome::Refused });
                if state.breaker.succeeded() {
                    tracing::info!("the auth hook answers again");
                }
            }
            Err(failed) => {
                if let Some(why) = failed.why {
                    desk.metrics.hook_failed(why);
                }
                let news = if failed.is_down { state.breaker.failed(now_ms) } else { state.breaker.succeeded() };
                let counted = failed.why.map_or("", |why| why.word());
                if failed.is_down && news {
                    tracing::warn!(counted, error = why, "the auth hook gave no answer that counts");
                } else {
                    tracing::debug!(counted, error = why, "the auth hook gave no answer that counts");
                }
            }
        }
        drop(state);
        self.settled.send_replace(Some(settled.clone()));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.has_settled {
            let mut state = self.desk.state();
            state.under_way.remove(&self.digest);
            state.breaker.gave_up();
        }
    }
}

impl Follower {
    /// Waits for what the other is told.
    pub(super) async fn wait(mut self) -> Settled {
        let settled = self.settled.wait_for(Option::is_some).await;
        // Without an answer the other went away.
        let none = Err(Failed { why: None, is_down: true, retry_after_ms: None });
        settled.ok().and_then(|settled| settled.clone()).unwrap_or(none)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.desk.state().behind -= 1;
    }
}

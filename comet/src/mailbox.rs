//! What reaches a worker from other threads: a locked vector that it swaps out whole, and one wake-up a batch.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;
use perseid_protocol::push::Push;
use perseid_protocol::{CloseReason, Refusal, op};

use crate::config::Config;
use crate::link::{Connected, Refused, Renewed, RoomTail, StoredOutcome};
use crate::slab::Key;
use crate::traced::Traced;

/// What another thread asks of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// A push to one session.
    Direct { session: Key, push: Arc<Push>, traced: Option<Arc<Traced>> },
    /// A push to the members that this worker has of a room.
    Room { room: Arc<str>, push: Arc<Push>, traced: Option<Arc<Traced>> },
    /// A push to every session of this worker; `speed` in sessions per second, 0 = at once.
    All { push: Arc<Push>, speed: u32, traced: Option<Arc<Traced>> },
    /// The answer to AUTH that came later.
    Authenticated { session: Key, outcome: Result<Connected, Refused> },
    /// A room may be entered.
    RoomEntered { session: Key },
    /// The answer to a further AUTH that came later.
    Renewed { session: Key, outcome: Result<Renewed, Refused> },
    /// The answer to an upstream frame that came later.
    Received { session: Key, outcome: Result<(), Refusal> },
    /// The answer to a request about stored messages that came later.
    Stored { session: Key, number: u32, outcome: StoredOutcome },
    /// The end of a room that keeps its last frames, for a session that enters it.
    RoomTail { session: Key, tail: RoomTail },
    /// What a session's user has in the inbox, or a hint.
    Inbox { session: Key, push: Arc<Push>, pos: u64, conv: u64, traced: Option<Arc<Traced>> },
    /// End a session.
    End { session: Key, reason: CloseReason, message: Option<Box<str>> },
    /// Take no new sessions and end those that are there, so many per second.
    Drain { per_second: u32, retry_after_ms: u64 },
    /// Go on with other limits.
    Reload(Arc<Config>),
    /// End everything now.
    Stop,
}

impl Command {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Direct { push, .. } | Self::Room { push, .. } | Self::All { push, .. } | Self::Inbox { push, .. } => {
                    push.body.len()
                }
                Self::Stored { outcome: Ok(reply), .. } => reply.body.len(),
                Self::RoomTail { tail, .. } => tail.frames.len(),
                _ => 0,
            }
    }
}

/// The queue into one worker. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: Mutex<Vec<Command>>,
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The worker has been woken and has not looked yet.
    pending: AtomicBool,
    /// Messages of inboxes were refused since the worker last looked.
    lost_inbox: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker, bytes_max: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                commands: Mutex::default(),
                bytes: AtomicUsize::new(0),
                bytes_max,
                pending: AtomicBool::new(false),
                lost_inbox: AtomicBool::new(false),
                waker,
            }),
        }
    }

    /// Posts pushes in order; how many no longer fit: the worker is far behind. What ends a session is posted all the same, and
    /// so are hints; of messages in inboxes the worker is told that some were lost.
    pub(crate) fn post_pushes(&self, commands: &mut Vec<Command>) -> usize {
        let bytes: usize = commands.iter().map(Command::bytes).sum();
        let before = self.inner.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > self.inner.bytes_max {
            self.inner.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.post_what_must_not_be_lost(commands);
        }
        self.lock().append(commands);
        self.wake();
        0
    }

    fn post_what_must_not_be_lost(&self, commands: &mut Vec<Command>) -> usize {
        let mut refused = 0;
        for command in commands.drain(..) {
            match &command {
                Command::End { .. } => self.post(command),
                Command::Inbox { push, .. } if push.op == op::HEAD => self.post(command),
                Command::Inbox { .. } => {
                    self.inner.lost_inbox.store(true, Ordering::SeqCst);
                    refused += 1;
                }
                _ => refused += 1,
            }
        }
        // Also if nothing was posted: the worker has to look.
        self.wake();
        refused
    }

    /// Whether messages of inboxes were refused since this was asked last.
    pub(crate) fn take_lost_inbox(&self) -> bool {
        self.inner.lost_inbox.load(Ordering::Relaxed) && self.inner.lost_inbox.swap(false, Ordering::SeqCst)
    }

    /// Posts a control command, which always fits: there is at most a handful for each session.
    pub(crate) fn post(&self, command: Command) {
        self.inner.bytes.fetch_add(command.bytes(), Ordering::Relaxed);
        self.lock().push(command);
        self.wake();
    }

    /// As [`Mailbox::post`], without waking the worker; somebody calls [`Mailbox::wake`] afterwards.
    pub(crate) fn post_quietly(&self, command: Command) {
        self.inner.bytes.fetch_add(command.bytes(), Ordering::Relaxed);
        self.lock().push(command);
    }

    /// Wakes the worker, if it was not.
    pub(crate) fn wake(&self) {
        if !self.inner.pending.swap(true, Ordering::SeqCst) {
            // An eventfd can only refuse when its counter is full: then it is readable anyway.
            let _ = self.inner.waker.wake();
        }
    }

    /// Swaps out everything that was posted.
    pub(crate) fn take(&self, into: &mut Vec<Command>) {
        debug_assert!(into.is_empty());
        // Before the swap: who posts after it wakes us again.
        self.inner.pending.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *self.lock(), into);
        if !into.is_empty() {
            self.inner.bytes.fetch_sub(into.iter().map(Command::bytes).sum(), Ordering::Relaxed);
        }
    }

    /// Whether something waits, without a lock.
    pub(crate) fn is_pending(&self) -> bool {
        self.inner.pending.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Command>> {
        // Nothing in here can panic half-way through a change.
        self.inner.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

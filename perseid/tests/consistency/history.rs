//! What clients did and saw, in the order in which it happened.

use std::sync::{Arc, Mutex};

/// A stored message as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) pos: u64,
    pub(crate) id: u64,
    pub(crate) conv: u64,
    pub(crate) conv_pos: u64,
    pub(crate) from: u64,
    pub(crate) cid: u64,
    pub(crate) kind: u16,
    pub(crate) gone: bool,
    pub(crate) body: String,
}

/// A conversation, by the same name for everybody in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Talk {
    Direct(u64, u64),
    Group(u64),
}

impl Talk {
    /// What `reader` calls (`kind`, `conv`).
    pub(crate) fn of(kind: u16, conv: u64, reader: u64) -> Self {
        if kind == 1 { Self::Direct(reader.min(conv), reader.max(conv)) } else { Self::Group(conv) }
    }
}

/// One thing that happened. Requests are noted before they are written, answers after they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message was handed to the network, for the first time or again.
    Invoked { mid: u64, talk: Talk, cid: u64, body: String },
    /// It was acknowledged.
    Acknowledged { mid: u64, talk: Talk, cid: u64, id: u64 },
    /// It was refused for good.
    Refused { mid: u64, cid: u64, reason: String },
    /// A session was let in.
    Entered { device: usize, mid: u64, epoch: u64, head: u64, cursor: u64 },
    /// A head was told.
    Head { device: usize, mid: u64, head: u64 },
    /// The client's rule let it through to the application.
    Applied { device: usize, mid: u64, row: Row },
    /// An ACK was answered.
    Cursor { device: usize, mid: u64, pos: u64 },
    /// A READ was answered.
    Read { mid: u64, talk: Talk, pos: u64 },
    /// A RECALL was answered.
    Recalled { talk: Talk, pos: u64, id: u64 },
}

/// The events of one run, shared by all clients.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<Event>>>);

impl History {
    pub(crate) fn note(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What stood in the store after everything had come to rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Final {
    /// Inboxes, whole, by user.
    pub(crate) inboxes: std::collections::BTreeMap<u64, Vec<Row>>,
    /// Timelines, whole.
    pub(crate) timelines: std::collections::BTreeMap<Talk, Vec<Row>>,
}

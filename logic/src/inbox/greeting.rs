//! What opening an inbox tells, where it stands later, and what a room has kept.

use bytes::Bytes;
use perseid_protocol::room::room_hash;
use perseid_store::Verdict;
use perseid_store::stored::Answer;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{OpenInbox, OpenedInbox, PageBound, Pull, PullError, PullFrom, StoreDown, TimelinePage};

use super::{Inbox, frames};
use crate::config::StoredConfig;

/// What is replayed to one who comes back to a room, bytes; who missed more loads the state anew.
const ROOM_BYTES_MAX: usize = 1024 * 1024;

/// What AUTH_REPLY tells of an inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Newest position.
    pub head: u64,
    /// Oldest position still kept; head + 1 when none is.
    pub floor: u64,
    /// Changes only when positions were lost, unix ms.
    pub epoch: u64,
    /// What the device has acknowledged.
    pub cursor: u64,
    /// It has everything: stored messages are pushed to it at once.
    pub live: bool,
    /// What it said it has can't be: its first SYNC is answered with EPOCH_CHANGED.
    pub foreign: bool,
    /// How long a `cid` is remembered, ms.
    pub cid_ms: u64,
    /// How long a message can be taken back, ms.
    pub recall_ms: u64,
    /// Largest group that is written to every inbox.
    pub fanout: u64,
    /// Messages kept in an inbox.
    pub inbox_max: u64,
    /// Days that they are kept.
    pub inbox_days: u64,
    /// Largest page, bytes.
    pub page_bytes: u64,
    /// Longest body of a message from a client, bytes.
    pub body_bytes: u64,
}

/// The end of a room that keeps its last frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomTail {
    /// Its newest position; 0: it keeps nothing.
    pub head: u64,
    /// Not all of what was asked for is kept any more: there are no frames.
    pub gone: bool,
    /// The frames after the position asked for, as extended sessions get them, up to `head`.
    pub frames: Bytes,
}

impl Greeting {
    fn of(opened: &OpenedInbox, has: Option<(u64, u64)>, config: &StoredConfig) -> Self {
        let OpenedInbox { inbox, cursor, foreign } = *opened;
        Self {
            head: inbox.head,
            floor: inbox.floor,
            epoch: inbox.epoch,
            cursor,
            live: !foreign && has == Some((inbox.epoch, inbox.head)),
            foreign,
            cid_ms: config.cid_ms,
            recall_ms: config.recall_ms,
            fanout: config.fanout as u64,
            inbox_max: config.inbox_max,
            inbox_days: config.inbox_days,
            page_bytes: config.page_bytes as u64,
            body_bytes: config.body_bytes_max as u64,
        }
    }
}

impl Inbox {
    /// A session of `mid` on `device` begins to use its inbox; `has` is the epoch and the position that it says it has.
    ///
    /// # Errors
    /// [`StoreDown`]: nothing was done.
    pub fn open(&self, mid: u64, device: &str, has: Option<(u64, u64)>, now_ms: u64) -> Answer<Greeting> {
        let config = self.config();
        let open = OpenInbox { mid, device: device.into(), has, now_ms };
        self.parts.store.open_inbox(open).then(move |opened| Ok(Greeting::of(&opened?, has, &config)))
    }

    /// Whether the inbox of `mid` can be opened.
    ///
    /// # Errors
    /// [`StoreDown`]: not now.
    pub fn is_there(&self, mid: u64) -> Answer<()> {
        self.parts.store.inbox(mid).then(|inbox| inbox.map(|_| ()))
    }

    /// The newest position in the inbox of `mid`; 0: nobody knows here, now.
    pub fn head(&self, mid: u64) -> u64 {
        self.parts.store.inbox(mid).now().and_then(Result::ok).map_or(0, |inbox| inbox.head)
    }

    /// What a room has kept after `pos`; 0 asks for nothing but its head.
    pub fn room_tail(&self, room: &str, pos: u64) -> Verdict<RoomTail> {
        let keeps = self.config().room_keeps(room);
        if keeps == 0 {
            return Verdict::Now(RoomTail::default());
        }
        let conv = Conv::Room(room_hash(room));
        let bound = PageBound { messages_max: usize::try_from(keeps).unwrap_or(usize::MAX), bytes_max: ROOM_BYTES_MAX };
        // Who asks for nothing still learns the head.
        let (from, bound) = match pos {
            0 => (PullFrom::Before(0), PageBound { messages_max: 1, bytes_max: 1 }),
            pos => (PullFrom::After(pos), bound),
        };
        let pull = Pull { conv, reader: 0, from, since_joined: false, bound };
        self.parts.store.pull(pull).then(move |page| tail(pos, page))
    }
}

fn tail(pos: u64, page: Result<Result<TimelinePage, PullError>, StoreDown>) -> RoomTail {
    let nothing = |head| RoomTail { head, gone: pos != 0, frames: Bytes::new() };
    match page {
        Ok(Ok(page)) if pos == 0 => nothing(page.head),
        // A part of it would be a gap that nobody sees.
        Ok(Ok(page)) if page.more => nothing(page.head),
        Ok(Ok(page)) => RoomTail { head: page.head, gone: false, frames: frames::room(&page.messages) },
        Ok(Err(PullError::TooOld { head, .. } | PullError::AboveHead { head })) => nothing(head),
        Ok(Err(PullError::NotMember)) | Err(_) => nothing(0),
    }
}

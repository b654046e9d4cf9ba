//! Pages of inboxes and timelines. A bucket is held only to learn what is where; rows are read when it is free for others again.

use bytes::Bytes;
use perseid_protocol::frame::{EXTENDED_HEADER_LEN, flag};

use super::conv::Conv;
use super::conv_bucket::{ConvBucket, kind_of};
use super::engine::Engine;
use super::keys;
use super::kv::{Broken, Found, Key, View};
use super::read::{InboxPage, InboxView, Message, OutOfRange, PageBound, Pull, PullError, PullFrom, TimelinePage};
use super::rows::{Ref, TimelineRow};

/// A page never holds more messages, whatever is asked for.
const PAGE_MESSAGES_MAX: u64 = 1_000;

/// References whose rows are looked for together.
const ROWS_AT_ONCE: usize = 64;

fn messages_max(bound: PageBound) -> u64 {
    (bound.messages_max as u64).clamp(1, PAGE_MESSAGES_MAX)
}

/// Fills a page up to its bound; the first message always fits.
struct Filling {
    messages: Vec<Message>,
    bytes: usize,
    bytes_max: usize,
}

impl Filling {
    fn new(bound: PageBound) -> Self {
        Self { messages: Vec::new(), bytes: 0, bytes_max: bound.bytes_max }
    }

    /// Takes a message; gives whether it fitted.
    fn take(&mut self, message: Message) -> bool {
        let bytes = self.bytes.saturating_add(EXTENDED_HEADER_LEN + message.body.len());
        if bytes > self.bytes_max && !self.messages.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.messages.push(message);
        true
    }
}

/// A position whose row is not there any more.
fn gone(pos: u64, conv: Option<Conv>, conv_pos: u64, kind: u16) -> Message {
    let (id, ts_ms, from, cid, op, expires_at_ms) = (0, 0, 0, 0, 0, 0);
    Message { pos, id, ts_ms, conv, conv_pos, from, cid, kind, op, flags: flag::GONE, body: Bytes::new(), expires_at_ms }
}

struct InboxRange {
    inbox: InboxView,
    start: u64,
    end: u64,
    view: View,
}

impl Engine {
    fn inbox_range(&self, mid: u64, after: u64, bound: PageBound) -> Result<Result<InboxRange, OutOfRange>, Broken> {
        let mut user = self.user(mid);
        let inbox = user.inbox(mid)?;
        if after > inbox.head {
            return Ok(Err(OutOfRange::AboveHead(inbox)));
        }
        if after != 0 && after + 1 < inbox.floor {
            return Ok(Err(OutOfRange::TooOld(inbox)));
        }
        let start = if after == 0 { inbox.floor } else { after + 1 };
        let end = inbox.head.min(start.saturating_add(messages_max(bound) - 1));
        let view = user.rows.view(keys::inbox_row(mid, start), keys::inbox_row(mid, end));
        Ok(Ok(InboxRange { inbox, start, end, view }))
    }

    /// The messages after a position; 0: from the floor.
    pub(crate) fn sync(&self, mid: u64, after: u64, bound: PageBound) -> Result<Result<InboxPage, OutOfRange>, Broken> {
        let InboxRange { inbox, start, end, view } = match self.inbox_range(mid, after, bound)? {
            Ok(range) => range,
            Err(out_of_range) => return Ok(Err(out_of_range)),
        };
        let mut page = Filling::new(bound);
        let layers = view.layers();
        let mut rows = layers.range(keys::inbox_row(mid, start), keys::inbox_row(mid, end), false);
        let mut next = start;
        loop {
            let some = rows.by_ref().take(ROWS_AT_ONCE).map(|row| {
                let (key, value) = row?;
                Ok((key.last_u64(), Ref::from_bytes(value, mid)?))
            });
            let some: Vec<(u64, Ref)> = some.collect::<Result<_, Broken>>()?;
            if some.is_empty() || !self.fill(&mut page, &mut next, some)? {
                break;
            }
        }
        let more = page.messages.last().map_or(start <= inbox.head, |last| last.pos < inbox.head);
        Ok(Ok(InboxPage { inbox, messages: page.messages, more }))
    }

    /// Continues a page with these references; gives whether all of them had a place in it.
    fn fill(&self, page: &mut Filling, next: &mut u64, references: Vec<(u64, Ref)>) -> Result<bool, Broken> {
        let places: Vec<_> = references.iter().filter_map(|(_, reference)| reference.place()).collect();
        let mut rows = self.timeline_rows(&places)?.into_iter();
        for (pos, reference) in references {
            // Rows are dense; what was trimmed since the range was fixed is there as GONE.
            while *next < pos && page.take(gone(*next, None, 0, 0)) {
                *next += 1;
            }
            if *next != pos {
                return Ok(false);
            }
            let place = reference.place();
            let row = if place.is_some() { rows.next().flatten() } else { None };
            let message = self.resolve(reference.into_message(pos), place, row)?;
            if message.is_none() && page.messages.is_empty() {
                return Err(Broken("a timeline has lost what an inbox refers to: it is filled again from the log".to_owned()));
            }
            if !message.is_some_and(|message| page.take(message)) {
                return Ok(false);
            }
            *next += 1;
        }
        Ok(true)
    }

    /// A message with the body that stands at its place; `None`: its timeline has lost it, and gets it again from the log. It
    /// must not be shown as gone: the client would never ask for it again.
    fn resolve(&self, mut message: Message, place: Option<(Conv, u64)>, row: Option<Bytes>) -> Result<Option<Message>, Broken> {
        let Some((conv, _)) = place else { return Ok(Some(message)) };
        let mut row = row.map(TimelineRow::from_bytes).transpose()?;
        if row.is_none() {
            let (state, is_whole) = {
                let mut bucket = self.conv(conv);
                (bucket.state(conv)?, bucket.guards.is_whole())
            };
            if message.conv_pos > state.head && !is_whole {
                return Ok(None);
            }
            // It may have come back between the two looks.
            row = self.timeline_row(conv, message.conv_pos)?;
        }
        match row.filter(|row| !row.gone) {
            Some(row) => (message.body, message.expires_at_ms) = (row.body, row.expires_at_ms),
            None => {
                message.flags |= flag::GONE;
                message.body = Bytes::new();
            }
        }
        Ok(Some(message))
    }

    /// A row of a timeline.
    pub(crate) fn timeline_row(&self, conv: Conv, pos: u64) -> Result<Option<TimelineRow>, Broken> {
        if pos == 0 {
            return Ok(None);
        }
        self.timeline_rows(&[(conv, pos)])?.pop().flatten().map(TimelineRow::from_bytes).transpose()
    }

    /// Rows of timelines, one for each place. Their bucket is not held while they are read from the disk.
    fn timeline_rows(&self, places: &[(Conv, u64)]) -> Result<Vec<Option<Bytes>>, Broken> {
        let keys: Vec<Key> = places.iter().map(|(conv, pos)| keys::timeline_row(*conv, *pos)).collect();
        let mut rows = Vec::with_capacity(places.len());
        for same in places.chunk_by(|one, other| self.conv_bucket(one.0) == self.conv_bucket(other.0)) {
            let Some((conv, _)) = same.first() else { continue };
            let keys = &keys[rows.len()..rows.len() + same.len()];
            let mut found: Vec<Found> = Vec::with_capacity(keys.len());
            let base = {
                let bucket = self.conv(*conv);
                found.extend(keys.iter().map(|key| bucket.rows.above_base(key)));
                bucket.rows.base()
            };
            base.map_or(Ok(()), |base| base.find(keys, &mut found))?;
            rows.extend(found.into_iter().map(Option::flatten));
        }
        Ok(rows)
    }

    /// A part of a timeline.
    pub(crate) fn pull(&self, pull: &Pull) -> Result<Result<TimelinePage, PullError>, Broken> {
        let mut bucket = self.conv(pull.conv);
        let state = bucket.state(pull.conv)?;
        let Some(floor) = floor_for(&mut bucket, pull, state.floor)? else { return Ok(Err(PullError::NotMember)) };
        let (kind, head) = (kind_of(pull.conv, &state), state.head);
        let floor = floor.min(head + 1);
        let (start, end) = match range_of(pull, floor, head) {
            Ok(range) => range,
            Err(error) => return Ok(Err(error)),
        };
        let (from, to) = (keys::timeline_row(pull.conv, start), keys::timeline_row(pull.conv, end));
        let view = bucket.rows.view(from, to);
        drop(bucket);
        let descending = matches!(pull.from, PullFrom::Before(_));
        let mut page = Filling::new(pull.bound);
        for row in view.layers().range(from, to, descending) {
            let (key, value) = row?;
            if !page.take(TimelineRow::from_bytes(value)?.into_message(pull.conv, key.last_u64())) {
                break;
            }
        }
        let mut messages = page.messages;
        let last = messages.last().map(|message| message.conv_pos);
        let more = match last {
            Some(last) if descending => last > floor,
            Some(last) => last < head,
            None => false,
        };
        if descending {
            messages.reverse();
        }
        Ok(Ok(TimelinePage { kind, head, floor, messages, more }))
    }
}

/// Oldest position that the reader may see; `None`: he may see nothing.
fn floor_for(bucket: &mut ConvBucket, pull: &Pull, floor: u64) -> Result<Option<u64>, Broken> {
    Ok(match pull.conv {
        Conv::Direct { lo, hi } => [0, lo, hi].contains(&pull.reader).then_some(floor),
        Conv::Room(_) => Some(floor),
        Conv::Group(group) => {
            if bucket.state(pull.conv)?.group().is_none() {
                return Ok(None);
            }
            match (pull.reader, bucket.member(group, pull.reader)?.since()) {
                (0, _) => Some(floor),
                (_, None) => None,
                (_, Some(since)) => Some(if pull.since_joined { floor.max(since) } else { floor }),
            }
        }
    })
}

/// The positions of a page, both included; the first is above the second if there are none.
fn range_of(pull: &Pull, floor: u64, head: u64) -> Result<(u64, u64), PullError> {
    let rows = messages_max(pull.bound);
    match pull.from {
        PullFrom::After(0) => Ok((floor, head.min(floor.saturating_add(rows - 1)))),
        PullFrom::After(pos) if pos > head => Err(PullError::AboveHead { head }),
        PullFrom::After(pos) if pos + 1 < floor => Err(PullError::TooOld { floor, head }),
        PullFrom::After(pos) => Ok((pos + 1, head.min((pos + 1).saturating_add(rows - 1)))),
        PullFrom::Before(pos) if pos > head + 1 => Err(PullError::AboveHead { head }),
        PullFrom::Before(pos) if pos != 0 && pos < floor => Err(PullError::TooOld { floor, head }),
        PullFrom::Before(pos) => {
            let end = if pos == 0 { head } else { pos - 1 };
            Ok(((end + 1).saturating_sub(rows).max(floor), end))
        }
    }
}

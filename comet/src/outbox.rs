//! What waits for one session while its socket is full. Exists only then.

use std::collections::VecDeque;

use perseid_protocol::frame::Extension;
use perseid_protocol::push::Priority;

use crate::terms::{Shares, Terms, Weights};

/// By which way a frame comes to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct = 0,
    Room = 1,
    All = 2,
    /// What its user has in the inbox: dropped first, because it can be read again.
    Inbox = 3,
    /// A reply, a hint or a farewell: never dropped, because reading stops before they become many.
    Reply = 4,
}

/// Frames by [`Way`].
pub(crate) type Ways = [u64; 5];

/// Timelines of which a hint waits for one session; of more, the oldest is dropped.
const HINTS_MAX: usize = 1024;

/// A frame in an [`Outbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedFrame {
    pub(crate) len: usize,
    pub(crate) way: Way,
    pub(crate) terms: Terms,
    /// Its position in the inbox, if it came by that way.
    pub(crate) pos: u64,
}

const _: () = assert!(size_of::<QueuedFrame>() <= 48);

/// Where the frame stands that a later one by the same way with the same `collapse` replaces, and how many bytes come after it.
/// Looked for from the newest: it costs what came since.
pub(crate) fn find_replaced<'a>(
    frames: impl DoubleEndedIterator<Item = &'a QueuedFrame> + ExactSizeIterator,
    way: Way,
    collapse: u64,
) -> Option<(usize, usize)> {
    let mut after = 0;
    for (at, frame) in frames.enumerate().rev() {
        if frame.way == way && frame.terms.collapse == collapse {
            return Some((at, after));
        }
        after += frame.len;
    }
    None
}

/// Bytes of whole frames, but for the first, of which a part may be written already.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    frames: VecDeque<QueuedFrame>,
    /// Bytes of replies among them.
    reply_bytes: usize,
    /// Bytes of pushes among them, but for one that is begun, by priority.
    push_bytes: Weights,
    /// Pushes, but for one that is begun, that a later one may replace.
    collapsing: usize,
    /// The first frame has been written in part: it has to be finished, whatever happens.
    torn: bool,
    /// When the socket last took something, worker ms.
    pub(crate) progress_ms: u64,
    /// When the socket became full, worker ms.
    pub(crate) since_ms: u64,
    /// Pushes that were dropped because of this outbox.
    pub(crate) dropped: u64,
    /// The highest inbox position that its client has to be told of, once it takes something; 0: none.
    owed_head: u64,
    /// Hints at timelines for it, the newest of each.
    owed_hints: Vec<Extension>,
}

impl Outbox {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            bytes: Vec::new(),
            written: 0,
            frames: VecDeque::new(),
            reply_bytes: 0,
            push_bytes: Weights::default(),
            collapsing: 0,
            torn: false,
            progress_ms: now_ms,
            since_ms: now_ms,
            dropped: 0,
            owed_head: 0,
            owed_hints: Vec::new(),
        }
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of replies that wait.
    pub(crate) const fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// What to write next.
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Puts the rest of a frame that has been written in part. Only the first can be one.
    pub(crate) fn push_rest(&mut self, rest: &[u8], way: Way) {
        debug_assert!(self.is_empty(), "a frame was torn while others waited");
        self.torn = true;
        self.bytes.extend_from_slice(rest);
        self.reply_bytes += if way == Way::Reply { rest.len() } else { 0 };
        self.frames.push_back(QueuedFrame { len: rest.len(), way, terms: Terms::default(), pos: 0 });
    }

    /// Puts a whole frame.
    pub(crate) fn push(&mut self, bytes: &[u8], frame: QueuedFrame) {
        debug_assert_eq!(bytes.len(), frame.len);
        self.bytes.extend_from_slice(bytes);
        if frame.way == Way::Reply {
            self.reply_bytes += frame.len;
        } else {
            self.push_bytes[frame.terms.priority as usize] += frame.len;
            self.collapsing += usize::from(frame.terms.collapse != 0);
        }
        self.frames.push_back(frame);
    }

    /// A whole push is dropped, or begun.
    fn uncount(&mut self, frame: &QueuedFrame) {
        if frame.way != Way::Reply {
            self.push_bytes[frame.terms.priority as usize] -= frame.len;
            self.collapsing -= usize::from(frame.terms.collapse != 0);
        }
    }

    /// Takes note that the socket took `count` bytes; gives the frames finished.
    pub(crate) fn advance(&mut self, count: usize, now_ms: u64) -> Ways {
        self.written += count;
        let mut finished = Ways::default();
        let mut taken = count;
        while taken > 0
            && let Some(frame) = self.frames.front().copied()
        {
            if !self.torn {
                self.uncount(&frame);
            }
            self.reply_bytes -= if frame.way == Way::Reply { taken.min(frame.len) } else { 0 };
            if let Some(begun) = self.frames.front_mut().filter(|frame| taken < frame.len) {
                begun.len -= taken;
                self.torn = true;
                break;
            }
            taken -= frame.len;
            finished[frame.way as usize] += 1;
            self.torn = false;
            self.frames.pop_front();
        }
        if count > 0 {
            self.progress_ms = now_ms;
        }
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        finished
    }

    /// Whether dropping pushes that matter no more than `most` is worth it: what is dropped has to be copied around, so they
    /// must not be few among many that stay.
    pub(crate) fn can_spare(&self, most: Priority) -> bool {
        let all: usize = self.push_bytes.iter().sum();
        let less: usize = self.push_bytes[..=most as usize].iter().sum();
        less > 0 && less >= all / 8
    }

    /// Drops pushes until `bytes` are free: those that matter least first, and of them the oldest, but none that matters more
    /// than `most`; gives (frames, bytes) dropped.
    pub(crate) fn drop_pushes(&mut self, bytes: usize, most: Priority) -> (usize, usize) {
        let mut shares = Shares::of(bytes, most, &self.push_bytes);
        let removed = self.remove(|frame| frame.way != Way::Reply && shares.take(frame.terms.priority, frame.len));
        self.dropped += removed.0 as u64;
        removed
    }

    /// Drops the push that a later one by the same way replaces, if it is not begun; its bytes.
    pub(crate) fn replace(&mut self, way: Way, collapse: u64) -> Option<usize> {
        if self.collapsing == 0 {
            return None;
        }
        let (at, after) = find_replaced(self.frames.iter(), way, collapse)?;
        if at == 0 && self.torn {
            return None;
        }
        let frame = self.frames.remove(at)?;
        self.uncount(&frame);
        let end = self.bytes.len() - after;
        self.bytes.drain(end - frame.len..end);
        Some(frame.len)
    }

    /// Drops what stands in the inbox, of which the client is told afterwards; gives (frames, bytes) dropped.
    pub(crate) fn drop_inbox(&mut self) -> (usize, usize) {
        let mut lost = 0;
        let removed = self.remove(|frame| {
            lost = lost.max(if frame.way == Way::Inbox { frame.pos } else { 0 });
            frame.way == Way::Inbox
        });
        self.owed_head = self.owed_head.max(lost);
        self.dropped += removed.0 as u64;
        removed
    }

    /// Whether messages of the inbox were lost, so that those that follow can't be applied either.
    pub(crate) const fn has_lost(&self) -> bool {
        self.owed_head > 0
    }

    /// A message of the inbox does not get in.
    pub(crate) fn lose(&mut self, pos: u64) {
        self.owed_head = self.owed_head.max(pos);
        self.dropped += 1;
    }

    /// Keeps a hint until the socket takes it, instead of the last one at the same timeline; `false`: another one was dropped
    /// for it.
    pub(crate) fn owe(&mut self, hint: Extension) -> bool {
        if (hint.kind, hint.conv) == (0, 0) {
            self.owed_head = self.owed_head.max(hint.pos);
            return true;
        }
        let same = |owed: &Extension| (owed.kind, owed.conv) == (hint.kind, hint.conv);
        if let Some(at) = self.owed_hints.iter().position(same) {
            self.owed_hints.remove(at);
        }
        let fits = self.owed_hints.len() < HINTS_MAX;
        if !fits {
            self.owed_hints.remove(0);
        }
        self.owed_hints.push(hint);
        fits
    }

    /// What HEAD frames the client is to get now that everything else was taken.
    pub(crate) fn take_owed(&mut self) -> impl Iterator<Item = Extension> + use<> {
        let head = std::mem::take(&mut self.owed_head);
        let head = (head > 0).then(|| Extension { pos: head, ..Extension::default() });
        std::mem::take(&mut self.owed_hints).into_iter().chain(head)
    }

    /// Drops what comes from the session's room; gives (frames, bytes) dropped.
    pub(crate) fn drop_room(&mut self) -> (usize, usize) {
        self.remove(|frame| frame.way == Way::Room)
    }

    /// Drops what is too late; gives (frames, bytes) dropped.
    pub(crate) fn drop_expired(&mut self, unix_ms: u64) -> (usize, usize) {
        let removed = self.remove(|frame| frame.terms.is_expired(unix_ms));
        self.dropped += removed.0 as u64;
        removed
    }

    pub(crate) fn has_mortal_frames(&self) -> bool {
        self.frames.iter().any(|frame| frame.terms.expires_at_ms != 0)
    }

    fn remove(&mut self, mut goes: impl FnMut(&QueuedFrame) -> bool) -> (usize, usize) {
        let mut kept_bytes = Vec::with_capacity(self.len());
        let mut kept_frames = VecDeque::with_capacity(self.frames.len());
        let mut at = self.written;
        let mut removed = (0, 0);
        for (index, frame) in std::mem::take(&mut self.frames).into_iter().enumerate() {
            let must_stay = index == 0 && self.torn;
            if !must_stay && goes(&frame) {
                removed.0 += 1;
                removed.1 += frame.len;
                self.uncount(&frame);
            } else {
                kept_bytes.extend_from_slice(&self.bytes[at..at + frame.len]);
                kept_frames.push_back(frame);
            }
            at += frame.len;
        }
        self.bytes = kept_bytes;
        self.written = 0;
        self.frames = kept_frames;
        removed
    }

    /// Pushes that still wait.
    pub(crate) fn pushes(&self) -> usize {
        self.frames.iter().filter(|frame| frame.way != Way::Reply).count()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

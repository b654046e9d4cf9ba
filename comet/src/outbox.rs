//! What waits for one session while its socket is full. Exists only then.

use std::collections::VecDeque;

use perseid_protocol::frame::Extension;

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
    /// Unix ms at which it is too late; 0 = never.
    pub(crate) expires_at_ms: u64,
    /// Its position in the inbox, if it came by that way.
    pub(crate) pos: u64,
}

/// Bytes of whole frames, but for the first, of which a part may be written already.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    frames: VecDeque<QueuedFrame>,
    /// Bytes of replies among them.
    reply_bytes: usize,
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
        self.push(rest, QueuedFrame { len: rest.len(), way, expires_at_ms: 0, pos: 0 });
    }

    /// Puts a whole frame.
    pub(crate) fn push(&mut self, bytes: &[u8], frame: QueuedFrame) {
        debug_assert_eq!(bytes.len(), frame.len);
        self.bytes.extend_from_slice(bytes);
        self.reply_bytes += if frame.way == Way::Reply { frame.len } else { 0 };
        self.frames.push_back(frame);
    }

    /// Takes note that the socket took `count` bytes; gives the frames finished.
    pub(crate) fn advance(&mut self, count: usize, now_ms: u64) -> Ways {
        self.written += count;
        let mut finished = Ways::default();
        let mut taken = count;
        while let Some(frame) = self.frames.front_mut() {
            self.reply_bytes -= if frame.way == Way::Reply { taken.min(frame.len) } else { 0 };
            if taken < frame.len {
                frame.len -= taken;
                self.torn |= taken > 0;
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

    /// Drops the oldest pushes until `bytes` are free; gives (frames, bytes) dropped.
    pub(crate) fn drop_oldest(&mut self, bytes: usize) -> (usize, usize) {
        let mut freed = 0;
        let removed = self.remove(|frame| {
            let goes = freed < bytes && frame.way != Way::Reply;
            freed += if goes { frame.len } else { 0 };
            goes
        });
        self.dropped += removed.0 as u64;
        removed
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
        let removed = self.remove(|frame| frame.expires_at_ms != 0 && unix_ms >= frame.expires_at_ms);
        self.dropped += removed.0 as u64;
        removed
    }

    pub(crate) fn has_mortal_frames(&self) -> bool {
        self.frames.iter().any(|frame| frame.expires_at_ms != 0)
    }

    fn remove(&mut self, mut goes: impl FnMut(&QueuedFrame) -> bool) -> (usize, usize) {
        let mut kept_bytes = Vec::with_capacity(self.len());
        let mut kept_frames = VecDeque::with_capacity(self.frames.len());
        let mut at = self.written;
        let mut removed = (0, 0);
        for (index, frame) in self.frames.iter().enumerate() {
            let must_stay = index == 0 && self.torn;
            if !must_stay && goes(frame) {
                removed.0 += 1;
                removed.1 += frame.len;
            } else {
                kept_bytes.extend_from_slice(&self.bytes[at..at + frame.len]);
                kept_frames.push_back(*frame);
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
mod tests {
    use super::*;

    fn push(outbox: &mut Outbox, text: &str, way: Way) {
        outbox.push(text.as_bytes(), QueuedFrame { len: text.len(), way, expires_at_ms: 0, pos: 0 });
    }

    #[test]
    fn a_torn_frame_is_finished_and_the_oldest_go_first() {
        let mut outbox = Outbox::new(0);
        for text in ["aaaa", "bbbb", "cccc", "dddd"] {
            push(&mut outbox, text, Way::Direct);
        }
        push(&mut outbox, "RRRR", Way::Reply);
        assert_eq!(outbox.advance(2, 1), [0; 5]);
        assert_eq!(outbox.drop_oldest(5), (2, 8));
        assert_eq!(outbox.unwritten(), b"aaddddRRRR");
        assert_eq!(outbox.advance(6, 2), [2, 0, 0, 0, 0]);
        assert_eq!((outbox.unwritten(), outbox.reply_bytes()), (&b"RRRR"[..], 4));
        assert_eq!(outbox.drop_oldest(100), (0, 0), "replies stay");
        assert_eq!(outbox.advance(4, 3), [0, 0, 0, 0, 1]);
        assert!(outbox.is_empty() && outbox.reply_bytes() == 0);
        assert_eq!((outbox.dropped, outbox.progress_ms), (2, 3));
    }

    #[test]
    fn what_is_too_late_goes() {
        let mut outbox = Outbox::new(0);
        outbox.push_rest(b"xx", Way::Reply);
        outbox.push(b"late", QueuedFrame { len: 4, way: Way::All, expires_at_ms: 5, pos: 0 });
        push(&mut outbox, "keep", Way::Room);
        assert!(outbox.has_mortal_frames());
        assert_eq!(outbox.drop_expired(5), (1, 4));
        assert_eq!(outbox.unwritten(), b"xxkeep");
        assert_eq!(outbox.pushes(), 1);
    }

    #[test]
    fn what_stands_in_the_inbox_goes_first_and_the_highest_is_owed() {
        let mut outbox = Outbox::new(0);
        let inbox = |outbox: &mut Outbox, pos| outbox.push(b"mm", QueuedFrame { len: 2, way: Way::Inbox, expires_at_ms: 0, pos });
        inbox(&mut outbox, 4);
        assert_eq!(outbox.advance(1, 0), [0; 5]);
        inbox(&mut outbox, 6);
        push(&mut outbox, "dddd", Way::Direct);
        inbox(&mut outbox, 5);
        assert!(!outbox.has_lost());
        assert_eq!(outbox.drop_inbox(), (2, 4), "a torn one is finished");
        assert!(outbox.has_lost());
        assert_eq!(outbox.unwritten(), b"mdddd");
        assert_eq!(outbox.advance(5, 0), [1, 0, 0, 1, 0]);
        outbox.lose(u64::MAX);
        assert_eq!(outbox.dropped, 3);
        let owed: Vec<u64> = outbox.take_owed().map(|hint| hint.pos).collect();
        assert_eq!((owed, outbox.has_lost(), outbox.take_owed().count()), (vec![u64::MAX], false, 0));
    }

    #[test]
    fn of_hints_the_newest_of_each_timeline_waits() {
        let mut outbox = Outbox::new(0);
        let hint = |kind, conv, conv_pos| Extension { kind, conv, conv_pos, ..Extension::default() };
        for hint in [hint(3, 1, 1), hint(3, 2, 1), hint(2, 1, 7), hint(3, 1, 2)] {
            assert!(outbox.owe(hint));
        }
        outbox.owe(Extension { pos: 8, ..Extension::default() });
        outbox.owe(Extension { pos: 7, ..Extension::default() });
        let owed: Vec<Extension> = outbox.take_owed().collect();
        let head = Extension { pos: 8, ..Extension::default() };
        assert_eq!(owed, [hint(3, 2, 1), hint(2, 1, 7), hint(3, 1, 2), head]);
        for conv in 1..=HINTS_MAX as u64 {
            assert!(outbox.owe(hint(3, conv, 1)));
        }
        assert!(outbox.owe(hint(3, 1, 2)), "one that is there makes no difference");
        assert!(!outbox.owe(hint(3, 0, 1)));
        let convs: Vec<u64> = outbox.take_owed().map(|hint| hint.conv).collect();
        assert_eq!((convs.len(), convs.first(), convs.last()), (HINTS_MAX, Some(&3), Some(&0)));
    }
}

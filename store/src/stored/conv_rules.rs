//! What happens in conversations: messages, frames of rooms, recalls, blocks. Groups change in [`super::group_rules`].

use std::sync::Arc;

use bytes::Bytes;
use perseid_protocol::operation::op;

use super::config::slack;
use super::conv::{Conv, ConvKind};
use super::conv_bucket::{ConvBucket, ConvState, kind_of};
use super::dedupe::DedupeKey;
use super::event;
use super::keys;
use super::kv::{Broken, reach};
use super::rows::{Attrs, OutcomeRow, TimelineMeta, TimelineRow, TrimmedRow};
use super::step::{Change, ConvOp, ConvOutcome, Recipients, Rejection};

/// Records of this age are never asked for as repetitions: dedupe looks three hours back at most.
const DEDUPE_MS: u64 = 3 * 3_600_000;
/// Rows that are looked at together, before they are trimmed.
const ROWS_AT_ONCE: u64 = 64;
/// Seconds that a room's first position counts: it stays below 2^53.
const ROOM_SECONDS_MAX: u64 = (1 << 33) - 1;

/// What is appended to a timeline.
pub(crate) struct Append {
    pub(crate) kind: ConvKind,
    pub(crate) op: i32,
    pub(crate) quiet: bool,
    pub(crate) event: bool,
    /// It goes to the inboxes of members.
    pub(crate) inboxes: bool,
    pub(crate) body: Bytes,
}

impl Append {
    /// An event of its conversation.
    pub(crate) fn event(kind: ConvKind, inboxes: bool, body: Bytes) -> Self {
        Self { kind, op: op::SEND_MSG, quiet: true, event: true, inboxes, body }
    }
}

/// The first message that a repetition repeats.
pub(crate) struct First {
    pub(crate) id: u64,
    pub(crate) pos: u64,
    pub(crate) hash: u64,
}

impl ConvBucket {
    /// Applies what was not applied before.
    pub(crate) fn apply(&mut self, op: &ConvOp) -> Result<ConvOutcome, Broken> {
        let state = self.state(op.conv)?;
        let outcome = match self.first_of(op.conv, op.from, op.idem, op.ts_ms, &state)? {
            Some(first) => ConvOutcome::Duplicate { id: first.id, pos: first.pos },
            None => self.change(op, state)?,
        };
        if let Some(what) = OutcomeRow::of(&outcome, op.ts_ms) {
            self.rows.put(keys::outcome(op.conv, op.offset), what.to_bytes());
        }
        Ok(outcome)
    }

    fn change(&mut self, op: &ConvOp, state: ConvState) -> Result<ConvOutcome, Broken> {
        match (&op.change, op.conv) {
            (Change::Message { op: code, quiet, body }, Conv::Direct { .. } | Conv::Group(_)) => {
                self.message(op, state, *code, *quiet, body)
            }
            (Change::RoomFrame { op: code, body, keep }, Conv::Room(_)) => self.room_frame(op, state, *code, body, *keep),
            (Change::Recall { pos, id }, Conv::Direct { .. } | Conv::Group(_)) => self.recall(op, state, *pos, *id),
            (Change::Block { blocked }, Conv::Direct { lo, hi }) if op.from == lo || op.from == hi => {
                Ok(self.block(op, state, *blocked))
            }
            (change, Conv::Group(group)) => self.change_group(op, state, group, change),
            (Change::Recall { .. }, Conv::Room(_)) => Ok(ConvOutcome::Rejected(Rejection::NoMessage)),
            (Change::Block { .. }, _) => Ok(ConvOutcome::Nothing),
            _ => Ok(ConvOutcome::Rejected(Rejection::NoGroup)),
        }
    }

    fn message(&mut self, op: &ConvOp, state: ConvState, code: i32, quiet: bool, body: &Bytes) -> Result<ConvOutcome, Broken> {
        if matches!(op.conv, Conv::Group(_)) && state.group().is_none() {
            return Ok(ConvOutcome::Rejected(Rejection::NoGroup));
        }
        let kind = kind_of(op.conv, &state);
        let recipients = self.recipients_now(op.conv, kind)?;
        let inboxes = kind == ConvKind::Group;
        let append = Append { kind, op: code, quiet, event: false, inboxes, body: body.clone() };
        let rows_max = self.config.retention.timeline_rows_max;
        let pos = self.append(op, state, append, rows_max)?;
        Ok(row_outcome(pos, kind, None, recipients))
    }

    fn room_frame(&mut self, op: &ConvOp, state: ConvState, code: i32, body: &Bytes, keep: u32) -> Result<ConvOutcome, Broken> {
        let mut state = state;
        if state.head == 0 {
            let first = ((op.ts_ms / 1_000).min(ROOM_SECONDS_MAX) << 20).max(1);
            (state.head, state.floor) = (first - 1, first);
            let meta = TimelineMeta { floor: first, head: first - 1, id: 0 };
            self.rows.put(keys::timeline_row(op.conv, 0), meta.to_bytes());
        }
        let append = Append { kind: ConvKind::Room, op: code, quiet: false, event: false, inboxes: false, body: body.clone() };
        let pos = self.append(op, state, append, u64::from(keep))?;
        Ok(row_outcome(pos, ConvKind::Room, None, Recipients::Nobody))
    }

    fn recall(&mut self, op: &ConvOp, state: ConvState, pos: u64, id: u64) -> Result<ConvOutcome, Broken> {
        if matches!(op.conv, Conv::Group(_)) && state.group().is_none() {
            return Ok(ConvOutcome::Rejected(Rejection::NoGroup));
        }
        let row = if pos < state.floor { None } else { self.row(op.conv, pos)? };
        let Some(row) = row.filter(|row| row.id == id && !row.event) else {
            return Ok(ConvOutcome::Rejected(Rejection::NoMessage));
        };
        if row.gone {
            return Ok(ConvOutcome::Nothing);
        }
        let gone = TimelineRow { gone: true, body: Bytes::new(), ..row };
        self.rows.put(keys::timeline_row(op.conv, pos), gone.to_bytes());
        let kind = kind_of(op.conv, &state);
        let recipients = self.recipients_now(op.conv, kind)?;
        let body = event::recall(kind, pos, id);
        let append = Append::event(kind, kind == ConvKind::Group, body.clone());
        let rows_max = self.config.retention.timeline_rows_max;
        let pos = self.append(op, state, append, rows_max)?;
        Ok(row_outcome(pos, kind, Some(body), recipients))
    }

    fn block(&mut self, op: &ConvOp, state: ConvState, blocked: bool) -> ConvOutcome {
        let mut attrs = state.attrs.as_deref().cloned().unwrap_or_else(|| Attrs::plain(ConvKind::Direct));
        let by_lo = matches!(op.conv, Conv::Direct { lo, .. } if lo == op.from);
        let before = std::mem::replace(if by_lo { &mut attrs.lo_blocks } else { &mut attrs.hi_blocks }, blocked);
        if before == blocked {
            return ConvOutcome::Nothing;
        }
        self.rows.put(keys::attrs(op.conv), attrs.to_bytes());
        self.set_state(op.conv, ConvState { attrs: Some(Arc::new(attrs)), ..state });
        ConvOutcome::Done
    }

    /// Who gets what happens in a conversation now.
    pub(crate) fn recipients_now(&mut self, conv: Conv, kind: ConvKind) -> Result<Recipients, Broken> {
        Ok(match (conv, kind) {
            (Conv::Direct { lo, hi }, _) => Recipients::Pair(lo, hi),
            (Conv::Group(group), ConvKind::Group) => Recipients::Members(self.members_now(group)?),
            _ => Recipients::Nobody,
        })
    }

    /// Appends a row; gives its position.
    pub(crate) fn append(&mut self, op: &ConvOp, state: ConvState, what: Append, rows_max: u64) -> Result<u64, Broken> {
        let mut state = state;
        state.head = state.head.checked_add(1).ok_or_else(|| Broken("a timeline has no position left".to_owned()))?;
        state.id = op.id;
        let Append { kind, op: code, quiet, event, inboxes, body } = what;
        let (offset, id, ts_ms, from, idem, hash) = (op.offset, op.id, op.ts_ms, op.from, op.idem, op.hash);
        let row = TimelineRow {
            offset,
            id,
            ts_ms,
            from,
            idem,
            hash,
            kind,
            op: code,
            quiet,
            gone: false,
            event,
            inboxes,
            // Events are told whenever they are read.
            expires_at_ms: if event { 0 } else { op.expires_at_ms },
            body,
        };
        self.rows.put(keys::timeline_row(op.conv, state.head), row.to_bytes());
        if idem != 0 {
            self.dedupe.insert(&mut self.rows, &DedupeKey { conv: op.conv, from, idem }, ts_ms, state.head)?;
        }
        let (head, rows_max) = (state.head, rows_max.max(1));
        if head - state.floor >= rows_max.saturating_add(slack(rows_max)) {
            self.trim(op.conv, &mut state, head - rows_max + 1, ts_ms)?;
        }
        self.set_state(op.conv, state);
        Ok(head)
    }

    /// Forgets the rows below `floor`. What a repetition of them would be known by stays while one can come.
    pub(crate) fn trim(&mut self, conv: Conv, state: &mut ConvState, floor: u64, now_ms: u64) -> Result<(), Broken> {
        // A few at a time: who trims far has much to look at.
        let mut from = state.floor;
        while from < floor {
            let to = floor.min(from.saturating_add(ROWS_AT_ONCE));
            self.trim_rows(conv, from..to, now_ms)?;
            from = to;
        }
        state.floor = floor.max(state.floor);
        let meta = TimelineMeta { floor: state.floor, head: state.head, id: state.id };
        self.rows.put(keys::timeline_row(conv, 0), meta.to_bytes());
        Ok(())
    }

    fn trim_rows(&mut self, conv: Conv, positions: std::ops::Range<u64>, now_ms: u64) -> Result<(), Broken> {
        let rows = reach::all(positions.map(|pos| Ok((pos, self.row(conv, pos)?))))?;
        for (pos, row) in rows {
            let Some(row) = row else { continue };
            if row.idem != 0 && row.ts_ms.saturating_add(DEDUPE_MS) > now_ms {
                let TimelineRow { ts_ms, offset, id, from, idem, hash, .. } = row;
                self.rows.put(keys::trimmed(conv, pos), TrimmedRow { ts_ms, offset, id, from, idem, hash }.to_bytes());
            }
            self.rows.delete(keys::timeline_row(conv, pos));
        }
        Ok(())
    }

    /// The message that one with this key repeats, if there is one.
    pub(crate) fn first_of(
        &self,
        conv: Conv,
        from: u64,
        idem: u64,
        ts_ms: u64,
        state: &ConvState,
    ) -> Result<Option<First>, Broken> {
        if idem == 0 {
            return Ok(None);
        }
        self.dedupe.find(&self.rows, &DedupeKey { conv, from, idem }, ts_ms, |pos| {
            let known = if pos >= state.floor {
                self.row(conv, pos)?.map(|row| (row.from, row.idem, row.id, row.hash))
            } else {
                let row = self.rows.get(&keys::trimmed(conv, pos))?.map(|row| TrimmedRow::from_bytes(&row)).transpose()?;
                row.map(|row| (row.from, row.idem, row.id, row.hash))
            };
            Ok(known.filter(|known| (known.0, known.1) == (from, idem)).map(|(_, _, id, hash)| First { id, pos, hash }))
        })
    }
}

/// A row without members who come or go.
pub(crate) fn row_outcome(pos: u64, kind: ConvKind, event: Option<Bytes>, recipients: Recipients) -> ConvOutcome {
    thread_local! {
        static NONE: Arc<[u64]> = Arc::from([]);
    }
    let (joined, left) = NONE.with(|none| (none.clone(), none.clone()));
    ConvOutcome::Row { pos, kind, event, recipients, joined, left }
}

impl OutcomeRow {
    /// What has to be remembered of an outcome that leaves no row in the timeline.
    pub(crate) fn of(outcome: &ConvOutcome, ts_ms: u64) -> Option<Self> {
        let (what, id, pos) = match outcome {
            ConvOutcome::Row { .. } | ConvOutcome::Old => return None,
            ConvOutcome::Done => (1, 0, 0),
            ConvOutcome::Duplicate { id, pos } => (2, *id, *pos),
            ConvOutcome::Nothing => (3, 0, 0),
            ConvOutcome::Rejected(Rejection::NoGroup) => (4, 0, 0),
            ConvOutcome::Rejected(Rejection::OtherKind) => (5, 0, 0),
            ConvOutcome::Rejected(Rejection::NoMessage) => (6, 0, 0),
        };
        Some(Self { what, ts_ms, id, pos })
    }

    /// The outcome again; `None`: of a newer version.
    pub(crate) fn outcome(self) -> Option<ConvOutcome> {
        Some(match self.what {
            1 => ConvOutcome::Done,
            2 => ConvOutcome::Duplicate { id: self.id, pos: self.pos },
            3 => ConvOutcome::Nothing,
            4 => ConvOutcome::Rejected(Rejection::NoGroup),
            5 => ConvOutcome::Rejected(Rejection::OtherKind),
            6 => ConvOutcome::Rejected(Rejection::NoMessage),
            _ => return None,
        })
    }
}

//! What is asked of users and conversations besides pages.

use super::conv::{Conv, ConvKind};
use super::conv_bucket::kind_of;
use super::engine::Engine;
use super::keys;
use super::kv::{Broken, reach};
use super::read::{ConvHead, GroupView, HeadsPage};
use super::rows::{ReadRow, Ref};

/// Rows of a list that are read before the bucket is free for others again.
const CHUNK: usize = 64;

impl Engine {
    /// Position of a message in an inbox: looks back from the head.
    pub(crate) fn find(&self, mid: u64, id: u64, rows_max: usize) -> Result<Option<u64>, Broken> {
        let (mut end, floor) = {
            let state = self.user(mid).state(mid)?;
            (state.head, state.floor)
        };
        let mut left = rows_max as u64;
        while left > 0 && end >= floor {
            let start = (end + 1).saturating_sub(left.min(CHUNK as u64)).max(floor);
            let (from, to) = (keys::inbox_row(mid, start), keys::inbox_row(mid, end));
            let view = self.user(mid).rows.view(from, to);
            for row in view.layers().range(from, to, true) {
                let (key, value) = row?;
                if Ref::from_bytes(value, mid)?.id == id {
                    return Ok(Some(key.last_u64()));
                }
            }
            left -= end - start + 1;
            end = start - 1;
        }
        Ok(None)
    }

    /// What `by` has read of a conversation, as the user `mid` was told.
    pub(crate) fn read_pos(&self, mid: u64, conv: Conv, by: u64) -> Result<u64, Broken> {
        let row = self.user(mid).rows.get(&keys::read(mid, conv, by != mid))?;
        let read = row.map(|row| ReadRow::from_bytes(&row)).transpose()?.unwrap_or_default();
        Ok(if by == mid { read.read } else { read.told })
    }

    /// A group or channel.
    pub(crate) fn group(&self, id: u64) -> Result<Option<GroupView>, Broken> {
        let mut bucket = self.conv(Conv::Group(id));
        let state = bucket.state(Conv::Group(id))?;
        let Some(attrs) = state.group() else { return Ok(None) };
        let members = bucket.members_now(id)?.to_vec();
        let (kind, owner, name, version) = (attrs.kind, attrs.owner, attrs.name.clone(), attrs.version);
        Ok(Some(GroupView { kind, owner, name, members, version, head: state.head }))
    }

    /// Whether `by` blocks `peer`.
    pub(crate) fn is_blocked(&self, by: u64, peer: u64) -> Result<bool, Broken> {
        let conv = Conv::direct(by, peer);
        let state = self.conv(conv).state(conv)?;
        Ok(state.attrs.is_some_and(|attrs| if by <= peer { attrs.lo_blocks } else { attrs.hi_blocks }))
    }

    /// A user's conversations after (`kind`, `conv`), ordered by both.
    pub(crate) fn heads(&self, mid: u64, after: (u16, u64), only: Option<ConvKind>, limit: usize) -> Result<HeadsPage, Broken> {
        let mut heads = Vec::new();
        for kind in [ConvKind::Direct, ConvKind::Group, ConvKind::Channel] {
            let number = kind.to_frame();
            if number < after.0 || only.is_some_and(|only| only != kind) {
                continue;
            }
            let mut from = if number == after.0 { after.1.checked_add(1) } else { Some(0) };
            while let Some(start) = from {
                let chunk = self.list(mid, kind, start)?;
                from = if chunk.len() < CHUNK { None } else { chunk.last().and_then(|last| last.0.checked_add(1)) };
                let chunk = reach::all(chunk.into_iter().map(|(conv, read)| self.head_of(mid, kind, conv, read)))?;
                for head in chunk.into_iter().flatten() {
                    if heads.len() >= limit {
                        return Ok(HeadsPage { heads, more: true });
                    }
                    heads.push(head);
                }
            }
        }
        Ok(HeadsPage { heads, more: false })
    }

    /// Some of a user's conversations of one sort from this one on, with what the user has read.
    fn list(&self, mid: u64, kind: ConvKind, start: u64) -> Result<Vec<(u64, u64)>, Broken> {
        let user = self.user(mid);
        let of = |seen: u64| if kind == ConvKind::Direct { Conv::direct(mid, seen) } else { Conv::Group(seen) };
        let prefix = keys::convs(mid, keys::list_sort(of(0)));
        let rows = user.rows.layers().range(prefix.and_u64(start), prefix.last_with_prefix(), false);
        reach::all(rows.take(CHUNK).map(|row| {
            let seen = row?.0.last_u64();
            let read = user.rows.get(&keys::read(mid, of(seen), false))?;
            let read = read.map(|row| ReadRow::from_bytes(&row)).transpose()?.unwrap_or_default();
            Ok((seen, read.read))
        }))
    }

    /// The head of a conversation, if it is of this kind now.
    fn head_of(&self, mid: u64, kind: ConvKind, seen: u64, read: u64) -> Result<Option<ConvHead>, Broken> {
        let conv = if kind == ConvKind::Direct { Conv::direct(mid, seen) } else { Conv::Group(seen) };
        let state = self.conv(conv).state(conv)?;
        if kind_of(conv, &state) != kind || (kind != ConvKind::Direct && state.group().is_none()) {
            return Ok(None);
        }
        Ok(Some(ConvHead { kind, conv: seen, head: state.head, read, id: state.id }))
    }
}

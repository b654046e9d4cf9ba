//! How groups and channels change.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::conv::ConvKind;
use super::conv_bucket::{ConvBucket, ConvState};
use super::conv_rules::Append;
use super::event;
use super::keys;
use super::kv::{Broken, reach};
use super::rows::{Attrs, Interval};
use super::step::{Change, ConvOp, ConvOutcome, Recipients, Rejection};

/// Times as a member that are remembered of one user; with more, who was one below them is not known any more.
const INTERVALS_MAX: usize = 64;

/// A change of a group as it will be.
struct GroupEvent {
    attrs: Attrs,
    joined: Vec<u64>,
    left: Vec<u64>,
    /// The members afterwards; `None`: not known, and not needed.
    after: Option<Arc<[u64]>>,
    recipients: Recipients,
    body: bytes::Bytes,
}

impl ConvBucket {
    pub(crate) fn change_group(
        &mut self,
        op: &ConvOp,
        state: ConvState,
        group: u64,
        change: &Change,
    ) -> Result<ConvOutcome, Broken> {
        let pos = state.head.saturating_add(1);
        let planned = match change {
            Change::Put { channel, owner, name, members } => {
                let kind = if *channel { ConvKind::Channel } else { ConvKind::Group };
                self.plan_put(&state, group, pos, (kind, *owner, name), members)?
            }
            Change::Members { add, remove } => self.plan_members(&state, group, pos, add, remove)?,
            Change::Convert => self.plan_convert(&state, group)?,
            Change::Delete => self.plan_delete(&state, group)?,
            _ => Err(ConvOutcome::Nothing),
        };
        match planned {
            Ok(planned) => self.change_now(op, state, group, planned),
            Err(outcome) => Ok(outcome),
        }
    }

    fn change_now(&mut self, op: &ConvOp, state: ConvState, group: u64, planned: GroupEvent) -> Result<ConvOutcome, Broken> {
        let GroupEvent { mut attrs, joined, left, after, recipients, body } = planned;
        let kind = attrs.kind;
        self.move_members(group, &mut attrs, (&joined, &left), state.head.saturating_add(1), op.ts_ms)?;
        match after {
            Some(after) => self.set_members_now(group, after),
            None => self.forget_members_now(group),
        }
        self.rows.put(keys::attrs(op.conv), attrs.to_bytes());
        let inboxes = matches!(recipients, Recipients::Members(_));
        let state = ConvState { attrs: Some(Arc::new(attrs)), ..state };
        let rows_max = self.config.retention.timeline_rows_max;
        let pos = self.append(op, state, Append::event(kind, inboxes, body.clone()), rows_max)?;
        Ok(ConvOutcome::Row { pos, kind, event: Some(body), recipients, joined: joined.into(), left: left.into() })
    }

    fn plan_put(
        &mut self,
        state: &ConvState,
        group: u64,
        pos: u64,
        (kind, owner, name): (ConvKind, u64, &str),
        members: &[u64],
    ) -> Result<Result<GroupEvent, ConvOutcome>, Broken> {
        if state.group().is_some_and(|attrs| attrs.kind != kind) {
            return Ok(Err(ConvOutcome::Rejected(Rejection::OtherKind)));
        }
        let before: BTreeSet<u64> = match state.group() {
            Some(_) => self.members_now(group)?.iter().copied().collect(),
            None => BTreeSet::new(),
        };
        let after: BTreeSet<u64> = members.iter().copied().filter(|mid| *mid != 0).collect();
        let joined: Vec<u64> = after.difference(&before).copied().collect();
        let left: Vec<u64> = before.difference(&after).copied().collect();
        let recipients = fan_out(kind, || before.union(&after).copied().collect());
        let members_floor = state.attrs.as_ref().map_or(0, |attrs| attrs.members_floor);
        let attrs = Attrs { alive: true, owner, name: name.into(), version: pos, members_floor, ..Attrs::plain(kind) };
        let body = event::members(kind, &joined, &left, pos);
        Ok(Ok(GroupEvent { attrs, joined, left, after: Some(after.into_iter().collect()), recipients, body }))
    }

    fn plan_members(
        &mut self,
        state: &ConvState,
        group: u64,
        pos: u64,
        add: &[u64],
        remove: &[u64],
    ) -> Result<Result<GroupEvent, ConvOutcome>, Broken> {
        let Some(attrs) = state.group() else {
            return Ok(Err(ConvOutcome::Rejected(Rejection::NoGroup)));
        };
        let goes: BTreeSet<u64> = remove.iter().copied().collect();
        let comes: BTreeSet<u64> = add.iter().copied().filter(|mid| *mid != 0 && !goes.contains(mid)).collect();
        let (joined, left) = self.who_moves(group, comes, goes)?;
        if joined.is_empty() && left.is_empty() {
            return Ok(Err(ConvOutcome::Nothing));
        }
        // Channels may be large: nobody needs the list of all their members here.
        let (mut recipients, mut after) = (Recipients::Nobody, None);
        if attrs.kind == ConvKind::Group {
            let all: BTreeSet<u64> = self.members_now(group)?.iter().chain(&joined).copied().collect();
            after = Some(all.iter().copied().filter(|mid| left.binary_search(mid).is_err()).collect());
            recipients = Recipients::Members(all.into_iter().collect());
        }
        let body = event::members(attrs.kind, &joined, &left, pos);
        let attrs = Attrs { version: pos, ..attrs.as_ref().clone() };
        Ok(Ok(GroupEvent { attrs, joined, left, after, recipients, body }))
    }

    /// Of those who are to come and go, those who really do.
    fn who_moves(&self, group: u64, comes: BTreeSet<u64>, goes: BTreeSet<u64>) -> Result<(Vec<u64>, Vec<u64>), Broken> {
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        let who = comes.into_iter().map(|mid| (mid, true)).chain(goes.into_iter().map(|mid| (mid, false)));
        for (mid, is_coming, member) in reach::all(who.map(|(mid, is_coming)| Ok((mid, is_coming, self.member(group, mid)?))))? {
            match (member.since(), is_coming) {
                (None, true) => joined.push(mid),
                (Some(_), false) => left.push(mid),
                _ => {}
            }
        }
        Ok((joined, left))
    }

    fn plan_convert(&mut self, state: &ConvState, group: u64) -> Result<Result<GroupEvent, ConvOutcome>, Broken> {
        let Some(attrs) = state.group() else {
            return Ok(Err(ConvOutcome::Rejected(Rejection::NoGroup)));
        };
        if attrs.kind == ConvKind::Channel {
            return Ok(Err(ConvOutcome::Nothing));
        }
        let recipients = Recipients::Members(self.members_now(group)?);
        let attrs = Attrs { kind: ConvKind::Channel, ..attrs.as_ref().clone() };
        let (joined, left) = (Vec::new(), Vec::new());
        Ok(Ok(GroupEvent { attrs, joined, left, after: None, recipients, body: event::convert() }))
    }

    fn plan_delete(&mut self, state: &ConvState, group: u64) -> Result<Result<GroupEvent, ConvOutcome>, Broken> {
        let Some(attrs) = state.group() else {
            return Ok(Err(ConvOutcome::Rejected(Rejection::NoGroup)));
        };
        let members = self.members_now(group)?;
        let recipients = fan_out(attrs.kind, || members.clone());
        let body = event::deleted(attrs.kind);
        let attrs = Attrs { alive: false, ..attrs.as_ref().clone() };
        let (joined, left) = (Vec::new(), members.to_vec());
        Ok(Ok(GroupEvent { attrs, joined, left, after: Some(Arc::from([])), recipients, body }))
    }

    /// Writes who comes and goes at `pos`, and forgets who left long ago.
    fn move_members(
        &mut self,
        group: u64,
        attrs: &mut Attrs,
        (joined, left): (&[u64], &[u64]),
        pos: u64,
        ts_ms: u64,
    ) -> Result<(), Broken> {
        let forget_ms = ts_ms.saturating_sub(self.config.retention.left_age_ms);
        let who = joined.iter().map(|mid| (*mid, true)).chain(left.iter().map(|mid| (*mid, false)));
        for (mid, joins, mut member) in reach::all(who.map(|(mid, joins)| Ok((mid, joins, self.member(group, mid)?))))? {
            if joins {
                member.intervals.push(Interval { join: pos, leave: 0, left_ms: 0 });
            } else if let Some(open) = member.intervals.last_mut() {
                (open.leave, open.left_ms) = (pos, ts_ms);
            }
            let over = member.intervals.len().saturating_sub(INTERVALS_MAX);
            let mut index = 0;
            member.intervals.retain(|interval| {
                let goes = interval.leave != 0 && (index < over || interval.left_ms < forget_ms);
                index += 1;
                if goes {
                    attrs.members_floor = attrs.members_floor.max(interval.leave + 1);
                }
                !goes
            });
            self.rows.put(keys::member(group, mid), member.to_bytes());
        }
        Ok(())
    }
}

/// Who gets an event of a group; of a channel nobody.
fn fan_out(kind: ConvKind, members: impl FnOnce() -> Arc<[u64]>) -> Recipients {
    if kind == ConvKind::Group { Recipients::Members(members()) } else { Recipients::Nobody }
}

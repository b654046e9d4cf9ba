//! Finding again what was applied before: the same outcome, without applying it twice.

use std::sync::Arc;

use super::conv::Conv;
use super::conv_bucket::{ConvBucket, ConvState};
use super::keys;
use super::kv::Broken;
use super::rows::{Member, OutcomeRow, TimelineRow, bad_row};
use super::step::{Change, ConvOp, ConvOutcome, Recipients};

/// The position in `floor..=head` whose row has this offset. Offsets ascend with positions; `offset_at` gives that of a position,
/// `None` where the row is gone.
pub(crate) fn position_of(
    offset: u64,
    floor: u64,
    head: u64,
    mut offset_at: impl FnMut(u64) -> Result<Option<u64>, Broken>,
) -> Result<Option<u64>, Broken> {
    let (mut low, mut high) = (floor.max(1), head);
    while low <= high {
        let middle = low + (high - low) / 2;
        match offset_at(middle)? {
            Some(at) if at == offset => return Ok(Some(middle)),
            Some(at) if at > offset => high = middle - 1,
            // What is gone lies at the lower end.
            Some(_) | None => low = middle + 1,
        }
    }
    Ok(None)
}

impl ConvBucket {
    /// What became of a record that was applied before.
    pub(crate) fn find_again(&mut self, op: &ConvOp) -> Result<ConvOutcome, Broken> {
        if let Some(row) = self.rows.get(&keys::outcome(op.conv, op.offset))? {
            return OutcomeRow::from_bytes(&row)?.outcome().ok_or_else(|| bad_row("outcome"));
        }
        let state = self.state(op.conv)?;
        let pos = position_of(op.offset, state.floor, state.head, |pos| Ok(self.row(op.conv, pos)?.map(|row| row.offset)))?;
        let Some(pos) = pos else { return Ok(ConvOutcome::Old) };
        let Some(row) = self.row(op.conv, pos)? else { return Ok(ConvOutcome::Old) };
        self.row_again(op, &state, pos, row)
    }

    fn row_again(&self, op: &ConvOp, state: &ConvState, pos: u64, row: TimelineRow) -> Result<ConvOutcome, Broken> {
        let event = row.event.then_some(row.body);
        let (mut recipients, mut joined, mut left) = (Recipients::Nobody, Vec::new(), Vec::new());
        match op.conv {
            Conv::Direct { lo, hi } => recipients = Recipients::Pair(lo, hi),
            Conv::Group(group) => {
                let moves = matches!(op.change, Change::Put { .. } | Change::Members { .. } | Change::Delete);
                let known = pos >= state.attrs.as_ref().map_or(0, |attrs| attrs.members_floor);
                if (row.inboxes || moves) && !known {
                    return Ok(ConvOutcome::Old);
                }
                if row.inboxes || moves {
                    let members = self.members_at(group, pos, &mut joined, &mut left)?;
                    if row.inboxes {
                        recipients = Recipients::Members(members);
                    }
                }
            }
            Conv::Room(_) => {}
        }
        Ok(ConvOutcome::Row { pos, kind: row.kind, event, recipients, joined: joined.into(), left: left.into() })
    }

    /// The members at a position, ascending; and who came and went just there.
    fn members_at(&self, group: u64, pos: u64, joined: &mut Vec<u64>, left: &mut Vec<u64>) -> Result<Arc<[u64]>, Broken> {
        let mut members = Vec::new();
        for row in self.rows.prefix(keys::members(group)) {
            let (key, value) = row?;
            let (mid, member) = (key.last_u64(), Member::from_bytes(&value)?);
            if member.at(pos) {
                members.push(mid);
            }
            if member.intervals.iter().any(|interval| interval.join == pos) {
                joined.push(mid);
            }
            if member.intervals.iter().any(|interval| interval.leave == pos) {
                left.push(mid);
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_found_by_halving() {
        let offsets = [0, 3, 7, 8, 20, 21, 40];
        for floor in 1..=7 {
            for offset in 0..45 {
                let at = |pos: u64| Ok((pos >= floor).then(|| offsets[pos as usize]));
                let wanted = (floor..=6).find(|pos| offsets[*pos as usize] == offset);
                assert_eq!(position_of(offset, 1, 6, at).unwrap(), wanted, "{offset} from {floor}");
            }
        }
        assert_eq!(position_of(1, 1, 0, |_| Ok(None)).unwrap(), None);
    }
}

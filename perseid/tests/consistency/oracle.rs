//! Judges a history. Knows nothing of how it came about: each rule is written from what the product promises.
//!
//! The names of the rules are those of docs/delivery.md.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::history::{Event, Final, Row, Talk};

/// A promise that was broken, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

pub(crate) fn judge(events: &[Event], last: &Final) -> Vec<Violation> {
    let court = Court { events, last, found: RefCell::default() };
    court.sends();
    court.acknowledgements_agree();
    court.timelines();
    court.inboxes();
    court.streams();
    court.heads_and_cursors();
    court.order_in_time();
    court.recalls_and_reads();
    court.found.into_inner()
}

struct Court<'a> {
    events: &'a [Event],
    last: &'a Final,
    found: RefCell<Vec<Violation>>,
}

type Sent = (u64, u64);

impl Court<'_> {
    fn hold(&self, rule: &'static str, holds: bool, what: impl FnOnce() -> String) {
        let mut found = self.found.borrow_mut();
        if !holds && found.len() < 20 {
            found.push(Violation { rule, what: what() });
        }
    }

    /// Rows of messages by who sent them, over all timelines.
    fn by_sender(&self) -> HashMap<Sent, Vec<(Talk, &Row)>> {
        let mut rows: HashMap<Sent, Vec<(Talk, &Row)>> = HashMap::new();
        for (talk, timeline) in &self.last.timelines {
            for row in timeline.iter().filter(|row| row.cid != 0) {
                rows.entry((row.from, row.cid)).or_default().push((*talk, row));
            }
        }
        rows
    }

    /// I1, I2, I3: what was acknowledged is there once, what was refused is not, and nothing is there that nobody sent.
    fn sends(&self) {
        let rows = self.by_sender();
        let mut bodies: HashMap<Sent, &str> = HashMap::new();
        for event in self.events {
            match event {
                Event::Invoked { mid, cid, body, .. } => {
                    bodies.insert((*mid, *cid), body);
                }
                Event::Acknowledged { mid, talk, cid, id } => {
                    let there = rows.get(&(*mid, *cid)).map(Vec::as_slice).unwrap_or_default();
                    let holds = matches!(there, [(at, row)] if at == talk && row.id == *id);
                    self.hold("I1", holds, || {
                        format!("{mid} was told that {cid} is message {id} in {talk:?}; there is {there:?}")
                    });
                }
                Event::Refused { mid, cid, reason } => {
                    let holds = !rows.contains_key(&(*mid, *cid));
                    self.hold("I2", holds, || format!("{cid} of {mid} was refused with {reason}, and is there"));
                }
                _ => {}
            }
        }
        for (sent, there) in &rows {
            self.hold("I2", there.len() == 1, || format!("{sent:?} is there {} times: {there:?}", there.len()));
            let row = there[0].1;
            let holds = bodies.get(sent).is_some_and(|body| row.gone || *body == row.body);
            self.hold("I3", holds, || format!("nobody sent {row:?}"));
        }
    }

    /// I5: every acknowledgement of one message names the same id.
    fn acknowledgements_agree(&self) {
        let mut ids: HashMap<Sent, u64> = HashMap::new();
        for event in self.events {
            if let Event::Acknowledged { mid, cid, id, .. } = event {
                let first = *ids.entry((*mid, *cid)).or_insert(*id);
                self.hold("I5", first == *id, || format!("{cid} of {mid} is {first} and {id}"));
            }
        }
    }

    /// I4: positions are dense from 1, ids are given once.
    fn timelines(&self) {
        let mut ids = BTreeSet::new();
        for (talk, timeline) in &self.last.timelines {
            for (index, row) in timeline.iter().enumerate() {
                self.hold("I4", row.conv_pos == index as u64 + 1, || format!("{talk:?} has {} after {index} rows", row.conv_pos));
                self.hold("I4", ids.insert(row.id), || format!("id {} is given twice, again in {talk:?}", row.id));
            }
        }
    }

    /// I9, I10: an inbox is dense, has each message of its conversations once, and in their order.
    fn inboxes(&self) {
        for (mid, inbox) in &self.last.inboxes {
            let mut places: BTreeMap<Talk, Vec<u64>> = BTreeMap::new();
            for (index, row) in inbox.iter().enumerate() {
                self.hold("I9", row.pos == index as u64 + 1, || format!("{mid} has {} after {index} rows", row.pos));
                if matches!(row.kind, 1 | 2) {
                    places.entry(Talk::of(row.kind, row.conv, *mid)).or_default().push(row.conv_pos);
                }
            }
            for (talk, timeline) in &self.last.timelines {
                let expected: Vec<u64> = expected_in_inbox(*talk, timeline, *mid);
                let there = places.remove(talk).unwrap_or_default();
                let in_order = there.is_sorted();
                self.hold("I10", in_order, || format!("{mid} has {talk:?} in the order {there:?}"));
                let mut sorted = there.clone();
                sorted.sort_unstable();
                self.hold("I9", sorted == expected, || format!("{mid} should have {expected:?} of {talk:?}, and has {there:?}"));
            }
            let strange: Vec<_> = places.keys().copied().collect();
            self.hold("I9", strange.is_empty(), || format!("{mid} has messages of {strange:?}"));
        }
    }

    /// I6, I8, I11: what a device was shown is the inbox, without a gap, and stays what it was.
    fn streams(&self) {
        let mut cursors: HashMap<usize, u64> = HashMap::new();
        for event in self.events {
            let Event::Applied { device, mid, row } = event else { continue };
            let before = cursors.insert(*device, row.pos);
            let dense = before.is_none_or(|before| row.pos == before + 1);
            self.hold("I11", dense, || format!("device {device} was shown {} after {before:?}", row.pos));
            let now =
                self.last.inboxes.get(mid).and_then(|inbox| inbox.get(usize::try_from(row.pos).unwrap_or(0).wrapping_sub(1)));
            let same = now.is_some_and(|now| {
                let taken_back = Row { gone: true, body: String::new(), ..row.clone() };
                now == row || *now == taken_back
            });
            self.hold("I6", same, || format!("device {device} of {mid} was shown {row:?}, where now is {now:?}"));
        }
        for (device, cursor) in cursors {
            let mid = self.events.iter().find_map(|event| match event {
                Event::Applied { device: at, mid, .. } if *at == device => Some(*mid),
                _ => None,
            });
            let head = mid.and_then(|mid| self.last.inboxes.get(&mid)).map_or(0, Vec::len) as u64;
            self.hold("I11", cursor == head, || format!("device {device} ended at {cursor} of {head}"));
        }
    }

    /// I7, I12: heads, cursors and epochs never go back.
    fn heads_and_cursors(&self) {
        let (mut heads, mut cursors, mut epochs) = (HashMap::new(), HashMap::new(), HashMap::new());
        for event in self.events {
            match event {
                Event::Entered { device, mid, epoch, head, cursor } => {
                    let first = *epochs.entry(*mid).or_insert(*epoch);
                    self.hold("I20", first == *epoch, || format!("the epoch of {mid} was {first} and is {epoch}"));
                    let held = cursors.get(device).copied().unwrap_or(0);
                    self.hold("I12", *cursor >= held, || {
                        format!("device {device} had acknowledged {held}, and is told {cursor}")
                    });
                    cursors.insert(*device, held.max(*cursor));
                    self.rises(&mut heads, *device, *head);
                }
                Event::Head { device, head, .. } => self.rises(&mut heads, *device, *head),
                Event::Cursor { device, pos, .. } => {
                    let before = cursors.insert(*device, *pos).unwrap_or(0);
                    self.hold("I12", *pos >= before, || format!("the cursor of device {device} was {before} and is {pos}"));
                }
                _ => {}
            }
        }
        for (device, head) in heads {
            let mid = self.events.iter().find_map(|event| match event {
                Event::Entered { device: at, mid, .. } if *at == device => Some(*mid),
                _ => None,
            });
            let there = mid.and_then(|mid| self.last.inboxes.get(&mid)).map_or(0, Vec::len) as u64;
            self.hold("I7", head <= there, || format!("device {device} was told of {head} positions, there are {there}"));
        }
    }

    fn rises(&self, heads: &mut HashMap<usize, u64>, device: usize, head: u64) {
        let before = heads.insert(device, head).unwrap_or(0);
        self.hold("I7", head >= before, || format!("device {device} was told of {before} positions, then of {head}"));
    }

    /// I17: what was sent after an acknowledgement stands behind it.
    fn order_in_time(&self) {
        let rows = self.by_sender();
        let place = |mid: u64, cid: u64| rows.get(&(mid, cid)).and_then(|rows| rows.first()).map(|(_, row)| row.conv_pos);
        let (mut highest, mut begun): (HashMap<Talk, u64>, BTreeSet<Sent>) = (HashMap::new(), BTreeSet::new());
        for event in self.events {
            match event {
                Event::Acknowledged { mid, talk, cid, .. } => {
                    if let Some(pos) = place(*mid, *cid) {
                        let highest = highest.entry(*talk).or_default();
                        *highest = pos.max(*highest);
                    }
                }
                Event::Invoked { mid, talk, cid, .. } if begun.insert((*mid, *cid)) => {
                    let before = highest.get(talk).copied().unwrap_or(0);
                    let pos = place(*mid, *cid);
                    let holds = pos.is_none_or(|pos| pos > before);
                    self.hold("I17", holds, || {
                        format!("{cid} of {mid} was sent when {before} of {talk:?} was acknowledged, and is {pos:?}")
                    });
                }
                _ => {}
            }
        }
    }

    /// I13, I18: read positions never go back, and what was taken back is gone.
    fn recalls_and_reads(&self) {
        let mut reads: HashMap<(u64, Talk), u64> = HashMap::new();
        for event in self.events {
            match event {
                Event::Read { mid, talk, pos } => {
                    let before = reads.insert((*mid, *talk), *pos).unwrap_or(0);
                    self.hold("I13", *pos >= before, || format!("{mid} had read {before} of {talk:?}, then {pos}"));
                }
                Event::Recalled { talk, pos, id } => {
                    let timeline = self.last.timelines.get(talk).map(Vec::as_slice).unwrap_or_default();
                    let row = timeline.iter().find(|row| row.conv_pos == *pos);
                    let gone = row.is_some_and(|row| row.gone && row.body.is_empty() && row.id == *id);
                    self.hold("I18", gone, || format!("{pos} of {talk:?} was taken back, and is {row:?}"));
                    let told = timeline
                        .iter()
                        .any(|row| row.kind == 5 && row.body.contains("\"recall\"") && row.body.contains(&id.to_string()));
                    self.hold("I18", told, || format!("nobody is told that {id} of {talk:?} was taken back"));
                }
                _ => {}
            }
        }
    }
}

/// Places of a timeline that belong into the inbox of `mid`: of a direct chat all, of a group those while he was a member.
fn expected_in_inbox(talk: Talk, timeline: &[Row], mid: u64) -> Vec<u64> {
    let messages = |row: &&Row| row.kind != 5;
    match talk {
        Talk::Direct(lo, hi) if mid == lo || mid == hi => timeline.iter().filter(messages).map(|row| row.conv_pos).collect(),
        Talk::Direct(..) => Vec::new(),
        Talk::Group(_) => {
            let mut member = false;
            let mut places = Vec::new();
            for row in timeline {
                if row.kind != 5 {
                    places.extend(member.then_some(row.conv_pos));
                    continue;
                }
                let event: serde_json::Value = serde_json::from_str(&row.body).unwrap_or_default();
                let names =
                    |field: &str| event[field].as_array().is_some_and(|mids| mids.iter().any(|at| at.as_u64() == Some(mid)));
                member = (member || names("add")) && !names("remove");
            }
            places
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: Talk = Talk::Direct(1, 2);

    fn row(pos: u64, conv_pos: u64, cid: u64) -> Row {
        Row { pos, id: 100 + cid, conv: 2, conv_pos, from: 1, cid, kind: 1, gone: false, body: cid.to_string() }
    }

    fn broken(events: &[Event], last: &Final) -> Vec<&'static str> {
        let mut rules: Vec<_> = judge(events, last).iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }

    /// Two messages, sent one after the other, and where they stand.
    fn two(timeline: &[(u64, u64)], inbox: &[(u64, u64, u64)]) -> (Vec<Event>, Final) {
        let mut events = Vec::new();
        for cid in [5, 6] {
            events.push(Event::Invoked { mid: 1, talk: TALK, cid, body: cid.to_string() });
            events.push(Event::Acknowledged { mid: 1, talk: TALK, cid, id: 100 + cid });
        }
        let mut last = Final::default();
        last.timelines.insert(TALK, timeline.iter().map(|(conv_pos, cid)| row(0, *conv_pos, *cid)).collect());
        last.inboxes.insert(1, inbox.iter().map(|(pos, conv_pos, cid)| row(*pos, *conv_pos, *cid)).collect());
        (events, last)
    }

    #[test]
    fn what_no_client_needs_to_be_lied_to_for() {
        let (events, last) = two(&[(1, 5), (2, 6)], &[(1, 1, 5), (2, 2, 6)]);
        assert_eq!(broken(&events, &last), [""; 0]);
        let (events, last) = two(&[(1, 5), (3, 6)], &[(1, 1, 5), (2, 3, 6)]);
        assert_eq!(broken(&events, &last), ["I4"], "a hole in a timeline");
        let (events, last) = two(&[(1, 5), (2, 6)], &[(1, 1, 5)]);
        assert_eq!(broken(&events, &last), ["I9"], "a member was left out");
        let (events, last) = two(&[(1, 5), (2, 6)], &[(1, 1, 5), (3, 2, 6)]);
        assert_eq!(broken(&events, &last), ["I9"], "a hole in an inbox");
        let (events, last) = two(&[(1, 5), (2, 6)], &[(1, 2, 6), (2, 1, 5)]);
        assert_eq!(broken(&events, &last), ["I10"], "an inbox in another order");
        let (events, last) = two(&[(1, 6), (2, 5)], &[(1, 1, 6), (2, 2, 5)]);
        assert_eq!(broken(&events, &last), ["I17"], "the second one first");
        let (events, last) = two(&[(1, 5), (2, 6), (3, 6)], &[(1, 1, 5), (2, 2, 6), (3, 3, 6)]);
        assert!(broken(&events, &last).contains(&"I2"), "written twice");
        let (mut events, last) = two(&[(1, 5), (2, 6)], &[(1, 1, 5), (2, 2, 6)]);
        events.push(Event::Acknowledged { mid: 1, talk: TALK, cid: 5, id: 7 });
        assert!(broken(&events, &last).contains(&"I5"), "two receipts that differ");
        let (mut events, last) = two(&[(1, 5), (2, 6)], &[(1, 1, 5), (2, 2, 6)]);
        events.push(Event::Applied { device: 0, mid: 1, row: row(2, 2, 6) });
        events.push(Event::Applied { device: 0, mid: 1, row: row(1, 1, 5) });
        assert_eq!(broken(&events, &last), ["I11"], "shown backwards");
    }
}

//! A bucket of conversations: what it keeps in memory over its rows, and how a step is applied whole or not at all.

use std::sync::Arc;

use super::cache::Cache;
use super::config::StoredConfig;
use super::conv::{Conv, ConvKind};
use super::dedupe::Dedupe;
use super::guards::Guards;
use super::keys;
use super::kv::{Broken, Closed, Rows, reach};
use super::reserve::Reservations;
use super::rows::{Attrs, Member, TimelineMeta, TimelineRow};
use super::step::{Bucket, ConvDone, ConvOp, Step, StepError};

/// What a head costs in memory, about.
const HEAD_BYTES: usize = 160;

fn members_bytes(members: &Arc<[u64]>) -> usize {
    64 + members.len() * 8
}

/// Where a conversation stands.
#[derive(Clone, Debug)]
pub(crate) struct ConvState {
    /// Newest position; 0: nothing ever came.
    pub(crate) head: u64,
    /// Oldest position still kept; head + 1 when none is.
    pub(crate) floor: u64,
    /// Id of what stands at the head.
    pub(crate) id: u64,
    /// What it is, where there is something to know.
    pub(crate) attrs: Option<Arc<Attrs>>,
}

impl ConvState {
    /// The group, if it is there.
    pub(crate) fn group(&self) -> Option<&Arc<Attrs>> {
        self.attrs.as_ref().filter(|attrs| attrs.alive)
    }
}

/// A bucket of conversations.
pub(crate) struct ConvBucket {
    pub(crate) rows: Rows,
    pub(crate) guards: Guards,
    pub(crate) dedupe: Dedupe,
    pub(crate) reservations: Reservations,
    pub(crate) config: Arc<StoredConfig>,
    states: Cache<Conv, ConvState>,
    members: Cache<u64, Arc<[u64]>>,
    /// What these caches were given since [`ConvBucket::begin`].
    touched: Option<Touched>,
}

#[derive(Default)]
struct Touched {
    states: Vec<Conv>,
    members: Vec<u64>,
}

impl ConvBucket {
    /// The bucket as its rows have it. `boot`: the life of the store; `seed`: for the hash of dedupe, if it has none.
    pub(crate) fn load(rows: Rows, number: u32, boot: u64, seed: [u64; 2], config: &Arc<StoredConfig>) -> Result<Self, Broken> {
        let mut rows = rows;
        let guards = Guards::load(&rows, Bucket::Conv(number), boot)?;
        let dedupe = Dedupe::load(&mut rows, config.dedupe_bytes_max, seed)?;
        Ok(Self {
            rows,
            guards,
            dedupe,
            reservations: Reservations::new(config.reservation_bytes_max),
            config: config.clone(),
            states: Cache::new(config.cache_bytes_max / 4),
            members: Cache::new(config.cache_bytes_max / 8),
            touched: None,
        })
    }

    /// Applies a step.
    pub(crate) fn step(&mut self, step: &Step<ConvOp>) -> Result<Vec<ConvDone>, StepError> {
        let guard = self.guards.check(step.partition, step.boot, step.prev)?;
        self.begin();
        let done = self.apply_all(&step.items, guard).and_then(reach::whole);
        let done = done.map_err(|broken| {
            self.roll_back();
            StepError::Down(broken.0)
        })?;
        self.keep();
        for op in step.items.iter().filter(|op| op.offset > guard && op.idem != 0) {
            self.reservations.forget(op.conv, op.from, op.idem);
        }
        let last = step.items.last().map_or(step.last, |op| op.offset.max(step.last));
        self.guards.raise(&mut self.rows, step.partition, last);
        Ok(done)
    }

    fn apply_all(&mut self, ops: &[ConvOp], guard: u64) -> Result<Vec<ConvDone>, Broken> {
        let mut done = Vec::with_capacity(ops.len());
        for op in ops {
            let fresh = op.offset > guard;
            match if fresh { self.apply(op) } else { self.find_again(op) } {
                Ok(outcome) => done.push(ConvDone { offset: op.offset, fresh, outcome }),
                // What the others need is missed now, too.
                Err(_) if reach::looks_on() => {}
                Err(broken) => return Err(broken),
            }
        }
        Ok(done)
    }

    /// From here on changes can be taken back.
    pub(crate) fn begin(&mut self) {
        self.rows.begin();
        self.dedupe.begin();
        self.touched = Some(Touched::default());
    }

    /// What was changed since [`ConvBucket::begin`] stays.
    pub(crate) fn keep(&mut self) {
        self.touched = None;
    }

    /// Takes back what was changed since [`ConvBucket::begin`].
    pub(crate) fn roll_back(&mut self) {
        self.rows.roll_back();
        self.dedupe.roll_back();
        match self.touched.take() {
            // Nothing is wrong with what was not touched.
            Some(touched) if reach::has_missed() => {
                touched.states.iter().for_each(|conv| self.states.remove(conv));
                touched.members.iter().for_each(|group| self.members.remove(group));
            }
            _ => {
                self.states.clear();
                self.members.clear();
            }
        }
    }

    /// Nothing can be read or changed until another bucket takes the place of this one.
    pub(crate) fn close(&mut self) {
        self.rows.reset(Some(Arc::new(Closed)));
        self.states.clear();
        self.members.clear();
    }

    /// Where a conversation stands.
    pub(crate) fn state(&mut self, conv: Conv) -> Result<ConvState, Broken> {
        if let Some(state) = self.states.get(&conv, |_| HEAD_BYTES) {
            return Ok(state);
        }
        let state = read_state(&self.rows, conv)?;
        if !reach::has_missed() {
            self.set_state(conv, state.clone());
        }
        Ok(state)
    }

    /// Remembers where a conversation stands.
    pub(crate) fn set_state(&mut self, conv: Conv, state: ConvState) {
        if let Some(touched) = &mut self.touched {
            touched.states.push(conv);
        }
        self.states.insert(conv, state, HEAD_BYTES);
    }

    /// Whether a conversation's state is in memory; of a group, its members too.
    pub(crate) fn is_warm(&self, conv: Conv) -> bool {
        let Some(state) = self.states.peek(&conv) else { return false };
        match conv {
            Conv::Group(id) if state.group().is_some_and(|attrs| attrs.kind == ConvKind::Group) => self.members.contains(&id),
            _ => true,
        }
    }

    /// Whether a conversation's state is in memory.
    pub(crate) fn is_known(&self, conv: Conv) -> bool {
        self.states.contains(&conv)
    }

    /// The members of a group now, ascending.
    pub(crate) fn members_now(&mut self, group: u64) -> Result<Arc<[u64]>, Broken> {
        if let Some(members) = self.members.get(&group, members_bytes) {
            return Ok(members);
        }
        let mut members = Vec::new();
        for row in self.rows.prefix(keys::members(group)) {
            let (key, value) = row?;
            if Member::from_bytes(&value)?.since().is_some() {
                members.push(key.last_u64());
            }
        }
        let members: Arc<[u64]> = members.into();
        if !reach::has_missed() {
            self.set_members_now(group, members.clone());
        }
        Ok(members)
    }

    /// Remembers the members of a group.
    pub(crate) fn set_members_now(&mut self, group: u64, members: Arc<[u64]>) {
        let weight = members_bytes(&members);
        if let Some(touched) = &mut self.touched {
            touched.members.push(group);
        }
        self.members.insert(group, members, weight);
    }

    /// The members of a channel are no longer what they were; who they are nobody asks on the way of a message.
    pub(crate) fn forget_members_now(&mut self, group: u64) {
        self.members.remove(&group);
    }

    /// Whether a user is a member of this group or channel now.
    pub(crate) fn is_member_now(&self, group: u64, mid: u64) -> Result<bool, Broken> {
        match self.members.peek(&group) {
            Some(members) => Ok(members.binary_search(&mid).is_ok()),
            None => Ok(self.member(group, mid)?.since().is_some()),
        }
    }

    /// A member of a group, or somebody who was one.
    pub(crate) fn member(&self, group: u64, mid: u64) -> Result<Member, Broken> {
        self.rows.get(&keys::member(group, mid))?.map_or(Ok(Member::default()), |row| Member::from_bytes(&row))
    }

    /// A row of a timeline.
    pub(crate) fn row(&self, conv: Conv, pos: u64) -> Result<Option<TimelineRow>, Broken> {
        if pos == 0 {
            return Ok(None);
        }
        self.rows.get(&keys::timeline_row(conv, pos))?.map(TimelineRow::from_bytes).transpose()
    }
}

/// Where a conversation stands, by its rows.
pub(crate) fn read_state(rows: &Rows, conv: Conv) -> Result<ConvState, Broken> {
    let attrs = rows.get(&keys::attrs(conv))?.map(|row| Attrs::from_bytes(&row)).transpose()?.map(Arc::new);
    let Some((key, value)) = rows.layers().last(keys::timeline(conv))? else {
        return Ok(ConvState { head: 0, floor: 1, id: 0, attrs });
    };
    let meta_row = if key.last_u64() == 0 { Some(value.clone()) } else { rows.get(&keys::timeline_row(conv, 0))? };
    let meta = meta_row.map(|row| TimelineMeta::from_bytes(&row)).transpose()?;
    let floor = meta.map_or(1, |meta| meta.floor);
    if key.last_u64() == 0 {
        let (head, id) = meta.map_or((0, 0), |meta| (meta.head, meta.id));
        return Ok(ConvState { head, floor, id, attrs });
    }
    Ok(ConvState { head: key.last_u64(), floor, id: TimelineRow::from_bytes(value)?.id, attrs })
}

/// What a conversation is, as far as its attributes tell.
pub(crate) fn kind_of(conv: Conv, state: &ConvState) -> ConvKind {
    match conv {
        Conv::Direct { .. } => ConvKind::Direct,
        Conv::Room(_) => ConvKind::Room,
        Conv::Group(_) => state.attrs.as_ref().map_or(ConvKind::Group, |attrs| attrs.kind),
    }
}

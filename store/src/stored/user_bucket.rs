//! A bucket of users: what it keeps in memory over its rows, and how a step is applied whole or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use super::cache::Cache;
use super::config::{StoredConfig, slack};
use super::conv::Conv;
use super::found::position_of;
use super::guards::Guards;
use super::keys;
use super::kv::{Broken, Closed, Rows, reach};
use super::read::InboxView;
use super::rows::{InboxMeta, ReadRow, Ref, number};
use super::step::{Bucket, Effect, Entry, Step, StepError, UserDone, UserItem};

/// What a head costs in memory, about.
const HEAD_BYTES: usize = 96;
/// What a conversation of a user costs in memory, about.
const LISTED_BYTES: usize = 64;

/// Where an inbox stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InboxState {
    /// Newest position; 0: nothing ever came.
    pub(crate) head: u64,
    /// Oldest position still kept; head + 1 when none is.
    pub(crate) floor: u64,
    /// The user's own epoch; 0: the bucket's.
    pub(crate) epoch: u64,
}

/// A bucket of users.
pub(crate) struct UserBucket {
    pub(crate) rows: Rows,
    pub(crate) guards: Guards,
    config: Arc<StoredConfig>,
    states: Cache<u64, InboxState>,
    /// Conversations that are in a user's list for certain.
    listed: Cache<(u64, Conv), ()>,
    /// What a step under way has put into these caches.
    touched: Option<Touched>,
}

#[derive(Default)]
struct Touched {
    states: Vec<u64>,
    listed: Vec<(u64, Conv)>,
}

impl UserBucket {
    /// The bucket as its rows have it. `boot`: the life of the store.
    pub(crate) fn load(rows: Rows, number: u32, boot: u64, config: &Arc<StoredConfig>) -> Result<Self, Broken> {
        let guards = Guards::load(&rows, Bucket::User(number), boot)?;
        Ok(Self {
            rows,
            guards,
            config: config.clone(),
            states: Cache::new(config.cache_bytes_max / 8),
            listed: Cache::new(config.cache_bytes_max / 8),
            touched: None,
        })
    }

    /// Applies a step. `again`: users whose inboxes it changes get a new epoch.
    pub(crate) fn step(&mut self, step: &Step<UserItem>, again: bool, now_ms: u64) -> Result<Vec<UserDone>, StepError> {
        let guard = self.guards.check(step.partition, step.boot, step.prev)?;
        self.rows.begin();
        self.touched = Some(Touched::default());
        let done = self.apply_all(&step.items, guard, again.then_some(now_ms));
        let done = done.and_then(reach::whole).map_err(|broken| self.failed(broken))?;
        self.touched = None;
        let last = step.items.last().map_or(step.last, |item| item.offset.max(step.last));
        self.guards.raise(&mut self.rows, step.partition, last);
        Ok(done)
    }

    /// `again_ms`: whoever gets something gets a new epoch, too, at this time.
    fn apply_all(&mut self, items: &[UserItem], guard: u64, again_ms: Option<u64>) -> Result<Vec<UserDone>, Broken> {
        let mut done = Vec::with_capacity(items.len());
        let mut concerned = HashSet::new();
        for item in items {
            let fresh = item.offset > guard;
            let pos = match if fresh { self.apply(item) } else { self.find_again(item) } {
                Ok(pos) => pos,
                // What the others need is missed now, too.
                Err(_) if reach::looks_on() => continue,
                Err(broken) => return Err(broken),
            };
            done.push(UserDone { offset: item.offset, mid: item.mid, pos, fresh });
            if again_ms.is_some() && fresh && pos != 0 {
                concerned.insert(item.mid);
            }
        }
        for (mid, now_ms) in concerned.into_iter().zip(again_ms.into_iter().cycle()) {
            self.renew(mid, now_ms)?;
        }
        Ok(done)
    }

    fn failed(&mut self, broken: Broken) -> StepError {
        self.rows.roll_back();
        match self.touched.take() {
            // Nothing is wrong with what was not touched.
            Some(touched) if reach::has_missed() => {
                touched.states.iter().for_each(|mid| self.states.remove(mid));
                touched.listed.iter().for_each(|listed| self.listed.remove(listed));
            }
            _ => {
                self.states.clear();
                self.listed.clear();
            }
        }
        StepError::Down(broken.0)
    }

    /// Applies what was not applied before; gives the position of its entry, 0 if it has none.
    fn apply(&mut self, item: &UserItem) -> Result<u64, Broken> {
        let wanted = self.effect(item.mid, item.effect)?;
        match &item.entry {
            Some(entry) if wanted => self.append(item.mid, item.offset, entry),
            _ => Ok(0),
        }
    }

    /// Remembers what else changes; gives whether the entry is to be made.
    fn effect(&mut self, mid: u64, effect: Effect) -> Result<bool, Broken> {
        match effect {
            Effect::None => {}
            Effect::Has(conv) => self.list(mid, conv)?,
            Effect::HasNot(conv) => {
                self.listed.remove(&(mid, conv));
                self.rows.delete(keys::conv_of(mid, conv));
            }
            Effect::Read { conv, by, pos, told } => {
                let key = keys::read(mid, conv, by != mid);
                let before = self.rows.get(&key)?.map(|row| ReadRow::from_bytes(&row)).transpose()?.unwrap_or_default();
                let tells = told && pos > before.told;
                let after = ReadRow { read: before.read.max(pos), told: if tells { pos } else { before.told } };
                if after != before {
                    self.rows.put(key, after.to_bytes());
                }
                return Ok(tells);
            }
        }
        Ok(true)
    }

    /// The conversation is one of the user's. Every message of a chat says so again.
    fn list(&mut self, mid: u64, conv: Conv) -> Result<(), Broken> {
        if self.listed.get(&(mid, conv), |()| LISTED_BYTES).is_some() {
            return Ok(());
        }
        let key = keys::conv_of(mid, conv);
        if self.rows.get(&key)?.is_none() {
            self.rows.put(key, number(0));
        }
        if let Some(touched) = &mut self.touched {
            touched.listed.push((mid, conv));
        }
        self.listed.insert((mid, conv), (), LISTED_BYTES);
        Ok(())
    }

    fn append(&mut self, mid: u64, offset: u64, entry: &Entry) -> Result<u64, Broken> {
        let mut state = self.state(mid)?;
        state.head = state.head.checked_add(1).ok_or_else(|| Broken("an inbox has no position left".to_owned()))?;
        self.rows.put(keys::inbox_row(mid, state.head), Ref::bytes_of(entry, offset, mid));
        let rows_max = self.config.retention.inbox_rows_max.max(1);
        if state.head - state.floor >= rows_max.saturating_add(slack(rows_max)) {
            let floor = state.head - rows_max + 1;
            self.trim(mid, &mut state, floor);
        }
        self.set_state(mid, state);
        Ok(state.head)
    }

    /// Forgets the rows below `floor`.
    pub(crate) fn trim(&mut self, mid: u64, state: &mut InboxState, floor: u64) {
        (state.floor..floor).for_each(|pos| self.rows.delete(keys::inbox_row(mid, pos)));
        state.floor = state.floor.max(floor);
        self.put_meta(mid, *state);
    }

    fn put_meta(&mut self, mid: u64, state: InboxState) {
        let meta = InboxMeta { epoch: state.epoch, floor: state.floor, head: state.head };
        self.rows.put(keys::inbox_row(mid, 0), meta.to_bytes());
        self.set_state(mid, state);
    }

    fn set_state(&mut self, mid: u64, state: InboxState) {
        if let Some(touched) = &mut self.touched {
            touched.states.push(mid);
        }
        self.states.insert(mid, state, HEAD_BYTES);
    }

    /// Positions of this user were shown and are lost.
    fn renew(&mut self, mid: u64, now_ms: u64) -> Result<(), Broken> {
        let mut state = self.state(mid)?;
        state.epoch = self.view_of(state).epoch.saturating_add(1).max(now_ms);
        self.put_meta(mid, state);
        Ok(())
    }

    fn find_again(&mut self, item: &UserItem) -> Result<u64, Broken> {
        if item.entry.is_none() {
            return Ok(0);
        }
        let state = self.state(item.mid)?;
        let found = position_of(item.offset, state.floor, state.head, |pos| Ok(self.row(item.mid, pos)?.map(|row| row.offset)))?;
        Ok(found.unwrap_or(0))
    }

    /// A row of an inbox.
    pub(crate) fn row(&self, mid: u64, pos: u64) -> Result<Option<Ref>, Broken> {
        if pos == 0 {
            return Ok(None);
        }
        self.rows.get(&keys::inbox_row(mid, pos))?.map(|row| Ref::from_bytes(row, mid)).transpose()
    }

    /// Nothing can be read or changed until another bucket takes the place of this one.
    pub(crate) fn close(&mut self) {
        self.rows.reset(Some(Arc::new(Closed)));
        self.states.clear();
        self.listed.clear();
    }

    /// Where an inbox stands.
    pub(crate) fn state(&mut self, mid: u64) -> Result<InboxState, Broken> {
        if let Some(state) = self.states.get(&mid, |_| HEAD_BYTES) {
            return Ok(state);
        }
        let state = read_state(&self.rows, mid)?;
        if !reach::has_missed() {
            self.set_state(mid, state);
        }
        Ok(state)
    }

    /// Whether an inbox's state is in memory.
    pub(crate) fn is_warm(&self, mid: u64) -> bool {
        self.states.contains(&mid)
    }

    /// As others see it.
    pub(crate) fn view_of(&self, state: InboxState) -> InboxView {
        let epoch = self.guards.epoch().unwrap_or(0).max(state.epoch);
        InboxView { head: state.head, floor: state.floor, epoch }
    }

    /// Where an inbox stands, as others see it.
    pub(crate) fn inbox(&mut self, mid: u64) -> Result<InboxView, Broken> {
        let state = self.state(mid)?;
        Ok(self.view_of(state))
    }
}

/// Where an inbox stands, by its rows.
pub(crate) fn read_state(rows: &Rows, mid: u64) -> Result<InboxState, Broken> {
    let Some((key, value)) = rows.layers().last(keys::inbox(mid))? else {
        return Ok(InboxState { head: 0, floor: 1, epoch: 0 });
    };
    let last = key.last_u64();
    let meta_row = if last == 0 { Some(value) } else { rows.get(&keys::inbox_row(mid, 0))? };
    let meta = meta_row.map(|row| InboxMeta::from_bytes(&row)).transpose()?;
    let meta = meta.unwrap_or(InboxMeta { epoch: 0, floor: 1, head: 0 });
    Ok(InboxState { head: if last == 0 { meta.head } else { last }, floor: meta.floor, epoch: meta.epoch })
}

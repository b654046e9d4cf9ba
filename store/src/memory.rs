//! The registry of one process that holds everything.
//!
//! **Order of locks**: a shard of `keys`, then a shard of `users`, never the reverse and never two of one map. Every change
//! to a session happens while the shard of its key is locked, so for one key there is one order of events, and `users`
//! follows it. A user's sessions are read in one look at one shard of `users`. Guards stay inside this file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::{Entry, OccupiedEntry};
use perseid_protocol::SessionKey;
use perseid_protocol::push::SessionAddr;

use crate::platform::Platforms;
use crate::row::{ByKey, Row};
use crate::sessions::{Counts, KeyTaken, NewSession, Restored, SessionRegistry, SessionRow, Takeover};

/// A table that never held more than this is not worth shrinking while it is in use …
const SHRINK_MIN: usize = 256;
/// … and one that never held more than this not even when it is empty.
const SHRINK_EMPTY_MIN: usize = 16;

/// The sessions of one process, in memory.
pub struct MemoryRegistry {
    keys: DashMap<ByKey, ()>,
    users: DashMap<i64, Sessions>,
    platforms: Platforms,
    sessions: Level,
    online: Level,
}

/// The sessions of a user: one, as a rule.
enum Sessions {
    One(Arc<Row>),
    #[allow(clippy::box_collection)] // 16 bytes for each user instead of 32; a second allocation for the few with more
    Many(Box<Vec<Arc<Row>>>),
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self {
            keys: DashMap::new(),
            users: DashMap::new(),
            platforms: Platforms::default(),
            sessions: Level::default(),
            online: Level::default(),
        }
    }

    /// Adds `row` to its user. The shard of its key is locked.
    fn link(&self, row: &Arc<Row>) {
        if row.mid <= 0 {
            return;
        }
        match self.users.entry(row.mid) {
            Entry::Vacant(entry) => {
                self.online.up();
                entry.insert(Sessions::One(row.clone()));
            }
            Entry::Occupied(mut entry) => entry.get_mut().add(row.clone()),
        }
    }

    /// Takes `row` from its user. The shard of its key is locked.
    fn unlink(&self, row: &Arc<Row>) {
        if row.mid <= 0 {
            return;
        }
        if let Entry::Occupied(mut entry) = self.users.entry(row.mid)
            && entry.get_mut().remove(row)
        {
            entry.remove();
            self.online.down();
        }
    }

    /// Puts `new` where `old` was. The shard of their key is locked.
    fn relink(&self, old: &Arc<Row>, new: &Arc<Row>) {
        if old.mid != new.mid {
            self.unlink(old);
            self.link(new);
        } else if let Some(mut sessions) = self.users.get_mut(&new.mid) {
            sessions.replace(old, new.clone());
        }
    }

    fn of_node(&self, node: u32, incarnation: u32) -> Vec<ByKey> {
        let of_node = |addr: SessionAddr| addr.node == node && addr.incarnation == incarnation;
        self.keys.iter().filter(|row| of_node(row.key().0.addr)).map(|row| row.key().clone()).collect()
    }

    fn forget(&self, entry: OccupiedEntry<'_, ByKey, ()>) {
        self.unlink(&entry.key().0);
        entry.remove();
        self.sessions.down();
    }

    /// Gives memory back after many have left. No lock is held by the caller.
    fn shrink(&self) {
        if self.sessions.has_fallen() {
            self.keys.shrink_to_fit();
        }
        if self.online.has_fallen() {
            self.users.shrink_to_fit();
        }
    }
}

impl SessionRegistry for MemoryRegistry {
    fn open(&self, session: NewSession<'_>, takeover: Takeover) -> Result<Option<SessionAddr>, KeyTaken> {
        let row = Arc::new(Row::new(session, &self.platforms));
        let replaced = match self.keys.entry(ByKey(row.clone())) {
            Entry::Vacant(entry) => {
                self.link(&row);
                // Counted before others can see it, and so before they can count it down.
                self.sessions.up();
                entry.insert(());
                None
            }
            Entry::Occupied(entry) => {
                let old = entry.key().0.clone();
                if takeover == Takeover::SameUser && old.mid != row.mid {
                    return Err(KeyTaken);
                }
                self.relink(&old, &row);
                entry.replace_entry(());
                Some(old.addr)
            }
        };
        self.shrink();
        Ok(replaced)
    }

    fn restore(&self, session: NewSession<'_>) -> Restored {
        let row = Arc::new(Row::new(session, &self.platforms));
        match self.keys.entry(ByKey(row.clone())) {
            Entry::Vacant(entry) => {
                self.link(&row);
                self.sessions.up();
                entry.insert(());
                Restored::Added
            }
            Entry::Occupied(entry) => {
                let old = entry.key().0.clone();
                if old.addr == row.addr {
                    return Restored::Known;
                }
                if (old.since_ms, old.addr) > (row.since_ms, row.addr) {
                    return Restored::Outlived;
                }
                self.relink(&old, &row);
                entry.replace_entry(());
                Restored::Replaced(old.addr)
            }
        }
    }

    fn close(&self, key: &SessionKey, mid: i64, addr: SessionAddr) -> bool {
        // Looked up first, because an entry wants an owned key; what was found is compared again under the lock.
        let Some(found) = self.keys.get(key).map(|row| row.key().clone()) else { return false };
        let closed = match self.keys.entry(found) {
            Entry::Occupied(entry) if entry.key().0.addr == addr && entry.key().0.mid == mid => {
                self.forget(entry);
                true
            }
            _ => false,
        };
        self.shrink();
        closed
    }

    fn by_key(&self, key: &SessionKey) -> Option<SessionAddr> {
        self.keys.get(key).map(|row| row.key().0.addr)
    }

    fn by_mid(&self, mid: i64) -> Vec<SessionAddr> {
        self.users.get(&mid).map_or_else(Vec::new, |sessions| sessions.rows().iter().map(|row| row.addr).collect())
    }

    fn describe(&self, mid: i64) -> Vec<SessionRow> {
        let rows: Vec<Arc<Row>> = self.users.get(&mid).map_or_else(Vec::new, |sessions| sessions.rows().to_vec());
        let mut rows: Vec<_> = rows.iter().map(|row| row.describe(&self.platforms)).collect();
        rows.sort_by_key(|row| (row.since_ms, row.addr));
        rows
    }

    fn row(&self, key: &SessionKey) -> Option<SessionRow> {
        let row = self.keys.get(key).map(|row| row.key().0.clone());
        row.map(|row| row.describe(&self.platforms))
    }

    fn keys(&self) -> Vec<SessionKey> {
        self.keys.iter().map(|row| row.key().0.key.clone()).collect()
    }

    fn counts(&self) -> Counts {
        Counts { sessions: self.sessions.now(), users: self.online.now() }
    }

    fn addresses(&self) -> u64 {
        let different: std::collections::HashSet<_> = self.keys.iter().filter_map(|row| row.key().0.address()).collect();
        different.len() as u64
    }

    fn each_of_node(&self, node: u32, incarnation: u32, each: &mut dyn FnMut(SessionRow)) {
        for row in self.of_node(node, incarnation) {
            each(row.0.describe(&self.platforms));
        }
    }

    fn close_node(&self, node: u32, incarnation: u32) -> usize {
        self.of_node(node, incarnation).iter().filter(|row| self.close(&row.0.key, row.0.mid, row.0.addr)).count()
    }
}

impl Sessions {
    fn rows(&self) -> &[Arc<Row>] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }

    fn add(&mut self, row: Arc<Row>) {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(vec![first.clone(), row])),
            Self::Many(rows) => rows.push(row),
        }
    }

    fn replace(&mut self, old: &Arc<Row>, new: Arc<Row>) {
        let place = match self {
            Self::One(row) => Some(row),
            Self::Many(rows) => rows.iter_mut().find(|row| Arc::ptr_eq(row, old)),
        };
        if let Some(place) = place {
            *place = new;
        }
    }

    /// Returns whether nothing is left, and then leaves itself unchanged: the caller drops it.
    fn remove(&mut self, gone: &Arc<Row>) -> bool {
        match self {
            Self::One(row) => Arc::ptr_eq(row, gone),
            Self::Many(rows) => {
                if let Some(at) = rows.iter().position(|row| Arc::ptr_eq(row, gone)) {
                    rows.swap_remove(at);
                }
                if rows.len() * 4 <= rows.capacity() {
                    rows.shrink_to(rows.len() * 2);
                }
                if let [last] = &rows[..] {
                    *self = Self::One(last.clone());
                }
                false
            }
        }
    }
}

/// A number that goes up and down, and remembers how far down it has come since its tables were last made to fit.
#[derive(Default)]
struct Level {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Level {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed) as u64
    }

    fn up(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    fn down(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// True once for each fall to a quarter, and once for each fall to nothing: what the shrinking costs was paid for by
    /// those who left.
    fn has_fallen(&self) -> bool {
        let (now, peak) = (self.now.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed));
        let fallen = now <= peak / 4 && peak >= if now == 0 { SHRINK_EMPTY_MIN } else { SHRINK_MIN };
        // One thread wins; a peak that rises meanwhile is found again at the next call.
        fallen && self.peak.compare_exchange(peak, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

//! How a repetition is known: (conversation, from, idem) of the last hours.
//!
//! A place is a hash and leads to a position; whether it is the same message, the row at that position tells. Two messages with
//! one hash take neighbouring places. Places lie in memory; a commit writes them packed into one row. Where memory is full they
//! are rows of their own.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::conv::Conv;
use super::keys::{self, sort};
use super::kv::{Broken, Key, Rows};
use super::rows::{bad_row, number, read_number};

const HOUR_MS: u64 = 3_600_000;
/// What a place costs in memory, about: two numbers in a table that is never quite full.
const PLACE_BYTES: usize = 32;

/// What a repetition is known by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DedupeKey {
    pub(crate) conv: Conv,
    pub(crate) from: u64,
    pub(crate) idem: u64,
}

/// The hour of a record.
pub(crate) fn hour_of(ts_ms: u64) -> u32 {
    u32::try_from(ts_ms / HOUR_MS).unwrap_or(u32::MAX)
}

/// Hashes are their own hashes.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[derive(Default)]
struct Hour {
    places: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    /// There are rows of single places too.
    spilled: bool,
}

/// The dedupe of one bucket.
pub(crate) struct Dedupe {
    seed: [u64; 2],
    hours: BTreeMap<u32, Hour>,
    len: usize,
    places_max: usize,
    /// Places taken since [`Dedupe::begin`].
    taken: Vec<(u32, u64)>,
    /// Places not packed into a row yet.
    unpacked: BTreeMap<u32, Vec<u8>>,
    /// Number of the next packed row.
    next_packed: u64,
    /// The lowest hour of a record since the last sweep.
    low_hour: Option<u32>,
}

impl Dedupe {
    /// Reads what is kept. `seed`: the key of the hash, if the store has none yet.
    pub(crate) fn load(rows: &mut Rows, bytes_max: usize, seed: [u64; 2]) -> Result<Self, Broken> {
        let (hours, unpacked) = (BTreeMap::new(), BTreeMap::new());
        let seed = Self::seed(rows, seed)?;
        let places_max = bytes_max / PLACE_BYTES;
        let mut dedupe = Self { seed, hours, len: 0, places_max, taken: Vec::new(), unpacked, next_packed: 1, low_hour: None };
        dedupe.load_packed(rows)?;
        dedupe.load_spilled(rows)?;
        Ok(dedupe)
    }

    fn seed(rows: &mut Rows, seed: [u64; 2]) -> Result<[u64; 2], Broken> {
        let key = |index: u8| Key::new(sort::SEED).and(&[index]);
        match (rows.get(&key(0))?, rows.get(&key(1))?) {
            (Some(one), Some(other)) => Ok([read_number(&one)?, read_number(&other)?]),
            _ => {
                rows.put(key(0), number(seed[0]));
                rows.put(key(1), number(seed[1]));
                Ok(seed)
            }
        }
    }

    fn load_packed(&mut self, rows: &Rows) -> Result<(), Broken> {
        for row in rows.prefix(Key::new(sort::PACKED)) {
            let (key, value) = row?;
            let hour = key.tail(1).first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            self.next_packed = self.next_packed.max(key.last_u64().saturating_add(1));
            let (places, rest) = value.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(bad_row("dedupe"));
            }
            let into = self.hours.entry(hour).or_default();
            for place in places {
                let number = |at: usize| place[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                into.places.insert(number(0), number(8));
            }
            self.len += places.len();
        }
        Ok(())
    }

    fn load_spilled(&mut self, rows: &Rows) -> Result<(), Broken> {
        let end = Key::new(sort::DEDUPE).last_with_prefix();
        let mut from = Key::new(sort::DEDUPE);
        while let Some(row) = rows.layers().range(from, end, false).next() {
            let hour = row?.0.tail(1).first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            self.hours.entry(hour).or_default().spilled = true;
            let Some(next) = hour.checked_add(1) else { break };
            from = Key::new(sort::DEDUPE).and_u32(next);
        }
        Ok(())
    }

    fn hash(&self, key: &DedupeKey) -> u64 {
        let (which, one, other) = match key.conv {
            Conv::Direct { lo, hi } => (1, lo, hi),
            Conv::Group(id) => (2, id, 0),
            Conv::Room(id) => (4, id, 0),
        };
        let mut hash = self.seed[0] ^ which;
        for word in [one, other, key.from, key.idem] {
            let product = u128::from(hash ^ word) * u128::from(self.seed[1] ^ word.rotate_left(32) | 1);
            hash = (product as u64) ^ ((product >> 64) as u64) ^ hash.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        hash
    }

    fn place(&self, rows: &Rows, hour: u32, hash: u64) -> Result<Option<u64>, Broken> {
        let Some(of_hour) = self.hours.get(&hour) else { return Ok(None) };
        if let Some(pos) = of_hour.places.get(&hash) {
            return Ok(Some(*pos));
        }
        if !of_hour.spilled {
            return Ok(None);
        }
        rows.get(&keys::dedupe(hour, hash))?.map(|row| read_number(&row)).transpose()
    }

    /// The first one that `confirm` knows among what may be the same, in the hour of this time, the one before and the one after:
    /// the clocks of those who accept messages differ a little.
    pub(crate) fn find<T>(
        &self,
        rows: &Rows,
        key: &DedupeKey,
        ts_ms: u64,
        mut confirm: impl FnMut(u64) -> Result<Option<T>, Broken>,
    ) -> Result<Option<T>, Broken> {
        let (hour, first) = (hour_of(ts_ms), self.hash(key));
        for hour in hour.saturating_sub(1)..=hour.saturating_add(1) {
            let mut hash = first;
            while let Some(pos) = self.place(rows, hour, hash)? {
                if let Some(found) = confirm(pos)? {
                    return Ok(Some(found));
                }
                hash = hash.wrapping_add(1);
            }
        }
        Ok(None)
    }

    /// Remembers where a message stands.
    pub(crate) fn insert(&mut self, rows: &mut Rows, key: &DedupeKey, ts_ms: u64, pos: u64) -> Result<(), Broken> {
        let (hour, mut hash) = (hour_of(ts_ms), self.hash(key));
        while self.place(rows, hour, hash)?.is_some() {
            hash = hash.wrapping_add(1);
        }
        let of_hour = self.hours.entry(hour).or_default();
        self.low_hour = Some(self.low_hour.map_or(hour, |low| low.min(hour)));
        if self.len >= self.places_max {
            of_hour.spilled = true;
            rows.put(keys::dedupe(hour, hash), number(pos));
            return Ok(());
        }
        of_hour.places.insert(hash, pos);
        self.len += 1;
        self.taken.push((hour, hash));
        let unpacked = self.unpacked.entry(hour).or_default();
        unpacked.extend_from_slice(&hash.to_be_bytes());
        unpacked.extend_from_slice(&pos.to_be_bytes());
        Ok(())
    }

    /// From here on what is inserted can be taken back.
    pub(crate) fn begin(&mut self) {
        self.taken.clear();
    }

    /// Takes back everything since [`Dedupe::begin`].
    pub(crate) fn roll_back(&mut self) {
        for (hour, hash) in std::mem::take(&mut self.taken).into_iter().rev() {
            if let Some(of_hour) = self.hours.get_mut(&hour) {
                of_hour.places.remove(&hash);
                self.len -= 1;
            }
            if let Some(unpacked) = self.unpacked.get_mut(&hour) {
                unpacked.truncate(unpacked.len().saturating_sub(16));
            }
        }
    }

    /// Writes what was remembered since the last time, packed: to be called before rows are frozen.
    pub(crate) fn pack(&mut self, rows: &mut Rows) {
        for (hour, places) in std::mem::take(&mut self.unpacked) {
            if !places.is_empty() {
                rows.put(Key::new(sort::PACKED).and_u32(hour).and_u64(self.next_packed), places);
                self.next_packed += 1;
            }
        }
        self.taken.clear();
    }

    /// Forgets hours that no record can ask for any more, judged by the records themselves; `rows_max`: deletions at most.
    /// Gives how many rows were deleted.
    pub(crate) fn sweep(&mut self, rows: &mut Rows, rows_max: usize) -> Result<usize, Broken> {
        let Some(keep_from) = self.low_hour.map(|hour| hour.saturating_sub(2)) else { return Ok(0) };
        let mut deleted = 0;
        while let Some((&hour, of_hour)) = self.hours.first_key_value() {
            if hour >= keep_from || deleted >= rows_max {
                break;
            }
            let freed = of_hour.places.len();
            for sort in [sort::PACKED, sort::DEDUPE] {
                deleted += delete_some(rows, Key::new(sort).and_u32(hour), rows_max.saturating_sub(deleted))?;
            }
            if deleted < rows_max {
                self.hours.remove(&hour);
                self.unpacked.remove(&hour);
                self.len = self.len.saturating_sub(freed);
            }
        }
        if deleted < rows_max {
            self.low_hour = None;
        }
        Ok(deleted)
    }
}

/// Deletes up to `rows_max` rows with this prefix; gives how many.
pub(crate) fn delete_some(rows: &mut Rows, prefix: Key, rows_max: usize) -> Result<usize, Broken> {
    let keys: Result<Vec<Key>, Broken> = rows.prefix(prefix).take(rows_max).map(|row| Ok(row?.0)).collect();
    let keys = keys?;
    keys.iter().for_each(|key| rows.delete(*key));
    Ok(keys.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(idem: u64) -> DedupeKey {
        DedupeKey { conv: Conv::direct(1, 2), from: 1, idem }
    }

    fn found(dedupe: &Dedupe, rows: &Rows, idem: u64, ts_ms: u64) -> Option<u64> {
        dedupe.find(rows, &key(idem), ts_ms, |pos| Ok((pos == idem).then_some(pos))).unwrap()
    }

    #[test]
    fn places_are_found_in_memory_on_disk_and_after_loading() {
        for bytes_max in [0, 10 * PLACE_BYTES, 1 << 20] {
            let mut rows = Rows::new(None);
            let mut dedupe = Dedupe::load(&mut rows, bytes_max, [1, 2]).unwrap();
            for idem in 1..100 {
                dedupe.insert(&mut rows, &key(idem), HOUR_MS, idem).unwrap();
            }
            dedupe.pack(&mut rows);
            let again = Dedupe::load(&mut rows, bytes_max, [3, 4]).unwrap();
            for dedupe in [&dedupe, &again] {
                for idem in 1..100 {
                    assert_eq!(found(dedupe, &rows, idem, HOUR_MS), Some(idem));
                    assert_eq!(found(dedupe, &rows, idem, 2 * HOUR_MS), Some(idem), "an hour later");
                    assert_eq!(found(dedupe, &rows, idem, 0), Some(idem), "a clock that is behind");
                    assert_eq!(found(dedupe, &rows, idem, 3 * HOUR_MS), None);
                }
                assert_eq!(found(dedupe, &rows, 100, HOUR_MS), None);
            }
        }
    }

    #[test]
    fn what_has_one_hash_is_told_apart() {
        let mut rows = Rows::new(None);
        let mut dedupe = Dedupe::load(&mut rows, 1 << 20, [1, 2]).unwrap();
        dedupe.insert(&mut rows, &key(1), 0, 10).unwrap();
        dedupe.insert(&mut rows, &key(1), 0, 11).unwrap();
        let mut seen = Vec::new();
        let none: Option<()> = dedupe
            .find(&rows, &key(1), 0, |pos| {
                seen.push(pos);
                Ok(None)
            })
            .unwrap();
        assert_eq!((none, seen), (None, vec![10, 11]));
    }

    #[test]
    fn taken_back_is_forgotten() {
        let mut rows = Rows::new(None);
        let mut dedupe = Dedupe::load(&mut rows, 1 << 20, [1, 2]).unwrap();
        dedupe.insert(&mut rows, &key(1), 0, 1).unwrap();
        dedupe.begin();
        dedupe.insert(&mut rows, &key(2), 0, 2).unwrap();
        dedupe.roll_back();
        dedupe.pack(&mut rows);
        let again = Dedupe::load(&mut rows, 1 << 20, [1, 2]).unwrap();
        for dedupe in [dedupe, again] {
            assert_eq!((found(&dedupe, &rows, 1, 0), found(&dedupe, &rows, 2, 0)), (Some(1), None));
        }
    }

    #[test]
    fn old_hours_go_and_young_ones_stay() {
        for bytes_max in [0, 1 << 20] {
            let mut rows = Rows::new(None);
            let mut dedupe = Dedupe::load(&mut rows, bytes_max, [1, 2]).unwrap();
            for hour in 0..10 {
                dedupe.insert(&mut rows, &key(hour), hour * HOUR_MS, hour).unwrap();
                dedupe.pack(&mut rows);
            }
            dedupe.sweep(&mut rows, 100).unwrap();
            assert_eq!(dedupe.hours.len(), 10, "hour 0 had a record since");
            dedupe.insert(&mut rows, &key(99), 9 * HOUR_MS, 99).unwrap();
            assert_eq!(dedupe.sweep(&mut rows, 3).unwrap(), 3, "a bounded part");
            dedupe.sweep(&mut rows, 100).unwrap();
            assert_eq!(dedupe.hours.keys().copied().collect::<Vec<_>>(), [7, 8, 9]);
            assert_eq!(found(&dedupe, &rows, 8, 9 * HOUR_MS), Some(8));
        }
    }
}

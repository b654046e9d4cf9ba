//! Retention by age, a bounded part at a time: each call goes on where the one before it stopped, and begins anew at the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::conv::Conv;
use super::conv_bucket::{ConvBucket, read_state as read_conv};
use super::engine::Engine;
use super::keys::{self, sort};
use super::kv::{Broken, Key, Layers};
use super::rows::{Attrs, Member, OutcomeRow, Ref, TimelineRow, TrimmedRow};
use super::user_bucket::{UserBucket, read_state as read_inbox};

/// Rows that one call deletes of one sort in one bucket, at most.
const DELETED_MAX: usize = 20_000;
/// Inboxes or timelines that one call looks at in one bucket, at most.
const LOOKED_AT_MAX: usize = 1_000;
/// Rows that one call looks at, of other sorts.
const ROWS_MAX: usize = 10_000;
/// Rows that are looked at or deleted before the bucket is free for others again.
const CHUNK: usize = 500;
/// What dedupe needs of rows that were trimmed is kept for so long.
const TRIMMED_MS: u64 = 4 * 3_600_000;
/// However little room there is on the disk, so much age is kept.
const AGE_MIN_MS: u64 = 3_600_000;

/// Does a part of a sweep.
pub(crate) type Run<'a> = &'a dyn Fn(&dyn Fn() -> Result<(), Broken>) -> Result<(), Broken>;

/// Where sweeps stopped.
#[derive(Default)]
pub(crate) struct Places(Mutex<PlacesNow>);

#[derive(Default)]
struct PlacesNow {
    /// By sort of row and number of bucket: the last key that was looked at.
    places: BTreeMap<(u8, u32), Key>,
    /// Halvings of ages, because the disk holds too much.
    halvings: u32,
}

/// Ages below which rows stay.
#[derive(Clone, Copy)]
struct Ages {
    now_ms: u64,
    inbox_ms: u64,
    timeline_ms: u64,
    left_ms: u64,
}

impl Places {
    fn place(&self, of: (u8, u32)) -> Key {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.places.get(&of).copied().unwrap_or(Key::new(of.0))
    }

    fn set_place(&self, of: (u8, u32), place: Option<Key>) {
        let places = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).places;
        match place {
            Some(place) => places.insert(of, place),
            None => places.remove(&of),
        };
    }

    /// Halves ages while there is too much, and gives them back slowly when there is room.
    fn halvings(&self, disk_bytes: u64, disk_bytes_max: u64) -> u32 {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One pass through everything has to end before its effect is seen.
        let pass_is_over = now.places.keys().all(|(sort, _)| ![sort::TIMELINE, sort::INBOX].contains(sort));
        if pass_is_over && disk_bytes_max != 0 && disk_bytes > disk_bytes_max {
            now.halvings = (now.halvings + 1).min(32);
        } else if pass_is_over && disk_bytes < disk_bytes_max / 4 * 3 {
            now.halvings = now.halvings.saturating_sub(1);
        }
        now.halvings
    }
}

/// A walk that finds the next key with rows to look at.
fn next_key(rows: Layers<'_>, after: Key, of_sort: u8) -> Result<Option<Key>, Broken> {
    let end = Key::new(of_sort).last_with_prefix();
    rows.range(after, end, false).next().transpose().map(|row| row.map(|(key, _)| key))
}

impl Engine {
    /// Forgets what is too old. `disk_bytes`: what the store takes on disk; `run`: does a part of it, and if that ended early
    /// does it once more: it goes on where it stopped.
    pub(crate) fn sweep(&self, now_ms: u64, disk_bytes: u64, run: Run<'_>) -> Result<(), Broken> {
        let retention = &self.config.retention;
        let halvings = self.places.halvings(disk_bytes, retention.disk_bytes_max);
        let shorter = |age_ms: u64| (age_ms >> halvings).max(AGE_MIN_MS.min(age_ms));
        let ages = Ages {
            now_ms,
            inbox_ms: shorter(retention.inbox_age_ms),
            timeline_ms: shorter(retention.timeline_age_ms),
            left_ms: retention.left_age_ms,
        };
        for number in 0..self.conv_buckets() {
            run(&|| self.sweep_dedupe(number))?;
            run(&|| self.sweep_timelines(number, ages))?;
            run(&|| self.sweep_members(number, ages))?;
            let outcome_is_old = |row: &Bytes| Ok(OutcomeRow::from_bytes(row)?.ts_ms < before(now_ms, ages.left_ms));
            run(&|| self.sweep_rows(number, sort::OUTCOME, outcome_is_old))?;
            let trimmed_is_old = |row: &Bytes| Ok(TrimmedRow::from_bytes(row)?.ts_ms < before(now_ms, TRIMMED_MS));
            run(&|| self.sweep_rows(number, sort::TRIMMED, trimmed_is_old))?;
        }
        (0..self.user_buckets()).try_for_each(|number| run(&|| self.sweep_inboxes(number, ages)))
    }

    fn sweep_dedupe(&self, number: u32) -> Result<(), Broken> {
        for _ in 0..ROWS_MAX / CHUNK {
            let Some(mut bucket) = self.conv_number(number) else { break };
            let ConvBucket { rows, dedupe, .. } = &mut *bucket;
            rows.begin();
            if dedupe.sweep(rows, CHUNK)? < CHUNK {
                break;
            }
        }
        Ok(())
    }

    fn sweep_timelines(&self, number: u32, ages: Ages) -> Result<(), Broken> {
        self.sweep_each((sort::TIMELINE, number), |place| {
            let Some(mut bucket) = self.conv_number(number) else { return Ok(None) };
            let Some(key) = next_key(bucket.rows.layers(), place, sort::TIMELINE)? else { return Ok(None) };
            let Some(conv) = keys::conv_before_number(&key) else { return Ok(None) };
            let trimmed = bucket.trim_by_age(conv, before(ages.now_ms, ages.timeline_ms), ages.now_ms, CHUNK)?;
            Ok(Some((trimmed, if trimmed < CHUNK { keys::timeline(conv).last_with_prefix() } else { place })))
        })
    }

    fn sweep_inboxes(&self, number: u32, ages: Ages) -> Result<(), Broken> {
        self.sweep_each((sort::INBOX, number), |place| {
            let Some(mut bucket) = self.user_number(number) else { return Ok(None) };
            let Some(key) = next_key(bucket.rows.layers(), place, sort::INBOX)? else { return Ok(None) };
            let Some(mid) = key.tail(1).first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)) else { return Ok(None) };
            let trimmed = bucket.trim_by_age(mid, before(ages.now_ms, ages.inbox_ms), CHUNK)?;
            Ok(Some((trimmed, if trimmed < CHUNK { keys::inbox(mid).last_with_prefix() } else { place })))
        })
    }

    /// Looks at some inboxes or timelines. `look`: at the next one behind a place; gives how many rows it deleted and where to go
    /// on, or that it was the last.
    fn sweep_each(&self, of: (u8, u32), look: impl Fn(Key) -> Result<Option<(usize, Key)>, Broken>) -> Result<(), Broken> {
        let mut deleted = 0;
        for _ in 0..LOOKED_AT_MAX {
            let Some((rows, place)) = look(self.places.place(of))? else {
                self.places.set_place(of, None);
                break;
            };
            self.places.set_place(of, Some(place));
            deleted += rows;
            if deleted >= DELETED_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Forgets who left long ago.
    fn sweep_members(&self, number: u32, ages: Ages) -> Result<(), Broken> {
        let before_ms = before(ages.now_ms, ages.left_ms);
        self.walk(number, sort::MEMBER, |bucket, key, value| bucket.forget_left(key, Member::from_bytes(value)?, before_ms))
    }

    /// Deletes rows of conversations of one sort that are old.
    fn sweep_rows(&self, number: u32, of_sort: u8, is_old: impl Fn(&Bytes) -> Result<bool, Broken>) -> Result<(), Broken> {
        self.walk(number, of_sort, |bucket, key, value| {
            if is_old(value)? {
                bucket.rows.delete(key);
            }
            Ok(())
        })
    }

    /// Looks at some rows of one sort, a few at a time.
    fn walk(
        &self,
        number: u32,
        of_sort: u8,
        look: impl Fn(&mut ConvBucket, Key, &Bytes) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let of = (of_sort, number);
        for _ in 0..ROWS_MAX / CHUNK {
            let Some(mut bucket) = self.conv_number(number) else { break };
            let (from, to) = (self.places.place(of), Key::new(of_sort).last_with_prefix());
            let rows: Result<Vec<_>, Broken> = bucket.rows.layers().range(from, to, false).take(CHUNK).collect();
            let rows = rows?;
            let is_over = rows.len() < CHUNK;
            bucket.begin();
            let looked_at = rows.iter().try_for_each(|(key, value)| look(&mut bucket, *key, value));
            if let Err(broken) = looked_at {
                bucket.roll_back();
                return Err(broken);
            }
            bucket.keep();
            self.places.set_place(of, rows.last().filter(|_| !is_over).map(|row| row.0.and(&[0])));
            if is_over {
                break;
            }
        }
        Ok(())
    }
}

fn before(now_ms: u64, age_ms: u64) -> u64 {
    now_ms.saturating_sub(age_ms)
}

/// The first position from `floor` on, at most `rows_max` further, whose row is not older than `before_ms`.
fn young_from(
    floor: u64,
    head: u64,
    rows_max: usize,
    mut is_old: impl FnMut(u64) -> Result<bool, Broken>,
) -> Result<u64, Broken> {
    let mut pos = floor;
    while pos <= head && pos - floor < rows_max as u64 && is_old(pos)? {
        pos += 1;
    }
    Ok(pos)
}

impl ConvBucket {
    /// Forgets rows of a timeline that are older than this time; gives how many.
    fn trim_by_age(&mut self, conv: Conv, before_ms: u64, now_ms: u64, rows_max: usize) -> Result<usize, Broken> {
        // A walk through everything must not push out what is in use.
        let mut state = if self.is_known(conv) { self.state(conv)? } else { read_conv(&self.rows, conv)? };
        let is_old = |pos| Ok(self.row(conv, pos)?.is_none_or(|row: TimelineRow| row.ts_ms < before_ms));
        let floor = young_from(state.floor, state.head, rows_max, is_old)?;
        let rows = floor - state.floor;
        if rows > 0 {
            self.begin();
            if let Err(broken) = self.trim(conv, &mut state, floor, now_ms) {
                self.roll_back();
                return Err(broken);
            }
            self.keep();
            self.set_state(conv, state);
        }
        Ok(rows as usize)
    }

    fn forget_left(&mut self, key: Key, member: Member, before_ms: u64) -> Result<(), Broken> {
        let is_old = |interval: &super::rows::Interval| interval.leave != 0 && interval.left_ms < before_ms;
        let Some(last) = member.intervals.iter().filter(|interval| is_old(interval)).map(|interval| interval.leave).max() else {
            return Ok(());
        };
        let Some(group) = key.tail(1).first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)) else { return Ok(()) };
        let intervals: Vec<_> = member.intervals.into_iter().filter(|interval| !is_old(interval)).collect();
        if intervals.is_empty() {
            self.rows.delete(key);
        } else {
            self.rows.put(key, Member { intervals }.to_bytes());
        }
        self.raise_members_floor(Conv::Group(group), last + 1)
    }

    fn raise_members_floor(&mut self, conv: Conv, floor: u64) -> Result<(), Broken> {
        let mut state = self.state(conv)?;
        let Some(attrs) = &state.attrs else { return Ok(()) };
        let attrs = Attrs { members_floor: attrs.members_floor.max(floor), ..attrs.as_ref().clone() };
        self.rows.put(keys::attrs(conv), attrs.to_bytes());
        state.attrs = Some(attrs.into());
        self.set_state(conv, state);
        Ok(())
    }
}

impl UserBucket {
    /// Forgets rows of an inbox that are older than this time; gives how many.
    fn trim_by_age(&mut self, mid: u64, before_ms: u64, rows_max: usize) -> Result<usize, Broken> {
        let mut state = if self.is_warm(mid) { self.state(mid)? } else { read_inbox(&self.rows, mid)? };
        let is_old = |pos| Ok(self.row(mid, pos)?.is_none_or(|row: Ref| row.ts_ms < before_ms));
        let floor = young_from(state.floor, state.head, rows_max, is_old)?;
        let rows = floor - state.floor;
        if rows > 0 {
            self.rows.begin();
            self.trim(mid, &mut state, floor);
        }
        Ok(rows as usize)
    }
}

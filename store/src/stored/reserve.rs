//! What is about to be written to the log: may it, and under which id?

use std::collections::HashMap;

use super::conv::{Conv, ConvKind};
use super::conv_bucket::{ConvBucket, ConvState, kind_of};
use super::kv::Broken;
use super::read::{Reserve, Reserved};

/// How long a reservation holds at least.
const HOLD_MS: u64 = 600_000;
/// What one costs in memory, about.
const RESERVATION_BYTES: usize = 112;

type ReservationKey = (Conv, u64, u64);

#[derive(Clone, Copy)]
struct Reservation {
    id: u64,
    hash: u64,
}

/// Ids that were given and have not come back through the log yet. Two generations, each of ten minutes.
pub(crate) struct Reservations {
    young: HashMap<ReservationKey, Reservation>,
    old: HashMap<ReservationKey, Reservation>,
    since_ms: u64,
    len_max: usize,
}

impl Reservations {
    /// At most this many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let len_max = (bytes_max / RESERVATION_BYTES / 2).max(1);
        Self { young: HashMap::new(), old: HashMap::new(), since_ms: 0, len_max }
    }

    fn get(&self, key: &ReservationKey) -> Option<Reservation> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn hold(&mut self, key: ReservationKey, reservation: Reservation, now_ms: u64) {
        if self.young.len() >= self.len_max || now_ms.saturating_sub(self.since_ms) >= HOLD_MS {
            self.old = std::mem::take(&mut self.young);
            self.since_ms = now_ms;
        }
        self.young.insert(key, reservation);
    }

    /// Its record came: from here on dedupe knows it.
    pub(crate) fn forget(&mut self, conv: Conv, from: u64, idem: u64) {
        let key = (conv, from, idem);
        if !self.young.is_empty() {
            self.young.remove(&key);
        }
        if !self.old.is_empty() {
            self.old.remove(&key);
        }
    }
}

impl ConvBucket {
    /// What was accepted before comes before any question of right.
    pub(crate) fn reserve(&mut self, ask: &Reserve) -> Result<Reserved, Broken> {
        if !self.guards.is_whole() {
            return Ok(Reserved::Rebuilding);
        }
        let state = self.state(ask.conv)?;
        let kind = kind_of(ask.conv, &state);
        if let Some(first) = self.first_of(ask.conv, ask.from, ask.idem, ask.now_ms, &state)? {
            return Ok(match first.hash == ask.hash {
                true => Reserved::Duplicate { id: first.id, kind, conv_pos: first.pos },
                false => Reserved::Conflict,
            });
        }
        let key = (ask.conv, ask.from, ask.idem);
        if let Some(held) = self.reservations.get(&key) {
            return Ok(if held.hash == ask.hash { Reserved::Retry { id: held.id, kind } } else { Reserved::Conflict });
        }
        if let Some(refused) = self.refuse(ask, &state)? {
            return Ok(refused);
        }
        if ask.idem != 0 && ask.hold {
            self.reservations.hold(key, Reservation { id: ask.id, hash: ask.hash }, ask.now_ms);
        }
        Ok(Reserved::New { kind })
    }

    fn refuse(&mut self, ask: &Reserve, state: &ConvState) -> Result<Option<Reserved>, Broken> {
        let refused = match ask.conv {
            Conv::Room(_) => None,
            Conv::Direct { lo, .. } => {
                let blocks = |attrs: &super::rows::Attrs| if lo == ask.from { attrs.hi_blocks } else { attrs.lo_blocks };
                state.attrs.as_ref().is_some_and(|attrs| ask.from != 0 && blocks(attrs)).then_some(Reserved::Blocked)
            }
            Conv::Group(group) => match state.group() {
                None => Some(Reserved::NotMember),
                Some(_) if ask.from == 0 => None,
                Some(_) if !self.is_member(group, ask.from)? => Some(Reserved::NotMember),
                Some(attrs) => {
                    let owners_only = attrs.kind == ConvKind::Channel && !self.config.members_post;
                    (owners_only && attrs.owner != ask.from).then_some(Reserved::NotOwner)
                }
            },
        };
        Ok(refused)
    }

    /// Whether a user is a member of a group or channel that is there.
    pub(crate) fn is_member(&mut self, group: u64, mid: u64) -> Result<bool, Broken> {
        if self.state(Conv::Group(group))?.group().is_none() {
            return Ok(false);
        }
        self.is_member_now(group, mid)
    }
}

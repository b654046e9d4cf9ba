//! What was sent through the push API within a day: for whoever asks what became of it. Time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use perseid_rpc::{PushMsg, PushType};

use super::{PushRequest, Target};
use crate::snowflake;

/// How long it is known, ms.
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Memory for what was stored, bytes, about; the oldest go first.
const STORED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory for what went to who was online: there may be very many, and little is to be said of them.
const ONLINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What one costs beside its recipients, bytes.
const ENTRY_BYTES: usize = 160;

/// A message that was sent through the push API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// To whom.
    pub to: SentTo,
    /// When it was accepted, unix ms.
    pub accepted_ms: u64,
    /// How many its answer named; 0 is also what is not known any more after a restart.
    pub recipients: u64,
    /// Nobody is given it at or after this time, unix ms; 0: never too late.
    pub expires_at_ms: u64,
    /// Why nobody got it, if that is known.
    pub undelivered: Option<Undelivered>,
}

/// Why nobody got a push that is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Nobody was there.
    Offline,
    /// It was too late when its turn came.
    Expired,
}

impl Undelivered {
    /// As answers have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Expired => "expired",
        }
    }
}

/// Whom it was sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentTo {
    /// To who was online: nothing is kept of it.
    Online,
    /// To the inboxes of these users.
    Inboxes(Box<[i64]>),
    /// To a group or channel.
    Group(u64),
    /// To a room that keeps its last frames.
    Room(Box<str>),
}

impl Sent {
    pub(super) fn of(request: &PushRequest, accepted_ms: u64) -> Self {
        let to = match &request.target {
            Target::Notice(mids) => SentTo::Inboxes(mids.as_slice().into()),
            Target::Group(group) => SentTo::Group(*group),
            Target::Room(room) => SentTo::Room(room.as_str().into()),
            Target::Keys(_) | Target::Mids(_) | Target::All { .. } => SentTo::Online,
        };
        Self { to, accepted_ms, recipients: 0, expires_at_ms: request.expires_at_ms(accepted_ms), undelivered: None }
    }

    /// What the log knows of a push that is not stored.
    pub(super) fn of_push(push: &PushMsg, accepted_ms: u64) -> Self {
        let is_room = push.r#type == PushType::Room as i32;
        let to = if is_room { SentTo::Room(push.room.as_str().into()) } else { SentTo::Online };
        Self { to, accepted_ms, recipients: push.recipients, expires_at_ms: push.expire_at_ms, undelivered: None }
    }

    /// With what its answer named. A room that nobody is in gets nothing.
    pub(super) fn answered(self, recipients: u64) -> Self {
        let is_live = matches!(self.to, SentTo::Online | SentTo::Room(_));
        let undelivered = (is_live && recipients == 0).then_some(Undelivered::Offline);
        Self { recipients, undelivered, ..self }
    }

    fn cost(&self) -> usize {
        let recipients = match &self.to {
            SentTo::Inboxes(mids) => mids.len() * 8,
            SentTo::Room(room) => room.len(),
            SentTo::Online | SentTo::Group(_) => 0,
        };
        recipients + ENTRY_BYTES
    }
}

/// What was sent within a day, and why nobody got it. Logic writes into it, and job, which may be first.
#[derive(Default)]
pub struct SentBook(Mutex<SentTables>);

impl SentBook {
    /// Nobody got the push of this id.
    pub fn undelivered(&self, id: u64, why: Undelivered) {
        self.lock().undelivered(id, why);
    }

    pub(super) fn put(&self, id: u64, sent: Sent) {
        self.lock().put(id, sent);
    }

    pub(super) fn get(&self, id: u64, now_ms: u64) -> Option<Sent> {
        self.lock().get(id, now_ms).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, SentTables> {
        // Every change is whole before anything in it could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of them; what is stored is not forgotten for what is not.
struct SentTables {
    stored: SentTable,
    online: SentTable,
}

impl Default for SentTables {
    fn default() -> Self {
        Self { stored: SentTable::new(STORED_BYTES_MAX), online: SentTable::new(ONLINE_BYTES_MAX) }
    }
}

impl SentTables {
    /// Remembers one; what another record of the same message says is added.
    fn put(&mut self, id: u64, sent: Sent) {
        let table = if matches!(sent.to, SentTo::Online | SentTo::Room(_)) { &mut self.online } else { &mut self.stored };
        table.put(id, sent);
    }

    /// Job may have come to it before the log told logic that it has it.
    fn undelivered(&mut self, id: u64, why: Undelivered) {
        match self.online.of.get_mut(&id) {
            Some(sent) => sent.undelivered = Some(why),
            None => {
                let (accepted_ms, undelivered) = (snowflake::made_ms(id), Some(why));
                self.online.put(id, Sent { to: SentTo::Online, accepted_ms, recipients: 0, expires_at_ms: 0, undelivered });
            }
        }
    }

    fn get(&self, id: u64, now_ms: u64) -> Option<&Sent> {
        self.stored.get(id, now_ms).or_else(|| self.online.get(id, now_ms))
    }
}

struct SentTable {
    of: HashMap<u64, Sent>,
    oldest: VecDeque<(u64, u64)>,
    bytes: usize,
    bytes_max: usize,
}

impl SentTable {
    fn new(bytes_max: usize) -> Self {
        Self { of: HashMap::new(), oldest: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn put(&mut self, id: u64, mut sent: Sent) {
        let now_ms = sent.accepted_ms;
        if let Some(before) = self.of.remove(&id) {
            self.bytes -= before.cost();
            sent.undelivered = sent.undelivered.or(before.undelivered);
            if let (SentTo::Inboxes(mids), SentTo::Inboxes(more)) = (&before.to, &sent.to)
                && before.recipients > mids.len() as u64
            {
                sent.to = SentTo::Inboxes(mids.iter().chain(more).copied().collect());
            }
        } else {
            self.oldest.push_back((now_ms, id));
        }
        self.bytes += sent.cost();
        self.of.insert(id, sent);
        while self.bytes > self.bytes_max || self.oldest.front().is_some_and(|(at_ms, _)| is_over(*at_ms, now_ms)) {
            let Some((_, id)) = self.oldest.pop_front() else { break };
            if let Some(sent) = self.of.remove(&id) {
                self.bytes -= sent.cost();
            }
        }
    }

    fn get(&self, id: u64, now_ms: u64) -> Option<&Sent> {
        self.of.get(&id).filter(|sent| !is_over(sent.accepted_ms, now_ms))
    }
}

const fn is_over(accepted_ms: u64, now_ms: u64) -> bool {
    now_ms >= accepted_ms.saturating_add(KEPT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(mids: &[i64], recipients: u64, accepted_ms: u64) -> Sent {
        Sent { to: SentTo::Inboxes(mids.into()), accepted_ms, recipients, expires_at_ms: 0, undelivered: None }
    }

    fn online(accepted_ms: u64) -> Sent {
        Sent { to: SentTo::Online, accepted_ms, recipients: 1, expires_at_ms: 0, undelivered: None }
    }

    #[test]
    fn a_day_and_then_forgotten() {
        let mut table = SentTable::new(STORED_BYTES_MAX);
        table.put(1, to(&[7], 1, 1_000));
        assert_eq!(table.get(1, 1_000 + KEPT_MS - 1), Some(&to(&[7], 1, 1_000)));
        assert_eq!(table.get(1, 1_000 + KEPT_MS), None);
        table.put(2, to(&[8], 1, 1_000 + KEPT_MS));
        assert_eq!((table.of.len(), table.oldest.len(), table.bytes), (1, 1, to(&[8], 1, 0).cost()));
    }

    #[test]
    fn parts_of_one_message_become_one() {
        let mut table = SentTable::new(STORED_BYTES_MAX);
        table.put(1, to(&[7, 8], 3, 5));
        table.put(1, to(&[9], 3, 5));
        assert_eq!(table.get(1, 5), Some(&to(&[7, 8, 9], 3, 5)));
        assert_eq!(table.oldest.len(), 1);
    }

    #[test]
    fn what_is_not_stored_does_not_push_out_what_is() {
        let mut tables = SentTables::default();
        tables.put(1, to(&[7], 1, 5));
        for id in 2..200_000 {
            tables.put(id, online(5));
        }
        assert!(tables.get(1, 5).is_some() && tables.get(2, 5).is_none() && tables.get(199_999, 5).is_some());
    }

    #[test]
    fn why_nobody_got_it_whoever_comes_first() {
        let id = 9_000 << 22;
        let accepted_ms = snowflake::made_ms(id);
        for job_is_first in [true, false] {
            let book = SentBook::default();
            if job_is_first {
                book.undelivered(id, Undelivered::Offline);
                book.put(id, online(accepted_ms));
            } else {
                book.put(id, online(accepted_ms));
                book.undelivered(id, Undelivered::Offline);
            }
            let wanted = Sent { undelivered: Some(Undelivered::Offline), ..online(accepted_ms) };
            assert_eq!(book.get(id, accepted_ms), Some(wanted), "{job_is_first}");
            assert_eq!(book.get(id, accepted_ms + KEPT_MS), None);
        }
    }

    #[test]
    fn bounded_in_bytes() {
        let mut table = SentTable::new(STORED_BYTES_MAX);
        let many: Vec<i64> = (0..1_000_000).collect();
        for id in 0..20 {
            table.put(id, to(&many, many.len() as u64, 1_000));
        }
        assert!(table.bytes <= STORED_BYTES_MAX && table.get(19, 1_000).is_some() && table.get(0, 1_000).is_none());
    }
}

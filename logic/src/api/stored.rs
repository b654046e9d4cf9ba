//! What is stored, the same for every API: inboxes, timelines, and what became of a message.

use perseid_protocol::frame::flag;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{
    DeviceCursor, InboxPage, InboxView, Message, OutOfRange, PageBound, Pull, PullError, PullFrom, TimelinePage,
};

use super::manage::user;
use super::problem::Problem;
use super::{Api, now_ms};
use crate::accept::{Sent, SentTo, Undelivered};
use crate::inbox::{LIMIT_MAX, POSITION_MAX};
use crate::reason::Reason;

const LIMIT_DEFAULT: u64 = 100;
/// Recipients of one message that are told about; of more only that there are more.
const RECIPIENTS_MAX: usize = 1_000;
/// How far back in an inbox a message is looked for, rows.
const ROWS_LOOKED_AT: usize = 1_000;

/// A user's inbox, and how far his devices are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserInbox {
    pub(super) inbox: InboxView,
    pub(super) devices: Vec<DeviceCursor>,
}

/// Where a page begins, and how much it may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageFrom {
    pub(super) after: u64,
    pub(super) limit: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) id: u64,
    pub(super) sent: Sent,
    pub(super) state: &'static str,
    /// Its group, and its position there if that is known.
    pub(super) conv: Option<(u64, Option<u64>)>,
    /// Those who have it in the inbox.
    pub(super) recipients: Vec<Recipient>,
    /// There are more than are told.
    pub(super) more: bool,
}

impl Fate {
    /// Why it did not come to those it was for, if it did not.
    fn end(&mut self, now_ms: u64) {
        let Sent { expires_at_ms, undelivered, .. } = self.sent;
        let is_late = expires_at_ms != 0 && now_ms >= expires_at_ms;
        // Who has acknowledged it had it in time, or knows that it was too late.
        let is_open = self.recipients.iter().any(|recipient| recipient.acknowledged.is_empty());
        match (self.state, undelivered) {
            ("stored", _) if is_late && is_open => self.state = Undelivered::Expired.word(),
            ("accepted", Some(why)) => self.state = why.word(),
            _ => {}
        }
    }
}

/// One who has a message in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipient {
    pub(super) mid: u64,
    pub(super) pos: u64,
    /// The devices that have acknowledged it.
    pub(super) acknowledged: Vec<Box<str>>,
    /// Whether he has read it; `None` for what can't be read: a notice has no conversation.
    pub(super) read: Option<bool>,
}

impl Api {
    /// Where a user's inbox stands, if there are stored messages.
    pub(super) async fn inbox_of(&self, mid: i64) -> Result<Option<UserInbox>, Problem> {
        let Some(inbox) = &self.inbox else { return Ok(None) };
        let (mid, store) = (user(mid)?.cast_unsigned(), inbox.store());
        let view = store.inbox(mid).get().await?;
        let devices = store.devices(mid).get().await?;
        Ok(Some(UserInbox { inbox: view, devices }))
    }

    /// A part of a user's inbox.
    pub(super) async fn inbox_page(&self, mid: i64, from: PageFrom) -> Result<InboxPage, Problem> {
        let mid = user(mid)?.cast_unsigned();
        let (after, bound) = (position(from.after)?, self.bound(from.limit)?);
        match self.inbox()?.store().sync(mid, after, bound).get().await? {
            Ok(page) => Ok(InboxPage { messages: as_of_now(page.messages), ..page }),
            Err(OutOfRange::TooOld(InboxView { floor, .. })) => Err(too_old(floor)),
            Err(OutOfRange::AboveHead(InboxView { head, .. })) => Err(above(head)),
        }
    }

    /// A part of a group's timeline.
    pub(super) async fn timeline(&self, group: u64, from: PageFrom) -> Result<TimelinePage, Problem> {
        let (after, bound) = (position(from.after)?, self.bound(from.limit)?);
        let pull = Pull { conv: Conv::Group(group), reader: 0, from: PullFrom::After(after), since_joined: false, bound };
        match self.inbox()?.store().pull(pull).get().await? {
            Ok(page) => Ok(TimelinePage { messages: as_of_now(page.messages), ..page }),
            Err(PullError::NotMember) => {
                Err(Problem::new(Reason::NotFound, "there is no such group: PUT /v1/groups/{id} makes it"))
            }
            Err(PullError::TooOld { floor, .. }) => Err(too_old(floor)),
            Err(PullError::AboveHead { head }) => Err(above(head)),
        }
    }

    fn bound(&self, limit: Option<u64>) -> Result<PageBound, Problem> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if limit == 0 {
            return Err(bad_page_limit());
        }
        // As SYNC has it: who asks for more gets what a page holds, and is told that there is more.
        Ok(self.config().stored.page(usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)))
    }

    /// What became of a message that was sent through this API.
    pub(super) async fn fate(&self, id: u64) -> Result<Fate, Problem> {
        let sent = self.accept.sent(id, now_ms()).ok_or_else(|| {
            Problem::new(Reason::NotFound, "no message of this id was sent through this API within a day, or it was forgotten")
        })?;
        let mut fate = Fate { id, state: "accepted", conv: None, recipients: Vec::new(), more: false, sent };
        match (fate.sent.to.clone(), &self.inbox) {
            (SentTo::Inboxes(mids), Some(_)) => {
                let mids: Vec<u64> = mids.iter().map(|mid| mid.cast_unsigned()).collect();
                self.look_at(&mut fate, &mids, None).await?;
            }
            (SentTo::Group(group), Some(_)) => self.look_at_group(&mut fate, group).await?,
            // Who comes later gets its last frames.
            (SentTo::Room(room), Some(inbox)) if inbox.config().room_keeps(&room) > 0 => fate.sent.undelivered = None,
            _ => {}
        }
        fate.end(now_ms());
        Ok(fate)
    }

    async fn look_at_group(&self, fate: &mut Fate, group: u64) -> Result<(), Problem> {
        let store = self.inbox()?.store().clone();
        let bound = PageBound { messages_max: ROWS_LOOKED_AT, bytes_max: usize::MAX };
        let pull = Pull { conv: Conv::Group(group), reader: 0, from: PullFrom::Before(0), since_joined: false, bound };
        let row = store.pull(pull).get().await?.ok().and_then(|page| page.messages.into_iter().find(|row| row.id == fate.id));
        let conv_pos = row.map(|row| row.conv_pos);
        fate.conv = Some((group, conv_pos));
        if conv_pos.is_some() {
            fate.state = "stored";
        }
        match store.group(group).get().await? {
            // It was accepted before, and the group was deleted before it.
            None if conv_pos.is_none() => fate.state = "rejected",
            None => {}
            Some(view) => self.look_at(fate, &view.members, conv_pos.map(|pos| (Conv::Group(group), pos))).await?,
        }
        Ok(())
    }

    /// Looks for a message in the inboxes of some users.
    async fn look_at(&self, fate: &mut Fate, mids: &[u64], read: Option<(Conv, u64)>) -> Result<(), Problem> {
        let store = self.inbox()?.store().clone();
        fate.more = mids.len() > RECIPIENTS_MAX;
        for &mid in mids.iter().take(RECIPIENTS_MAX) {
            let Some(pos) = store.find(mid, fate.id, ROWS_LOOKED_AT).get().await? else { continue };
            let devices = store.devices(mid).get().await?;
            let acknowledged = devices.into_iter().filter(|device| device.pos >= pos).map(|device| device.device).collect();
            let read = match read {
                Some((conv, conv_pos)) => Some(store.read_pos(mid, conv, mid).get().await? >= conv_pos),
                None => None,
            };
            fate.state = "stored";
            fate.recipients.push(Recipient { mid, pos, acknowledged, read });
        }
        Ok(())
    }
}

/// What is too late is GONE.
fn as_of_now(messages: Vec<Message>) -> Vec<Message> {
    let now_ms = now_ms();
    messages.into_iter().map(|message| message.as_of(now_ms)).collect()
}

/// Flags of a message as its frame has them.
pub(super) const fn flags(message: &Message) -> u16 {
    let stored = if message.pos == 0 { 0 } else { flag::STORED };
    (message.flags & (flag::GONE | flag::QUIET)) | stored
}

/// A limit of a page that is no number, or 0.
pub(super) fn bad_page_limit() -> Problem {
    Problem::bad(format!("limit must be a number above 0; a page holds {LIMIT_MAX} at most"))
}

/// A position that is none.
pub(super) fn bad_after() -> Problem {
    Problem::bad("after must be a position: a whole number, 0 to begin with the oldest")
}

fn position(after: u64) -> Result<u64, Problem> {
    if after <= POSITION_MAX { Ok(after) } else { Err(bad_after()) }
}

fn too_old(floor: u64) -> Problem {
    let from = floor.saturating_sub(1);
    Problem::new(Reason::TooOld, format!("what follows is not kept any more: ask for what is after {from}"))
}

fn above(head: u64) -> Problem {
    Problem::bad(format!("after is above the newest position, {head}"))
}

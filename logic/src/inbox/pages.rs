//! SYNC, ACK, PULL and HEADS: what is stored, in pages.

use perseid_protocol::Refusal;
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_store::Verdict;
use perseid_store::stored::conv::ConvKind;
use perseid_store::stored::read::{
    HeadsPage, InboxPage, InboxView, Message, OutOfRange, PageBound, Pull, PullError, PullFrom, StoreDown, TimelinePage,
};

use super::ask::{Named, StoredRequest};
use super::write::Next;
use super::{Inbox, StoredOutcome, StoredRefusal, StoredReply, frames};
use crate::config::{History, StoredConfig};

impl StoredConfig {
    /// A page of so many messages.
    pub(crate) const fn page(&self, messages_max: usize) -> PageBound {
        PageBound { messages_max, bytes_max: self.page_bytes }
    }
}

impl Inbox {
    pub(super) fn sync(&self, request: &StoredRequest<'_>, after: u64, bound: PageBound) -> Verdict<Next> {
        let StoredRequest { mid, now_ms, .. } = *request;
        if request.foreign {
            return self.parts.store.inbox(mid).then(|inbox| Err(inbox.map_or_else(StoredRefusal::from, epoch_changed)).into());
        }
        self.parts.store.sync(mid, after, bound).then(move |page| synced(mid, page, now_ms).into())
    }

    pub(super) fn ack(&self, request: &StoredRequest<'_>, pos: u64) -> Verdict<Next> {
        let row = self.parts.registry.row(request.key).filter(|row| row.mid.cast_unsigned() == request.mid);
        let Some(row) = row else {
            let gone = "this session is not registered (any more): connect again";
            return Verdict::Now(Err(StoredRefusal::unavailable(gone)).into());
        };
        self.parts.store.ack(request.mid, &row.device_id, pos, request.now_ms).then(|held| acked(held).into())
    }

    pub(super) fn pull(&self, request: &StoredRequest<'_>, of: Named, from: PullFrom, bound: PageBound) -> Verdict<Next> {
        let StoredRequest { mid, now_ms, .. } = *request;
        let since_joined = self.config().history == History::Joined;
        let pull = Pull { conv: of.conv, reader: mid, from, since_joined, bound };
        self.parts.store.pull(pull).then(move |page| pulled(mid, of, page, now_ms).into())
    }

    pub(super) fn heads(&self, mid: u64, after: (u16, u64), limit: usize) -> Verdict<Next> {
        // Channels are the last in the order: after (3, …) comes nothing else.
        let only = (after.0 == kind::CHANNEL).then_some(ConvKind::Channel);
        self.parts.store.heads(mid, after, only, limit).then(move |page| listed(after, page).into())
    }
}

const fn more(more: bool) -> u16 {
    if more { flag::MORE } else { 0 }
}

fn epoch_changed(inbox: InboxView) -> StoredRefusal {
    let message = "this is not where your cursor is from: drop it, and go on from floor - 1 in the epoch of detail";
    StoredRefusal::starts_anew(Refusal::EpochChanged, message, inbox)
}

fn synced(mid: u64, page: Result<Result<InboxPage, OutOfRange>, StoreDown>, now_ms: u64) -> StoredOutcome {
    match page? {
        Ok(page) => {
            let ext = Extension { pos: page.inbox.head, flags: more(page.more), ..Extension::default() };
            Ok(StoredReply { ext, body: frames::inbox(&as_of(now_ms, page.messages), mid), silent: false })
        }
        Err(OutOfRange::AboveHead(inbox)) => Err(epoch_changed(inbox)),
        Err(OutOfRange::TooOld(inbox)) => {
            let message = "what follows is not kept in the inbox any more: go on from floor - 1, and PULL what is older";
            Err(StoredRefusal::starts_anew(Refusal::TooOld, message, inbox))
        }
    }
}

/// What may be shown now: what is too late is GONE.
fn as_of(now_ms: u64, messages: Vec<Message>) -> Vec<Message> {
    messages.into_iter().map(|message| message.as_of(now_ms)).collect()
}

fn acked(held: Result<Result<u64, OutOfRange>, StoreDown>) -> StoredOutcome {
    match held? {
        Ok(pos) => Ok(StoredReply { ext: Extension { pos, ..Extension::default() }, ..StoredReply::default() }),
        Err(OutOfRange::AboveHead(inbox) | OutOfRange::TooOld(inbox)) => {
            Err(StoredRefusal::bad(format!("pos is above the head {}: acknowledge what was received", inbox.head)))
        }
    }
}

fn pulled(mid: u64, of: Named, page: Result<Result<TimelinePage, PullError>, StoreDown>, now_ms: u64) -> StoredOutcome {
    match page? {
        Ok(page) => {
            let ext = Extension {
                kind: page.kind.to_frame(),
                pos: page.floor,
                conv_pos: page.head,
                flags: more(page.more),
                ..of.ext()
            };
            Ok(StoredReply { ext, body: frames::timeline(&as_of(now_ms, page.messages), mid), silent: false })
        }
        Err(PullError::NotMember) => Err(StoredRefusal::not_member()),
        Err(PullError::TooOld { floor, .. }) => {
            let message = format!("what follows is not kept any more: pull from {}", floor.saturating_sub(1));
            Err(StoredRefusal::new(Refusal::TooOld, message))
        }
        Err(PullError::AboveHead { head }) => {
            Err(StoredRefusal::bad(format!("conv_pos is above the head {head} of this conversation")))
        }
    }
}

fn listed(after: (u16, u64), page: Result<HeadsPage, StoreDown>) -> StoredOutcome {
    let page = page?;
    let ext = Extension { kind: after.0, conv: after.1, flags: more(page.more), ..Extension::default() };
    Ok(StoredReply { ext, body: frames::heads(&page.heads), silent: false })
}

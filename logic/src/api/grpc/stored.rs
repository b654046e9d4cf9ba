//! The methods about what is stored.

use perseid_rpc::v1;
use perseid_store::stored::read::{DeviceCursor, GroupView, InboxView, Message};
use tonic::Request;

use super::service::{PushService, parts};
use crate::api::draft::group_id;
use crate::api::groups::{Changed, GroupKind, GroupPage, GroupPut};
use crate::api::problem::Problem;
use crate::api::stored::{Fate, PageFrom, UserInbox, flags};
use crate::api::stored_http::sent_to;

impl PushService {
    pub(super) async fn put(&self, request: Request<v1::PutGroupRequest>) -> Result<v1::GroupChanged, Problem> {
        let (call, put) = parts(request)?;
        let id = checked(put.id)?;
        let kind = match put.kind() {
            v1::GroupKind::Group => GroupKind::Group,
            v1::GroupKind::Channel => GroupKind::Channel,
            v1::GroupKind::Unspecified => return Err(Problem::bad("kind must be that of a group or of a channel")),
        };
        let put = GroupPut { kind, owner: put.owner, name: put.name, members: put.members };
        Ok(changed(id, self.0.put_group(call.deadline, id, put).await?))
    }

    pub(super) async fn one_group(&self, asked: &v1::GetGroupRequest) -> Result<v1::Group, Problem> {
        let id = checked(asked.id)?;
        let from = PageFrom { after: asked.after, limit: asked.limit.map(u64::from) };
        Ok(group(id, self.0.group_page(id, from).await?))
    }

    pub(super) async fn delete(&self, request: Request<v1::DeleteGroupRequest>) -> Result<v1::GroupDeleted, Problem> {
        use v1::group_deleted::Outcome;
        let (call, asked) = parts(request)?;
        let id = checked(asked.id)?;
        let outcome = match self.0.delete_group(call.deadline, id).await? {
            Changed::Now(()) => Outcome::Deleted(true),
            Changed::Soon(change) => Outcome::Soon(change),
        };
        Ok(v1::GroupDeleted { id, outcome: Some(outcome) })
    }

    pub(super) async fn convert(&self, request: Request<v1::ConvertGroupRequest>) -> Result<v1::GroupChanged, Problem> {
        let (call, asked) = parts(request)?;
        let id = checked(asked.id)?;
        Ok(changed(id, self.0.convert_group(call.deadline, id).await?))
    }

    pub(super) async fn change(&self, request: Request<v1::ChangeMembersRequest>) -> Result<v1::MembersChanged, Problem> {
        use v1::members_changed::Outcome;
        let (call, asked) = parts(request)?;
        let id = checked(asked.id)?;
        let outcome = match self.0.change_members(call.deadline, id, (&asked.add, &asked.remove)).await? {
            Changed::Now(group) => Outcome::Version(group.version),
            Changed::Soon(change) => Outcome::Soon(change),
        };
        Ok(v1::MembersChanged { id, outcome: Some(outcome) })
    }

    pub(super) async fn set_block(&self, request: Request<v1::BlockRequest>, blocked: bool) -> Result<v1::Blocked, Problem> {
        use v1::blocked::Outcome;
        let (call, v1::BlockRequest { mid, peer }) = parts(request)?;
        let outcome = match self.0.block(call.deadline, mid, peer, blocked).await? {
            Changed::Now(()) => Outcome::Blocked(blocked),
            Changed::Soon(change) => Outcome::Soon(change),
        };
        Ok(v1::Blocked { mid, peer, outcome: Some(outcome) })
    }

    pub(super) async fn timeline(&self, asked: &v1::ListGroupMessagesRequest) -> Result<v1::Timeline, Problem> {
        let from = PageFrom { after: asked.after, limit: asked.limit.map(u64::from) };
        let page = self.0.timeline(checked(asked.id)?, from).await?;
        Ok(v1::Timeline {
            kind: kind(GroupKind::of(page.kind)) as i32,
            head: page.head,
            floor: page.floor,
            more: page.more,
            messages: page.messages.into_iter().map(|row| message(row, 0)).collect(),
        })
    }

    pub(super) async fn inbox(&self, asked: v1::GetInboxRequest) -> Result<v1::Inbox, Problem> {
        let from = PageFrom { after: asked.after, limit: asked.limit.map(u64::from) };
        let page = self.0.inbox_page(asked.mid, from).await?;
        let InboxView { head, floor, epoch } = page.inbox;
        let messages = page.messages.into_iter().map(|row| message(row, asked.mid.cast_unsigned())).collect();
        Ok(v1::Inbox { head, floor, epoch, more: page.more, messages })
    }
}

/// The same numbers as in the JSON.
fn checked(id: u64) -> Result<u64, Problem> {
    group_id(&id.to_string())
}

const fn kind(kind: GroupKind) -> v1::GroupKind {
    match kind {
        GroupKind::Group => v1::GroupKind::Group,
        GroupKind::Channel => v1::GroupKind::Channel,
    }
}

fn group(id: u64, page: GroupPage) -> v1::Group {
    let GroupPage { group, members_total, more } = page;
    let kind = kind(GroupKind::of(group.kind)) as i32;
    let GroupView { owner, name, members, version, head, .. } = group;
    v1::Group { id, kind, owner, name: name.into(), members, version, head, members_total, more }
}

fn changed(id: u64, changed: Changed<GroupView>) -> v1::GroupChanged {
    use v1::group_changed::Outcome;
    let outcome = match changed {
        Changed::Now(view) => Outcome::Group(group(id, GroupPage::of(view, 0, None))),
        Changed::Soon(change) => Outcome::Soon(change),
    };
    v1::GroupChanged { outcome: Some(outcome) }
}

fn message(row: Message, reader: u64) -> v1::StoredMessage {
    v1::StoredMessage {
        id: row.id,
        pos: row.pos,
        op: row.op,
        kind: row.kind.into(),
        conv: row.conv.map_or(0, |conv| conv.seen_by(reader)),
        conv_pos: row.conv_pos,
        from: row.from,
        cid: row.cid,
        flags: flags(&row).into(),
        body: row.body,
    }
}

pub(super) fn state(user: Option<UserInbox>) -> (Option<v1::InboxState>, Vec<v1::Device>) {
    let Some(UserInbox { inbox: InboxView { head, floor, epoch }, devices }) = user else { return (None, Vec::new()) };
    let device = |DeviceCursor { device, pos, seen_ms }| v1::Device { device_id: device.into(), cursor: pos, seen_ms };
    (Some(v1::InboxState { head, floor, epoch }), devices.into_iter().map(device).collect())
}

pub(super) fn fate(fate: Fate) -> v1::MessageFate {
    let recipient = |recipient: crate::api::stored::Recipient| v1::MessageRecipient {
        mid: recipient.mid,
        pos: recipient.pos,
        acknowledged: recipient.acknowledged.into_iter().map(String::from).collect(),
        read: recipient.read,
    };
    v1::MessageFate {
        id: fate.id,
        accepted_ms: fate.sent.accepted_ms,
        to: sent_to(&fate.sent.to).to_owned(),
        state: fate.state.to_owned(),
        recipients: fate.sent.recipients,
        conv: fate.conv.map(|(conv, _)| conv),
        conv_pos: fate.conv.and_then(|(_, conv_pos)| conv_pos),
        inboxes: fate.recipients.into_iter().map(recipient).collect(),
        more: fate.more,
    }
}

//! Groups and blocks, the same for every API: checked, written, answered when the change can be read back.

use std::sync::Arc;
use std::time::Duration;

use perseid_rpc::{BlockMark, GroupChange, GroupChangeKind, log_record};
use perseid_store::Verdict;
use perseid_store::stored::Answer;
use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::read::{GroupView, StoreDown};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::manage::user;
use super::problem::Problem;
use super::stored::PageFrom;
use super::{Api, now_ms};
use crate::inbox::{EFFECT_MS, Inbox, until};
use crate::reason::Reason;

/// Longest name of a group, bytes.
const NAME_BYTES_MAX: usize = 256;

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum GroupKind {
    /// Written to every member's inbox.
    Group,
    /// Written once, to its timeline.
    Channel,
}

impl GroupKind {
    pub(super) const fn of(kind: ConvKind) -> Self {
        if matches!(kind, ConvKind::Channel) { Self::Channel } else { Self::Group }
    }
}

/// Members of a group that are told of at once; a channel may have very many.
pub(super) const MEMBERS_MAX: usize = 10_000;

/// A group with a part of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupPage {
    /// Only the members of this part.
    pub(super) group: GroupView,
    /// How many there are.
    pub(super) members_total: u64,
    /// There are more after the last of these.
    pub(super) more: bool,
}

impl GroupPage {
    /// The members after the mid `after`, at most `limit` and [`MEMBERS_MAX`].
    pub(super) fn of(mut group: GroupView, after: u64, limit: Option<u64>) -> Self {
        let limit = limit.map_or(MEMBERS_MAX, |limit| usize::try_from(limit).unwrap_or(MEMBERS_MAX).min(MEMBERS_MAX));
        let members_total = group.members.len() as u64;
        group.members.drain(..group.members.partition_point(|mid| *mid <= after));
        let more = group.members.len() > limit;
        group.members.truncate(limit);
        Self { group, members_total, more }
    }
}

/// A group as it is to be.
#[derive(Clone, Debug)]
pub(super) struct GroupPut {
    pub(super) kind: GroupKind,
    pub(super) owner: i64,
    pub(super) name: String,
    pub(super) members: Vec<i64>,
}

/// A change that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Changed<T> {
    /// It took effect, and can be read back.
    Now(T),
    /// The log has it under this id, and it takes effect soon.
    Soon(u64),
}

impl Api {
    /// Stored messages, if this node has them.
    pub(super) fn inbox(&self) -> Result<&Arc<Inbox>, Problem> {
        let inbox = self.inbox.as_ref();
        inbox.ok_or_else(|| Problem::new(Reason::Unsupported, "this node keeps no messages: only what is not stored can be sent"))
    }

    /// A group.
    pub(super) async fn group(&self, id: u64) -> Result<GroupView, Problem> {
        self.find_group(id).await?.ok_or_else(no_group)
    }

    /// A group with the members of a page.
    pub(super) async fn group_page(&self, id: u64, from: PageFrom) -> Result<GroupPage, Problem> {
        if from.limit == Some(0) {
            return Err(Problem::bad(format!(
                "limit must be a number above 0; {MEMBERS_MAX} members at most are told of at once"
            )));
        }
        Ok(GroupPage::of(self.group(id).await?, from.after, from.limit))
    }

    async fn find_group(&self, id: u64) -> Result<Option<GroupView>, Problem> {
        Ok(self.inbox()?.store().group(id).get().await?)
    }

    /// Makes a group, or describes it anew.
    pub(super) async fn put_group(&self, deadline: Instant, id: u64, put: GroupPut) -> Result<Changed<GroupView>, Problem> {
        let change = self.check_put(id, put)?;
        match self.find_group(id).await? {
            Some(group) if (group.kind == ConvKind::Channel) != change.channel => {
                return Err(Problem::new(
                    Reason::Conflict,
                    "it is of the other kind: POST /v1/groups/{id}:convert makes a group a channel, and nothing makes it a group again",
                ));
            }
            _ => {}
        }
        let wanted = change.clone();
        let is_so = move |group: Option<&GroupView>| {
            group.is_some_and(|group| {
                (group.owner, &*group.name, &group.members) == (wanted.owner, &*wanted.name, &wanted.add)
                    && (group.kind == ConvKind::Channel) == wanted.channel
            })
        };
        self.change_group(deadline, id, change, is_so).await
    }

    fn check_put(&self, id: u64, put: GroupPut) -> Result<GroupChange, Problem> {
        let owner = u64::try_from(put.owner).map_err(|_| Problem::bad("owner must be the mid of a user, or 0 for none"))?;
        if put.name.len() > NAME_BYTES_MAX || put.name.contains(char::is_control) {
            let rule = format!("name must have at most {NAME_BYTES_MAX} bytes, and no control characters");
            return Err(Problem::bad(rule));
        }
        let mut members = self.members("members", &put.members)?;
        if owner > 0 {
            // Who owns a group is in it.
            members.push(owner);
        }
        sort(&mut members);
        if put.kind == GroupKind::Group {
            self.check_fanout(members.len())?;
        }
        Ok(GroupChange {
            group: id,
            kind: GroupChangeKind::Put as i32,
            channel: put.kind == GroupKind::Channel,
            owner,
            name: put.name,
            add: members,
            remove: Vec::new(),
        })
    }

    /// Ends a group.
    pub(super) async fn delete_group(&self, deadline: Instant, id: u64) -> Result<Changed<()>, Problem> {
        self.group(id).await?;
        let change = change(id, GroupChangeKind::Delete);
        let inbox = self.inbox()?;
        let written = self.write_change(Conv::Group(id), 0, log_record::Body::Change(change)).await?;
        let store = inbox.store();
        let is_gone = || store.group(id).then(|group| Ok(group?.is_none()));
        Ok(if until(patience(deadline), is_gone).await { Changed::Now(()) } else { Changed::Soon(written) })
    }

    /// Makes a group a channel; a channel stays one.
    pub(super) async fn convert_group(&self, deadline: Instant, id: u64) -> Result<Changed<GroupView>, Problem> {
        let group = self.group(id).await?;
        if group.kind == ConvKind::Channel {
            return Ok(Changed::Now(group));
        }
        let is_channel = |group: Option<&GroupView>| group.is_some_and(|group| group.kind == ConvKind::Channel);
        self.change_group(deadline, id, change(id, GroupChangeKind::Convert), is_channel).await
    }

    /// Has members come and go; who is named in both goes.
    pub(super) async fn change_members(
        &self,
        deadline: Instant,
        id: u64,
        (add, remove): (&[i64], &[i64]),
    ) -> Result<Changed<GroupView>, Problem> {
        let (mut add, mut remove) = (self.members("add", add)?, self.members("remove", remove)?);
        sort(&mut add);
        sort(&mut remove);
        add.retain(|mid| remove.binary_search(mid).is_err());
        if add.is_empty() && remove.is_empty() {
            return Err(Problem::bad("add and remove are both empty: name who comes or goes"));
        }
        let group = self.group(id).await?;
        if remove.binary_search(&group.owner).is_ok() && group.owner != 0 {
            return Err(Problem::bad("the owner can't be removed: PUT the group with another owner first"));
        }
        if group.kind == ConvKind::Group {
            let gone = remove.iter().filter(|mid| group.members.binary_search(mid).is_ok()).count();
            let come = add.iter().filter(|mid| group.members.binary_search(mid).is_err()).count();
            if come > 0 {
                self.check_fanout(group.members.len() - gone + come)?;
            }
        }
        let change = GroupChange { add: add.clone(), remove: remove.clone(), ..change(id, GroupChangeKind::Members) };
        let is_so = move |group: Option<&GroupView>| {
            let is_member = |mid: &u64| group.is_some_and(|group| group.members.binary_search(mid).is_ok());
            group.is_some() && add.iter().all(is_member) && !remove.iter().any(is_member)
        };
        self.change_group(deadline, id, change, is_so).await
    }

    /// Writes a change, and waits until the group is as wanted, or the event of the change stands in its timeline: then
    /// somebody else has changed it once more.
    async fn change_group(
        &self,
        deadline: Instant,
        id: u64,
        change: GroupChange,
        is_so: impl Fn(Option<&GroupView>) -> bool + Send + Sync + 'static,
    ) -> Result<Changed<GroupView>, Problem> {
        let inbox = self.inbox()?;
        let written = self.write_change(Conv::Group(id), 0, log_record::Body::Change(change)).await?;
        let is_so = Arc::new(is_so);
        let holds = || -> Answer<bool> {
            let (is_so, inbox) = (is_so.clone(), inbox.clone());
            inbox.store().group(id).and_then(move |group| match group {
                Ok(group) if is_so(group.as_ref()) => Verdict::Now(Ok(true)),
                Ok(_) => inbox.shows(Conv::Group(id), written),
                Err(down) => Verdict::Now(Err(down)),
            })
        };
        if !until(patience(deadline), holds).await {
            return Ok(Changed::Soon(written));
        }
        Ok(self.find_group(id).await?.map_or(Changed::Soon(written), Changed::Now))
    }

    async fn write_change(&self, conv: Conv, from: u64, body: log_record::Body) -> Result<u64, Problem> {
        let written = self.inbox()?.change(conv, from, body, now_ms()).await;
        Ok(written.inspect_err(|error| self.metrics.refused(error.reason()))?)
    }

    /// A user blocks another, or no longer.
    pub(super) async fn block(&self, deadline: Instant, mid: i64, peer: i64, blocked: bool) -> Result<Changed<()>, Problem> {
        let (mid, peer) = (user(mid)?.cast_unsigned(), user(peer)?.cast_unsigned());
        if mid == peer {
            return Err(Problem::bad("peer must be another user"));
        }
        let store = self.inbox()?.store();
        let body = log_record::Body::Block(BlockMark { peer, blocked });
        let written = self.write_change(Conv::direct(mid, peer), mid, body).await?;
        let holds = || store.is_blocked(mid, peer).then(move |now| Ok(now? == blocked));
        Ok(if until(patience(deadline), holds).await { Changed::Now(()) } else { Changed::Soon(written) })
    }

    fn members(&self, what: &str, mids: &[i64]) -> Result<Vec<u64>, Problem> {
        let targets_max = self.config().targets_max;
        if mids.len() > targets_max {
            let message = format!("more {what} than the {targets_max} allowed at a time: add the others afterwards");
            return Err(Problem::new(Reason::TooLarge, message));
        }
        match mids.iter().find(|mid| **mid <= 0) {
            Some(mid) => Err(Problem::bad(format!("{what}: {mid} is no user"))),
            None => Ok(mids.iter().map(|mid| mid.cast_unsigned()).collect()),
        }
    }

    fn check_fanout(&self, members: usize) -> Result<(), Problem> {
        let fanout = self.config().stored.fanout;
        if members <= fanout {
            return Ok(());
        }
        let advice = "make it a channel: kind \"channel\" when it is new, POST /v1/groups/{id}:convert when it is there";
        Err(Problem::new(
            Reason::TooLarge,
            format!("a group of {members} members is larger than the {fanout} whose inboxes are written to; {advice}"),
        ))
    }
}

fn change(id: u64, kind: GroupChangeKind) -> GroupChange {
    GroupChange { group: id, kind: kind as i32, ..GroupChange::default() }
}

fn sort(mids: &mut Vec<u64>) {
    mids.sort_unstable();
    mids.dedup();
}

/// How long an effect is waited for, ms.
fn patience(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_millis(100));
    u64::try_from(left.as_millis()).unwrap_or(EFFECT_MS).min(EFFECT_MS)
}

fn no_group() -> Problem {
    Problem::new(Reason::NotFound, "there is no such group: PUT /v1/groups/{id} makes it")
}

impl From<StoreDown> for Problem {
    fn from(StoreDown(why): StoreDown) -> Self {
        let detail = format!("the store does not answer ({why}): nothing was done; try again");
        Self { retry_after_ms: Some(1_000), ..Self::new(Reason::Unavailable, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_members() {
        let group =
            |members: Vec<u64>| GroupView { kind: ConvKind::Channel, owner: 0, name: "".into(), members, version: 1, head: 1 };
        for (after, limit, members, more) in [
            (0, None, vec![3, 5, 9], false),
            (0, Some(2), vec![3, 5], true),
            (5, Some(2), vec![9], false),
            (4, Some(1), vec![5], true),
            (9, Some(1), vec![], false),
            (u64::MAX, Some(u64::MAX), vec![], false),
        ] {
            let page = GroupPage::of(group(vec![3, 5, 9]), after, limit);
            assert_eq!((page.group.members, page.members_total, page.more), (members, 3, more), "{after} {limit:?}");
        }
        let page = GroupPage::of(group((1..=10_001).collect()), 0, Some(u64::MAX));
        assert_eq!((page.group.members.len(), page.members_total, page.more), (MEMBERS_MAX, 10_001, true));
    }
}

//! EPHEMERAL: typing and the like, relayed to who is online and never stored.

use std::sync::Arc;

use bytes::Bytes;
use perseid_protocol::frame::{flag, kind};
use perseid_protocol::op;
use perseid_protocol::push::{Delivery, Push, Target};
use perseid_store::Verdict;
use perseid_store::stored::conv::ConvKind;

use super::ask::{Named, StoredRequest};
use super::write::Next;
use super::{Inbox, StoredRefusal, StoredReply, lock};

impl Inbox {
    pub(super) fn ephemeral(self: &Arc<Self>, request: &StoredRequest<'_>, to: Named) -> Verdict<Next> {
        let from = request.mid;
        if let Err(wait_ms) = lock(&self.rates).take(from, request.now_ms) {
            return Verdict::Now(Err(StoredRefusal::rate_limited(wait_ms)).into());
        }
        let push = Push {
            op: op::EPHEMERAL,
            kind: to.kind,
            from,
            // Of a group all see the same; in a direct chat the other side sees the sender.
            conv: to.group().unwrap_or(from),
            flags: flag::EPHEMERAL,
            body: Bytes::copy_from_slice(request.body),
            ..Push::default()
        };
        match to.group() {
            Some(group) => self.to_group(group, push),
            None => self.to_peer(to.number, push),
        }
    }

    fn to_peer(self: &Arc<Self>, peer: u64, push: Push) -> Verdict<Next> {
        if peer == push.from {
            return done();
        }
        let inbox = self.clone();
        self.parts.store.is_blocked(peer, push.from).then(move |is_blocked| match is_blocked {
            Ok(true) => Ok(StoredReply::default()).into(),
            Ok(false) => inbox.relay(&[peer], push),
            Err(down) => Err(down.into()).into(),
        })
    }

    fn to_group(self: &Arc<Self>, group: u64, push: Push) -> Verdict<Next> {
        let inbox = self.clone();
        self.parts.store.group(group).then(move |group| match group {
            Ok(Some(group)) if group.members.binary_search(&push.from).is_err() => Err(StoredRefusal::not_member()).into(),
            Ok(Some(group)) if group.kind == ConvKind::Channel => {
                Err(StoredRefusal::denied("channels are too large for what is not stored: use a group")).into()
            }
            Ok(Some(group)) => inbox.relay(&group.members, Push { kind: kind::GROUP, ..push }),
            Ok(None) => Err(StoredRefusal::not_member()).into(),
            Err(down) => Err(down.into()).into(),
        })
    }

    /// To the extended sessions of all but the sender.
    fn relay(&self, mids: &[u64], push: Push) -> Next {
        let push = Arc::new(push);
        let others = mids.iter().filter(|mid| **mid != push.from);
        let sessions = others.flat_map(|mid| self.parts.registry.describe(mid.cast_signed())).filter(|row| row.extended);
        let deliveries: Vec<_> = sessions.map(|row| Delivery { target: Target::Session(row.addr), push: push.clone() }).collect();
        if !deliveries.is_empty() {
            self.parts.relay.relay(deliveries);
        }
        Ok(StoredReply::default()).into()
    }
}

fn done() -> Verdict<Next> {
    Verdict::Now(Ok(StoredReply::default()).into())
}

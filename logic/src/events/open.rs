//! A session begins: its online is written, then it is registered.

use std::sync::Arc;

use bytes::Bytes;
use perseid_log::{AppendError, Offset};
use perseid_protocol::CloseReason;
use perseid_protocol::push::SessionAddr;
use perseid_rpc::{EventKind, Events};
use perseid_store::{NewSession, SessionRow, Takeover};
use prost::Message;
use tokio::sync::{oneshot, watch};

use super::offer::{Offered, offer};
use super::presence::{Keys, Presence, Stripe, event_of, reason_word};
use super::unit;
use crate::snowflake::LEAD_MS_MAX;
use perseid_store::Verdict;

/// Why a session does not begin. Nothing was registered or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The key names another user's session.
    #[error("the key is in use by another user's session")]
    KeyTaken,
    /// The log does not take events now.
    #[error("the event log does not take the beginning of a session now")]
    Unavailable,
}

type Outcome = Result<Option<SessionAddr>, OpenError>;

/// A session whose online is on its way into the log. Nobody else gets its key meanwhile.
pub(super) struct Pending {
    pub(super) session: SessionRow,
    takeover: Takeover,
    /// The session that it replaces.
    pub(super) old: Option<SessionRow>,
    /// It ended before it began.
    pub(super) ended: Option<&'static str>,
    /// The old one ended meanwhile by itself.
    pub(super) old_ended: Option<&'static str>,
    tell: oneshot::Sender<Outcome>,
    /// Dropped when this is over: others wait for that.
    over: watch::Sender<()>,
}

enum Try {
    Answered(Outcome),
    Coming(oneshot::Receiver<Outcome>),
    /// Another one with this key is on its way, in or out.
    After(SessionRow, watch::Receiver<()>),
}

impl Presence {
    /// Begins a session: gives the one that it replaces, which has to be ended. The answer comes when the log has its
    /// online; it is registered then and not before. If nobody waits for the answer any more, it ends at once.
    pub fn open(
        self: &Arc<Self>,
        session: NewSession<'_>,
        takeover: Takeover,
    ) -> Verdict<Result<Option<SessionAddr>, OpenError>> {
        match self.try_open(owned(session), takeover) {
            Try::Answered(outcome) => Verdict::Now(outcome),
            Try::Coming(outcome) => Verdict::Later(Box::pin(settled(outcome))),
            Try::After(session, over) => {
                let presence = self.clone();
                Verdict::Later(Box::pin(async move { presence.open_after(session, takeover, over).await }))
            }
        }
    }

    async fn open_after(self: Arc<Self>, mut session: SessionRow, takeover: Takeover, mut over: watch::Receiver<()>) -> Outcome {
        loop {
            // Nothing is ever sent: an error says that the other is over.
            let _ = over.changed().await;
            match self.try_open(session, takeover) {
                Try::Answered(outcome) => return outcome,
                Try::Coming(outcome) => return settled(outcome).await,
                Try::After(again, next) => (session, over) = (again, next),
            }
        }
    }

    fn try_open(self: &Arc<Self>, session: SessionRow, takeover: Takeover) -> Try {
        let now_ms = self.feed.now_ms();
        let ids = [self.feed.ids.next(now_ms), self.feed.ids.next(now_ms)];
        // Who could not be told of the end of a session is told of no new one: the log is in order, and what waits is bounded.
        if !self.feed.flush() || ids[1].lead_ms > LEAD_MS_MAX {
            self.feed.refused(EventKind::SessionOnline);
            return Try::Answered(Err(OpenError::Unavailable));
        }
        let mut stripe = self.stripe(&session.key);
        let before = stripe.pending.get(&session.key).map(|pending| &pending.over);
        if let Some(over) = before.or_else(|| stripe.leaving.get(&session.key)) {
            let over = over.subscribe();
            return Try::After(session, over);
        }
        // Now, that no session of this key can end: the last one may be among those that wait.
        if !self.feed.is_settled() {
            self.feed.refused(EventKind::SessionOnline);
            return Try::Answered(Err(OpenError::Unavailable));
        }
        let old = self.registry.row(&session.key);
        let old_mid = old.as_ref().map_or(session.mid, |old| old.mid);
        if takeover == Takeover::SameUser && old_mid != session.mid {
            return Try::Answered(Err(OpenError::KeyTaken));
        }
        let mut users = self.users.lock(session.mid, old_mid);
        let mut events = Vec::with_capacity(2);
        if let Some(old) = &old {
            let mut event = event_of(old, EventKind::SessionOffline, ids[0].id, now_ms);
            event.sessions = users.add(old.mid, false);
            event.reason = CloseReason::Replaced.word().to_owned();
            events.push(event);
        }
        let mut event = event_of(&session, EventKind::SessionOnline, ids[1].id, now_ms);
        event.sessions = users.add(session.mid, true);
        events.push(event);

        let value = Bytes::from(Events { events }.encode_to_vec());
        let unit = unit(session.mid, &session.key.to_string());
        let (presence, key) = (self.clone(), session.key.clone());
        let offered = offer(&*self.feed.log, &unit, value, move |result| presence.finish(&key, result));
        drop(users);
        let (tell, told) = oneshot::channel();
        let over = watch::Sender::new(());
        let pending = Pending { session, takeover, old, ended: None, old_ended: None, tell, over };
        match offered {
            Offered::Coming => {
                stripe.pending.insert(pending.session.key.clone(), pending);
                Try::Coming(told)
            }
            Offered::Durable(offset) => Try::Answered(self.complete(&mut stripe, &pending, Ok(offset))),
            Offered::Refused(error) => Try::Answered(self.complete(&mut stripe, &pending, Err(error))),
        }
    }

    /// On the log's thread: it has the online, or has given it up.
    fn finish(self: &Arc<Self>, key: &perseid_protocol::SessionKey, result: Result<Offset, AppendError>) {
        let mut stripe = self.stripe(key);
        let Some(pending) = stripe.pending.remove(key) else { return };
        let outcome = self.complete(&mut stripe, &pending, result);
        drop::<Stripe<'_>>(stripe);
        let (session, begun) = (pending.session, outcome.is_ok());
        if pending.tell.send(outcome).is_err() && begun {
            self.end(&session.key, session.mid, session.addr, None);
        }
    }

    fn complete(self: &Arc<Self>, keys: &mut Keys, pending: &Pending, result: Result<Offset, AppendError>) -> Outcome {
        let Pending { session, takeover, old, .. } = pending;
        let Ok(offset) = result else {
            self.feed.refused(EventKind::SessionOnline);
            let mut users = self.users.lock(session.mid, old.as_ref().map_or(session.mid, |old| old.mid));
            users.add(session.mid, false);
            if let Some(old) = old {
                users.add(old.mid, true);
            }
            drop(users);
            if let (Some(old), Some(reason)) = (old, pending.old_ended) {
                self.say_offline(keys, old, reason);
            }
            return Err(OpenError::Unavailable);
        };
        self.feed.wrote(offset, &[EventKind::SessionOnline]);
        if old.is_some() {
            self.feed.wrote(offset, &[EventKind::SessionOffline]);
        }
        // All changes of this key went through here, so the registry can't find it taken.
        let Ok(replaced) = self.registry.open(borrowed(session), *takeover) else {
            self.say_offline(keys, session, CloseReason::Internal.word());
            return Err(OpenError::KeyTaken);
        };
        if let Some(reason) = pending.ended
            && self.registry.close(&session.key, session.mid, session.addr)
        {
            self.say_offline(keys, session, reason);
        }
        Ok(replaced)
    }

    /// Whether an end is one of this pending session, or of the one that it replaces: then it is seen to.
    pub(super) fn end_pending(&self, pending: &mut Pending, addr: SessionAddr, reason: Option<CloseReason>) -> bool {
        if pending.session.addr == addr {
            let first = pending.ended.is_none();
            pending.ended.get_or_insert(reason_word(reason));
            return first;
        }
        let Some(old) = pending.old.as_ref().filter(|old| old.addr == addr) else { return false };
        // Its offline is on its way, unless that fails.
        let closed = self.registry.close(&old.key, old.mid, addr);
        if closed {
            pending.old_ended = Some(reason_word(reason));
        }
        closed
    }
}

async fn settled(outcome: oneshot::Receiver<Outcome>) -> Outcome {
    outcome.await.unwrap_or(Err(OpenError::Unavailable))
}

pub(super) fn owned(session: NewSession<'_>) -> SessionRow {
    SessionRow {
        key: session.key,
        mid: session.mid,
        addr: session.addr,
        platform: session.platform.into(),
        device_id: session.device_id.into(),
        peer: session.peer,
        since_ms: session.since_ms,
        extended: session.extended,
    }
}

pub(super) fn borrowed(session: &SessionRow) -> NewSession<'_> {
    NewSession {
        key: session.key.clone(),
        mid: session.mid,
        addr: session.addr,
        platform: &session.platform,
        device_id: &session.device_id,
        peer: session.peer,
        since_ms: session.since_ms,
        extended: session.extended,
    }
}

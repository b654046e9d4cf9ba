//! Sessions of comets in other processes, which live on while logic starts again.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use perseid_protocol::CloseReason;
use perseid_protocol::push::SessionAddr;
use perseid_rpc::{Event, EventKind};
use perseid_store::{NewSession, Restored, SessionRow};

use super::open::{borrowed, owned};
use super::presence::{Keys, Presence, event_of};
use super::recover::CRASH;
use super::{Feed, Held, unit};

impl Feed {
    fn unconfirmed(&self) -> MutexGuard<'_, HashMap<SessionAddr, Event>> {
        // Every change is one call.
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is not known yet of some session whether it lives.
    pub fn has_unconfirmed(&self) -> bool {
        !self.unconfirmed().is_empty()
    }
}

impl Presence {
    /// See [`SessionRegistry::restore`](perseid_store::SessionRegistry::restore). Its online is written unless the log has it, now or later: unlike a
    /// session that begins, one that is there can't be refused.
    pub fn restore(self: &Arc<Self>, session: NewSession<'_>) -> Restored {
        let session = owned(session);
        let mut stripe = self.stripe(&session.key);
        if stripe.pending.get(&session.key).is_some_and(|pending| pending.session.addr == session.addr) {
            // It is on its way, and will be registered.
            return Restored::Known;
        }
        let old = self.registry.row(&session.key);
        if old.as_ref().is_some_and(|old| old.addr == session.addr) {
            return Restored::Known;
        }
        let was_told = self.feed.unconfirmed().remove(&session.addr).is_some();
        let younger = old.as_ref().is_some_and(|old| (old.since_ms, old.addr) > (session.since_ms, session.addr));
        if younger || stripe.pending.contains_key(&session.key) {
            if was_told {
                let sessions = self.users.lock(session.mid, session.mid).count(session.mid);
                self.say_ended(&mut stripe, &session, CloseReason::Replaced.word(), sessions);
            }
            return Restored::Outlived;
        }
        self.say_again(&mut stripe, &session, old.as_ref(), was_told);
        // Nothing of this key changes while its stripe is locked.
        self.registry.restore(borrowed(&session))
    }

    /// Tells of a session that is there again, and of the one that it replaces.
    fn say_again(self: &Arc<Self>, keys: &mut Keys, session: &SessionRow, old: Option<&SessionRow>, was_told: bool) {
        let now_ms = self.feed.now_ms();
        let mut users = self.users.lock(session.mid, old.map_or(session.mid, |old| old.mid));
        let mut events = Vec::with_capacity(2);
        if let Some(old) = old {
            let mut event = event_of(old, EventKind::SessionOffline, self.feed.ids.next(now_ms).id, now_ms);
            event.sessions = users.add(old.mid, false);
            event.reason = CloseReason::Replaced.word().to_owned();
            events.push(event);
        }
        let sessions = users.add(session.mid, true);
        if !was_told {
            let mut event = event_of(session, EventKind::SessionOnline, self.feed.ids.next(now_ms).id, now_ms);
            event.sessions = sessions;
            events.push(event);
        }
        let kinds: &'static [EventKind] = match (old.is_some(), was_told) {
            (false, true) => return,
            (true, true) => &[EventKind::SessionOffline],
            (false, false) => &[EventKind::SessionOnline],
            (true, false) => &[EventKind::SessionOffline, EventKind::SessionOnline],
        };
        let held = Held::new(unit(session.mid, &session.key.to_string()), events, kinds);
        self.say(keys, &session.key, held);
    }

    /// Tells of the end of a session that is not registered.
    fn say_ended(self: &Arc<Self>, keys: &mut Keys, session: &SessionRow, reason: &str, sessions: u32) {
        let now_ms = self.feed.now_ms();
        let mut event = event_of(session, EventKind::SessionOffline, self.feed.ids.next(now_ms).id, now_ms);
        event.sessions = sessions;
        event.reason = reason.to_owned();
        let held = Held::new(unit(session.mid, &event.key), vec![event], &[EventKind::SessionOffline]);
        self.say(keys, &session.key, held);
    }

    /// Tells of the end of sessions that no comet has said to be there since the start: their comets had time enough. Gives how
    /// many they were. One that comes back all the same begins anew.
    pub fn give_up_unconfirmed(self: &Arc<Self>) -> usize {
        let gone: Vec<Event> = self.feed.unconfirmed().drain().map(|(_, event)| event).collect();
        let now_ms = self.feed.now_ms();
        for begun in &gone {
            let sessions = self.users.lock(begun.mid, begun.mid).count(begun.mid);
            let event = Event {
                id: self.feed.ids.next(now_ms).id,
                kind: EventKind::SessionOffline.into(),
                ts_ms: now_ms,
                reason: CRASH.to_owned(),
                sessions,
                ..begun.clone()
            };
            self.feed.hold(Held::new(unit(begun.mid, &begun.key), vec![event], &[EventKind::SessionOffline]));
        }
        self.feed.crashed.fetch_add(gone.len() as u64, std::sync::atomic::Ordering::Relaxed);
        self.feed.flush();
        gone.len()
    }
}

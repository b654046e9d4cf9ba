//! A session that lives on its comet is registered again, after this logic had ended and begun again, or had given its comet up.
//!
//! Its end was told then (CRASH, LEFT), because nobody could know better: it begins once more, as a pair of its own.

use std::sync::Arc;

use perseid_protocol::CloseReason;
use perseid_rpc::{EventKind, Events};
use perseid_store::{NewSession, Restored, SessionRow};

use super::open::{borrowed, owned};
use super::presence::{Presence, event_of};
use super::unit;

impl Presence {
    /// See [`SessionRegistry::restore`](perseid_store::SessionRegistry::restore). Its online is written now or later: a session
    /// that lives is not refused for want of a log.
    pub fn restore(self: &Arc<Self>, session: NewSession<'_>) -> Restored {
        let session = owned(session);
        let stripe = self.stripe(&session.key);
        if let Some(pending) = stripe.get(&session.key) {
            // The younger one is on its way; or this one is, and will be registered.
            return if pending.session.addr == session.addr { Restored::Known } else { Restored::Outlived };
        }
        let old = self.registry.row(&session.key);
        let restored = self.registry.restore(borrowed(&session));
        if let (Restored::Replaced(_), Some(old)) = (restored, &old) {
            self.say_offline(old, CloseReason::Replaced.word());
        }
        if matches!(restored, Restored::Added | Restored::Replaced(_)) {
            self.say_online(&session);
        }
        restored
    }

    /// Writes that a session has begun, that is registered already. The stripe of its key is locked.
    fn say_online(&self, row: &SessionRow) {
        let now_ms = self.feed.now_ms();
        let mut users = self.users.lock(row.mid, row.mid);
        let mut event = event_of(row, EventKind::SessionOnline, self.feed.ids.next(now_ms).id, now_ms);
        event.sessions = users.add(row.mid, true);
        self.feed.keep(unit(row.mid, &event.key), &Events { events: vec![event] });
    }
}

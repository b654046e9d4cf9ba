//! Messages of the wire ⇄ values of the parts.

use std::sync::Arc;

use bytes::Bytes;
use perseid_protocol::CloseReason;
use perseid_protocol::push::{Delivery, Priority, Push, SessionAddr, Target};
use perseid_protocol::trace::Trace;
use perseid_rpc::cluster as rpc;

/// A life of a comet: what the addresses of its sessions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) node: u32,
    pub(crate) incarnation: u32,
}

impl Life {
    pub(crate) fn holds(self, addr: SessionAddr) -> bool {
        (addr.node, addr.incarnation) == (self.node, self.incarnation)
    }

    /// The address of a place; `None` if a worker has no such number.
    pub(crate) fn addr(self, place: rpc::Place) -> Option<SessionAddr> {
        Some(SessionAddr {
            node: self.node,
            incarnation: self.incarnation,
            worker: u16::try_from(place.worker).ok()?,
            slot: place.slot,
            generation: place.generation,
        })
    }
}

pub(crate) fn place(addr: SessionAddr) -> rpc::Place {
    rpc::Place { worker: addr.worker.into(), slot: addr.slot, generation: addr.generation }
}

/// Items of deliveries to the sessions of `life`: what is for sessions of another life has no receiver, and is left out.
/// Deliveries of one push that follow one another share an item.
pub(crate) fn items(deliveries: &[Delivery], life: Life) -> (Vec<rpc::Item>, usize) {
    let mut items: Vec<rpc::Item> = Vec::new();
    let (mut left_out, mut last): (usize, Option<&Arc<Push>>) = (0, None);
    for delivery in deliveries {
        let target = match &delivery.target {
            Target::Session(addr) if !life.holds(*addr) => {
                left_out += 1;
                continue;
            }
            Target::Session(addr) => {
                if last.is_some_and(|last| Arc::ptr_eq(last, &delivery.push))
                    && let Some(rpc::item::Target::Sessions(sessions)) = items.last_mut().and_then(|item| item.target.as_mut())
                {
                    put_session(sessions, *addr);
                    continue;
                }
                let mut sessions = rpc::Sessions::default();
                put_session(&mut sessions, *addr);
                rpc::item::Target::Sessions(sessions)
            }
            Target::Inbox { session, .. } | Target::End(session, _) if !life.holds(*session) => {
                left_out += 1;
                continue;
            }
            Target::Inbox { session, pos, conv } => {
                rpc::item::Target::Inbox(rpc::Inbox { place: Some(place(*session)), pos: *pos, conv: *conv })
            }
            Target::End(session, reason) => {
                rpc::item::Target::End(rpc::End { place: Some(place(*session)), reason: reason.code().into() })
            }
            Target::Room(room) => rpc::item::Target::Room(room.to_string()),
            Target::All { speed } => rpc::item::Target::All(rpc::All { speed: *speed }),
        };
        last = Some(&delivery.push);
        items.push(rpc::Item { push: Some(push_message(&delivery.push)), target: Some(target) });
    }
    (items, left_out)
}

fn put_session(sessions: &mut rpc::Sessions, addr: SessionAddr) {
    sessions.workers.push(addr.worker.into());
    sessions.slots.push(addr.slot);
    sessions.generations.push(addr.generation);
}

fn push_message(push: &Push) -> rpc::Push {
    rpc::Push {
        id: push.id,
        op: push.op,
        kind: push.kind.into(),
        from: push.from,
        conv: push.conv,
        expires_at_ms: push.expires_at_ms,
        body: push.body.clone(),
        filter_op: push.filter_op,
        pos: push.pos,
        conv_pos: push.conv_pos,
        cid: push.cid,
        flags: push.flags.into(),
        priority: priority_number(push.priority),
        collapse: push.collapse,
        trace: push.trace.map(|trace| Bytes::copy_from_slice(&trace.to_record())).unwrap_or_default(),
    }
}

/// As records of the log have it.
fn priority_number(priority: Priority) -> u32 {
    match priority {
        Priority::Normal => 0,
        Priority::High => 1,
        Priority::Low => 2,
    }
}

/// One that a later version may have is as most are.
fn priority_of(number: u32) -> Priority {
    Priority::ALL.into_iter().find(|known| priority_number(*known) == number).unwrap_or_default()
}

/// The deliveries of items, and how many made no sense: they say nothing, or name nobody.
pub(crate) fn deliveries(items: Vec<rpc::Item>, life: Life) -> (Vec<Delivery>, usize) {
    let (mut deliveries, mut malformed) = (Vec::new(), 0);
    for item in items {
        let (Some(push), Some(target)) = (item.push, item.target) else {
            malformed += 1;
            continue;
        };
        let push = Arc::new(Push {
            id: push.id,
            op: push.op,
            filter_op: push.filter_op,
            kind: u16::try_from(push.kind).unwrap_or_default(),
            from: push.from,
            conv: push.conv,
            expires_at_ms: push.expires_at_ms,
            body: push.body,
            pos: push.pos,
            conv_pos: push.conv_pos,
            cid: push.cid,
            flags: u16::try_from(push.flags).unwrap_or_default(),
            priority: priority_of(push.priority),
            collapse: push.collapse,
            trace: Trace::from_record(&push.trace),
        });
        match target {
            rpc::item::Target::Inbox(rpc::Inbox { place, pos, conv }) => match place.and_then(|place| life.addr(place)) {
                Some(session) => deliveries.push(Delivery { target: Target::Inbox { session, pos, conv }, push }),
                None => malformed += 1,
            },
            rpc::item::Target::End(rpc::End { place, reason }) => {
                let reason = u16::try_from(reason).ok().and_then(CloseReason::from_code);
                match place.and_then(|place| life.addr(place)).zip(reason) {
                    Some((session, reason)) => deliveries.push(Delivery { target: Target::End(session, reason), push }),
                    None => malformed += 1,
                }
            }
            rpc::item::Target::Sessions(sessions) => {
                let places = sessions.workers.iter().zip(&sessions.slots).zip(&sessions.generations);
                for ((&worker, &slot), &generation) in places {
                    match life.addr(rpc::Place { worker, slot, generation }) {
                        Some(addr) => deliveries.push(Delivery { target: Target::Session(addr), push: push.clone() }),
                        None => malformed += 1,
                    }
                }
            }
            rpc::item::Target::Room(room) => deliveries.push(Delivery { target: Target::Room(room.into()), push }),
            rpc::item::Target::All(all) => deliveries.push(Delivery { target: Target::All { speed: all.speed }, push }),
        }
    }
    (deliveries, malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_come_back_in_their_order() {
        let life = Life { node: 7, incarnation: 9 };
        let addr = |slot| SessionAddr { node: 7, incarnation: 9, worker: 3, slot, generation: 2 };
        let push = |id| {
            Arc::new(Push {
                id,
                op: 1000,
                filter_op: -5,
                kind: 3,
                from: 4,
                conv: u64::MAX,
                expires_at_ms: 6,
                priority: if id == 1 { Priority::Low } else { Priority::High },
                collapse: u64::MAX - id,
                body: "body".into(),
                trace: Trace::from_record(&[7; 25]),
                ..Push::default()
            })
        };
        let (one, two) = (push(1), push(2));
        let to = |target, push: &Arc<Push>| Delivery { target, push: push.clone() };
        let sent = [
            to(Target::Session(addr(1)), &one),
            to(Target::Session(addr(2)), &one),
            to(Target::Room("live://1".into()), &one),
            to(Target::Session(addr(3)), &one),
            to(Target::Session(addr(3)), &two),
            to(Target::All { speed: 5 }, &two),
        ];
        let (items, left_out) = items(&sent, life);
        assert_eq!((items.len(), left_out), (5, 0));
        assert_eq!(deliveries(items, life), (sent.to_vec(), 0));
    }

    /// Comets of an earlier version leave both out, those of a later one may know more.
    #[test]
    fn priorities_are_those_of_the_log_and_may_be_unknown() {
        let known = [(0, Priority::Normal), (1, Priority::High), (2, Priority::Low)];
        for (number, priority) in known {
            assert_eq!((priority_of(number), priority_number(priority)), (priority, number));
        }
        assert_eq!([3, u32::MAX].map(priority_of), [Priority::Normal; 2]);
        assert_eq!((rpc::Push::default().priority, rpc::Push::default().collapse), (0, 0));
    }

    #[test]
    fn sessions_of_another_life_are_left_out() {
        let life = Life { node: 7, incarnation: 9 };
        let other = SessionAddr { node: 7, incarnation: 8, ..SessionAddr::default() };
        let push = Arc::new(Push::default());
        let (items, left_out) = items(&[Delivery { target: Target::Session(other), push }], life);
        assert_eq!((items, left_out), (vec![], 1));
    }

    #[test]
    fn what_makes_no_sense_is_nobodys() {
        let life = Life { node: 1, incarnation: 1 };
        let sessions = rpc::Sessions { workers: vec![70_000, 1], slots: vec![1], generations: vec![1, 1, 1] };
        let target = Some(rpc::item::Target::Sessions(sessions));
        let items = vec![rpc::Item { push: Some(rpc::Push::default()), target }, rpc::Item::default()];
        assert_eq!(deliveries(items, life), (vec![], 2));
    }
}

//! Histories as a server could make them, right and wrong.

use super::super::account::{Account, Wanted};
use super::super::header::{FLAG_STORED, KIND_DIRECT};
use super::super::plan::{Plan, To, tests::plan};
use super::*;
use crate::engine::check::Tally;

/// One process with all sessions; a history is a list of steps.
struct World {
    plan: Plan,
    ledger: Ledger,
    convs: HashMap<(u64, u64), u64>,
}

impl World {
    fn new() -> Self {
        let plan = Plan { count: 40, senders: 5, children: 1, burst: 1, ..plan(To::Peers(2)) };
        Self { plan, ledger: Ledger::new(plan, 5), convs: HashMap::new() }
    }

    fn sent(&mut self, k: u64) -> &mut Self {
        self.ledger.seen.sent += 1;
        let head = Head { cid: self.plan.cid(k), id: 1 + k, ..Head::default() };
        let session = usize::try_from(self.plan.sender(k)).unwrap();
        assert!(self.ledger.answer(session, &head, self.plan.due_ns(k) + 2_000_000));
        self
    }

    fn at(&mut self, mid: u64, k: u64, change: impl Fn(&mut Head, &mut Vec<u8>)) -> &mut Self {
        let (sender, recipient) = (self.plan.sender_mid(k), self.plan.conv(k));
        let conv = if mid == sender { recipient } else { sender };
        let place = self.convs.entry((mid, conv)).or_default();
        *place += 1;
        let mut head = Head {
            op: 4,
            id: 1 + k,
            conv,
            conv_pos: *place,
            from: sender,
            cid: self.plan.cid(k),
            kind: KIND_DIRECT,
            flags: FLAG_STORED,
            ..Head::default()
        };
        let mut body = self.plan.stamp(k).encode(self.plan.body_bytes);
        change(&mut head, &mut body);
        let session = usize::try_from(mid - self.plan.first_mid).unwrap();
        let now_ns = self.plan.due_ns(k) + 3_000_000;
        self.ledger.message(&Arrival { session, mid, head, body: &body, now_ns });
        self
    }

    fn whole(&mut self, k: u64) -> &mut Self {
        let (sender, recipient) = (self.plan.sender_mid(k), self.plan.conv(k));
        self.sent(k).at(sender, k, |_, _| {}).at(recipient, k, |_, _| {})
    }

    fn end(self) -> (Account, Tally) {
        let account = Account::of(&[self.ledger.close()]);
        let tally = account.tally(Wanted::Both).1;
        (account, tally)
    }
}

#[test]
fn a_right_history_has_no_fault() {
    let mut world = World::new();
    (0..40).for_each(|k| {
        world.whole(k);
    });
    let (account, tally) = world.end();
    assert_eq!(account.tally(Wanted::Both), (80, Tally { received: 80, ..Tally::default() }));
    assert!(account.problems().is_empty() && tally.clean());
    assert_eq!((account.ack.count(), account.arrival.count(), account.echo.count()), (40, 40, 40));
    assert!((account.ack.ms(0.5) - 2.0).abs() < 0.1 && (account.arrival.ms(0.5) - 3.0).abs() < 0.1);
}

#[test]
fn losses_are_found_at_either_side() {
    let mut world = World::new();
    let (sender, recipient) = (world.plan.sender_mid(3), world.plan.conv(3));
    world.whole(0).sent(3).at(recipient, 3, |_, _| {});
    let (account, tally) = world.end();
    assert_eq!((tally.lost, account.tally(Wanted::Arrivals).1.lost, account.tally(Wanted::Echoes).1.lost), (1, 0, 1));
    let mut world = World::new();
    world.whole(0).sent(3).at(sender, 3, |_, _| {});
    assert_eq!(world.end().1.lost, 1);
    // What was never acknowledged cannot be lost, but it is told.
    let mut world = World::new();
    world.ledger.seen.sent = 1;
    let (account, tally) = world.end();
    assert_eq!((tally.lost, account.unanswered()), (0, 1));
    assert!(account.problems()[0].contains("never answered"));
}

#[test]
fn duplicates_and_disorder_are_told_apart() {
    let mut world = World::new();
    let (sender, recipient) = (world.plan.sender_mid(0), world.plan.conv(0));
    let later = (1..40).find(|k| (world.plan.sender_mid(*k), world.plan.conv(*k)) == (sender, recipient)).unwrap();
    world.whole(0).at(recipient, 0, |_, _| {});
    assert_eq!(world.end().1, Tally { received: 3, duplicates: 1, ..Tally::default() });
    let mut world = World::new();
    world.sent(0).sent(later).at(sender, 0, |_, _| {}).at(sender, later, |_, _| {});
    world.at(recipient, later, |_, _| {}).at(recipient, 0, |_, _| {});
    assert_eq!(world.end().1, Tally { received: 4, disordered: 1, ..Tally::default() });
}

#[test]
fn each_other_fault_is_named() {
    type Change = fn(&mut Head, &mut Vec<u8>);
    let changes: [(&str, Change); 7] = [
        ("wrong session", |head, _| head.from += 1),
        ("wrong session", |head, _| head.conv += 1),
        ("wrong session", |head, _| head.kind = 2),
        ("wrong session", |head, _| head.id = 0),
        ("another body", |_, body| body[8] ^= 1),
        ("another body", |_, body| body.truncate(199)),
        ("not the next", |head, _| head.conv_pos = 0),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        let recipient = world.plan.conv(2);
        world.sent(2).at(recipient, 2, change);
        let problems = world.end().0.problems();
        assert!(problems.len() == 1 && problems[0].contains(what), "{what}: {problems:?}");
    }
    let mut world = World::new();
    let stranger = (5_000..5_005).find(|mid| ![world.plan.sender_mid(2), world.plan.conv(2)].contains(mid)).unwrap();
    world.sent(2).at(stranger, 2, |_, _| {});
    assert!(world.end().0.problems()[0].contains("wrong session"));
}

#[test]
fn holes_in_conversations_and_inboxes_are_found() {
    let mut world = World::new();
    let (sender, recipient) = (world.plan.sender_mid(0), world.plan.conv(0));
    let later = (1..40).find(|k| (world.plan.sender_mid(*k), world.plan.conv(*k)) == (sender, recipient)).unwrap();
    world.whole(0).sent(later).at(sender, later, |_, _| {}).at(recipient, later, |head, _| head.conv_pos += 1);
    world.ledger.placed(Place::Jump);
    world.ledger.placed(Place::Repeated);
    world.ledger.placed(Place::Beside);
    let faults = world.end().0.seen().faults;
    assert_eq!(faults, Faults { conv_jumps: 1, jumps: 1, repeated: 1, ..Faults::default() });
}

#[test]
fn wrong_replies_are_found() {
    let reply = |world: &mut World, k: u64, id: u64, flags: u16| {
        let head = Head { cid: world.plan.cid(k), id, flags, ..Head::default() };
        let session = usize::try_from(world.plan.sender(k)).unwrap();
        world.ledger.answer(session, &head, 0)
    };
    let faults = |world: World| world.end().0.seen().faults.answers;
    let mut world = World::new();
    assert!(reply(&mut world, 1, 9, 0) && reply(&mut world, 1, 9, 0));
    assert_eq!(faults(world), 1, "twice");
    let mut world = World::new();
    assert!(reply(&mut world, 1, 0, 0) && reply(&mut world, 2, 5, FLAG_DUPLICATE));
    assert_eq!(faults(world), 2, "no id, and a duplicate that is none");
    let mut world = World::new();
    let second = (1..40).find(|k| world.plan.sender(*k) == world.plan.sender(0)).unwrap();
    assert!(reply(&mut world, second, 9, 0) && reply(&mut world, 0, 9, 0));
    assert_eq!(faults(world), 1, "out of order");
    let mut world = World::new();
    assert!(!reply(&mut world, 40, 9, 0), "of no message");
    let refused = Head { cid: world.plan.cid(7), ..Head::default() };
    assert!(world.ledger.refusal(&refused, "UNAVAILABLE"));
    world.ledger.seen.sent = 1;
    let (account, _) = world.end();
    assert_eq!(account.problems(), ["1 messages were refused: UNAVAILABLE (1)"]);
}

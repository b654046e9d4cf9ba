use super::*;

/// Sessions of a user stand in the slots (mid, mid + 100).
#[derive(Default)]
struct Told(Vec<(u32, u64, String)>);

impl Showing for Told {
    fn sessions(&mut self, mid: u64, out: &mut Vec<SessionAddr>) {
        let mid = u32::try_from(mid).unwrap();
        out.extend([mid, mid + 100].map(|slot| SessionAddr { slot, ..SessionAddr::default() }));
    }

    fn deliver(&mut self, session: SessionAddr, delivery: Delivery) {
        let (pos, what) = match delivery.target {
            Target::Inbox { pos, conv, .. } if delivery.push.op == op::HEAD => (pos, format!("head {conv}")),
            Target::Inbox { pos, conv, .. } => {
                let is_gone = delivery.push.flags & flag::GONE != 0;
                assert_eq!(is_gone, delivery.push.body.is_empty());
                (pos, format!("{} {conv}{}", delivery.push.id, if is_gone { " gone" } else { "" }))
            }
            Target::End(_, reason) => (0, format!("{reason:?}")),
            other => panic!("{other:?}"),
        };
        self.0.push((session.slot, pos, what));
    }

    fn room(&mut self, frame: &RoomFrame) {
        self.0.push((0, frame.push.pos, frame.room.to_string()));
    }

    fn channel(&mut self, hint: Hint) {
        self.0.push((0, hint.pos, format!("channel {}", hint.group)));
    }
}

fn message(offset: u64, id: u64) -> Shown {
    let conv = Some(perseid_store::stored::conv::Conv::direct(1, 2));
    let (kind, op) = (kind::DIRECT, op::SEND_MSG);
    let entry = Entry { id, ts_ms: 0, from: 1, cid: 0, kind, op, flags: 0, conv, conv_pos: 5, inline: None, expires_at_ms: 0 };
    Shown { offset, trace: None, what: What::Inbox { entry: Arc::new(entry), body: Bytes::from_static(b"hi") } }
}

fn done(offset: u64, mid: u64, pos: u64, fresh: bool) -> UserDone {
    UserDone { offset, mid, pos, fresh }
}

/// At 1,000 ms.
fn told(applied: &Applied) -> (Vec<(u32, u64, String)>, ShownCounts) {
    let mut told = Told::default();
    let counts = show(applied, 1_000, &mut told);
    (told.0, counts)
}

#[test]
fn what_is_too_late_keeps_its_position_without_its_body() {
    let mortal = |offset, id, expires_at_ms| {
        let Shown { what: What::Inbox { entry, body }, .. } = message(offset, id) else { panic!() };
        let entry = Arc::new(Entry { expires_at_ms, ..(*entry).clone() });
        Shown { offset, trace: None, what: What::Inbox { entry, body } }
    };
    let shown = vec![mortal(3, 50, 1_001), mortal(4, 51, 1_000)];
    let (told, counts) =
        told(&Applied { upto: 4, shown, dones: vec![done(3, 1, 10, true), done(4, 1, 11, true)], ..Applied::default() });
    let wanted = [(1, 10, "50 2"), (101, 10, "50 2"), (1, 11, "51 2 gone"), (101, 11, "51 2 gone")];
    assert_eq!(told, wanted.map(|(slot, pos, what)| (slot, pos, what.to_owned())));
    assert_eq!(counts, ShownCounts { fresh: 2, ..ShownCounts::default() });
}

#[test]
fn in_the_order_of_the_log_each_as_he_sees_it() {
    let channel = Shown { offset: 4, trace: None, what: What::Channel(Hint { group: 8, pos: 3, id: 9 }) };
    let shown = vec![message(3, 50), channel, message(6, 51)];
    // 5 has an entry for nobody; 7 is an effect without a position.
    let dones = vec![done(3, 1, 10, true), done(3, 2, 20, true), done(5, 1, 0, true), done(6, 2, 21, true), done(6, 1, 0, true)];
    let (told, counts) = told(&Applied { upto: 7, shown, dones, ..Applied::default() });
    let wanted = [(1, 10, "50 2"), (101, 10, "50 2"), (2, 20, "50 1"), (102, 20, "50 1"), (0, 3, "channel 8")];
    let last = [(2, 21, "51 1"), (102, 21, "51 1")];
    let wanted: Vec<_> = wanted.into_iter().chain(last).map(|(slot, pos, what)| (slot, pos, what.to_owned())).collect();
    assert_eq!(told, wanted);
    assert_eq!(counts, ShownCounts { fresh: 3, ..ShownCounts::default() });
}

#[test]
fn what_was_applied_before_is_one_hint() {
    let shown = vec![message(3, 50), message(4, 51)];
    let dones = vec![done(3, 1, 10, false), done(4, 1, 11, false)];
    let (told, counts) = told(&Applied { upto: 4, shown, dones, ..Applied::default() });
    assert_eq!(told, [(1, 11, "head 0".to_owned()), (101, 11, "head 0".to_owned())]);
    assert_eq!(counts, ShownCounts { repeated: 2, hints: 2, ..ShownCounts::default() });
}

#[test]
fn who_gets_a_position_anew_begins_anew() {
    let applied = Applied {
        upto: 3,
        shown: vec![message(3, 50)],
        dones: vec![done(3, 1, 10, true), done(3, 2, 20, false)],
        again: true,
        ..Applied::default()
    };
    let (told, counts) = told(&applied);
    let ended = |slot| (slot, 0, "Resync".to_owned());
    let head = |slot| (slot, 20, "head 0".to_owned());
    assert_eq!(told, [ended(1), ended(101), head(2), head(102)]);
    assert_eq!(counts, ShownCounts { fresh: 1, repeated: 1, hints: 2, ended: 2 });
}

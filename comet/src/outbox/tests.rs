//! The rules of the queue of a session whose socket is full.

use super::*;

fn push(outbox: &mut Outbox, text: &str, way: Way) {
    outbox.push(text.as_bytes(), QueuedFrame { len: text.len(), way, terms: Terms::default(), pos: 0 });
}

#[test]
fn a_torn_frame_is_finished_and_the_oldest_go_first() {
    let mut outbox = Outbox::new(0);
    for text in ["aaaa", "bbbb", "cccc", "dddd"] {
        push(&mut outbox, text, Way::Direct);
    }
    push(&mut outbox, "RRRR", Way::Reply);
    assert_eq!(outbox.advance(2, 1), [0; 5]);
    assert_eq!(outbox.drop_pushes(5, Priority::High), (2, 8));
    assert_eq!(outbox.unwritten(), b"aaddddRRRR");
    assert_eq!(outbox.advance(6, 2), [2, 0, 0, 0, 0]);
    assert_eq!((outbox.unwritten(), outbox.reply_bytes()), (&b"RRRR"[..], 4));
    assert_eq!(outbox.drop_pushes(100, Priority::High), (0, 0), "replies stay");
    assert_eq!(outbox.advance(4, 3), [0, 0, 0, 0, 1]);
    assert!(outbox.is_empty() && outbox.reply_bytes() == 0);
    assert_eq!((outbox.dropped, outbox.progress_ms), (2, 3));
}

#[test]
fn what_is_too_late_goes() {
    let mut outbox = Outbox::new(0);
    outbox.push_rest(b"xx", Way::Reply);
    outbox.push(b"late", QueuedFrame { len: 4, way: Way::All, terms: Terms { expires_at_ms: 5, ..Terms::default() }, pos: 0 });
    push(&mut outbox, "keep", Way::Room);
    assert!(outbox.has_mortal_frames());
    assert_eq!(outbox.drop_expired(5), (1, 4));
    assert_eq!(outbox.unwritten(), b"xxkeep");
    assert_eq!(outbox.pushes(), 1);
}

#[test]
fn what_stands_in_the_inbox_goes_first_and_the_highest_is_owed() {
    let mut outbox = Outbox::new(0);
    let inbox =
        |outbox: &mut Outbox, pos| outbox.push(b"mm", QueuedFrame { len: 2, way: Way::Inbox, terms: Terms::default(), pos });
    inbox(&mut outbox, 4);
    assert_eq!(outbox.advance(1, 0), [0; 5]);
    inbox(&mut outbox, 6);
    push(&mut outbox, "dddd", Way::Direct);
    inbox(&mut outbox, 5);
    assert!(!outbox.has_lost());
    assert_eq!(outbox.drop_inbox(), (2, 4), "a torn one is finished");
    assert!(outbox.has_lost());
    assert_eq!(outbox.unwritten(), b"mdddd");
    assert_eq!(outbox.advance(5, 0), [1, 0, 0, 1, 0]);
    outbox.lose(u64::MAX);
    assert_eq!(outbox.dropped, 3);
    let owed: Vec<u64> = outbox.take_owed().map(|hint| hint.pos).collect();
    assert_eq!((owed, outbox.has_lost(), outbox.take_owed().count()), (vec![u64::MAX], false, 0));
}

#[test]
fn of_hints_the_newest_of_each_timeline_waits() {
    let mut outbox = Outbox::new(0);
    let hint = |kind, conv, conv_pos| Extension { kind, conv, conv_pos, ..Extension::default() };
    for hint in [hint(3, 1, 1), hint(3, 2, 1), hint(2, 1, 7), hint(3, 1, 2)] {
        assert!(outbox.owe(hint));
    }
    outbox.owe(Extension { pos: 8, ..Extension::default() });
    outbox.owe(Extension { pos: 7, ..Extension::default() });
    let owed: Vec<Extension> = outbox.take_owed().collect();
    let head = Extension { pos: 8, ..Extension::default() };
    assert_eq!(owed, [hint(3, 2, 1), hint(2, 1, 7), hint(3, 1, 2), head]);
    for conv in 1..=HINTS_MAX as u64 {
        assert!(outbox.owe(hint(3, conv, 1)));
    }
    assert!(outbox.owe(hint(3, 1, 2)), "one that is there makes no difference");
    assert!(!outbox.owe(hint(3, 0, 1)));
    let convs: Vec<u64> = outbox.take_owed().map(|hint| hint.conv).collect();
    assert_eq!((convs.len(), convs.first(), convs.last()), (HINTS_MAX, Some(&3), Some(&0)));
}

fn push_with(outbox: &mut Outbox, text: &str, way: Way, collapse: u64, priority: Priority) {
    let terms = Terms { collapse, priority, ..Terms::default() };
    outbox.push(text.as_bytes(), QueuedFrame { len: text.len(), way, terms, pos: 0 });
}

#[test]
fn a_later_one_replaces_the_one_by_the_same_way_with_the_same_number() {
    for (way, collapse, replaced, left) in [
        (Way::Direct, 1, Some(3), "DDDaaaaXXllll"),
        (Way::Direct, 2, None, "DDDdddaaaaXXllll"),
        (Way::All, 1, Some(4), "DDDdddXXllll"),
        (Way::Room, 1, None, "DDDdddaaaaXXllll"),
        (Way::All, 3, Some(4), "DDDdddaaaaXX"),
    ] {
        let mut outbox = Outbox::new(0);
        push_with(&mut outbox, "DDD", Way::Direct, 0, Priority::Normal);
        push_with(&mut outbox, "ddd", Way::Direct, 1, Priority::Normal);
        push_with(&mut outbox, "aaaa", Way::All, 1, Priority::Low);
        push(&mut outbox, "XX", Way::Reply);
        push_with(&mut outbox, "llll", Way::All, 3, Priority::High);
        assert_eq!(outbox.replace(way, collapse), replaced, "{way:?} {collapse}");
        assert_eq!(outbox.unwritten(), left.as_bytes());
        assert_eq!(outbox.replace(way, collapse), None, "there is one at most");
        assert_eq!(outbox.dropped, 0, "nothing is lost by it");
    }
}

#[test]
fn what_is_begun_is_not_replaced() {
    let mut outbox = Outbox::new(0);
    push_with(&mut outbox, "aaaa", Way::Direct, 1, Priority::Normal);
    push_with(&mut outbox, "bbbb", Way::Direct, 2, Priority::Normal);
    outbox.advance(1, 0);
    assert_eq!(outbox.replace(Way::Direct, 1), None);
    assert_eq!(outbox.replace(Way::Direct, 2), Some(4));
    push_with(&mut outbox, "cccc", Way::Direct, 2, Priority::Normal);
    assert_eq!(outbox.advance(3, 0), [1, 0, 0, 0, 0]);
    assert_eq!(outbox.unwritten(), b"cccc");
    assert_eq!(outbox.replace(Way::Direct, 2), Some(4));
    assert!(outbox.is_empty());
    outbox.push_rest(b"r", Way::Room);
    assert_eq!(outbox.replace(Way::Room, 0), None);
}

#[test]
fn what_matters_least_goes_first() {
    let kinds = [Priority::Normal, Priority::Low, Priority::High, Priority::Low, Priority::Normal];
    for (begun, bytes, most, dropped, left) in [
        (0, 1, Priority::High, (1, 2), "00223344RR"),
        (0, 3, Priority::High, (2, 4), "002244RR"),
        (0, 5, Priority::High, (3, 6), "2244RR"),
        (1, 5, Priority::High, (3, 6), "022RR"),
        (0, 7, Priority::High, (4, 8), "22RR"),
        (0, 9, Priority::High, (5, 10), "RR"),
        (0, 9, Priority::Normal, (4, 8), "22RR"),
        (0, 9, Priority::Low, (2, 4), "002244RR"),
    ] {
        let mut outbox = Outbox::new(0);
        for (number, priority) in kinds.into_iter().enumerate() {
            push_with(&mut outbox, &number.to_string().repeat(2), Way::Direct, 0, priority);
        }
        push(&mut outbox, "RR", Way::Reply);
        outbox.advance(begun, 0);
        assert_eq!(outbox.drop_pushes(bytes, most), dropped, "{begun} {bytes} {most:?}");
        assert_eq!(outbox.unwritten(), left.as_bytes(), "{begun} {bytes} {most:?}");
    }
}

#[test]
fn few_do_not_make_way_among_many_that_matter_more() {
    for (lows, normals, spared) in [(0, 0, [false; 3]), (1, 7, [true; 3]), (1, 8, [true; 3]), (1, 100, [false, true, true])] {
        let mut outbox = Outbox::new(0);
        push(&mut outbox, "a reply is no push", Way::Reply);
        for (count, priority) in [(lows, Priority::Low), (normals, Priority::Normal)] {
            for _ in 0..count {
                push_with(&mut outbox, "x", Way::Room, 0, priority);
            }
        }
        assert_eq!(Priority::ALL.map(|most| outbox.can_spare(most)), spared, "{lows} {normals}");
    }
}

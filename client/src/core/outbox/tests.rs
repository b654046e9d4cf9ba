use bytes::Bytes;
use perseid_protocol::frame::Extension;

use super::*;

const CID_MS: u64 = 600_000;

fn entry(cid: u64) -> OutboxEntry {
    OutboxEntry { cid, kind: kind::DIRECT, conv: cid % 100, quiet: false, sent_ms: 0, body: Bytes::from_static(b"body") }
}

struct Fixture {
    outbox: Outbox,
    random: Random,
    seq: i32,
}

impl Fixture {
    /// Open, with messages 1..=count, each to a user of its own.
    fn open(count: u64) -> Self {
        let mut one = Self { outbox: Outbox::new(Vec::new(), 100_000), random: Random::new(1), seq: 100 };
        for cid in 1..=count {
            one.outbox.push(entry(cid), cid).unwrap();
        }
        one.outbox.open(CID_MS, 1_000);
        one
    }

    /// Sends all that may be sent; request 100 + n is the n-th.
    fn send(&mut self, now_ms: u64) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(next) = self.outbox.next_to_send(now_ms, &mut self.random) {
            self.seq += 1;
            self.outbox.sent(self.seq, now_ms);
            sent.push(next.entry.cid);
        }
        sent
    }

    fn accept(&mut self, seq: i32, cid: u64) {
        let header = Header { ext: Extension { cid, id: 1_000 + cid, ..Extension::default() }, ..Header::default() };
        assert!(self.outbox.handle_reply(seq, &header, 0, &mut self.random));
    }

    fn refuse(&mut self, seq: i32, code: u16) {
        let refused = Refused::parse(format!(r#"{{"code":{code}}}"#).as_bytes());
        assert!(self.outbox.handle_refused(seq, refused, 0, &mut self.random));
    }

    fn echo(&mut self, cid: u64, conv: u64) {
        let ext = Extension { cid, conv, id: 1_000 + cid, ..Extension::default() };
        self.outbox.handle_echo(&Header { ext, ..Header::default() });
    }

    /// What became of which: `true` for sent.
    fn outcomes(&mut self) -> Vec<(u64, bool)> {
        self.outbox.take_outcomes().into_iter().map(|one| (one.cid, one.result.is_ok())).collect()
    }
}

#[test]
fn in_order_within_a_window() {
    let mut one = Fixture::open(40);
    assert_eq!(one.send(0), (1..=32).collect::<Vec<u64>>());
    one.accept(101, 1);
    one.accept(102, 2);
    assert_eq!(one.send(0), [33, 34]);
    assert_eq!(one.outcomes(), [(1, true), (2, true)]);
    assert!(!one.outbox.handle_reply(101, &Header::default(), 0, &mut one.random), "answered already");
}

#[test]
fn one_at_a_time_in_each_conversation() {
    let mut one = Fixture::open(2);
    for cid in [101, 201, 102] {
        one.outbox.push(entry(cid), cid).unwrap();
    }
    assert_eq!(one.send(0), [1, 2], "101 and 201 go where 1 goes, 102 where 2 goes");
    one.accept(101, 1);
    assert_eq!(one.send(0), [101]);
    one.refuse(103, 423);
    assert!(one.send(0).is_empty(), "what is in flight elsewhere is answered first");
    one.accept(102, 2);
    assert_eq!(one.send(0), [201, 102]);
}

#[test]
fn after_a_passing_refusal_all_goes_again_in_order() {
    let mut one = Fixture::open(4);
    one.send(0);
    one.accept(101, 1);
    one.refuse(102, 504);
    one.refuse(103, 503);
    assert!(one.send(0).is_empty(), "one is still to be answered");
    one.refuse(104, 503);
    let at_ms = one.outbox.poll_timeout();
    assert!(at_ms <= BACKOFF_MS);
    assert_eq!(one.send(at_ms), [2, 3, 4]);
    assert_eq!(one.outcomes(), [(1, true)]);
}

#[test]
fn a_final_refusal_fails_one_and_holds_nobody_up() {
    for code in [400, 403, 404, 409, 423, 501] {
        let mut one = Fixture::open(3);
        one.send(0);
        one.refuse(101, code);
        one.refuse(102, 503);
        one.refuse(103, 503);
        assert_eq!(one.send(0), [2, 3], "{code}: at once, they were refused because of the first");
        assert_eq!(one.outcomes(), [(1, false)]);
    }
}

#[test]
fn pauses_grow_and_the_servers_advice_is_the_least() {
    let mut one = Fixture::open(1);
    let mut now_ms = 0;
    for round in 0..200 {
        assert_eq!(one.send(now_ms), [1], "{round}");
        let refused = Refused::parse(br#"{"code":429,"retry_after_ms":70}"#);
        let seq = one.seq;
        one.outbox.handle_refused(seq, refused, now_ms, &mut one.random);
        let wait_ms = one.outbox.poll_timeout() - now_ms;
        assert!((70..=70 + BACKOFF_MS_MAX).contains(&wait_ms), "{round}: {wait_ms}");
        assert!(round > 0 || wait_ms <= 70 + BACKOFF_MS);
        now_ms += wait_ms;
    }
}

#[test]
fn a_lost_session_sends_again_only_what_did_not_come_back() {
    let mut one = Fixture::open(3);
    one.send(0);
    one.outbox.lose();
    assert!(one.send(0).is_empty(), "the inbox was not read to its head yet");
    one.echo(2, 99);
    one.echo(2, 2);
    one.outbox.open(CID_MS, 1_000);
    assert_eq!(one.send(0), [1, 3], "2 is there; the one of another conversation was not it");
    assert_eq!(one.outcomes(), [(2, true)]);
}

#[test]
fn an_echo_before_the_answer_is_the_answer() {
    let mut one = Fixture::open(2);
    one.send(0);
    one.echo(1, 1);
    one.refuse(101, 504);
    one.accept(102, 2);
    assert_eq!(one.outcomes(), [(1, true), (2, true)]);
    assert_eq!(one.outbox.waiting(), 0);
}

#[test]
fn what_nobody_can_know_any_more_is_not_sent_again() {
    let age_ms = CID_MS - CID_MARGIN_MS;
    for (channel, skipped, later_ms, again) in [
        (false, false, age_ms, true), // the inbox would show it
        (false, true, age_ms - 1, true),
        (false, true, age_ms, false),
        (true, false, age_ms - 1, true),
        (true, false, age_ms, false),
    ] {
        let mut one = Fixture::open(0);
        let kind = if channel { kind::CHANNEL } else { kind::DIRECT };
        one.outbox.push(OutboxEntry { kind, ..entry(1) }, 1).unwrap();
        assert_eq!(one.send(1_000), [1]);
        one.outbox.push(entry(2), 2).unwrap();
        one.outbox.lose();
        if skipped {
            one.outbox.note_skipped();
        }
        one.outbox.open(CID_MS, 1_000);
        let expected: &[u64] = if again { &[1, 2] } else { &[2] };
        assert_eq!(one.send(1_000 + later_ms), expected, "{channel} {skipped} {later_ms}: what was never sent goes out");
        let outcomes = one.outbox.take_outcomes();
        assert_eq!(outcomes.first().map(|one| one.result.clone()), (!again).then_some(Err(Error::Unknown)));
    }
}

#[test]
fn rejected_after_all() {
    let mut one = Fixture::open(1);
    one.send(0);
    one.outbox.handle_rejected(1, "DELETED");
    let outcomes = one.outbox.take_outcomes();
    assert_eq!(outcomes[0].result, Err(Error::Rejected { reason: "DELETED".into() }));
}

#[test]
fn bounded_in_bytes() {
    let mut outbox = Outbox::new(vec![entry(1)], 3 * entry(1).bytes());
    outbox.push(entry(2), 2).unwrap();
    outbox.push(entry(3), 3).unwrap();
    assert!(matches!(outbox.push(entry(4), 4), Err(Error::Full { .. })));
    outbox.handle_rejected(1, "");
    outbox.push(entry(4), 4).unwrap();
}

#[test]
fn what_the_server_does_not_take_never_goes_out() {
    let mut one = Fixture::open(1);
    one.outbox.push(OutboxEntry { body: Bytes::from(vec![0; 1_001]), ..entry(2) }, 2).unwrap();
    one.outbox.push(entry(102), 102).unwrap();
    assert_eq!(one.send(0), [1, 102]);
    let outcomes = one.outbox.take_outcomes();
    assert_eq!(outcomes[0].result, Err(Error::TooLarge { bytes: 1_001, bytes_max: 1_000 }));
}

//! Inboxes: pages, cursors, epochs, who is live.

use std::net::SocketAddr;

use serde_json::json;

use crate::person::{ACK, HEAD, MORE, Person, STORED, SYNC, killed};
use crate::support::frame::{self, Extended};
use crate::support::{BOTH, Http, Server, Transport, until, until_eq};

fn at(pos: u64) -> Extended {
    Extended { pos, ..Extended::default() }
}

/// `count` notices for a user, who has them when this returns.
fn notices(http: SocketAddr, mid: u64, count: usize) {
    let mut http = Http::connect(http);
    let head = |http: &mut Http| http.get(&format!("/v1/users/{mid}")).json()["inbox"]["head"].as_u64().unwrap();
    let wanted = head(&mut http) + count as u64;
    for number in 0..count {
        let answer = http.push(&json!({ "to": { "mids": [mid] }, "store": true, "op": 1001, "body": format!("n{number}") }));
        assert_eq!((answer["accepted"].as_bool(), answer["recipients"].as_u64()), (Some(true), Some(1)));
    }
    until_eq("the notices to be there", &wanted, || head(&mut http));
}

#[test]
fn pages_follow_one_another_without_a_gap() {
    for transport in BOTH {
        let server = Server::start(&[]);
        notices(server.http, 7, 25);
        let mut ann = Person::enter_with(&server, transport, 7, json!({}));
        let told = ann.told.clone();
        assert_eq!((told["head"].as_u64(), told["floor"].as_u64(), told["cursor"].as_u64()), (Some(25), Some(1), Some(0)));
        let (mut pos, mut bodies) = (0, Vec::new());
        loop {
            let (ext, rows) = ann.sync(pos, 10);
            assert_eq!(ext.pos, 25, "the head");
            for row in &rows {
                let fields = row.extended.unwrap();
                pos += 1;
                assert_eq!((fields.pos, fields.kind, fields.conv, row.op, row.seq), (pos, 0, 0, 1001, 0));
                assert_eq!(fields.flags, STORED);
                bodies.push(row.text().to_owned());
            }
            if ext.flags & MORE == 0 {
                break;
            }
            assert_eq!(rows.len(), 10);
        }
        assert_eq!(bodies, (0..25).map(|number| format!("n{number}")).collect::<Vec<_>>());
        // At the end: an empty page.
        assert_eq!(ann.sync(25, 10).1, []);
    }
}

#[test]
fn who_is_not_live_is_told_only_that_there_is_more() {
    let server = Server::start(&[]);
    notices(server.http, 7, 3);
    let mut ann = Person::enter_with(&server, Transport::Tcp, 7, json!({}));
    notices(server.http, 7, 1);
    let (head, pushed) = ann.quiet();
    assert_eq!((head, pushed), (4, vec![]), "nothing stored before the first SYNC");
    let (ext, rows) = ann.sync(0, 2);
    assert_eq!((ext.flags & MORE, rows.len()), (MORE, 2));
    notices(server.http, 7, 1);
    assert_eq!(ann.quiet().1, []);
    let (ext, rows) = ann.sync(2, 100);
    assert_eq!((ext.flags & MORE, rows.len()), (0, 3));
    notices(server.http, 7, 1);
    assert_eq!(ann.pushed().extended.unwrap().pos, 6, "live");
    // Whoever says what he has, and is right, is live at once.
    let has = json!({ "epoch": ann.told["epoch"], "pos": 6, "device_id": "other" });
    let mut other = Person::enter_with(&server, Transport::WebSocket, 7, has);
    assert_eq!(other.told["cursor"].as_u64(), Some(6), "it counts as an ACK");
    notices(server.http, 7, 1);
    assert_eq!(other.pushed().extended.unwrap().pos, 7);
}

#[test]
fn what_was_withheld_is_hinted_at_behind_the_page() {
    let server = Server::start(&[]);
    notices(server.http, 7, 1);
    // Raced: pages are read while notices come. Nothing may be missing, and nothing comes twice.
    let mut ann = Person::enter_with(&server, Transport::Tcp, 7, json!({}));
    let http = server.http;
    std::thread::scope(|scope| {
        scope.spawn(move || notices(http, 7, 200));
        let mut pos = 0;
        while pos < 201 {
            let (_, rows) = ann.sync(pos, 7);
            for row in rows {
                let at = row.extended.unwrap().pos;
                assert!(at <= pos + 1, "a page from {pos} begins at {at}");
                pos = pos.max(at);
            }
            let (_, pushed) = ann.quiet();
            for frame in pushed {
                let ext = frame.extended.unwrap();
                if frame.op != HEAD && ext.pos == pos + 1 {
                    pos += 1;
                }
            }
        }
    });
}

#[test]
fn acknowledgements_hold_for_each_device_and_over_a_kill() {
    let server = Server::start(&[]);
    notices(server.http, 7, 10);
    let enter = |server: &Server, device: &str| Person::enter_with(server, Transport::Tcp, 7, json!({ "device_id": device }));
    let (mut phone, mut tablet) = (enter(&server, "phone"), enter(&server, "tablet"));
    assert_eq!(phone.granted(ACK, at(8), b"").0.pos, 8);
    assert_eq!(phone.granted(ACK, at(5), b"").0.pos, 8, "never back");
    assert_eq!(tablet.granted(ACK, at(3), b"").0.pos, 3);
    assert_eq!(phone.refused(ACK, at(11), b"").0, "BAD_REQUEST");
    let server = killed(server).restart();
    assert_eq!(enter(&server, "phone").told["cursor"].as_u64(), Some(8));
    assert_eq!(enter(&server, "tablet").told["cursor"].as_u64(), Some(3));
    assert_eq!(enter(&server, "new").told["cursor"].as_u64(), Some(0));
    let shown = server.http().get("/v1/users/7").json();
    assert_eq!(shown["inbox"]["head"].as_u64(), Some(10), "{shown}");
}

#[test]
fn cursors_of_another_epoch_and_above_the_head() {
    for transport in BOTH {
        let server = Server::start(&[]);
        notices(server.http, 7, 3);
        let epoch = Person::enter_with(&server, transport, 7, json!({})).told["epoch"].as_u64().unwrap();
        for has in [json!({ "epoch": epoch + 1, "pos": 3 }), json!({ "epoch": epoch, "pos": 4 }), json!({ "epoch": 1, "pos": 0 })]
        {
            let mut ann = Person::enter_with(&server, transport, 7, has);
            let (reason, error) = ann.refused(SYNC, at(3), b"");
            assert_eq!(reason, "EPOCH_CHANGED");
            assert_eq!(error["detail"], json!({ "epoch": epoch, "floor": 1, "head": 3 }));
            // Once; then it goes on in the epoch that holds.
            assert_eq!(ann.sync(0, 100).1.len(), 3);
        }
        let mut ann = Person::enter_with(&server, transport, 7, json!({}));
        let (reason, error) = ann.refused(SYNC, at(4), b"");
        assert_eq!((reason.as_str(), error["detail"]["head"].as_u64()), ("EPOCH_CHANGED", Some(3)));
        assert_eq!(Person::enter_with(&server, transport, 7, json!({})).told["epoch"].as_u64(), Some(epoch));
    }
}

#[test]
fn below_the_floor() {
    let server = Server::start(&["--set", "stored.inbox_max=100"]);
    notices(server.http, 7, 130);
    let mut ann = until("the inbox to be cut", || {
        let ann = Person::enter_with(&server, Transport::Tcp, 7, json!({}));
        (ann.told["floor"].as_u64() > Some(1)).then_some(ann)
    });
    let floor = ann.told["floor"].as_u64().unwrap();
    assert!(floor <= 31, "100 are kept at least: {floor}");
    let (reason, error) = ann.refused(SYNC, at(1), b"");
    assert_eq!((reason.as_str(), error["detail"]["head"].as_u64()), ("TOO_OLD", Some(130)));
    let floor = error["detail"]["floor"].as_u64().unwrap();
    let rows = ann.sync(floor - 1, 200).1;
    assert_eq!(rows[0].extended.unwrap().pos, floor);
    assert_eq!(rows.len() as u64, 131 - floor);
    assert!(ann.sync(0, 200).1[0].extended.unwrap().pos >= floor, "0 starts at the floor");
}

#[test]
fn a_renewal_tells_where_the_inbox_stands() {
    let server = Server::start(&[]);
    notices(server.http, 7, 3);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    let renewed = ann.ask(frame::AUTH, at(0), br#"{"mid":7}"#);
    let told = renewed.json();
    assert_eq!((renewed.op, told["head"].as_u64(), told["floor"].as_u64()), (frame::AUTH_REPLY, Some(3), Some(1)));
    assert_eq!(told["epoch"], ann.told["epoch"]);
    // It stays live.
    notices(server.http, 7, 1);
    assert_eq!(ann.pushed().extended.unwrap().pos, 4);
}

/// Nothing was lost: whoever was told the epoch goes on in it.
#[test]
fn a_kill_right_after_the_first_start_changes_no_epoch() {
    let mut server = Server::start(&[]);
    let told = Person::enter_with(&server, Transport::Tcp, 7, json!({})).told;
    for _ in 0..3 {
        server = killed(server).restart();
        let again = Person::enter_with(&server, Transport::Tcp, 7, json!({})).told;
        assert_eq!((&again["epoch"], &again["head"]), (&told["epoch"], &told["head"]));
    }
}

/// Not every language's numbers have 64 bits. goim takes numbers alone.
#[test]
fn an_extended_session_may_write_its_numbers_as_texts() {
    for transport in BOTH {
        let server = Server::start(&[]);
        let mut ann = Person::enter(&server, transport, 7);
        ann.send(1, 9, 1, "hello");
        ann.pushed_where("it", |frame| frame.extended.is_some_and(|ext| ext.pos == 1));
        let more = json!({ "mid": "7", "device_id": "d", "pos": "1", "epoch": ann.told["epoch"].to_string() });
        let again = Person::enter_with(&server, transport, 7, more);
        assert_eq!((&again.told["mid"], &again.told["head"], &again.told["cursor"]), (&json!(7), &json!(1), &json!(1)));
    }
}

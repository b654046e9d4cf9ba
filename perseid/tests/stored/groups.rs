//! Groups and channels.

use serde_json::{Value, json};

use crate::person::{GONE, HEAD, MORE, PULL, Person, QUIET, RECALL, SEND, STORED};
use crate::support::frame::Extended;
use crate::support::{Response, Server, Transport};

fn call(server: &Server, method: &str, path: &str, body: &Value) -> Response {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    server.http().request(method, path, &[("Content-Type", "application/json")], text.as_bytes()).expect("an answer")
}

fn group(server: &Server, id: u64, kind: &str, members: &[u64]) -> Value {
    let described = json!({ "kind": kind, "members": members, "owner": members[0], "name": "friends" });
    let answer = call(server, "PUT", &format!("/v1/groups/{id}"), &described);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn to(kind: u16, conv: u64, cid: u64) -> Extended {
    Extended { kind, conv, cid, ..Extended::default() }
}

#[test]
fn every_member_has_it_at_one_place() {
    let server = Server::start(&[]);
    group(&server, 50, "group", &[7, 8, 9]);
    let mut people: Vec<_> = [7, 8, 9].into_iter().map(|mid| Person::enter(&server, Transport::Tcp, mid)).collect();
    let mut stranger = Person::enter(&server, Transport::Tcp, 10);
    let sent = people[0].send(2, 50, 5, "hello all");
    assert_eq!((sent.kind, sent.conv), (2, 50));
    for person in &mut people {
        let got = person.pushed_where("a message", |frame| frame.extended.is_some_and(|ext| ext.kind == 2));
        let ext = got.extended.unwrap();
        assert_eq!((got.text(), ext.id, ext.kind, ext.conv, ext.from, ext.cid), ("hello all", sent.id, 2, 50, 7, 5));
        // The event of its making has the first place.
        assert_eq!((ext.pos, ext.conv_pos), (2, 2));
    }
    assert_eq!(stranger.quiet(), (0, vec![]));
    assert_eq!(stranger.refused(SEND, to(2, 50, 1), b"x").0, "NOT_MEMBER");
    assert_eq!(stranger.refused(PULL, to(2, 50, 0), b"").0, "NOT_MEMBER");
    // Named as a channel it is the same group, and the reply says what it is.
    assert_eq!(people[1].send(3, 50, 6, "again").kind, 2);
    let shown = server.http().get("/v1/groups/50").json();
    assert_eq!((shown["kind"].as_str(), shown["owner"].as_u64()), (Some("group"), Some(7)), "{shown}");
    assert_eq!(shown["members"], json!([7, 8, 9]));
}

#[test]
fn members_come_and_go_at_a_place() {
    let server = Server::start(&[]);
    group(&server, 50, "group", &[7, 8]);
    let (mut ann, mut bob) = (Person::enter(&server, Transport::Tcp, 7), Person::enter(&server, Transport::Tcp, 9));
    ann.send(2, 50, 1, "before");
    let answer = call(&server, "POST", "/v1/groups/50/members", &json!({ "add": [9], "remove": [8] }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let version = answer.json()["version"].as_u64();
    let (ext, event) = bob.event("members");
    assert_eq!((event["add"].clone(), event["remove"].clone(), event["version"].as_u64()), (json!([9]), json!([8]), version));
    assert_eq!((ext.flags, ext.conv, Some(ext.conv_pos)), (STORED | QUIET, 50, version));
    ann.send(2, 50, 2, "after");
    bob.pushed_where("after", |frame| frame.body == b"after");
    let mut gone = Person::enter(&server, Transport::Tcp, 8);
    let bodies: Vec<_> =
        gone.sync_all().iter().filter(|row| row.extended.unwrap().kind == 2).map(|row| row.text().to_owned()).collect();
    assert_eq!(bodies, ["before"]);
    assert_eq!(gone.refused(SEND, to(2, 50, 1), b"x").0, "NOT_MEMBER");
    // Nobody changes: no event, the same version.
    let again = call(&server, "POST", "/v1/groups/50/members", &json!({ "add": [9], "remove": [8] }));
    assert_eq!((again.status, again.json()["version"].as_u64()), (200, version));
    // All history may be read by who came later; by default.
    assert_eq!(bob.pull(2, 50, 0, 0, 100).1.len(), 4);
}

#[test]
fn history_since_joined() {
    let server = Server::start(&["--set", "stored.history=joined"]);
    group(&server, 50, "group", &[7]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    ann.send(2, 50, 1, "before");
    call(&server, "POST", "/v1/groups/50/members", &json!({ "add": [9] }));
    ann.send(2, 50, 2, "after");
    ann.pushed_where("after", |frame| frame.body == b"after");
    let mut bob = Person::enter(&server, Transport::Tcp, 9);
    let (ext, rows) = bob.pull(2, 50, 0, 0, 100);
    assert_eq!((ext.pos, ext.conv_pos), (3, 4), "his floor is where he joined");
    assert_eq!(rows.iter().map(|row| row.extended.unwrap().conv_pos).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(bob.refused(PULL, Extended { conv_pos: 1, ..to(2, 50, 0) }, b"").0, "TOO_OLD");
}

#[test]
fn timelines_are_read_in_both_directions() {
    let server = Server::start(&[]);
    group(&server, 50, "group", &[7, 8]);
    let mut ann = Person::enter(&server, Transport::WebSocket, 7);
    for cid in 1..=9 {
        ann.send(2, 50, cid, "x");
    }
    ann.pushed_where("the last", |frame| frame.extended.is_some_and(|ext| ext.cid == 9));
    let places = |rows: &[crate::support::Frame]| rows.iter().map(|row| row.extended.unwrap().conv_pos).collect::<Vec<_>>();
    let (ext, rows) = ann.pull(2, 50, 0, 0, 4);
    assert_eq!((ext.conv_pos, ext.pos, ext.flags & MORE, places(&rows)), (10, 1, MORE, vec![1, 2, 3, 4]));
    assert!(rows.iter().all(|row| row.extended.unwrap().pos == 0 && row.extended.unwrap().flags & STORED == 0));
    let (ext, rows) = ann.pull(2, 50, 4, 0, 100);
    assert_eq!((ext.flags & MORE, places(&rows)), (0, (5..=10).collect()));
    let (ext, rows) = ann.pull(2, 50, 0, MORE, 4);
    assert_eq!((ext.flags & MORE, places(&rows)), (MORE, vec![7, 8, 9, 10]));
    let (ext, rows) = ann.pull(2, 50, 4, MORE, 10);
    assert_eq!((ext.flags & MORE, places(&rows)), (0, vec![1, 2, 3]));
}

#[test]
fn a_group_becomes_a_channel() {
    let server = Server::start(&[]);
    group(&server, 50, "group", &[7, 8]);
    let (mut ann, mut bob) = (Person::enter(&server, Transport::Tcp, 7), Person::enter(&server, Transport::Tcp, 8));
    ann.send(2, 50, 1, "in all inboxes");
    bob.pushed_where("it", |frame| frame.body == b"in all inboxes");
    let other = call(&server, "PUT", "/v1/groups/50", &json!({ "kind": "channel", "members": [7, 8], "owner": 7 }));
    assert_eq!(other.status, 409, "{}", other.text());
    let answer = call(&server, "POST", "/v1/groups/50:convert", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    bob.event("convert");
    let head_before = bob.quiet().0;
    assert_eq!(ann.send(2, 50, 2, "in the timeline").kind, 3);
    let hint = bob.pushed_where("HEAD", |frame| frame.op == HEAD).extended.unwrap();
    assert_eq!((hint.kind, hint.conv, hint.conv_pos), (3, 50, 4));
    assert_eq!(bob.quiet().0, head_before, "not in the inbox");
    assert_eq!(bob.pull(3, 50, 3, 0, 10).1[0].text(), "in the timeline");
    // By default the owner alone writes there.
    assert_eq!(bob.refused(SEND, to(3, 50, 1), b"x").0, "PERMISSION_DENIED");
    let shown = server.http().get("/v1/groups/50").json();
    assert_eq!(shown["kind"], "channel");
}

#[test]
fn groups_over_the_limit_and_groups_that_are_no_more() {
    let server = Server::start(&["--set", "stored.fanout_max=3"]);
    let large = json!({ "kind": "group", "members": [1, 2, 3, 4] });
    let answer = call(&server, "PUT", "/v1/groups/50", &large);
    assert!(answer.status >= 400 && answer.text().contains("channel"), "{}", answer.text());
    group(&server, 50, "group", &[7, 8, 9]);
    let full = call(&server, "POST", "/v1/groups/50/members", &json!({ "add": [10] }));
    assert!(full.status >= 400 && full.text().contains("channel"), "{}", full.text());
    group(&server, 51, "channel", &[1, 2, 3, 4, 5]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    ann.send(2, 50, 1, "x");
    assert!(call(&server, "DELETE", "/v1/groups/50", &Value::Null).status < 300);
    ann.event("deleted");
    assert_eq!(ann.refused(SEND, to(2, 50, 2), b"x").0, "NOT_MEMBER");
    assert_eq!(call(&server, "GET", "/v1/groups/50", &Value::Null).status, 404);
    // Made anew its places go on.
    group(&server, 50, "group", &[7]);
    ann.send(2, 50, 3, "y");
    let place = ann.pushed_where("y", |frame| frame.op == SEND && frame.body == b"y").extended.unwrap().conv_pos;
    assert!(place > 4, "{place}");
}

#[test]
fn a_business_writes_to_a_group_and_asks_what_became_of_it() {
    let server = Server::start(&[]);
    group(&server, 50, "group", &[7, 8]);
    let mut ann = Person::enter(&server, Transport::Tcp, 7);
    let push = json!({ "to": { "group": 50 }, "op": 1005, "body": "from the shop", "id": "order-1" });
    let mut http = server.http();
    let answer = http.push(&push);
    assert_eq!((answer["recipients"].as_u64(), answer["duplicate"].as_bool()), (Some(2), Some(false)));
    let again = http.push(&push);
    assert_eq!((again["id"].clone(), again["duplicate"].as_bool()), (answer["id"].clone(), Some(true)));
    let got = ann.pushed_where("1005", |frame| frame.op == 1005);
    let ext = got.extended.unwrap();
    assert_eq!((got.text(), ext.kind, ext.conv, ext.from), ("from the shop", 2, 50, 0));
    ann.granted(crate::person::ACK, Extended { pos: ext.pos, ..Extended::default() }, b"");
    let became = http.get(&format!("/v1/messages/{}", answer["id"].as_str().unwrap())).json();
    assert!(became.to_string().contains("\"7\"") || became.to_string().contains("\"mid\":7"), "{became}");
    let rows = http.get("/v1/groups/50/messages?after=1&limit=10").json();
    assert_eq!(rows["messages"][0]["conv_pos"].as_u64(), Some(2), "{rows}");
    let rows = http.get("/v1/users/8/inbox?after=0&limit=10").json();
    assert_eq!(rows["messages"][1]["op"].as_i64(), Some(1005), "{rows}");
}

#[test]
fn an_owner_takes_back_what_a_member_wrote() {
    let server = Server::start(&[]);
    group(&server, 50, "group", &[7, 8, 9]);
    let (mut owner, mut bob) = (Person::enter(&server, Transport::Tcp, 7), Person::enter(&server, Transport::Tcp, 8));
    let mut eve = Person::enter(&server, Transport::Tcp, 9);
    bob.send(2, 50, 1, "rude");
    let place = owner.pushed_where("it", |frame| frame.body == b"rude").extended.unwrap().conv_pos;
    let recall = Extended { conv_pos: place, ..to(2, 50, 0) };
    assert_eq!(eve.refused(RECALL, recall, b"").0, "PERMISSION_DENIED");
    owner.granted(RECALL, recall, b"");
    bob.event("recall");
    let row = &eve.pull(2, 50, place - 1, 0, 1).1[0];
    assert_eq!((row.text(), row.extended.unwrap().flags & GONE), ("", GONE));
}

//! The Rust SDK against the program: people chat while connections are cut and the server is killed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "sdk_rust/person.rs"]
mod person;
#[path = "sdk_rust/proxy.rs"]
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use perseid_client::{Event, From, Item, What, kind};
use person::{Person, Seen, text};
use proxy::Proxy;
use serde_json::json;
use support::Server;

const GROUP: u64 = 50;
const PEOPLE: [u64; 4] = [7, 8, 9, 10];
const MESSAGES: u64 = 120;
const KILLS: usize = 3;
/// For what happens to people while the server is killed again and again.
const PATIENCE: Duration = Duration::from_secs(120);

fn make_group(server: &Server) {
    let group = json!({ "kind": "group", "members": PEOPLE, "owner": 7, "name": "friends" });
    let json = [("Content-Type", "application/json")];
    let answer = server.http().request("PUT", &format!("/v1/groups/{GROUP}"), &json, group.to_string().as_bytes());
    assert_eq!(answer.expect("an answer").status, 200);
}

/// The server and the two addresses that stay: TCP and WebSocket.
struct Place {
    server: Option<Server>,
    tcp: Proxy,
    ws: Proxy,
}

impl Place {
    async fn open() -> Self {
        let server = Server::start(&["--set", "comet.reconnect_ms=200"]);
        make_group(&server);
        let (tcp, ws) = (Proxy::start(server.tcp).await, Proxy::start(server.ws).await);
        Self { server: Some(server), tcp, ws }
    }

    fn url(&self, mid: u64) -> String {
        if mid.is_multiple_of(2) { format!("ws://{}", self.ws.addr) } else { format!("tcp://{}", self.tcp.addr) }
    }

    fn cut(&self) {
        self.tcp.cut();
        self.ws.cut();
    }

    /// SIGKILL, and a new process on the same data.
    fn kill(&mut self) {
        let stopped = self.server.take().unwrap().kill9();
        let server = stopped.restart();
        self.tcp.point_at(server.tcp);
        self.ws.point_at(server.ws);
        self.server = Some(server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_through_kills_and_cut_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut place = Place::open().await;
    let mut chats = Vec::new();
    for (at, mid) in PEOPLE.into_iter().enumerate() {
        let (url, folder) = (place.url(mid), folder.path().to_owned());
        let peer = PEOPLE[(at + 1) % PEOPLE.len()];
        chats.push(tokio::spawn(async move {
            let person = Person::enter(&url, mid, &folder, Seen::default()).await;
            let mut sent = person.chat(MESSAGES / 2, GROUP, peer, "a").await;
            // He goes and comes back: what waits then is sent by the client that follows.
            let early = sent.split_off(sent.len() - 5);
            let (counts, _) = person.client.counts().await.unwrap();
            let person = Person::enter(&url, mid, &folder, person.leave().await).await;
            sent.extend(person.chat(MESSAGES / 2, GROUP, peer, "b").await);
            let mut bodies: Vec<String> = early.into_iter().map(|(body, _)| body).collect();
            for (body, sending) in sent {
                bodies.push(body);
                // That of a client that has gone ends with it; its message does not.
                let _ = sending.await;
            }
            (person, bodies, counts.sessions)
        }));
    }
    for round in 0..3 * KILLS {
        tokio::time::sleep(Duration::from_millis(400)).await;
        if round % 3 == 2 {
            tokio::task::block_in_place(|| place.kill());
        } else {
            place.cut();
        }
    }
    let mut people = Vec::new();
    let mut sessions = 0;
    let mut expected: BTreeMap<u64, BTreeSet<String>> = PEOPLE.iter().map(|mid| (*mid, BTreeSet::new())).collect();
    for (at, chat) in chats.into_iter().enumerate() {
        let (person, bodies, sessions_before) = tokio::time::timeout(PATIENCE, chat).await.expect("everything is sent").unwrap();
        let peer = PEOPLE[(at + 1) % PEOPLE.len()];
        for body in bodies {
            let number: u64 = body.rsplit_once(':').unwrap().1.parse().unwrap();
            for (mid, inbox) in &mut expected {
                if number % 3 != 2 || *mid == peer || *mid == person.mid {
                    inbox.insert(body.clone());
                }
            }
        }
        people.push(person);
        sessions += sessions_before;
    }
    for person in &people {
        check(person, &expected[&person.mid]).await;
    }
    one_order(&people);
    for person in people {
        let (counts, waiting) = person.client.counts().await.unwrap();
        assert_eq!(waiting, 0, "{} has something in the outbox", person.mid);
        sessions += counts.sessions;
        person.leave().await;
    }
    assert!(sessions > 2 * PEOPLE.len() as u64, "{sessions} sessions: nobody was disturbed, so this showed nothing");
}

/// He gets everything that is for him, once, and from each sender in each conversation in the order of sending.
async fn check(person: &Person, expected: &BTreeSet<String>) {
    let arrived = async {
        while person.bodies().len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, arrived).await;
    let bodies = person.bodies();
    let seen: BTreeSet<String> = bodies.iter().cloned().collect();
    let missing: Vec<&String> = expected.difference(&seen).collect();
    assert!(in_time.is_ok(), "{} misses {missing:?}", person.mid);
    assert_eq!(seen.len(), bodies.len(), "{} saw something twice", person.mid);
    assert_eq!(&seen, expected, "{}", person.mid);
    let mut last: BTreeMap<(u16, u64, u64), (String, u64)> = BTreeMap::new();
    for message in person.seen.lock().unwrap().iter() {
        let body = text(message);
        let (life, number) = body.split_once(':').unwrap().1.split_once(':').unwrap();
        let now = (life.to_owned(), number.parse().unwrap());
        let before = last.insert((message.kind, message.conv, message.from), now.clone());
        assert!(before.is_none_or(|before| before < now), "{}: {body} is out of order", person.mid);
    }
}

/// A conversation is in one order for all.
fn one_order(people: &[Person]) {
    let group = |person: &Person| -> Vec<(u64, String)> {
        let seen = person.seen.lock().unwrap();
        seen.iter().filter(|message| message.kind == kind::GROUP).map(|message| (message.conv_pos, text(message))).collect()
    };
    let first = group(&people[0]);
    assert!(first.is_sorted_by(|a, b| a.0 < b.0), "positions of the timeline ascend");
    for person in people {
        assert_eq!(group(person), first, "{} sees another order than {}", person.mid, people[0].mid);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_can_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open().await;
    let alice = Person::enter(&place.url(7), 7, folder.path(), Seen::default()).await;
    let config = perseid_client::Config::new(&place.url(8), 8).unwrap().device("sdk");
    let (bob, mut events) = perseid_client::Client::connect(config).await.unwrap();
    for text in ["one", "two", "three"] {
        alice.client.send_direct(8, text).await.unwrap().await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let Event::Message(message) = within(events.next()).await.expect("an event") {
            seen.push(message);
        }
    }
    assert_eq!(
        seen.iter().map(|message| (text(message), message.conv)).collect::<Vec<_>>(),
        [("one".to_owned(), 7), ("two".to_owned(), 7), ("three".to_owned(), 7)]
    );
    let heads = bob.heads(None, 0).await.unwrap();
    let head = *heads.heads.iter().find(|head| (head.kind, head.conv) == (kind::DIRECT, 7)).expect("the conversation");
    let page = bob.pull(kind::DIRECT, 7, From::Before(0), 2).await.unwrap();
    let bodies = page.items.iter().map(|item| match item {
        Item::Message(message) => text(message),
        Item::Change(change) => panic!("{change:?}"),
    });
    assert_eq!((bodies.collect::<Vec<_>>(), page.head, page.more), (vec!["two".into(), "three".into()], head.conv_pos, true));
    assert_eq!(bob.read(kind::DIRECT, 7, head.conv_pos).await.unwrap(), head.conv_pos);
    alice.client.recall(kind::DIRECT, 8, seen[1].conv_pos).await.unwrap();
    let recalled = async {
        loop {
            match events.next().await.expect("an event") {
                Event::Change(change) if matches!(change.what, What::Recall { .. }) => return change,
                _ => {}
            }
        }
    };
    let change = within(recalled).await;
    assert_eq!((change.what, change.conv, change.from), (What::Recall { conv_pos: seen[1].conv_pos, id: seen[1].id }, 7, 7));
    // Who is no member is told so, and the client goes on.
    let refused = bob.send_group(4_711, "hello?").await.unwrap().await.unwrap_err();
    assert_eq!(refused.refusal(), Some(perseid_client::Refusal::NotMember), "{refused}");
    bob.send_direct(7, "still here").await.unwrap().await.unwrap();
    alice.leave().await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

//! Somebody who chats: sends at a pace, and writes down what he is given.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use perseid_client::{Client, Config, Event, Events, FileStorage, Message, Sending};

/// What a person was given, over all his clients.
pub(crate) type Seen = Arc<Mutex<Vec<Message>>>;

pub(crate) struct Person {
    pub(crate) mid: u64,
    pub(crate) client: Client,
    pub(crate) seen: Seen,
    listening: tokio::task::JoinHandle<()>,
}

impl Person {
    /// Enters with the storage that an earlier client of his may have left.
    pub(crate) async fn enter(url: &str, mid: u64, folder: &std::path::Path, seen: Seen) -> Self {
        let storage = FileStorage::new(folder.join(format!("{mid}.perseid")));
        let config = Config::new(url, i64::try_from(mid).unwrap()).unwrap().device("sdk").storage(storage);
        let (client, events) = Client::connect(config).await.unwrap();
        let listening = tokio::spawn(listen(events, Arc::clone(&seen), mid));
        Self { mid, client, seen, listening }
    }

    /// Leaves in an orderly way; what he has not sent stays in his storage.
    pub(crate) async fn leave(self) -> Seen {
        self.client.close().await;
        self.listening.await.unwrap();
        self.seen
    }

    /// Sends messages, to the group and to the next person in turn, while others do other things.
    pub(crate) async fn chat(&self, count: u64, group: u64, peer: u64, life: &str) -> Vec<(String, Sending)> {
        let mut sent = Vec::new();
        for number in 0..count {
            let body = format!("{}:{life}:{number}", self.mid);
            let sending = if number % 3 == 2 {
                self.client.send_direct(peer, body.clone()).await
            } else {
                self.client.send_group(group, body.clone()).await
            };
            sent.push((body, sending.unwrap()));
            tokio::time::sleep(Duration::from_millis(15 + number % 10)).await;
        }
        sent
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(text).collect()
    }
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

async fn listen(mut events: Events, seen: Seen, mid: u64) {
    let known = seen.lock().unwrap().last().map_or(0, |message| message.at.pos);
    let mut last = None;
    while let Some(event) = events.next().await {
        if let Some(at) = event.position() {
            // A client gives each position once and leaves none out; the first is one that the client before it had not
            // been told to be done with, or the one behind those.
            let first = at.pos <= known + 1 || known == 0;
            assert!(last.map_or(first, |last| at.pos == last + 1), "{mid}: {at:?} after {last:?}, {known} known");
            last = Some(at.pos);
        }
        match event {
            // What he knows by its position.
            Event::Message(message) if message.at.pos <= known => {}
            Event::Message(message) => seen.lock().unwrap().push(message),
            Event::Skipped(skipped) => panic!("{mid} lost something: {skipped:?}"),
            Event::Outcome { cid, result } => assert!(result.is_ok(), "{mid}: {cid} ended as {result:?}"),
            _ => {}
        }
    }
}

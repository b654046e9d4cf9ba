//! What was acknowledged, and that it is there: once, with its id, in the inboxes of both and at dense positions.

use std::collections::BTreeMap;

use crate::person::{DUPLICATE, Person, SEND, direct};
use crate::support::{Serves, Transport, frame};

/// Who sends, and who gets it.
pub(crate) const ANN: u64 = 7;
pub(crate) const BOB: u64 = 9;

/// Messages of Ann to Bob: what became of them.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// cid → id.
    pub(crate) acknowledged: BTreeMap<u64, u64>,
    /// Answered with UNKNOWN.
    pub(crate) unknown: Vec<u64>,
    next_cid: u64,
}

impl Sent {
    pub(crate) fn body(cid: u64) -> String {
        format!("message {cid}")
    }

    /// Sends one more; gives the reason if it is refused.
    pub(crate) fn send(&mut self, ann: &mut Person) -> Result<u64, String> {
        self.next_cid += 1;
        let cid = self.next_cid;
        let reply = ann.ask(SEND, direct(BOB, cid), Self::body(cid).as_bytes());
        if reply.op == SEND + 1 {
            self.acknowledged.insert(cid, reply.extended.unwrap().id);
            return Ok(cid);
        }
        assert_eq!(reply.op, frame::ERROR);
        let error = reply.json();
        assert!(error["message"].as_str().is_some_and(|text| text.len() > 10), "{error}");
        let reason = error["reason"].as_str().unwrap().to_owned();
        if reason == "UNKNOWN" {
            self.unknown.push(cid);
        }
        Err(reason)
    }

    /// Sends some that must be taken.
    pub(crate) fn send_all(&mut self, ann: &mut Person, count: usize) {
        for _ in 0..count {
            self.send(ann).unwrap();
        }
    }

    /// Sends again all that were acknowledged: the same ids.
    pub(crate) fn repeat(&self, ann: &mut Person) {
        for (cid, id) in &self.acknowledged {
            let again = ann.send(1, BOB, *cid, &Self::body(*cid));
            assert_eq!((again.id, again.flags & DUPLICATE), (*id, DUPLICATE), "{cid}");
        }
    }

    /// Everything is where it belongs. Both are live afterwards.
    pub(crate) fn check(&self, server: &impl Serves) -> [Person; 2] {
        [ANN, BOB].map(|mid| {
            let mut person = Person::enter_with(server, Transport::Tcp, mid, serde_json::json!({}));
            let rows = person.sync_all();
            let exts: Vec<_> = rows.iter().map(|row| row.extended.unwrap()).collect();
            let dense: Vec<u64> = (1..=rows.len() as u64).collect();
            assert_eq!(exts.iter().map(|ext| ext.pos).collect::<Vec<_>>(), dense, "places in the inbox of {mid}");
            assert_eq!(exts.iter().map(|ext| ext.conv_pos).collect::<Vec<_>>(), dense, "places in the conversation");
            let mut ids = BTreeMap::new();
            for (row, ext) in rows.iter().zip(&exts) {
                assert_eq!(row.text(), Self::body(ext.cid));
                assert!(ids.insert(ext.cid, ext.id).is_none(), "{} is there twice", ext.cid);
            }
            for (cid, id) in &self.acknowledged {
                assert_eq!(ids.remove(cid), Some(*id), "{cid} was acknowledged, and {mid} has");
            }
            assert!(ids.keys().all(|cid| self.unknown.contains(cid)), "nobody was told of {ids:?}");
            person
        })
    }
}

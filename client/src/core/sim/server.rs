//! A server as the protocol describes it, for a few users and one group; its memory is the truth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use perseid_protocol::auth::{AuthLimits, AuthReply, AuthRequest};
use perseid_protocol::frame::{Extension, Header, flag, kind, put_extended};
use perseid_protocol::op;
use perseid_protocol::refusal::Refusal;
use serde_json::json;

use crate::core::random::Random;

pub(super) const GROUP: u64 = 900;
/// How long `cid`s are remembered: short, so that outages outlast it.
pub(super) const CID_MS: u64 = 150_000;
const PAGE: usize = 7;

/// A conversation as the server sees it.
pub(super) type Timeline = (u16, u64, u64);

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: u64,
    pub(super) kind: u16,
    pub(super) conv: u64,
    pub(super) conv_pos: u64,
    pub(super) from: u64,
    pub(super) cid: u64,
    pub(super) body: Bytes,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) epoch: u64,
    /// Position of the first in `inbox`.
    pub(super) floor: u64,
    inbox: VecDeque<Item>,
}

impl User {
    pub(super) fn head(&self) -> u64 {
        self.floor + self.inbox.len() as u64 - 1
    }

    pub(super) fn at(&self, pos: u64) -> Option<&Item> {
        self.inbox.get(usize::try_from(pos.checked_sub(self.floor)?).ok()?)
    }
}

struct Accepted {
    due_ms: u64,
    timeline: Timeline,
    from: u64,
    item: Item,
}

/// A session, as far as the server has to remember it.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) mid: u64,
    pub(super) live: bool,
    foreign: bool,
    /// Sends written before this time are refused: one before them failed, and the client did not know.
    pub(super) refuse_until_ms: u64,
    pub(super) acked: u64,
}

pub(super) struct Server {
    pub(super) random: Random,
    pub(super) users: BTreeMap<u64, User>,
    pub(super) timelines: BTreeMap<Timeline, Vec<Item>>,
    /// What stood where, for ever: for comparing.
    pub(super) history: BTreeMap<(u64, u64, u64), Bytes>,
    cids: BTreeMap<(u64, Timeline, u64), (u64, u64)>,
    log: VecDeque<Accepted>,
    next_id: u64,
    /// One of so many sends fails for a while.
    pub(super) trouble: u64,
}

impl Server {
    pub(super) fn new(users: u64, random: Random) -> Self {
        let user = || User { epoch: 1, floor: 1, inbox: VecDeque::new() };
        Self {
            random,
            users: (1..=users).map(|mid| (mid, user())).collect(),
            timelines: BTreeMap::new(),
            history: BTreeMap::new(),
            cids: BTreeMap::new(),
            log: VecDeque::new(),
            next_id: 1,
            trouble: 0,
        }
    }

    /// AUTH: the session and its reply.
    pub(super) fn auth(&mut self, request: &AuthRequest, seq: i32) -> (Session, Vec<u8>) {
        let mid = request.mid.unsigned_abs();
        let user = &self.users[&mid];
        let foreign = request.epoch != 0 && request.epoch != user.epoch;
        let live = request.epoch == user.epoch && request.pos == user.head();
        let reply = AuthReply {
            mid: request.mid,
            key: "k".into(),
            server: "model".into(),
            heartbeat_ms: 30_000,
            reconnect_ms: 2_000,
            epoch: user.epoch,
            floor: user.floor,
            head: user.head(),
            cursor: 0,
            limits: AuthLimits { cid_ms: CID_MS, ..AuthLimits::default() },
        };
        let ext = Extension { pos: user.head(), ..Extension::default() };
        let body = serde_json::to_vec(&reply).unwrap();
        let acked = if request.epoch == user.epoch && request.pos <= user.head() { request.pos } else { 0 };
        let session = Session { mid, live, foreign, refuse_until_ms: 0, acked };
        (session, frame(op::AUTH_REPLY, seq, ext, &body))
    }

    /// A request of a session, written at `sent_ms`; the reply, if there is one.
    pub(super) fn request(
        &mut self,
        session: &mut Session,
        header: &Header,
        body: &[u8],
        sent_ms: u64,
        now_ms: u64,
    ) -> Result<Option<Vec<u8>>, String> {
        let user = &self.users[&session.mid];
        let seq = header.seq;
        match header.op {
            op::HEARTBEAT => {
                let ext = Extension { pos: user.head(), ..Extension::default() };
                Ok(Some(frame(op::HEARTBEAT_REPLY, seq, ext, &[0; 4])))
            }
            op::SYNC => Ok(Some(self.sync(session, header))),
            op::ACK => {
                if header.ext.pos > user.head() {
                    return Err(format!("user {} acknowledges {} above the head {}", session.mid, header.ext.pos, user.head()));
                }
                session.acked = session.acked.max(header.ext.pos);
                Ok(None)
            }
            op::SEND_MSG => Ok(Some(self.send(session, header, body, sent_ms, now_ms))),
            other => Err(format!("the client sent operation {other}")),
        }
    }

    fn sync(&self, session: &mut Session, header: &Header) -> Vec<u8> {
        let user = &self.users[&session.mid];
        let after = header.ext.pos;
        let refusal = if std::mem::take(&mut session.foreign) || after > user.head() {
            Some(Refusal::EpochChanged)
        } else if after != 0 && after + 1 < user.floor {
            Some(Refusal::TooOld)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let detail = json!({ "epoch": user.epoch, "floor": user.floor, "head": user.head() });
            let body = json!({ "code": refusal.code(), "reason": refusal.word(), "message": "", "detail": detail });
            return frame(op::ERROR, header.seq, header.ext, body.to_string().as_bytes());
        }
        let first = (after + 1).max(user.floor);
        let last = user.head().min(first + PAGE as u64 - 1);
        let mut body = Vec::new();
        for pos in first..=last {
            body.extend(self.stored(session.mid, pos));
        }
        let more = last < user.head();
        session.live = session.live || !more;
        let ext = Extension { pos: user.head(), flags: if more { flag::MORE } else { 0 }, ..Extension::default() };
        frame(op::SYNC_REPLY, header.seq, ext, &body)
    }

    /// The frame of a stored message.
    pub(super) fn stored(&self, mid: u64, pos: u64) -> Vec<u8> {
        let Some(item) = self.users[&mid].at(pos) else { return Vec::new() };
        let ext = Extension {
            id: item.id,
            pos,
            conv: item.conv,
            conv_pos: item.conv_pos,
            from: item.from,
            cid: item.cid,
            kind: item.kind,
            flags: flag::STORED,
        };
        frame(op::SEND_MSG, 0, ext, &item.body)
    }

    fn send(&mut self, session: &mut Session, header: &Header, body: &[u8], sent_ms: u64, now_ms: u64) -> Vec<u8> {
        let ext = &header.ext;
        let refused = |refusal: Refusal| frame(op::ERROR, header.seq, *ext, refusal.json("", None, None).as_bytes());
        if sent_ms < session.refuse_until_ms {
            return refused(Refusal::Unavailable);
        }
        let timeline = timeline(ext.kind, session.mid, ext.conv);
        let key = (session.mid, timeline, ext.cid);
        let known = self.cids.get(&key).filter(|(_, accepted_ms)| now_ms < accepted_ms + CID_MS).map(|(id, _)| *id);
        if known.is_none() && body.starts_with(b"bad") {
            session.refuse_until_ms = u64::MAX;
            return refused(Refusal::Blocked);
        }
        let trouble = if self.trouble > 0 { self.random.up_to(self.trouble) } else { 9 };
        if trouble == 0 {
            session.refuse_until_ms = u64::MAX;
            return refused(Refusal::Unavailable);
        }
        let id = known.unwrap_or_else(|| self.accept(key, ext, body, now_ms));
        if trouble == 1 {
            session.refuse_until_ms = u64::MAX;
            return refused(Refusal::Unknown);
        }
        let flags = if known.is_some() { flag::DUPLICATE } else { 0 };
        let reply =
            Extension { id, cid: ext.cid, kind: ext.kind, conv: ext.conv, from: session.mid, flags, ..Extension::default() };
        frame(op::SEND_MSG_REPLY, header.seq, reply, &[])
    }

    fn accept(&mut self, key: (u64, Timeline, u64), ext: &Extension, body: &[u8], now_ms: u64) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.cids.insert(key, (id, now_ms));
        let earlier_ms = self.log.back().map_or(0, |accepted| accepted.due_ms);
        let due_ms = earlier_ms.max(now_ms + self.random.up_to(400));
        let body = Bytes::copy_from_slice(body);
        let item = Item { id, kind: ext.kind, conv: ext.conv, conv_pos: 0, from: key.0, cid: ext.cid, body };
        self.log.push_back(Accepted { due_ms, timeline: key.1, from: key.0, item });
        id
    }

    /// Writes into timelines and inboxes what is due; gives what was written: user and position.
    pub(super) fn project(&mut self, now_ms: u64) -> Vec<(u64, u64)> {
        let mut written = Vec::new();
        while self.log.front().is_some_and(|accepted| accepted.due_ms <= now_ms) {
            let Some(Accepted { timeline, from, mut item, .. }) = self.log.pop_front() else { break };
            let line = self.timelines.entry(timeline).or_default();
            item.conv_pos = line.len() as u64 + 1;
            line.push(item.clone());
            let members: BTreeSet<u64> = match timeline {
                (kind::DIRECT, low, high) => [low, high].into(),
                _ => self.users.keys().copied().collect(),
            };
            for mid in members {
                let conv = match timeline {
                    (kind::DIRECT, low, high) => {
                        if mid == low {
                            high
                        } else {
                            low
                        }
                    }
                    _ => item.conv,
                };
                let cid = if mid == from { item.cid } else { 0 };
                written.push((mid, self.write(mid, Item { conv, cid, ..item.clone() })));
            }
        }
        written
    }

    fn write(&mut self, mid: u64, item: Item) -> u64 {
        let Some(user) = self.users.get_mut(&mid) else { return 0 };
        let body = item.body.clone();
        user.inbox.push_back(item);
        let pos = user.head();
        self.history.insert((mid, user.epoch, pos), body);
        pos
    }

    pub(super) fn next_due_ms(&self) -> u64 {
        self.log.front().map_or(u64::MAX, |accepted| accepted.due_ms)
    }

    /// Takes away all but the last few.
    pub(super) fn trim(&mut self, mid: u64, keep: usize) {
        let Some(user) = self.users.get_mut(&mid) else { return };
        while user.inbox.len() > keep {
            user.inbox.pop_front();
            user.floor += 1;
        }
    }

    /// Loses the last few, and numbers what is left anew.
    pub(super) fn new_epoch(&mut self, mid: u64, lose: usize) {
        let Some(user) = self.users.get_mut(&mid) else { return };
        for _ in 0..lose.min(user.inbox.len()) {
            user.inbox.pop_back();
        }
        user.epoch += 1;
        user.floor = 1;
        for (index, item) in user.inbox.iter().enumerate() {
            self.history.insert((mid, user.epoch, index as u64 + 1), item.body.clone());
        }
    }
}

fn timeline(kind: u16, from: u64, conv: u64) -> Timeline {
    if kind == kind::DIRECT { (kind, from.min(conv), from.max(conv)) } else { (kind, conv, conv) }
}

pub(super) fn frame(op: i32, seq: i32, ext: Extension, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_extended(&mut out, &Header { ver: 2, op, seq, ext }, body);
    out
}

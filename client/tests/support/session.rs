//! One session of the server of one log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use perseid_protocol::auth::{AuthLimits, AuthReply, AuthRequest};
use perseid_protocol::frame::{Extension, Header, flag};
use perseid_protocol::op;
use perseid_protocol::session::client::Session as Codec;
use tokio::sync::{mpsc, watch};

use super::wire::Wire;
use super::{State, Stored, frame};

const EPOCH: u64 = 7;
const PAGE: u64 = 20;

pub(crate) async fn serve(mut wire: Wire, state: Arc<State>, mut cuts: watch::Receiver<u64>) {
    cuts.borrow_and_update();
    let (pushes, mut to_push) = mpsc::unbounded_channel();
    let mut session = Session { state, pushes, number: None, mid: 0, requests: 0, input: Vec::new() };
    loop {
        tokio::select! {
            _ = cuts.changed() => break,
            bytes = wire.read() => {
                let Some(bytes) = bytes else { break };
                let Some(out) = session.take(&bytes) else { break };
                if !out.is_empty() && wire.write(out).await.is_none() {
                    break;
                }
                if session.said_farewell() {
                    wire.close().await;
                    break;
                }
            }
            Some(frame) = to_push.recv() => {
                if wire.write(frame).await.is_none() {
                    break;
                }
            }
        }
    }
    session.leave();
}

struct Session {
    state: Arc<State>,
    pushes: mpsc::UnboundedSender<Vec<u8>>,
    /// Its number among those that get pushes.
    number: Option<u64>,
    mid: u64,
    requests: u64,
    input: Vec<u8>,
}

impl Session {
    /// Takes in bytes; gives what to write, or `None` for a cut.
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut used = 0;
        let mut out = Vec::new();
        while let Some(frame) = Codec::decode(&input[used..]).unwrap() {
            used += frame.len;
            self.requests += 1;
            let requests_max = self.state.requests_max.load(Ordering::SeqCst);
            let last = requests_max > 0 && self.requests >= requests_max;
            let reply = self.request(&frame.header, frame.body);
            if last {
                return None; // what was asked is done, and the answer is lost
            }
            out.extend(reply);
        }
        self.input = input[used..].to_vec();
        Some(out)
    }

    fn request(&mut self, header: &Header, body: &[u8]) -> Vec<u8> {
        self.state.requests.lock().unwrap().push((*header, Bytes::copy_from_slice(body)));
        if let Some((with, ext, body)) = self.state.answers.lock().unwrap().get(&header.op) {
            return frame(*with, header.seq, *ext, body);
        }
        match header.op {
            op::AUTH => self.auth(header, body),
            op::HEARTBEAT => frame(op::HEARTBEAT_REPLY, header.seq, at(self.state.head()), &[0; 4]),
            op::SYNC => self.sync(header),
            op::SEND_MSG => self.send(header, body),
            op::ACK => Vec::new(),
            other => frame(other + 1, header.seq, header.ext, body),
        }
    }

    fn auth(&mut self, header: &Header, body: &[u8]) -> Vec<u8> {
        let request = AuthRequest::parse(body).unwrap();
        self.state.auths.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        self.mid = request.mid.unsigned_abs();
        let farewell = self.state.farewell.lock().unwrap().clone();
        if !farewell.is_empty() {
            return frame(op::DISCONNECT, 0, Extension::default(), farewell.as_bytes());
        }
        let head = self.state.head();
        if request.epoch == EPOCH && request.pos == head {
            self.go_live();
        }
        let reply = AuthReply {
            mid: request.mid,
            key: "key".into(),
            server: "fake".into(),
            heartbeat_ms: 60_000,
            // Short, so that tests are.
            reconnect_ms: 50,
            epoch: EPOCH,
            floor: 1,
            head,
            cursor: 0,
            limits: AuthLimits { body_bytes: 65_536, cid_ms: 3_600_000, ..AuthLimits::default() },
        };
        frame(op::AUTH_REPLY, header.seq, at(head), &serde_json::to_vec(&reply).unwrap())
    }

    fn sync(&mut self, header: &Header) -> Vec<u8> {
        let state = Arc::clone(&self.state);
        // Nothing is written between the page and the begin of pushes.
        let log = state.log.lock().unwrap();
        let head = log.len() as u64;
        let last = head.min(header.ext.pos + PAGE);
        let mut body = Vec::new();
        for pos in header.ext.pos + 1..=last {
            body.extend(stored(&log, pos));
        }
        if last == head {
            self.go_live();
        }
        let flags = if last < head { flag::MORE } else { 0 };
        frame(op::SYNC_REPLY, header.seq, Extension { flags, ..at(head) }, &body)
    }

    fn send(&mut self, header: &Header, body: &[u8]) -> Vec<u8> {
        let ext = &header.ext;
        let key = (self.mid, ext.cid);
        let known = self.state.cids.lock().unwrap().get(&key).copied();
        let pos = known.unwrap_or_else(|| {
            let body = Bytes::copy_from_slice(body);
            self.state.append(Stored { from: self.mid, cid: ext.cid, kind: ext.kind, conv: ext.conv, body })
        });
        self.state.cids.lock().unwrap().insert(key, pos);
        if self.state.mute.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let flags = if known.is_some() { flag::DUPLICATE } else { 0 };
        let reply = Extension { id: 1_000 + pos, cid: ext.cid, kind: ext.kind, conv: ext.conv, from: self.mid, flags, ..at(0) };
        frame(op::SEND_MSG_REPLY, header.seq, reply, &[])
    }

    fn go_live(&mut self) {
        if self.number.is_none() {
            let number = self.state.next_session.fetch_add(1, Ordering::SeqCst);
            self.state.live.lock().unwrap().insert(number, self.pushes.clone());
            self.number = Some(number);
        }
    }

    fn said_farewell(&self) -> bool {
        !self.state.farewell.lock().unwrap().is_empty()
    }

    fn leave(&self) {
        if let Some(number) = self.number {
            self.state.live.lock().unwrap().remove(&number);
        }
    }
}

fn at(pos: u64) -> Extension {
    Extension { pos, ..Extension::default() }
}

fn stored(log: &[Stored], pos: u64) -> Vec<u8> {
    let Some(one) = usize::try_from(pos).ok().and_then(|pos| log.get(pos.checked_sub(1)?)) else { return Vec::new() };
    let ext = Extension {
        id: 1_000 + pos,
        pos,
        conv: one.conv,
        conv_pos: pos,
        from: one.from,
        cid: one.cid,
        kind: one.kind,
        flags: flag::STORED,
    };
    frame(op::SEND_MSG, 0, ext, &one.body)
}

impl State {
    fn head(&self) -> u64 {
        self.log.lock().unwrap().len() as u64
    }

    /// Writes a message into the log and pushes it; its position.
    pub(crate) fn append(&self, message: Stored) -> u64 {
        let mut log = self.log.lock().unwrap();
        log.push(message);
        let pos = log.len() as u64;
        let bytes = stored(&log, pos);
        if !self.mute.load(Ordering::SeqCst) {
            self.push(&bytes);
        }
        pos
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        for session in self.live.lock().unwrap().values() {
            let _ = session.send(bytes.to_vec());
        }
    }
}

//! Pushing by an open-loop schedule: message k is due at start + k / rate and
//! carries that time, whether the one before it was answered or not. A slow
//! server makes latencies long instead of making the load small.

use crate::clock::{self, SECOND, now_ns};
use crate::http::{Api, Connection, Response};
use crate::payload::Stamp;
use crate::stats::{Latency, to_f64};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// How late a push may leave by default; a later one is given up.
pub(crate) const PATIENCE_NS: u64 = 10 * SECOND;
/// Reasons kept apart; the rest is counted together.
const REASONS_MAX: usize = 8;

/// Whom a message is for.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// goim's `/goim/push/room`.
    Room { kind: String, id: String },
    /// goim's `/goim/push/mids`.
    Mids { first: i64 },
    /// goim's `/goim/push/keys`.
    Keys { prefix: String, first: i64 },
    /// `/v1/messages` to one mid.
    Native { first: i64 },
}

/// A load: how many messages, to whom, when.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) api: Api,
    pub(crate) address: Address,
    /// Receivers that take turns; 1 for a room.
    pub(crate) users: u64,
    pub(crate) marker: u64,
    /// Bytes of a body.
    pub(crate) size: usize,
    pub(crate) start_ns: u64,
    /// Messages a second.
    pub(crate) rate: f64,
    pub(crate) count: u64,
    /// Keep-alive connections. One user's messages always take the same one,
    /// so that the order in which they are accepted is known.
    pub(crate) connections: u64,
    /// How late a push may leave; a later one is given up.
    pub(crate) patience_ns: u64,
}

/// What became of a load.
#[derive(Debug, Default)]
pub(crate) struct Pushed {
    /// Answered with success.
    pub(crate) accepted: u64,
    /// Sent, and refused or not answered, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Given up because the schedule was long over.
    pub(crate) given_up: u64,
    /// From due to answered.
    pub(crate) from_due: Latency,
    /// From sent to answered.
    pub(crate) from_sent: Latency,
    /// The longest that a push left after it was due.
    pub(crate) late_max_ns: u64,
    /// When the last answer came.
    pub(crate) end_ns: u64,
}

impl Load {
    /// When message `k` (from 0) is due.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn due_ns(&self, k: u64) -> u64 {
        self.start_ns + (to_f64(k) / self.rate * 1e9) as u64
    }

    /// Sends it all, one thread for each connection; returns when the last is
    /// answered or given up. `stop` ends it early.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Pushed {
        let threads = self.connections.clamp(1, self.users.max(1));
        let mut all = Pushed::default();
        std::thread::scope(|scope| {
            let handles: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || self.run_thread(thread, threads, stop))).collect();
            for handle in handles {
                match handle.join() {
                    Ok(part) => all.add(&part),
                    Err(_) => all.refuse("a pushing thread panicked".to_owned()),
                }
            }
        });
        all
    }

    fn run_thread(&self, thread: u64, threads: u64, stop: &AtomicBool) -> Pushed {
        clock::exact_sleeps();
        let mut pushed = Pushed::default();
        let mut connection = Connection::new(self.api.addr);
        // An API that is not there shows at the first push.
        let _ = connection.connect();
        let mine = (0..self.count).filter(|k| (k % self.users) % threads == thread);
        for k in mine {
            let due_ns = self.due_ns(k);
            clock::sleep_until(due_ns);
            let sent_ns = now_ns();
            if stop.load(Relaxed) || pushed.given_up > 0 || sent_ns > due_ns + self.patience_ns {
                pushed.given_up += 1;
                continue;
            }
            let stamp = Stamp { marker: self.marker, seq: k / self.users + 1, due_ns };
            let answer = connection.call(&self.request(k % self.users, stamp));
            let answered_ns = now_ns();
            pushed.late_max_ns = pushed.late_max_ns.max(sent_ns.saturating_sub(due_ns));
            pushed.end_ns = answered_ns;
            match answer.and_then(|response| accepted(&response)) {
                Ok(()) => pushed.accepted += 1,
                Err(error) => pushed.refuse(format!("{error:#}")),
            }
            pushed.from_due.record(answered_ns.saturating_sub(due_ns));
            pushed.from_sent.record(answered_ns - sent_ns);
        }
        pushed
    }

    fn request(&self, user: u64, stamp: Stamp) -> Vec<u8> {
        let mid = |first: i64| first.saturating_add(user.cast_signed());
        let path = match &self.address {
            Address::Room { kind, id } => {
                format!("/goim/push/room?operation=1000&type={kind}&room={id}")
            }
            Address::Mids { first } => {
                format!("/goim/push/mids?operation=1000&mids={}", mid(*first))
            }
            Address::Keys { prefix, first } => {
                format!("/goim/push/keys?operation=1000&keys={prefix}{}", mid(*first))
            }
            Address::Native { first } => {
                let body = base64(&stamp.encode(self.size));
                let json = format!(r#"{{"to":{{"mids":[{}]}},"op":1000,"body_base64":"{body}"}}"#, mid(*first));
                let mut request = self.api.request("POST", "/v1/messages", "application/json", json.len());
                request.extend_from_slice(json.as_bytes());
                return request;
            }
        };
        let body = stamp.encode(self.size);
        let mut request = self.api.request("POST", &path, "application/octet-stream", body.len());
        request.extend_from_slice(&body);
        request
    }
}

impl Pushed {
    pub(crate) fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Messages that left: those that a receiver may have got.
    pub(crate) fn sent(&self) -> u64 {
        self.accepted + self.refused_count()
    }

    fn refuse(&mut self, reason: String) {
        let known = self.refused.contains_key(&reason) || self.refused.len() < REASONS_MAX;
        let reason = if known { reason } else { "other reasons".to_owned() };
        *self.refused.entry(reason).or_default() += 1;
    }

    fn add(&mut self, part: &Self) {
        self.accepted += part.accepted;
        self.given_up += part.given_up;
        self.late_max_ns = self.late_max_ns.max(part.late_max_ns);
        self.end_ns = self.end_ns.max(part.end_ns);
        self.from_due.merge(&part.from_due.sparse());
        self.from_sent.merge(&part.from_sent.sparse());
        for (reason, count) in &part.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
    }
}

/// goim says success with `"code":0`, the native API with the status alone.
fn accepted(response: &Response) -> Result<()> {
    let text = || String::from_utf8_lossy(&response.body).chars().take(200).collect::<String>();
    if !(200..300).contains(&response.status) {
        anyhow::bail!("status {}: {}", response.status, text());
    }
    let json: serde_json::Value = serde_json::from_slice(&response.body).context("an answer that is not JSON")?;
    match json.get("code").and_then(serde_json::Value::as_i64) {
        None | Some(0) => Ok(()),
        Some(code) => anyhow::bail!("code {code}: {}", text()),
    }
}

/// Standard base64 with padding (RFC 4648): bodies here are a few bytes.
fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for three in data.chunks(3) {
        let byte = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            // Six bits index an alphabet of 64.
            let letter = ALPHABET[(word >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_vectors_of_the_standard() {
        let vectors = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn answers() {
        let answer = |status, body: &str| Response { status, body: body.as_bytes().to_vec() };
        assert!(accepted(&answer(200, r#"{"code":0,"message":""}"#)).is_ok());
        assert!(accepted(&answer(200, r#"{"id":"1","accepted":true}"#)).is_ok());
        assert!(accepted(&answer(200, r#"{"code":-500,"message":"x"}"#)).is_err());
        assert!(accepted(&answer(429, "{}")).is_err());
        assert!(accepted(&answer(200, "hello")).is_err());
    }

    #[test]
    fn reasons_are_bounded() {
        let mut pushed = Pushed::default();
        for n in 0..100 {
            pushed.refuse(format!("reason {n}"));
        }
        assert_eq!(pushed.refused_count(), 100);
        assert!(pushed.refused.len() <= REASONS_MAX + 1);
    }
}

//! By what a retry is told from another request with the same idempotency key.
//!
//! It stands in the log, so that it holds over a restart: what it gives for a request may never change. It is no defence: an
//! account that looks for two requests with one fingerprint only fools itself.

use perseid_rpc::PushPriority;

use super::{PushRequest, Target};

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

/// The fingerprint of everything in a request that makes the message: all but the idempotency key and its account.
pub(super) fn of(request: &PushRequest) -> u64 {
    let mut mix = Mix(SEED);
    match &request.target {
        Target::Keys(keys) => {
            mix.number(1);
            mix.number(keys.len() as u64);
            keys.iter().for_each(|key| mix.bytes(key.as_bytes()));
        }
        Target::Mids(mids) => {
            mix.number(2);
            mix.number(mids.len() as u64);
            mids.iter().for_each(|mid| mix.number(mid.cast_unsigned()));
        }
        Target::Room(room) => {
            mix.number(3);
            mix.bytes(room.as_bytes());
        }
        Target::All { speed } => {
            mix.number(4);
            mix.number(u64::from(*speed));
        }
        Target::Notice(mids) => {
            mix.number(7);
            mix.number(mids.len() as u64);
            mids.iter().for_each(|mid| mix.number(mid.cast_unsigned()));
        }
        Target::Group(group) => {
            mix.number(8);
            mix.number(*group);
        }
    }
    mix.number(u64::from(request.op.cast_unsigned()));
    mix.number(request.ttl_ms);
    mix.number(request.from);
    mix.bytes(&request.body);
    // Came later: what stands in logs was made without them.
    if request.priority != PushPriority::Normal {
        mix.number(9);
        mix.number(request.priority as u64);
    }
    if let Some(collapse) = &request.collapse {
        mix.number(10);
        mix.bytes(collapse.as_bytes());
    }
    mix.0
}

/// The fingerprint of a client's message: of its body alone, because a `cid` belongs to a conversation already.
pub(crate) fn of_body(body: &[u8]) -> u64 {
    let mut mix = Mix(SEED);
    mix.number(5);
    mix.bytes(body);
    mix.0
}

/// An account's idempotency key as records and stores know it; never 0.
pub(crate) fn of_key(account: &str, id: &str) -> u64 {
    let mut mix = Mix(SEED);
    mix.number(6);
    mix.bytes(account.as_bytes());
    mix.bytes(id.as_bytes());
    mix.0.max(1)
}

struct Mix(u64);

impl Mix {
    fn number(&mut self, number: u64) {
        let wide = u128::from(self.0 ^ number ^ SEED) * u128::from(MULTIPLIER);
        // Both halves fit by construction.
        let (low, high) = ((wide & u128::from(u64::MAX)) as u64, (wide >> 64) as u64);
        self.0 = (low ^ high).rotate_left(23).wrapping_add(number);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn request(target: Target, op: i32, body: &'static str) -> PushRequest {
        PushRequest { op, body: body.into(), ..PushRequest::to(target) }
    }

    /// Stands in logs: may never change.
    #[test]
    fn pinned() {
        let request = request(Target::Mids(vec![1, -2]), 1000, "hello, world");
        assert_eq!(of(&request), PINNED);
    }

    const PINNED: u64 = 8_519_671_133_557_681_436;

    #[test]
    fn what_makes_the_message_makes_the_fingerprint() {
        let base = request(Target::Keys(vec!["a".into(), "b".into()]), 1000, "hi");
        let others = [
            base.clone(),
            request(Target::Keys(vec!["b".into(), "a".into()]), 1000, "hi"),
            request(Target::Keys(vec!["ab".into()]), 1000, "hi"),
            request(Target::Mids(vec![1]), 1000, "hi"),
            request(Target::Mids(vec![1, 0]), 1000, "hi"),
            request(Target::Room("a".into()), 1000, "hi"),
            request(Target::All { speed: 0 }, 1000, "hi"),
            request(Target::All { speed: 1 }, 1000, "hi"),
            request(Target::Keys(vec!["a".into(), "b".into()]), -1000, "hi"),
            request(Target::Keys(vec!["a".into(), "b".into()]), 1000, "hi\0"),
            request(Target::Keys(vec!["a".into(), "b".into()]), 1000, ""),
            PushRequest { ttl_ms: 1, ..base.clone() },
            PushRequest { from: 1, ..base.clone() },
            PushRequest { priority: PushPriority::High, ..base.clone() },
            PushRequest { priority: PushPriority::Low, ..base.clone() },
            PushRequest { collapse: Some(String::new()), ..base.clone() },
            PushRequest { collapse: Some("a".into()), ..base.clone() },
            request(Target::Notice(vec![1]), 1000, "hi"),
            request(Target::Group(1), 1000, "hi"),
        ];
        let different: HashSet<u64> = others.iter().map(of).collect();
        assert_eq!(different.len(), others.len());
        assert_eq!(of(&PushRequest { id: Some("x".into()), account: "y".into(), ..base.clone() }), of(&base));
    }
}

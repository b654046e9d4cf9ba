//! One program: its machine, its storage, its application and its connection.

use bytes::Bytes;
use perseid_protocol::auth::AuthRequest;
use perseid_protocol::op;
use perseid_protocol::session::client::Session as Codec;

use super::app::App;
use super::network::Connection;
use super::world::PEACE_MS;
use crate::core::random::Random;
use crate::core::{Core, CoreConfig, Start};
use crate::storage::Stored;

pub(super) struct Client {
    pub(super) mid: u64,
    pub(super) core: Option<Core>,
    pub(super) stored: Stored,
    pub(super) connection: Option<Connection>,
    pub(super) connected_at_ms: u64,
    /// The network is away until then, or the program is.
    pub(super) away_until_ms: u64,
    pub(super) app: App,
    pub(super) next_send_ms: u64,
    pub(super) token: u64,
}

impl Client {
    pub(super) fn new(mid: u64, next_send_ms: u64) -> Self {
        Self {
            mid,
            core: None,
            stored: Stored::default(),
            connection: None,
            connected_at_ms: u64::MAX,
            away_until_ms: 0,
            app: App::default(),
            next_send_ms,
            token: 0,
        }
    }

    pub(super) fn next_ms(&self, now_ms: u64) -> u64 {
        let core_ms = self.core.as_ref().map_or(self.away_until_ms, Core::poll_timeout);
        let send_ms = if self.core.is_some() && now_ms < PEACE_MS { self.next_send_ms } else { u64::MAX };
        let network_ms = self.connection.as_ref().map_or(u64::MAX, Connection::next_ms);
        core_ms.min(send_ms).min(network_ms).min(self.app.next_ms()).min(self.connected_at_ms)
    }

    pub(super) fn write(&mut self, bytes: Vec<u8>, now_ms: u64, random: &mut Random) -> Result<(), String> {
        // Cut between the wish and its fulfilment.
        let Some(connection) = self.connection.as_mut() else { return Ok(()) };
        let mut rest = bytes.as_slice();
        while let Ok(Some(frame)) = Codec::decode(rest) {
            if frame.header.op == op::SEND_MSG {
                let body = Bytes::copy_from_slice(frame.body);
                if !self.stored.outbox.iter().any(|entry| entry.body == body && entry.sent_ms != 0) {
                    return Err(format!("{body:?} is sent before the storage knows it"));
                }
            }
            let (one, behind) = rest.split_at(frame.len);
            connection.write_up(one.to_vec(), now_ms, random);
            rest = behind;
        }
        if rest.is_empty() { Ok(()) } else { Err("half a frame was written".into()) }
    }
}

pub(super) fn config(mid: u64) -> CoreConfig {
    CoreConfig {
        auth: AuthRequest { mid: mid.cast_signed(), device_id: "d".into(), ..AuthRequest::default() },
        start: Start::Oldest,
        heartbeat_ms: 30_000,
        handshake_ms: 10_000,
        request_ms: 30_000,
        outbox_bytes_max: 1 << 20,
        held_bytes_max: 1_000,
        requests_bytes_max: 1 << 16,
    }
}

//! What goes wrong.

use perseid_protocol::CloseReason;
use perseid_protocol::frame::Extension;
use perseid_protocol::op;
use perseid_protocol::session::client::Session as Codec;

use super::super::server::frame;
use super::{USERS, World};
use crate::error::Disconnect;

impl World {
    pub(super) fn fault(&mut self) -> Result<(), String> {
        let chance = usize::try_from(self.random.up_to(USERS - 1)).unwrap_or(0);
        let at = self.next_victim.take().unwrap_or(chance);
        let mid = self.clients[at].mid;
        match self.random.up_to(9) {
            0..=4 if self.weather.cuts => {
                self.cut(at);
                let long = self.weather.long_outages && self.random.up_to(3) == 0;
                let away_ms = self.random.up_to(if long { 400_000 } else { 3_000 });
                self.clients[at].away_until_ms = self.now_ms + away_ms;
            }
            5 if self.weather.kills => self.kill(at),
            6 | 7 if self.weather.trims => {
                let keep = self.random.up_to(4);
                self.server.trim(mid, usize::try_from(keep).unwrap_or(0));
            }
            8 if self.weather.epochs => {
                let lose = self.random.up_to(3);
                self.server.new_epoch(mid, usize::try_from(lose).unwrap_or(0));
                self.resync(at);
            }
            9 if self.weather.cuts => self.resync(at),
            _ => {}
        }
        Ok(())
    }

    /// The server ends a session with RESYNC.
    pub(super) fn resync(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let client = &mut self.clients[at];
        let Some(core) = client.core.as_mut() else { return };
        if client.connection.is_some() {
            let bytes = frame(op::DISCONNECT, 0, Extension::default(), CloseReason::Resync.json(None, Some(50)).as_bytes());
            if let Ok(Some(frame)) = Codec::decode(&bytes) {
                core.handle_frame(&frame, now_ms);
            }
            client.connection = None;
            core.handle_lost(Disconnect::Lost("closed".into()), now_ms);
        }
    }

    pub(super) fn cut(&mut self, at: usize) {
        self.close(at);
        let client = &mut self.clients[at];
        client.connected_at_ms = u64::MAX;
        if let Some(core) = client.core.as_mut() {
            core.handle_lost(Disconnect::Lost("cut".into()), self.now_ms);
        }
    }

    /// What the client had written may still arrive.
    pub(super) fn close(&mut self, at: usize) {
        if let Some(mut connection) = self.clients[at].connection.take()
            && connection.session.is_some()
        {
            let arrive = usize::try_from(self.random.up_to(connection.up.len() as u64)).unwrap_or(0);
            connection.up.truncate(arrive);
            self.zombies.push(connection);
        }
    }

    pub(super) fn kill(&mut self, at: usize) {
        self.close(at);
        let client = &mut self.clients[at];
        client.core = None;
        client.connected_at_ms = u64::MAX;
        client.away_until_ms = self.now_ms + self.random.up_to(5_000);
    }
}

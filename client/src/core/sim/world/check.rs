//! What has to hold in the end.

use super::super::client::Client;
use super::World;
use crate::error::Error;

impl World {
    pub(super) fn is_quiet(&self) -> bool {
        self.zombies.is_empty() && self.server.next_due_ms() == u64::MAX && self.clients.iter().all(|client| self.is_done(client))
    }

    pub(super) fn is_done(&self, client: &Client) -> bool {
        let user = &self.server.users[&client.mid];
        let there = |at: crate::event::Position| at.pos == user.head() && (at.epoch == user.epoch || user.head() == 0);
        let acked = client.connection.as_ref().and_then(|connection| connection.session.as_ref()).map(|one| one.acked);
        client.core.as_ref().is_some_and(|core| core.outbox_len() == 0)
            && there(client.app.done)
            && there(client.stored.cursor)
            && acked == Some(user.head())
            && client.stored.outbox.is_empty()
    }

    pub(super) fn check(&self) -> Result<u64, String> {
        for client in &self.clients {
            if !self.is_done(client) {
                let user = &self.server.users[&client.mid];
                return Err(format!(
                    "user {} never came to rest: processed {:?}, stored {:?}, inbox {} to {} in epoch {}, outbox {}",
                    client.mid,
                    client.app.done,
                    client.stored.cursor,
                    user.floor,
                    user.head(),
                    user.epoch,
                    client.stored.outbox.len(),
                ));
            }
            self.check_sent(client)?;
        }
        self.check_order()?;
        Ok(self.clients.iter().map(|client| client.app.seen).sum())
    }

    pub(super) fn check_sent(&self, client: &Client) -> Result<(), String> {
        for body in &client.app.sent {
            let count: usize =
                self.server.timelines.values().map(|line| line.iter().filter(|item| item.body == body).count()).sum();
            let outcome = client.app.outcomes.get(body);
            let right = match outcome {
                Some(Ok(_)) => count == 1,
                Some(Err(Error::Unknown)) => count <= 1,
                Some(Err(_)) => count == 0,
                // Killed after the storage knew and before the application did.
                None => self.weather.kills && client.app.settled.contains(body) && count <= 1,
            };
            if !right {
                return Err(format!("{body:?} of user {} stands {count} times, and ended as {outcome:?}", client.mid));
            }
        }
        Ok(())
    }

    /// In each timeline the messages of one sender stand in the order in which they were sent.
    pub(super) fn check_order(&self) -> Result<(), String> {
        for (key, line) in &self.server.timelines {
            for client in &self.clients {
                let order: Vec<usize> = line
                    .iter()
                    .filter(|item| item.from == client.mid)
                    .filter_map(|item| client.app.sent.iter().position(|body| *body == item.body))
                    .collect();
                if !order.is_sorted() {
                    return Err(format!("{key:?}: user {}'s messages stand in the order {order:?}", client.mid));
                }
            }
        }
        Ok(())
    }
}

//! How far a user's devices have come.

use super::keys;
use super::kv::Broken;
use super::read::{DeviceCursor, InboxView, OpenInbox, OpenedInbox, OutOfRange};
use super::rows::Cursors;
use super::user_bucket::UserBucket;

/// Devices of one user; the longest unused one goes first.
const DEVICES_MAX: usize = 32;
/// Longer names are cut.
const DEVICE_BYTES_MAX: usize = 64;
/// A device that says the same again is noted this seldom.
const SEEN_MS: u64 = 3_600_000;

/// The name as it is kept.
fn device_name(device: &str) -> &str {
    device.get(..device.floor_char_boundary(DEVICE_BYTES_MAX)).unwrap_or_default()
}

impl UserBucket {
    fn cursors(&self, mid: u64, inbox: InboxView) -> Result<Cursors, Broken> {
        let row = self.rows.get(&keys::cursors(mid))?.map(|row| Cursors::from_bytes(&row)).transpose()?;
        Ok(row.filter(|row| row.epoch == inbox.epoch).unwrap_or(Cursors { epoch: inbox.epoch, devices: Vec::new() }))
    }

    /// Moves a cursor forward; gives where it stands, and whether it was written just now.
    fn advance(&mut self, mid: u64, inbox: InboxView, device: &str, pos: u64, now_ms: u64) -> Result<(u64, bool), Broken> {
        let mut cursors = self.cursors(mid, inbox)?;
        let device = device_name(device);
        let pos = match cursors.devices.iter_mut().find(|known| &*known.device == device) {
            Some(known) if pos <= known.pos && now_ms.saturating_sub(known.seen_ms) < SEEN_MS => return Ok((known.pos, false)),
            Some(known) => {
                (known.pos, known.seen_ms) = (known.pos.max(pos), known.seen_ms.max(now_ms));
                known.pos
            }
            None => {
                cursors.devices.push(DeviceCursor { device: device.into(), pos, seen_ms: now_ms });
                pos
            }
        };
        cursors.devices.sort_by_key(|known| known.seen_ms);
        let over = cursors.devices.len().saturating_sub(DEVICES_MAX);
        cursors.devices.drain(..over);
        self.rows.begin();
        self.rows.put(keys::cursors(mid), cursors.to_bytes());
        Ok((pos, true))
    }

    /// A session begins to use an inbox; gives also whether its cursor may still be lost with the process. `may_move`: what the
    /// client says it has can be remembered now.
    pub(crate) fn open(&mut self, open: &OpenInbox, may_move: bool) -> Result<(OpenedInbox, bool), Broken> {
        let inbox = self.inbox(open.mid)?;
        let has = open.has.filter(|(epoch, pos)| *epoch == inbox.epoch && *pos <= inbox.head);
        let foreign = open.has.is_some() && has.is_none();
        let cursor = match has {
            Some((_, pos)) if may_move => self.advance(open.mid, inbox, &open.device, pos, open.now_ms)?.0,
            _ => self.cursor_of(open.mid, inbox, &open.device)?,
        };
        let is_uncommitted = cursor != 0 && self.rows.is_uncommitted(&keys::cursors(open.mid));
        Ok((OpenedInbox { inbox, cursor, foreign }, is_uncommitted))
    }

    fn cursor_of(&self, mid: u64, inbox: InboxView, device: &str) -> Result<u64, Broken> {
        let cursors = self.cursors(mid, inbox)?;
        let name = device_name(device);
        Ok(cursors.devices.iter().find(|known| &*known.device == name).map_or(0, |known| known.pos))
    }

    /// A device has stored all up to `pos`; gives what holds, and whether that may still be lost with the process.
    pub(crate) fn ack(
        &mut self,
        mid: u64,
        device: &str,
        pos: u64,
        now_ms: u64,
    ) -> Result<Result<(u64, bool), OutOfRange>, Broken> {
        let inbox = self.inbox(mid)?;
        if pos > inbox.head {
            return Ok(Err(OutOfRange::AboveHead(inbox)));
        }
        let (pos, _) = self.advance(mid, inbox, device, pos, now_ms)?;
        Ok(Ok((pos, self.rows.is_uncommitted(&keys::cursors(mid)))))
    }

    /// A user's devices, the longest unused first.
    pub(crate) fn devices(&mut self, mid: u64) -> Result<Vec<DeviceCursor>, Broken> {
        let inbox = self.inbox(mid)?;
        Ok(self.cursors(mid, inbox)?.devices)
    }
}

//! Sessions behind TLS: their bytes pass through here on the way in and out, and nothing above notices.

use std::io;
use std::os::fd::RawFd;

use super::{Env, Worker};
use crate::gather::Gather;
use crate::net::sys;
use crate::net::tls::{Fault, Handshake, Read, Tls};
use crate::slab::Key;

pub(super) use crate::net::tls::Sent;

/// A worker keeps no larger buffers than these between two uses, bytes.
const KEPT_BYTES: usize = 128 * 1024;

/// Writes as much as the socket takes, encrypted where that is the session's way, and counts it. A full socket is no error.
///
/// # Errors
/// The connection is broken.
pub(super) fn send(env: &Env, scratch: &mut Vec<u8>, fd: RawFd, tls: Option<&mut Tls>, bytes: &[u8]) -> io::Result<Sent> {
    let sent = match tls {
        None => {
            let taken = match sys::send(fd, bytes) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    env.metrics.writes.inc();
                    return Err(error);
                }
            };
            Sent { taken, wrote: taken, calls: 1, full: taken < bytes.len() }
        }
        Some(tls) => {
            let before = tls.buffered_bytes();
            let sent = tls.send(fd, bytes, scratch);
            env.node.budget.change(before, tls.buffered_bytes());
            sent?
        }
    };
    env.metrics.writes.add(sent.calls);
    env.metrics.bytes_sent.add(sent.wrote as u64);
    Ok(sent)
}

impl Worker {
    /// Takes what came from the socket of a session behind TLS.
    pub(super) fn take_ciphertext(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        // What comes after our last word is read over, until the client has gone.
        let Some(tls) = slot.tls.as_deref_mut().filter(|tls| !tls.has_ended()) else { return };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let before = tls.buffered_bytes();
        let outcome = tls.read(bytes, &mut plain, &mut self.scratch);
        self.env.node.budget.change(before, tls.buffered_bytes());
        if let Ok(Read { handshake: Some(handshake), .. }) = outcome {
            self.env.metrics.tls_handshakes[usize::from(handshake == Handshake::Resumed)].inc();
        }
        // What was whole before a fault is as good as ever. Its replies take what TLS itself has to say along.
        if !plain.is_empty() {
            self.take_bytes(key, &mut plain);
        }
        plain.shrink_to(KEPT_BYTES);
        self.plain = plain;
        self.scratch.shrink_to(KEPT_BYTES);
        self.flush_tls(key);
        match outcome {
            Err(fault) => self.end_fault(key, fault),
            Ok(Read { peer_closed: true, .. }) => {
                self.say_close_notify(key);
                self.leave(key);
            }
            Ok(_) => {}
        }
    }

    /// Sends what TLS itself has to say, if the socket is not full: then whoever finds it writable does.
    fn flush_tls(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| slot.outbox.is_none()) else { return };
        let fd = slot.fd();
        let Some(tls) = slot.tls.as_deref_mut().filter(|tls| tls.has_unsent()) else { return };
        match send(&self.env, &mut self.scratch, fd, Some(tls), &[]) {
            Ok(sent) if sent.full => self.block(key),
            Ok(_) => {}
            Err(_) => self.broken.push(key),
        }
    }

    /// The connection can't go on. A stranger gets the time to read why; a session has lost its way to us.
    fn end_fault(&mut self, key: Key, fault: Fault) {
        self.env.metrics.fail_tls(fault);
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if self.env.node.session_log.allow() {
            let client = Self::client(slot).map(|client| client.to_string()).unwrap_or_default();
            tracing::debug!(client, reason = fault.word(), "a TLS connection failed");
        }
        if slot.is_live() || slot.is_ended() {
            self.leave(key);
        } else {
            self.close(key, &Gather::default());
        }
    }

    /// Says that nothing follows, behind everything else; whether that is on its way (or there is nobody to say it to).
    pub(super) fn say_close_notify(&mut self, key: Key) -> bool {
        let Some(slot) = self.sessions.get_mut(key) else { return true };
        let fd = slot.fd();
        let Some(tls) = slot.tls.as_deref_mut().filter(|_| !slot.shut) else { return true };
        let before = tls.buffered_bytes();
        let said = tls.put_close_notify(&mut self.scratch);
        self.env.node.budget.change(before, tls.buffered_bytes());
        if !said && !tls.has_unsent() {
            return true;
        }
        match send(&self.env, &mut self.scratch, fd, Some(tls), &[]) {
            Ok(sent) if sent.full => {
                self.block(key);
                false
            }
            _ => true,
        }
    }
}

//! From the sockets: bytes to frames, through a buffer that all sessions of the worker share.

use std::io::{self, Read};
use std::ops::ControlFlow;

use perseid_protocol::{CloseReason, frame};

use super::frames::From;
use super::{READS_PER_TURN, Worker};
use crate::config::Config;
use crate::gather::Gather;
use crate::net::websocket::handshake::{Handshake, parse_upgrade};
use crate::net::websocket::{Limits, Message, Opcode, Violation, encode};
use crate::session::{Failed, Wire};
use crate::slab::Key;
use crate::users::Sent;

/// Where the WebSocket is.
const PATH: &str = "/sub";
/// What one session may have half read before the node's bound is looked at, bytes.
const FREE_INPUT_BYTES: usize = 16 * 1024;

impl Worker {
    /// The socket may have bytes. `to_end` says that the client has closed its half: read until its end is seen.
    pub(super) fn read(&mut self, key: Key, to_end: bool) {
        self.take_kept(key);
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let mut more = true;
        for _ in 0..READS_PER_TURN {
            let Some(slot) = self.sessions.get_mut(key) else {
                more = false;
                break;
            };
            if slot.is_paused() {
                slot.unread = true;
                more = false;
                break;
            }
            match slot.stream.read(&mut buffer) {
                Ok(0) => {
                    self.leave(key);
                    more = false;
                    break;
                }
                Ok(count) => {
                    self.env.metrics.bytes_received.add(count as u64);
                    if self.env.config.limit.counts_bytes() {
                        self.is_within(key, Sent::Bytes, count);
                    }
                    self.take_received(key, &mut buffer[..count]);
                    // Less than asked for: there is no more, but perhaps the end.
                    if count < buffer.len() && !to_end {
                        more = false;
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.leave(key);
                    more = false;
                    break;
                }
            }
        }
        self.read_buffer = buffer;
        if more {
            self.read_more.push(key);
        } else {
            self.end_run(key);
        }
    }

    /// Sessions that had more than their turn's worth, and those whose pause is over.
    pub(super) fn go_on_reading(&mut self) {
        for key in std::mem::take(&mut self.read_more) {
            let Some(slot) = self.sessions.get_mut(key) else { continue };
            if slot.is_paused() {
                slot.unread = true;
                continue;
            }
            slot.unread = false;
            self.take_kept(key);
            if self.go_on_if_live(key).is_continue()
                && let Some(mut held) = self.take_input(key)
            {
                self.take_bytes(key, &mut held);
            }
            self.read(key, true);
        }
    }

    /// Goes on with the frames that wait for their turn: whatever is read now comes after them.
    fn take_kept(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        let Some(input) = slot.input.as_mut().filter(|input| !input.frames.is_empty() && input.waiting.is_none()) else { return };
        let taken = std::mem::take(&mut input.frames_taken);
        let frames = std::mem::take(&mut input.frames);
        self.env.node.budget.sub(frames.len() - taken);
        let taken = taken + self.take_frames(key, &frames[taken..], From::Kept);
        if taken == frames.len()
            && let Some(input) = self.sessions.get_mut(key).and_then(|slot| slot.input.as_mut())
        {
            // Before its client can know.
            input.end_run(Failed::Kept);
        }
        self.flush_replies(key);
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| !slot.is_ended()) else { return };
        if taken < frames.len() {
            self.env.node.budget.add(frames.len() - taken);
            let input = slot.input.get_or_insert_default();
            (input.frames, input.frames_taken) = (frames, taken);
        } else {
            slot.tidy_input();
        }
    }

    /// Takes what came from the socket: a proxy's header, ciphertext, or what the client says.
    pub(super) fn take_received(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.guest.as_ref().is_some_and(|guest| guest.proxy_header.is_some()) {
            self.take_proxy_header(key, bytes);
        } else if slot.tls.is_some() {
            self.take_ciphertext(key, bytes);
        } else {
            self.take_bytes(key, bytes);
        }
    }

    pub(super) fn take_bytes(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if slot.is_ended() {
            return; // a client that talks on after our farewell
        }
        match slot.wire {
            Wire::Tcp => self.take_stream(key, bytes),
            Wire::Upgrading => self.take_upgrade(key, bytes),
            Wire::WebSocket => self.take_websocket(key, bytes),
        }
        self.flush_replies(key);
    }

    /// Frames on TCP: back to back, cut anywhere.
    fn take_stream(&mut self, key: Key, bytes: &[u8]) {
        match self.take_input(key) {
            None => {
                let used = self.take_frames(key, bytes, From::Wire);
                self.hold(key, bytes[used..].to_vec());
            }
            Some(mut held) => {
                held.extend_from_slice(bytes);
                let used = self.take_frames(key, &held, From::Wire);
                held.drain(..used);
                self.hold(key, held);
            }
        }
    }

    fn take_upgrade(&mut self, key: Key, bytes: &[u8]) {
        let complete_line = bytes.contains(&b'\n');
        let mut head = self.take_input(key).unwrap_or_default();
        head.extend_from_slice(bytes);
        if !complete_line && head.len() < crate::net::websocket::handshake::HEAD_BYTES_MAX {
            return self.hold(key, head); // nothing to judge yet: a slow client costs no parsing
        }
        match parse_upgrade(&head, PATH) {
            Handshake::NeedMore => self.hold(key, head),
            Handshake::Accept(accept) => {
                if let Err(denial) = self.welcome(key, &accept.headers) {
                    return self.refuse_upgrade(key, &denial.response(PATH));
                }
                self.replies.put_reply(|out| accept.put_response(out));
                let used = accept.consumed;
                if let Some(slot) = self.sessions.get_mut(key) {
                    slot.wire = Wire::WebSocket;
                }
                self.keep_echo_alive(key);
                if used < head.len() {
                    self.take_websocket(key, &mut head[used..]);
                }
            }
            Handshake::Reject { response, .. } => self.refuse_upgrade(key, &response),
        }
    }

    fn refuse_upgrade(&mut self, key: Key, response: &[u8]) {
        self.env.metrics.upgrades_refused.inc();
        let mut farewell = Gather::default();
        farewell.put_reply(|out| out.extend_from_slice(response));
        self.close(key, &farewell);
    }

    fn take_websocket(&mut self, key: Key, bytes: &mut [u8]) {
        let mut joined;
        let mut bytes = match self.take_input(key) {
            None => bytes,
            Some(held) => {
                joined = held;
                joined.extend_from_slice(bytes);
                &mut joined[..]
            }
        };
        loop {
            let Some(slot) = self.sessions.get_mut(key) else { return };
            let limits = message_limits(&self.env.config, slot.is_live());
            let mut decoder = slot.input.as_mut().map(|input| std::mem::take(&mut input.decoder)).unwrap_or_default();
            slot.tidy_input();
            let before = decoder.buffered_bytes();
            let outcome = decoder.feed(bytes, &limits, &mut |message| self.take_message(key, message));
            let after = decoder.buffered_bytes();
            self.env.node.budget.change(before, after);
            let Some(slot) = self.sessions.get_mut(key).filter(|slot| !slot.is_ended()) else {
                self.env.node.budget.sub(after);
                return;
            };
            if !decoder.is_idle() {
                slot.input.get_or_insert_default().decoder = decoder;
            }
            let used = match outcome {
                Ok(used) => used.min(bytes.len()),
                Err(violation) => return self.end_violation(key, violation),
            };
            if after > FREE_INPUT_BYTES && self.env.node.budget.is_over() {
                return self.end(key, CloseReason::Overloaded, None, None);
            }
            bytes = &mut bytes[used..];
            if used == 0 || bytes.is_empty() || self.go_on_if_live(key).is_break() {
                return self.hold(key, bytes.to_vec());
            }
        }
    }

    fn take_message(&mut self, key: Key, message: Message<'_>) -> ControlFlow<()> {
        self.keep_echo_alive(key);
        match message {
            Message::Ping(_) if !self.is_within(key, Sent::Frames, 1) => {}
            Message::Ping(payload) => self.replies.put_reply(|out| encode::put_frame(out, Opcode::Pong, payload)),
            Message::Pong(_) => {}
            Message::Close { code, .. } => {
                let mut farewell = Gather::default();
                farewell.put_reply(|out| match code {
                    Some(code) => encode::put_close(out, code, ""),
                    None => encode::put_frame(out, Opcode::Close, &[]),
                });
                self.env.metrics.left.inc();
                self.close(key, &farewell);
                return ControlFlow::Break(());
            }
            Message::Binary(payload) if self.env.config.echo => self.echo(Opcode::Binary, payload),
            Message::Text(payload) => self.echo(Opcode::Text, payload.as_bytes()), // only an echo is ever given text
            Message::Binary(payload) => {
                let was_live = self.sessions.get_mut(key).is_some_and(|slot| slot.is_live());
                let used = self.take_frames(key, payload, From::Wire);
                // What follows AUTH is read by other limits.
                let flow = self.after_message(key, &payload[used..]);
                return if was_live { flow } else { ControlFlow::Break(()) };
            }
        }
        self.go_on_if_live(key)
    }

    /// Nobody authenticates to an echo: a connection lives as long as it says something.
    fn keep_echo_alive(&mut self, key: Key) {
        let (config, now_ms) = (&self.env.config, self.env.now_ms);
        if config.echo
            && let Some(slot) = self.sessions.get_mut(key)
        {
            slot.rules.handle_auth(true, now_ms, &config.limits);
        }
    }

    fn echo(&mut self, opcode: Opcode, payload: &[u8]) {
        self.replies.put_reply(|out| encode::put_frame(out, opcode, payload));
    }

    /// A message holds whole frames: what is left of one waits for its turn, or is a frame cut off for ever.
    fn after_message(&mut self, key: Key, rest: &[u8]) -> ControlFlow<()> {
        let Some(slot) = self.sessions.get_mut(key).filter(|slot| !slot.is_ended()) else { return ControlFlow::Break(()) };
        if rest.is_empty() {
            return self.go_on_if_live(key);
        }
        if !are_whole_frames(rest, self.env.config.limits.body_bytes_max) {
            self.end(key, CloseReason::BadFrame, Some("a frame must not straddle two WebSocket messages"), None);
            return ControlFlow::Break(());
        }
        // Only a pause leaves whole frames behind.
        self.env.node.budget.add(rest.len());
        slot.input.get_or_insert_default().keep_frames(rest);
        self.go_on_if_live(key)
    }

    fn go_on_if_live(&mut self, key: Key) -> ControlFlow<()> {
        match self.sessions.get_mut(key) {
            Some(slot) if !slot.is_ended() && !slot.is_paused() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn end_violation(&mut self, key: Key, violation: Violation) {
        self.env.metrics.end(CloseReason::BadFrame);
        let mut farewell = Gather::default();
        farewell.put_reply(|out| encode::put_close(out, violation.close_code, violation.reason));
        self.close(key, &farewell);
    }

    fn take_input(&mut self, key: Key) -> Option<Vec<u8>> {
        let slot = self.sessions.get_mut(key)?;
        let held = std::mem::take(&mut slot.input.as_mut()?.held);
        slot.tidy_input();
        self.env.node.budget.sub(held.len());
        (!held.is_empty()).then_some(held)
    }

    /// Keeps bytes that can't be used yet.
    fn hold(&mut self, key: Key, bytes: Vec<u8>) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        if bytes.is_empty() || slot.is_ended() {
            return;
        }
        self.env.node.budget.add(bytes.len());
        let input = slot.input.get_or_insert_default();
        // What was held before was taken out to be joined with what came.
        input.held = bytes;
        if input.len() > FREE_INPUT_BYTES && self.env.node.budget.is_over() {
            self.end(key, CloseReason::Overloaded, None, None);
        }
    }
}

/// What a WebSocket message may be. A stranger's holds little more than one AUTH.
fn message_limits(config: &Config, is_live: bool) -> Limits {
    let stranger = config.limits.body_bytes_max.max(config.limits.auth_bytes_max) + frame::HEADER_LEN_MAX;
    let whole = is_live || config.echo;
    Limits {
        message_bytes_max: if whole { config.message_bytes_max } else { config.message_bytes_max.min(stranger) },
        fragments_max: config.fragments_max,
        text_allowed: config.echo,
    }
}

/// Whether `bytes` are frames and nothing else.
fn are_whole_frames(mut bytes: &[u8], body_bytes_max: usize) -> bool {
    while let Ok(Some(frame)) = frame::decode(bytes, body_bytes_max) {
        bytes = &bytes[frame.len..];
    }
    bytes.is_empty()
}

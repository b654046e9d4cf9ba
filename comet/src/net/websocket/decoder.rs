//! Messages out of the bytes of a client: the rules that span frames, and what is kept between reads.

use std::ops::ControlFlow;

use super::frame::{FrameHeader, HEADER_BYTES_MAX, Opcode, parse_header};
use super::mask::unmask;
use super::{Limits, Message, Violation, close};

/// The least that a buffer grows to, so that a trickle of bytes does not reallocate at each.
const BUFFER_BYTES_MIN: usize = 64;

/// Turns the bytes of one client into messages.
///
/// One word while nothing is half read; see [`Decoder::buffered_bytes`] for what it holds then.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// What is kept while a header, a frame or a message is half read.
#[derive(Debug, Default)]
struct Partial {
    stage: Stage,
    /// The message whose fragments are being read, if any.
    message: Option<Assembly>,
    /// Unmasked bytes of that message, then those of the control frame being read.
    bytes: Vec<u8>,
}

/// Where in a frame the next byte belongs.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Header(KeptHeader),
    Payload(Frame),
    /// A close or a violation was read: whatever follows is ignored.
    Ended,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Header(KeptHeader::default())
    }
}

/// The beginning of a header that the last read cut.
#[derive(Debug, Clone, Copy, Default)]
struct KeptHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

/// A frame that was let in.
#[derive(Debug, Clone, Copy)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    /// Rotated so that its first byte belongs to the next byte of payload.
    mask: [u8; 4],
    payload_bytes: usize,
    missing_bytes: usize,
}

impl Frame {
    /// Whether its payload is a message by itself.
    fn stands_alone(&self) -> bool {
        self.fin && self.opcode != Opcode::Continuation
    }
}

#[derive(Debug)]
struct Assembly {
    text: bool,
    fragments: u32,
    /// How much of a text is known to be UTF-8; at most three bytes less than what is there.
    utf8_checked_bytes: usize,
}

impl Decoder {
    /// Whether nothing is half read.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// A decoder that expects the first byte after the handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `input`, the bytes that follow those read before, and calls `on_message` for each
    /// complete message and control frame, in order. `input` is unmasked in place.
    ///
    /// Returns how many bytes were used: all, unless `on_message` broke off, after which the others
    /// are untouched and may be fed again. After a close nothing is handed out any more.
    ///
    /// # Errors
    /// A broken rule of the protocol or a limit; the messages before it were handed out. Further
    /// input is ignored.
    pub fn feed(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        on_message: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let outcome = self.read_frames(input, limits, on_message);
        if outcome.is_err() {
            self.end();
        }
        outcome
    }

    /// Bytes of heap held for what is half read; 0 while idle. At most `message_bytes_max` and a
    /// constant below 256.
    pub fn buffered_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.bytes.capacity())
    }

    fn read_frames(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        on_message: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        while at < input.len() {
            let (frame, resumed) = match self.stage() {
                Stage::Ended => return Ok(input.len()),
                Stage::Payload(frame) => (frame, true),
                Stage::Header(kept) => {
                    let Some((header, used_bytes)) = self.read_header(kept, &input[at..])? else {
                        return Ok(input.len());
                    };
                    at += used_bytes;
                    (self.admit(&header, limits)?, false)
                }
            };
            let arrived_bytes = frame.missing_bytes.min(input.len() - at);
            let payload = &mut input[at..at + arrived_bytes];
            at += arrived_bytes;
            unmask(payload, frame.mask);

            let flow = if !resumed && frame.stands_alone() && arrived_bytes == frame.payload_bytes {
                self.hand_out(frame.opcode, payload, on_message)?
            } else {
                self.accumulate(frame, payload, limits, on_message)?
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(at)
    }

    fn stage(&self) -> Stage {
        self.partial.as_ref().map(|partial| partial.stage).unwrap_or_default()
    }

    /// Reads a header that may have begun in an earlier read. Returns it with the bytes of `input`
    /// that it took, or keeps all of `input` for the next read.
    fn read_header(&mut self, mut kept: KeptHeader, input: &[u8]) -> Result<Option<(FrameHeader, usize)>, Violation> {
        let kept_bytes = usize::from(kept.len);
        if kept_bytes == 0
            && let Some(header) = parse_header(input)?
        {
            return Ok(Some((header, header.header_bytes)));
        }

        let taken_bytes = input.len().min(HEADER_BYTES_MAX - kept_bytes);
        let known_bytes = kept_bytes + taken_bytes;
        kept.bytes[kept_bytes..known_bytes].copy_from_slice(&input[..taken_bytes]);
        match parse_header(&kept.bytes[..known_bytes])? {
            Some(header) => {
                self.rest();
                Ok(Some((header, header.header_bytes - kept_bytes)))
            }
            // Fewer than `HEADER_BYTES_MAX` are known then, so all of `input` was taken.
            None => {
                kept.len = known_bytes as u8;
                self.partial.get_or_insert_default().stage = Stage::Header(kept);
                Ok(None)
            }
        }
    }

    /// Judges a header by the frames before it and by the limits, before any payload is read.
    fn admit(&mut self, header: &FrameHeader, limits: &Limits) -> Result<Frame, Violation> {
        const TOO_BIG: Violation = Violation::too_big("message too big");
        let payload_bytes = usize::try_from(header.payload_bytes).map_err(|_| TOO_BIG)?;
        if !header.opcode.is_control() {
            let begun_bytes = self.admit_data(header.opcode, limits)?;
            if payload_bytes > limits.message_bytes_max.saturating_sub(begun_bytes) {
                return Err(TOO_BIG);
            }
        }
        Ok(Frame { fin: header.fin, opcode: header.opcode, mask: header.mask, payload_bytes, missing_bytes: payload_bytes })
    }

    /// Judges where a data frame stands; returns the bytes of its message that are there already.
    fn admit_data(&mut self, opcode: Opcode, limits: &Limits) -> Result<usize, Violation> {
        if opcode == Opcode::Text && !limits.text_allowed {
            return Err(Violation::unsupported("text messages are not taken here"));
        }
        let begun = match &mut self.partial {
            Some(partial) => partial.message.as_mut().map(|message| (message, partial.bytes.len())),
            None => None,
        };
        match begun {
            None if opcode == Opcode::Continuation => Err(Violation::protocol("continuation of no message")),
            None => Ok(0),
            Some((message, begun_bytes)) if opcode == Opcode::Continuation => {
                message.fragments = message.fragments.saturating_add(1);
                match message.fragments > limits.fragments_max {
                    true => Err(Violation::too_big("message in too many fragments")),
                    false => Ok(begun_bytes),
                }
            }
            Some(_) => Err(Violation::protocol("new message inside a fragmented one")),
        }
    }

    /// Keeps a piece of payload that is not a message by itself, and hands out what it completes.
    fn accumulate(
        &mut self,
        mut frame: Frame,
        payload: &[u8],
        limits: &Limits,
        on_message: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let partial = self.partial.get_or_insert_default();
        // The claimed end bounds the growth but does not cause it.
        let bytes_max = match frame.fin {
            true => partial.bytes.len() + frame.missing_bytes,
            false => limits.message_bytes_max,
        };
        reserve_within(&mut partial.bytes, payload.len(), bytes_max);
        partial.bytes.extend_from_slice(payload);
        frame.missing_bytes -= payload.len();
        frame.mask.rotate_left(payload.len() % 4);
        if !frame.opcode.is_control() {
            let message = partial.message.get_or_insert(Assembly {
                text: frame.opcode == Opcode::Text,
                fragments: 1,
                utf8_checked_bytes: 0,
            });
            message.check_utf8(&partial.bytes)?;
        }

        if frame.missing_bytes > 0 {
            partial.stage = Stage::Payload(frame);
            return Ok(ControlFlow::Continue(()));
        }
        partial.stage = Stage::default();
        if frame.opcode.is_control() {
            // Split off rather than borrowed: at most 125 bytes, and only of a frame cut by a read.
            let begun_bytes = partial.bytes.len() - frame.payload_bytes;
            let control = partial.bytes.split_off(begun_bytes);
            self.rest();
            self.hand_out(frame.opcode, &control, on_message)
        } else if frame.fin {
            let text = partial.message.take().is_some_and(|message| message.text);
            let bytes = std::mem::take(&mut partial.bytes);
            self.rest();
            self.hand_out(if text { Opcode::Text } else { Opcode::Binary }, &bytes, on_message)
        } else {
            Ok(ControlFlow::Continue(()))
        }
    }

    fn hand_out(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        on_message: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let message = match opcode {
            Opcode::Text => Message::Text(std::str::from_utf8(payload).map_err(|_| NOT_UTF8)?),
            // The last fragment of a message is handed out under the opcode of its first.
            Opcode::Binary | Opcode::Continuation => Message::Binary(payload),
            Opcode::Ping => Message::Ping(payload),
            Opcode::Pong => Message::Pong(payload),
            Opcode::Close => close::parse(payload)?,
        };
        if opcode == Opcode::Close {
            self.end();
        }
        Ok(on_message(message))
    }

    /// Between two frames: gives the box back unless a message is open.
    fn rest(&mut self) {
        match &mut self.partial {
            Some(partial) if partial.message.is_some() => partial.stage = Stage::default(),
            _ => self.partial = None,
        }
    }

    /// Gives the buffer back and ignores what follows. The box stays to say so: a word has no room
    /// for it, and a connection that ends does not need it for long.
    fn end(&mut self) {
        **self.partial.get_or_insert_default() = Partial { stage: Stage::Ended, ..Partial::default() };
    }
}

const NOT_UTF8: Violation = Violation::payload("text is not UTF-8");

impl Assembly {
    /// Fails at the first byte of a text that cannot become UTF-8 any more, even inside a fragment.
    fn check_utf8(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if !self.text {
            return Ok(());
        }
        match std::str::from_utf8(&bytes[self.utf8_checked_bytes..]) {
            Ok(_) => self.utf8_checked_bytes = bytes.len(),
            // A character that is cut by the end, so far correctly.
            Err(error) if error.error_len().is_none() => {
                self.utf8_checked_bytes += error.valid_up_to();
            }
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

/// Makes room for `more` bytes; grows by doubling, but not beyond `bytes_max` unless it must.
fn reserve_within(bytes: &mut Vec<u8>, more: usize, bytes_max: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let doubled = bytes.capacity().saturating_mul(2).max(BUFFER_BYTES_MIN);
        bytes.reserve_exact(doubled.min(bytes_max).max(needed) - bytes.len());
    }
}

#[cfg(test)]
mod tests;

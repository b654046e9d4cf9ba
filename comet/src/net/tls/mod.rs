//! TLS as a value: ciphertext in, plaintext out, and back. The cryptography is rustls'.
//!
//! Nothing here waits or reads a clock. The worker lends the bytes that it has just read, and one buffer that all its
//! sessions share; rustls' own buffers are not used (`UnbufferedServerConnection`), so an idle session holds its keys and
//! nothing else.
//!
//! Invariants:
//! - what was encrypted is sent before anything else is, because records are numbered: it waits in `unsent`;
//! - at most `CHUNK` bytes are encrypted that the socket has not taken;
//! - what is half read is bounded by `HALF_BYTES_MAX`, whatever a record claims;
//! - no input panics.
//!
//! Not here: which session a connection is, what its plaintext means.

mod certificates;
mod names;
pub mod x509;

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, HandshakeKind};

use super::sys;

pub use certificates::{CertificateFile, Certificates, CertificatesError, CertificatesOptions, MinVersion};

/// Plaintext that is encrypted before the socket has taken what was encrypted before, bytes: two records.
const CHUNK: usize = 32 * 1024;
/// What may be half read of one session, bytes: one record, or the messages of a handshake that come in several.
const HALF_BYTES_MAX: usize = 32 * 1024;
/// More than a record's header, padding and tag take.
const RECORD_OVERHEAD: usize = 64;
/// Plaintext of a record, bytes.
const RECORD_BYTES: usize = 16 * 1024;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshaking,
    Open,
    /// Our close_notify is on its way.
    Closing,
    /// Nothing can be encrypted or read any more.
    Failed,
}

/// One session's TLS.
pub(crate) struct Tls {
    conn: UnbufferedServerConnection,
    /// Ciphertext of records that are not whole yet.
    half: Vec<u8>,
    /// Ciphertext that the socket has not taken.
    unsent: Vec<u8>,
    phase: Phase,
    peer_closed: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("phase", &self.phase).field("unsent", &self.unsent.len()).finish_non_exhaustive()
    }
}

/// What a write came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Bytes of those given that are on their way; they must not be given again.
    pub(crate) taken: usize,
    /// Bytes that the socket took.
    pub(crate) wrote: usize,
    /// `send` calls.
    pub(crate) calls: u64,
    /// The socket takes no more now.
    pub(crate) full: bool,
}

/// What has just been read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// The handshake was completed by it.
    pub(crate) handshake: Option<Handshake>,
    /// The client has said that nothing follows.
    pub(crate) peer_closed: bool,
}

/// How a handshake was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With a certificate and a signature.
    Full,
    /// With a ticket from an earlier session.
    Resumed,
}

/// Why a connection can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What came first is no TLS: HTTP, or a session of the plain port.
    NotTls,
    /// No version, cipher suite, group or application protocol in common.
    Incompatible,
    /// The client gave up: it does not trust the certificate, as a rule.
    Alert,
    /// Records that are damaged, forged, out of order or too long.
    Broken,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NotTls, Self::Incompatible, Self::Alert, Self::Broken];

    /// The word of counters and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::Alert => "alert",
            Self::Broken => "broken",
        }
    }

    fn of(error: &Error, phase: Phase) -> Self {
        match error {
            Error::InvalidMessage(_) if phase == Phase::Handshaking => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Broken,
        }
    }
}

/// What is to be encrypted.
#[derive(Clone, Copy)]
enum Write<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

impl Tls {
    /// A connection that has just been accepted.
    ///
    /// # Errors
    /// A configuration that rustls does not take: none of ours.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let conn = UnbufferedServerConnection::new(config)?;
        Ok(Self { conn, half: Vec::new(), unsent: Vec::new(), phase: Phase::Handshaking, peer_closed: false })
    }

    /// Bytes that wait here in both directions, as they count against the node's bound.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.half.len() + self.unsent.len()
    }

    /// Whether ciphertext waits for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether nothing can be encrypted any more, and what still comes makes no difference.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Failed)
    }

    fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshaking
    }

    /// Takes ciphertext. Plaintext is appended to `plain`; what the handshake answers waits to be sent.
    ///
    /// # Errors
    /// The connection can't go on. What it says about that waits to be sent.
    pub(crate) fn read(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<Read, Fault> {
        let was_handshaking = self.is_handshaking();
        scratch.clear();
        let outcome = if self.half.is_empty() {
            self.drive(bytes, plain, scratch, Write::Nothing).map(|used| self.half = bytes[used..].to_vec())
        } else {
            let mut joined = std::mem::take(&mut self.half);
            joined.extend_from_slice(bytes);
            self.drive(&mut joined, plain, scratch, Write::Nothing).map(|used| self.half = joined[used..].to_vec())
        };
        self.unsent.extend_from_slice(scratch);
        if let Err(fault) = outcome {
            self.fail();
            return Err(fault);
        }
        if self.half.len() > HALF_BYTES_MAX {
            self.fail();
            return Err(Fault::Broken);
        }
        let handshake = (was_handshaking && !self.is_handshaking()).then(|| match self.conn.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            _ => Handshake::Full,
        });
        Ok(Read { handshake, peer_closed: self.peer_closed })
    }

    /// Encrypts and writes as much as the socket takes, what waited first. An empty `bytes` writes only that.
    ///
    /// # Errors
    /// As `send(2)`; a connection that has failed takes nothing.
    pub(crate) fn send(&mut self, fd: RawFd, bytes: &[u8], scratch: &mut Vec<u8>) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut rest = bytes;
        loop {
            scratch.clear();
            scratch.extend_from_slice(&std::mem::take(&mut self.unsent));
            let (now, later) = rest.split_at(rest.len().min(CHUNK.saturating_sub(scratch.len())));
            self.encrypt(now, scratch)?;
            rest = later;
            if scratch.is_empty() {
                break;
            }
            sent.calls += 1;
            let wrote = match sys::send(fd, scratch) {
                Ok(wrote) => wrote,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            sent.wrote += wrote;
            if wrote < scratch.len() {
                self.unsent = scratch[wrote..].to_vec();
                sent.full = true;
                break;
            }
            if rest.is_empty() {
                break;
            }
        }
        sent.taken = bytes.len() - rest.len();
        Ok(sent)
    }

    /// Puts our close_notify behind what waits to be sent; whether there is one to put: it is said once, and only where a
    /// handshake was completed.
    pub(crate) fn put_close_notify(&mut self, scratch: &mut Vec<u8>) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        scratch.clear();
        let mut half = std::mem::take(&mut self.half);
        let outcome = self.drive(&mut half, &mut Vec::new(), scratch, Write::CloseNotify);
        self.half = half;
        self.unsent.extend_from_slice(scratch);
        self.phase = if outcome.is_ok() { Phase::Closing } else { Phase::Failed };
        outcome.is_ok()
    }

    fn encrypt(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.phase != Phase::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // What is half read is shown again: rustls counts on it. Nothing of it is whole.
        let mut half = std::mem::take(&mut self.half);
        let outcome = self.drive(&mut half, &mut Vec::new(), out, Write::Data(bytes));
        self.half = half;
        outcome.map(|_| ()).map_err(|_| {
            self.fail();
            io::ErrorKind::BrokenPipe.into()
        })
    }

    fn fail(&mut self) {
        self.phase = Phase::Failed;
        self.half = Vec::new();
    }

    /// Has rustls do all that it can; gives how many bytes at the start of `incoming` are done with.
    fn drive(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        mut write: Write<'_>,
    ) -> Result<usize, Fault> {
        let mut used = 0;
        let mut error = None;
        loop {
            let UnbufferedStatus { mut discard, state } = self.conn.process_tls_records(&mut incoming[used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let whole = put(out, 4096, |out| match data.encode(out) {
                        Ok(len) => Ok(len),
                        Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
                        Err(EncodeError::AlreadyEncoded) => Err(None),
                    });
                    // After an error that is the alert, and rustls must not look at what caused it again.
                    whole.is_some() && error.is_none()
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if self.phase == Phase::Handshaking {
                        self.phase = Phase::Open;
                    }
                    let done = match write {
                        Write::Nothing => Some(()),
                        Write::Data(bytes) => {
                            let records = bytes.len().div_ceil(RECORD_BYTES) + 1;
                            put(out, bytes.len() + records * RECORD_OVERHEAD, |out| required(traffic.encrypt(bytes, out)))
                        }
                        Write::CloseNotify => put(out, 256, |out| required(traffic.queue_close_notify(out))),
                    };
                    if done.is_none() {
                        return Err(error.unwrap_or(Fault::Broken));
                    }
                    write = Write::Nothing;
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    true
                }
                // Early data is never offered; a state that is not known yet can't be gone on from.
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed | _) => false,
                // What rustls has to say about it comes next.
                Err(found) if error.is_none() => {
                    error = Some(Fault::of(&found, self.phase));
                    true
                }
                Err(_) => false,
            };
            used += discard.min(incoming.len() - used);
            if !goes_on {
                return match (error, write) {
                    (Some(fault), _) => Err(fault),
                    (None, Write::Nothing) => Ok(used),
                    (None, Write::Data(_) | Write::CloseNotify) => Err(Fault::Broken),
                };
            }
        }
    }
}

fn required(outcome: Result<usize, EncryptError>) -> Result<usize, Option<usize>> {
    outcome.map_err(|error| match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    })
}

/// Appends what `write` writes into `room` bytes, or into as many as it asks for.
fn put(out: &mut Vec<u8>, room: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>) -> Option<()> {
    let start = out.len();
    let mut room = room;
    for _ in 0..2 {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(len) => {
                out.truncate(start + len);
                return Some(());
            }
            Err(Some(required)) => room = required,
            Err(None) => break,
        }
    }
    out.truncate(start);
    None
}

#[cfg(test)]
mod tests;

//! What a worker counts. Only the worker writes (no locked instructions); anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

use perseid_protocol::push::Drop;
use perseid_protocol::{CloseReason, op};

use crate::net::tls::Fault;
use crate::outbox::Ways;

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn inc(&self) {
        self.add(1);
    }

    pub(crate) fn dec(&self) {
        self.sub(1);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of [`Histogram`], seconds.
pub const SECONDS_BOUNDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Durations by bucket; the last one has no upper bound.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations per bucket, not cumulative.
    pub buckets: [Cell; SECONDS_BOUNDS.len() + 1],
    /// Sum of all observations, ns.
    pub sum_ns: Cell,
}

impl Histogram {
    pub(crate) fn observe_ns(&self, ns: u64) {
        let seconds = ns as f64 / 1e9;
        let bucket = SECONDS_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS_BOUNDS.len());
        self.buckets[bucket].inc();
        self.sum_ns.add(ns);
    }
}

/// What clients connect by, in the order of arrays by transport.
pub const TRANSPORTS: [&str; 4] = ["tcp", "websocket", "tls", "wss"];

/// A limit that was reached. The words are those of the configuration's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Handshakes of the node, too fast.
    HandshakeRate,
    /// Handshakes of the node at a time.
    Handshakes,
    /// Connections of an address, too fast.
    AddressConnects,
    /// Sessions of an address.
    AddressSessions,
    /// Frames of a session, too fast.
    Frames,
    /// Bytes of a session, too fast.
    Bytes,
    /// Frames of a user, over all sessions here, too fast.
    UserFrames,
    /// Bytes of a user, over all sessions here, too fast.
    UserBytes,
    /// Rooms of the node.
    Rooms,
    /// Connections of the node.
    Sessions,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::HandshakeRate,
        Self::Handshakes,
        Self::AddressConnects,
        Self::AddressSessions,
        Self::Frames,
        Self::Bytes,
        Self::UserFrames,
        Self::UserBytes,
        Self::Rooms,
        Self::Sessions,
    ];

    /// The word of counters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HandshakeRate => "handshakes_per_second",
            Self::Handshakes => "handshakes_max",
            Self::AddressConnects => "connects_per_address_per_second",
            Self::AddressSessions => "sessions_per_address_max",
            Self::Frames => "frames_per_second",
            Self::Bytes => "bytes_per_second",
            Self::UserFrames => "frames_per_user_per_second",
            Self::UserBytes => "bytes_per_user_per_second",
            Self::Rooms => "rooms_max",
            Self::Sessions => "sessions_max",
        }
    }
}

/// Why a connection is not let in, whatever the limits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// Only proxies may connect there, and it is none.
    NotAProxy,
    /// A PROXY header was expected, and something else came.
    ProxyHeader,
    /// It came by a name that is not ours.
    ForeignHost,
    /// It is a page of an origin that may not.
    ForeignOrigin,
}

impl Unwelcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NotAProxy, Self::ProxyHeader, Self::ForeignHost, Self::ForeignOrigin];

    /// The word of counters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotAProxy => "not_a_proxy",
            Self::ProxyHeader => "proxy_header",
            Self::ForeignHost => "foreign_host",
            Self::ForeignOrigin => "foreign_origin",
        }
    }
}

/// Requests about stored messages, in the order of counters.
pub const STORED_OPS: [i32; 8] = [op::SEND_MSG, op::SYNC, op::ACK, op::PULL, op::READ, op::HEADS, op::RECALL, op::EPHEMERAL];

/// What became of a session's wish to get what it missed of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It got all of it, if there was anything.
    Whole,
    /// Not all of it is kept any more.
    Gone,
    /// The room keeps nothing.
    Off,
}

impl Recovery {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Gone, Self::Off];

    /// The word of counters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Gone => "gone",
            Self::Off => "off",
        }
    }
}

/// Counters and gauges of one worker. Arrays by transport are in the order of [`TRANSPORTS`].
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Connections accepted, by transport.
    pub accepted: [Cell; 4],
    /// Connections open now, by transport.
    pub connections: [Cell; 4],
    /// Sessions that are past AUTH now, by transport.
    pub sessions: [Cell; 4],
    /// Connections turned away at the door: too many sessions, or draining.
    pub turned_away: Cell,
    /// Limits reached, by [`Limit`].
    pub limited: [Cell; Limit::ALL.len()],
    /// Connections not let in, by [`Unwelcome`].
    pub unwelcome: [Cell; Unwelcome::ALL.len()],
    /// TLS handshakes completed: 0 with a certificate, 1 resumed.
    pub tls_handshakes: [Cell; 2],
    /// TLS connections that could not go on, by [`Fault`].
    pub tls_faults: [Cell; Fault::ALL.len()],
    /// Accepting failed (file descriptors, memory): the listener paused.
    pub accept_errors: Cell,
    /// AUTH accepted.
    pub auth_accepted: Cell,
    /// AUTH refused.
    pub auth_refused: Cell,
    /// WebSocket upgrades refused.
    pub upgrades_refused: Cell,
    /// Frames read.
    pub frames_received: Cell,
    /// Bytes read.
    pub bytes_received: Cell,
    /// Heartbeats answered.
    pub heartbeats: Cell,
    /// Frames handed to the business.
    pub upstream: Cell,
    /// Requests refused with ERROR.
    pub requests_refused: Cell,
    /// Requests about stored messages that logic was asked, in the order of [`STORED_OPS`].
    pub stored_requests: [Cell; STORED_OPS.len()],
    /// Sends whose answers are not known now.
    pub sends_in_flight: Cell,
    /// Stored messages that were not pushed to sessions which have not read to the head yet.
    pub withheld: Cell,
    /// HEAD frames for sessions.
    pub heads: Cell,
    /// Rooms entered by sessions that said what they had seen, by [`Recovery`].
    pub recoveries: [Cell; Recovery::ALL.len()],
    /// Pushes written whole to a session's socket, by way: 0 direct, 1 room, 2 all, 3 inbox.
    pub delivered: [Cell; 4],
    /// `send` calls.
    pub writes: Cell,
    /// Bytes written.
    pub bytes_sent: Cell,
    /// Pushes not delivered, by [`Drop`].
    pub dropped: [Cell; Drop::ALL.len()],
    /// Sessions ended by the server, by [`CloseReason`].
    pub ended: [Cell; CloseReason::ALL.len()],
    /// Sessions ended by the client or by the network.
    pub left: Cell,
    /// Sessions whose socket is full now.
    pub blocked: Cell,
    /// Rooms held now.
    pub rooms: Cell,
    /// Room passes: how long one took, in CPU time of the worker.
    pub pass: Histogram,
}

impl WorkerMetrics {
    pub(crate) fn drop_pushes(&self, reason: Drop, count: u64) {
        self.dropped[reason as usize].add(count);
    }

    /// Counts pushes that others replaced; as a rule none.
    pub(crate) fn collapse(&self, count: u64) {
        if count > 0 {
            self.drop_pushes(Drop::Collapsed, count);
        }
    }

    /// Counts a request about stored messages.
    pub(crate) fn ask(&self, op: i32) {
        if let Some(index) = STORED_OPS.iter().position(|known| *known == op) {
            self.stored_requests[index].inc();
        }
    }

    pub(crate) fn recover(&self, recovery: Recovery) {
        self.recoveries[recovery as usize].inc();
    }

    pub(crate) fn deliver(&self, ways: &Ways) {
        for (cell, count) in self.delivered.iter().zip(ways) {
            if *count > 0 {
                cell.add(*count);
            }
        }
    }

    pub(crate) fn limit(&self, limit: Limit) {
        self.limited[limit as usize].inc();
    }

    pub(crate) fn refuse(&self, why: Unwelcome) {
        self.unwelcome[why as usize].inc();
    }

    pub(crate) fn fail_tls(&self, fault: Fault) {
        self.tls_faults[fault as usize].inc();
    }

    pub(crate) fn end(&self, reason: CloseReason) {
        if let Some(index) = CloseReason::ALL.iter().position(|candidate| *candidate == reason) {
            self.ended[index].inc();
        }
    }
}

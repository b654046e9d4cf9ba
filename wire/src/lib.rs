//! The parts, over gRPC: goim's services, and Perseid's own streams between a comet in its own process and logic and job.
//!
//! ```text
//!  comet process                                            logic-and-job process
//!  ┌─ Comet ──asks──▶ comet::RemoteLink ══Sessions═══════▶ logic::LogicService ──▶ Logic
//!  │                                     one stream           └─ logic::Comets: who is there, leases, room counts
//!  └◀─deliveries── comet::PushService ◀══Push═════════════ job::CometLane ◀── QueuedLane ◀── Dispatcher
//!                                      one stream each lane
//!  goim's job ──▶ goim::CometService          goim's comet ──▶ goim::LogicService
//! ```
//!
//! Reading order: [`limits`] (every bound), [`server`], [`client`] and [`tls`] (listeners and connections), `codec`,
//! [`comet`] (what runs beside a comet), [`logic`], [`job`], [`goim`].
//!
//! **Invariants**: a comet's requests reach logic in the order in which its sessions asked. Nothing that logic holds of a
//! comet is needed to go on: a comet says it all again when it comes back. A batch is delivered once, however often it is
//! sent. Nobody waits for a comet but its own lane and its own stream.
//!
//! Not here: what is decided about a session (logic), who gets what (job), sockets of clients (comet).

pub mod backoff;
pub mod client;
mod codec;
pub mod comet;
pub mod goim;
pub mod job;
pub mod limits;
pub mod logic;
pub mod server;
pub mod tls;

pub use client::Dial;
pub use server::GrpcServer;
pub use tls::{TlsError, TlsFiles, WireTls};

/// A number for a comet, made of its name: the same in every life, and on every node that computes it. Never 0, which is the
/// comet of a standalone. Two names with one number are refused by logic when the second comes.
pub fn node_number(name: &str) -> u32 {
    // FNV-1a, with its published constants: short, and known to everybody.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_names() {
        assert_eq!(node_number("a"), 0xe40c_292c, "a published vector of FNV-1a");
        assert_ne!(node_number("comet-1"), node_number("comet-2"));
        assert_ne!(node_number(""), 0);
    }
}

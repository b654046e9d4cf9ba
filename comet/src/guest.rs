//! What is known of few connections: of those that come through a proxy, are counted by address, or have their rate
//! measured. Most have none of it, and pay one pointer.

use std::net::SocketAddr;

use crate::admission::{Admission, Place};
use crate::bucket::Rate;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    /// The client, where a proxy that is believed names another than the socket's other end.
    pub(crate) client: Option<SocketAddr>,
    /// What has come of a PROXY header; `None`: none is expected (any more).
    pub(crate) proxy_header: Option<Vec<u8>>,
    /// The socket's other end, or whom PROXY named, is a proxy: whom it speaks for stands in the upgrade, and is let in then.
    pub(crate) behind_proxy: bool,
    /// `Cookie` of the upgrade, until AUTH.
    pub(crate) cookie: Box<str>,
    /// Counted among the connections that have not got through AUTH.
    pub(crate) greeting: bool,
    /// Kept only to be told that there is no room.
    pub(crate) over: bool,
    /// Where its session is counted.
    pub(crate) place: Option<Place>,
    /// Buckets: when they are full again, ns of the worker's time.
    pub(crate) frames_ns: u64,
    pub(crate) bytes_ns: u64,
}

impl Guest {
    /// Bytes that count against the node's bound.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.cookie.len() + self.proxy_header.as_ref().map_or(0, Vec::len)
    }

    /// AUTH is through: what only mattered before is forgotten. Gives whether anything is left to know.
    pub(crate) fn settle(&mut self, admission: &Admission) -> bool {
        if std::mem::take(&mut self.greeting) {
            admission.greeted();
        }
        self.behind_proxy = false;
        self.client.is_some() || self.place.is_some() || self.frames_ns > 0 || self.bytes_ns > 0
    }

    /// Gives back all that is counted.
    pub(crate) fn give_back(&mut self, admission: &Admission) {
        self.settle(admission);
        if let Some(place) = self.place.take() {
            admission.give_back(place);
        }
        if std::mem::take(&mut self.over) {
            admission.was_told();
        }
    }
}

/// Takes `count` from one of a guest's buckets.
///
/// # Errors
/// How long until it would be there, ms.
pub(crate) fn charge(rate: Rate, full_ns: &mut u64, now_ms: u64, count: usize) -> Result<(), u64> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    match rate.take(*full_ns, now_ms.saturating_mul(1_000_000), count) {
        Ok(after_ns) => {
            *full_ns = after_ns;
            Ok(())
        }
        Err(wait_ns) => Err(wait_ns.div_ceil(1_000_000)),
    }
}

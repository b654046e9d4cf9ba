//! What a session costs in memory, and that it is given back. Counts what is asked of the allocator, and each allocation's
//! rounding to 16 bytes with its 8 bytes of header, as the system's allocator does it.
#![allow(unsafe_code)] // a counting allocator cannot be written without
#![allow(clippy::unwrap_used)] // a test may panic

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use perseid_protocol::SessionKey;
use perseid_protocol::push::SessionAddr;
use perseid_store::{Counts, MemoryRegistry, NewSession, SessionRegistry, Takeover};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

fn cost(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: everything is passed on to the system's allocator; only a counter is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(cost(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(cost(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn key(n: u32) -> SessionKey {
    let mut random = [0; 16];
    random[..4].copy_from_slice(&n.to_be_bytes());
    SessionKey::made(random)
}

fn addr(n: u32) -> SessionAddr {
    SessionAddr { node: 0, incarnation: 1, worker: 0, slot: n, generation: 1 }
}

fn open(registry: &MemoryRegistry, n: u32, sessions_per_user: u32) {
    let session = NewSession {
        key: key(n),
        mid: i64::from(n / sessions_per_user) + 1,
        addr: addr(n),
        platform: ["web", "ios", "android"][n as usize % 3],
        device_id: "",
        peer: Some("127.0.0.1:40000".parse().unwrap()),
        since_ms: 1_700_000_000_000,
        extended: false,
    };
    registry.open(session, Takeover::SameUser).unwrap();
}

/// One test, because the counter is the process's.
#[test]
fn a_session_costs_at_most_250_bytes_and_gives_them_back() {
    // Sizes around the point where the tables have just doubled, too.
    for (sessions, sessions_per_user) in [(15_000, 1), (15_000, 3), (14_400, 1), (28_700, 1), (100_000, 1)] {
        let registry = MemoryRegistry::new();
        let empty = LIVE.load(Ordering::Relaxed);
        for n in 0..sessions {
            open(&registry, n, sessions_per_user);
        }
        let each = (LIVE.load(Ordering::Relaxed) - empty) / sessions as usize;
        println!("{sessions} sessions, {sessions_per_user} per user: {each} bytes each");
        assert!(each <= 250, "{each} bytes a session");

        for n in 0..sessions - 100 {
            assert!(registry.close(&key(n), i64::from(n / sessions_per_user) + 1, addr(n)));
        }
        let few = LIVE.load(Ordering::Relaxed) - empty;
        assert!(few < 256 * 1024, "{few} bytes for the last hundred");

        for n in sessions - 100..sessions {
            assert!(registry.close(&key(n), i64::from(n / sessions_per_user) + 1, addr(n)));
        }
        let left = LIVE.load(Ordering::Relaxed).saturating_sub(empty);
        println!("after all left: {left} bytes");
        // The harness itself may take a little meanwhile: one forgotten row in a hundred would be far more.
        assert!(left < 4096, "{left} bytes left behind");
        assert_eq!(registry.counts(), Counts::default());
    }
}

//! Memory: what the machine has against what sessions and queues may take.

use super::{Finding, Wanted, grouped, size};

/// What the machine has, and what the configuration allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine, bytes.
    pub total: Option<u64>,
    /// What a control group leaves of it, bytes.
    pub group_max: Option<u64>,
    /// Swap space, bytes.
    pub swap: Option<u64>,
    /// `vm.swappiness`.
    pub swappiness: Option<u64>,
    /// `vm.overcommit_memory`: 2 means that what is not surely there is refused.
    pub overcommit: Option<u64>,
    /// What may be promised under `overcommit` 2, and what is promised, bytes.
    pub commit: Option<(u64, u64)>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// The bounds of all queues and caches of the configuration together, bytes.
    pub bounds: u64,
}

/// Process without sessions.
const BASE_BYTES: u64 = 10 << 20;
/// An idle session in the process, measured (docs/operations.md, Sizing).
const SESSION_BYTES: u64 = 512;
/// An idle socket in the kernel, measured.
const SOCKET_BYTES: u64 = 5 * 1024;
/// Above it pages of sessions that are quiet go to disk while there is memory.
const SWAPPINESS_MUCH: u64 = 10;

pub(super) fn judge(memory: &Memory, wanted: Wanted) -> Vec<Finding> {
    [sessions(memory, wanted), swap(memory), overcommit(memory, wanted), huge_pages(memory)].into_iter().flatten().collect()
}

fn idle_bytes(wanted: Wanted) -> u64 {
    BASE_BYTES.saturating_add(wanted.sessions.saturating_mul(SESSION_BYTES + SOCKET_BYTES))
}

fn sessions(memory: &Memory, wanted: Wanted) -> Option<Finding> {
    let there = memory.group_max.into_iter().chain(memory.total).min()?;
    let idle = idle_bytes(wanted);
    let full = idle.saturating_add(memory.bounds);
    let what = format!(
        "{} sessions take {} while idle, and queues {} at most; there are {}",
        grouped(wanted.sessions),
        size(idle),
        size(memory.bounds),
        size(there)
    );
    Some(if idle > there {
        let advice = "more memory, or fewer sessions (comet.sessions_max)";
        if wanted.named { Finding::fail("memory", what, advice) } else { Finding::warn("memory", what, advice) }
    } else if full > there {
        Finding::warn(
            "memory",
            what,
            "lower comet.node_bytes_max, log.queue_bytes_max, job.lane_bytes_max or logic.idempotency_bytes_max",
        )
    } else {
        Finding::ok("memory", what)
    })
}

fn swap(memory: &Memory) -> Option<Finding> {
    let (swap, swappiness) = (memory.swap?, memory.swappiness?);
    Some(if swap == 0 {
        Finding::ok("swap", "there is none")
    } else if swappiness > SWAPPINESS_MUCH {
        let what = format!(
            "{} of swap with vm.swappiness {swappiness}: quiet sessions go to disk, and all come back at once",
            size(swap)
        );
        Finding::warn("swap", what, "sysctl vm.swappiness=1, or MemorySwapMax=0 in the unit")
    } else {
        Finding::ok("swap", format!("{} of it, used late (vm.swappiness {swappiness})", size(swap)))
    })
}

fn overcommit(memory: &Memory, wanted: Wanted) -> Option<Finding> {
    if memory.overcommit? != 2 {
        return Some(Finding::ok("overcommit", "memory is given when it is touched"));
    }
    let (limit, promised) = memory.commit?;
    let left = limit.saturating_sub(promised);
    let what = format!("vm.overcommit_memory is 2, and {} may still be promised", size(left));
    // Threads and allocators ask for more than they touch.
    let needed = idle_bytes(wanted).saturating_mul(2).saturating_add(memory.bounds);
    Some(if left >= needed {
        Finding::ok("overcommit", what)
    } else {
        Finding::warn(
            "overcommit",
            format!("{what}: an allocation may fail while there is memory"),
            "sysctl vm.overcommit_memory=0",
        )
    })
}

fn huge_pages(memory: &Memory) -> Option<Finding> {
    let mode = memory.huge_pages.as_deref()?;
    Some(if mode == "always" {
        let what = "transparent huge pages are on for everything: the process may take more memory than its sessions do";
        Finding::warn("huge pages", what, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
    } else {
        Finding::ok("huge pages", format!("only where asked for ({mode})"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Fail, Ok, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn sessions_against_memory() {
        let wanted = |sessions, named| Wanted { sessions, named };
        for (total, group_max, wanted, verdict) in [
            (8 * GIB, None, wanted(10_000, false), Ok),
            (GIB / 2, None, wanted(10_000, false), Warn),
            (8 * GIB, Some(GIB / 2), wanted(10_000, false), Warn),
            (8 * GIB, Some(u64::MAX), wanted(10_000, false), Ok),
            (8 * GIB, None, wanted(1_000_000, true), Ok),
            (8 * GIB, None, wanted(2_000_000, true), Fail),
            (8 * GIB, None, wanted(u64::MAX, true), Fail),
        ] {
            let findings = judge(&Memory { total: Some(total), group_max, bounds: GIB, ..Memory::default() }, wanted);
            assert_eq!(verdicts(&findings), [verdict], "{total} {group_max:?} {wanted:?}");
            advice_where_needed(&findings);
        }
    }

    #[test]
    fn settings_of_the_machine() {
        let none = Memory::default();
        let wanted = Wanted { sessions: 10_000, named: false };
        for (memory, expected) in [
            (none.clone(), &[][..]),
            (Memory { swap: Some(0), swappiness: Some(60), ..none.clone() }, &[Ok]),
            (Memory { swap: Some(GIB), swappiness: Some(60), ..none.clone() }, &[Warn]),
            (Memory { swap: Some(GIB), swappiness: Some(1), ..none.clone() }, &[Ok]),
            (Memory { overcommit: Some(0), ..none.clone() }, &[Ok]),
            (Memory { overcommit: Some(2), commit: Some((8 * GIB, GIB)), bounds: GIB, ..none.clone() }, &[Ok]),
            (Memory { overcommit: Some(2), commit: Some((8 * GIB, 9 * GIB)), ..none.clone() }, &[Warn]),
            (Memory { huge_pages: Some("always".to_owned()), ..none.clone() }, &[Warn]),
            (Memory { huge_pages: Some("madvise".to_owned()), ..none.clone() }, &[Ok]),
        ] {
            let findings = judge(&memory, wanted);
            assert_eq!(verdicts(&findings), expected, "{memory:?}");
            advice_where_needed(&findings);
        }
    }
}

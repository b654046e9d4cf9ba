//! What this process takes, as Linux says it; elsewhere nothing is known.

/// Ticks a second in `/proc/self/stat`: fixed towards user space on every architecture that we run on (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of all threads since the start, user and system, ms.
#[must_use]
pub fn cpu_ms() -> Option<u64> {
    cpu_ms_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Resident memory, bytes.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    rss_bytes_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Open file descriptors, or None where `/proc` is missing. Counted by the kernel since 6.2; before that the answer is None,
/// because walking through a hundred thousand of them once a second costs more than the number is worth.
#[must_use]
pub fn open_fds() -> Option<u64> {
    std::fs::metadata("/proc/self/fd").ok().map(|folder| folder.len()).filter(|count| *count > 0)
}

/// Fields 14 and 15. The second field is the program's name in parentheses and may hold anything, so it is counted from its end.
fn cpu_ms_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = fields.next()??.checked_add(fields.next()??)?;
    ticks.checked_mul(1000 / TICKS_PER_SECOND)
}

fn rss_bytes_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let fields = "S 1 2 3 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 5 0 1234 100 200";
        for name in ["perseid", "a b", "a) (b", ""] {
            assert_eq!(cpu_ms_of(&format!("77 ({name}) {fields}")), Some(3000), "{name}");
        }
        for broken in ["", "77 (x", "77 (x) S 1 2", "77 (x) S 1 2 3 0 -1 4 1 0 0 0 ten 5"] {
            assert_eq!(cpu_ms_of(broken), None, "{broken}");
        }
        assert_eq!(cpu_ms_of(&format!("1 (x) S 1 2 3 0 -1 4 1 0 0 0 {} 1", u64::MAX)), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(rss_bytes_of("Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t5\n"), Some(2 * 1024 * 1024));
        for broken in ["", "VmRSS:\n", "VmRSS: many kB", "VmRSS: 5 MB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(rss_bytes_of(broken), None, "{broken}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_takes_something() {
        assert!(cpu_ms().is_some());
        assert!(rss_bytes().unwrap() > 100_000);
    }
}

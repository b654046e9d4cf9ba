//! Limits that the system puts on this process.

/// Raises the number of files (sockets) this process may open to what the system allows; gives that number.
#[allow(unsafe_code)]
pub fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: `wanted` is a valid limit: not above the hard one just read.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0;
    if raised { wanted.rlim_cur } else { limit.rlim_cur }
}

/// How many files this process may open now.
#[allow(unsafe_code)]
pub fn open_files_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 { limit.rlim_cur } else { 0 }
}

/// Files of the process itself: workers, listeners, the log; and a few HTTP connections.
const FILES_KEPT_MIN: u64 = 64;
/// With many files, those of HTTP connections count more.
const FILES_KEPT_MAX: u64 = 1024;

/// How many client connections fit where so many files may be open: clients that take all of them would leave none for
/// the push API, for health checks, and for the log's next segment.
pub fn sessions_within(files: u64) -> usize {
    let kept = (files / 64).saturating_add(FILES_KEPT_MIN).min(FILES_KEPT_MAX);
    usize::try_from(files.saturating_sub(kept)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_kept_for_the_process_itself() {
        let sessions = [0, 64, 200, 1024, 20_000, 1_048_576, u64::MAX].map(sessions_within);
        assert_eq!(sessions, [1, 1, 133, 944, 19_624, 1_047_552, u64::MAX as usize - 1024]);
        assert!(open_files_max() > 0);
    }
}

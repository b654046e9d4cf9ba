//! File descriptors: one for each session.

use super::{Finding, Wanted, grouped, rounded_up};
use crate::limits::sessions_within;

/// What the system says about descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The soft limit of a process started here; the server raises it to the hard one.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
    /// `fs.nr_open`: no hard limit can be above it.
    pub nr_open: Option<u64>,
    /// `fs.file-max`: of the whole machine.
    pub file_max: Option<u64>,
    /// In use on the whole machine.
    pub in_use: Option<u64>,
}

const CHECK: &str = "file descriptors";
/// What other programs need.
const OTHERS: u64 = 4096;

pub(super) fn judge(files: &Files, wanted: Wanted) -> Vec<Finding> {
    vec![of_process(files, wanted), of_machine(files, wanted)].into_iter().flatten().collect()
}

fn of_process(files: &Files, wanted: Wanted) -> Option<Finding> {
    let room = sessions_within(files.hard) as u64;
    let what = format!("a hard limit of {} is room for {} sessions", grouped(files.hard), grouped(room));
    // Some thirty of the process, a thousand for HTTP, and the sessions.
    let needed = rounded_up(wanted.sessions.saturating_add(2 * 1024)).max(65_536);
    let above = files.nr_open.filter(|nr_open| *nr_open < needed).map(|_| format!(", after sysctl fs.nr_open={needed}"));
    let advice = format!("LimitNOFILE={needed} in the unit, or `ulimit -Hn {needed}`{}", above.unwrap_or_default());
    Some(if room >= wanted.sessions {
        Finding::ok(CHECK, what)
    } else if wanted.named {
        Finding::fail(CHECK, format!("{what}, and {} are wanted", grouped(wanted.sessions)), advice)
    } else {
        Finding::warn(CHECK, what, advice)
    })
}

fn of_machine(files: &Files, wanted: Wanted) -> Option<Finding> {
    let (max, in_use) = (files.file_max?, files.in_use?);
    let needed = in_use.saturating_add(wanted.sessions).saturating_add(OTHERS);
    let what = format!("{} of {} files of the machine are open (fs.file-max)", grouped(in_use), grouped(max));
    Some(if needed <= max {
        Finding::ok(CHECK, what)
    } else {
        Finding::warn(CHECK, what, format!("sysctl fs.file-max={}", rounded_up(needed)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Fail, Ok, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;

    #[test]
    fn limits_against_sessions() {
        let guess = Wanted { sessions: 10_000, named: false };
        let asked = |sessions| Wanted { sessions, named: true };
        for (hard, wanted, verdict) in [
            (1_048_576, guess, Ok),
            (1024, guess, Warn),
            (1024, asked(900), Ok),
            (1024, asked(945), Fail),
            (20_000, asked(19_624), Ok),
            (20_000, asked(1_000_000), Fail),
            (0, guess, Warn),
            (u64::MAX, asked(u64::MAX / 2), Ok),
            (1024, asked(u64::MAX / 2), Fail),
        ] {
            let findings = judge(&Files { soft: 1024, hard, ..Files::default() }, wanted);
            assert_eq!(verdicts(&findings), [verdict], "{hard} {wanted:?}");
            advice_where_needed(&findings);
        }
    }

    #[test]
    fn the_machine_has_a_limit_too() {
        let files =
            |max, in_use| Files { soft: 0, hard: 1 << 20, nr_open: Some(1 << 20), file_max: Some(max), in_use: Some(in_use) };
        let wanted = Wanted { sessions: 100_000, named: true };
        for (max, in_use, verdict) in
            [(u64::MAX, 500, Ok), (200_000, 500, Ok), (100_000, 500, Warn), (104_595, 500, Warn), (104_596, 500, Ok)]
        {
            assert_eq!(verdicts(&judge(&files(max, in_use), wanted)), [Ok, verdict], "{max}");
        }
    }

    #[test]
    fn nr_open_is_named_where_it_is_in_the_way() {
        let files = Files { hard: 1024, nr_open: Some(1 << 20), ..Files::default() };
        let advice = |sessions| judge(&files, Wanted { sessions, named: true })[0].advice.clone();
        assert!(!advice(100_000).contains("nr_open"));
        assert!(advice(2_000_000).contains("nr_open"));
    }
}

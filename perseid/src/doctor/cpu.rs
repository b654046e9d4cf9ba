//! Cores and the threads that want them.

use super::Finding;

/// Cores and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Cores that this process may use (affinity and control group counted in).
    pub cores: usize,
    /// Threads that serve sessions.
    pub workers: usize,
}

pub(super) fn judge(cpu: &Cpu) -> Vec<Finding> {
    let Cpu { cores, workers } = *cpu;
    let what = format!("{workers} workers on {cores} cores");
    vec![if workers > cores {
        let what = format!("{what}: they take time from one another");
        Finding::warn("cores", what, "comet.workers = 0 takes one for each core")
    } else {
        Finding::ok("cores", what)
    }]
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Ok, Warn};
    use super::super::tests::verdicts;
    use super::*;

    #[test]
    fn workers_against_cores() {
        for (workers, cores, verdict) in [(2, 2, Ok), (1, 8, Ok), (9, 8, Warn)] {
            assert_eq!(verdicts(&judge(&Cpu { cores, workers })), [verdict]);
        }
    }
}

//! Clocks: message ids, time to live and tokens are told by the wall clock, timers by the monotonic one.

use super::Finding;

/// What is known of the clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Where the kernel takes the time from (`tsc`, `kvm-clock`, …).
    pub source: Option<String>,
    /// Who keeps the wall clock right here, if somebody can be seen to.
    pub keeper: Option<Keeper>,
    /// How far the wall clock went from the monotonic one while it was watched, µs.
    pub drift_us: u64,
    /// For how long it was watched, µs.
    pub watched_us: u64,
    /// When the newest file of the log was written, unix ms.
    pub newest_record_ms: Option<u64>,
}

/// Who keeps the wall clock right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A program says that the clock is synchronised.
    Synchronised(String),
    /// A program that does this runs; whether it succeeds is not known.
    Runs(String),
}

const CHECK: &str = "clock";
/// 2026-01-01: no clock that is right is before it.
const EARLIEST_MS: u64 = 1_767_225_600_000;
/// So much may the log be ahead of the clock: ids are issued ahead of it for moments.
const AHEAD_MS: u64 = 2_000;
/// Slower sources cost a system call for each look at the clock.
const SLOW_SOURCES: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"];
/// More than a clock that is slewed (500 ppm) or a machine that is busy between two looks explains, µs.
const DRIFT_US: u64 = 20_000;

pub(super) fn judge(clock: &Clock, now_ms: u64) -> Vec<Finding> {
    let findings = [Some(wall(clock, now_ms)), Some(steady(clock)), Some(keeper(clock)), source(clock)];
    findings.into_iter().flatten().collect()
}

fn wall(clock: &Clock, now_ms: u64) -> Finding {
    let advice = "set the clock (`timedatectl`, `chronyc makestep`) before the server starts";
    if now_ms < EARLIEST_MS {
        return Finding::fail(CHECK, format!("the wall clock is before this program was written: unix ms {now_ms}"), advice);
    }
    match clock.newest_record_ms {
        Some(newest) if newest > now_ms + AHEAD_MS => {
            let seconds = (newest - now_ms).div_ceil(1000);
            let what =
                format!("the log was written {seconds} s in the future: the wall clock went back; ids would not ascend by time");
            Finding::warn(CHECK, what, advice)
        }
        _ => Finding::ok(CHECK, "the wall clock is plausible"),
    }
}

fn steady(clock: &Clock) -> Finding {
    let (drift, watched) = (clock.drift_us, clock.watched_us / 1000);
    if drift > DRIFT_US {
        let what = format!("the wall clock jumped by {drift} µs within {watched} ms");
        Finding::warn(CHECK, what, "look for two programs that set it, or a virtual machine that was stopped")
    } else {
        Finding::ok(CHECK, format!("wall and monotonic clock run alike: {drift} µs apart after {watched} ms"))
    }
}

fn keeper(clock: &Clock) -> Finding {
    match &clock.keeper {
        Some(Keeper::Synchronised(by)) => Finding::ok(CHECK, format!("synchronised, {by} says")),
        Some(Keeper::Runs(by)) => Finding::ok(CHECK, format!("{by} keeps it")),
        None => Finding::warn(
            CHECK,
            "nothing that synchronises the clock is to be seen here",
            "run chrony or systemd-timesyncd; nothing to do where the host keeps this machine's time",
        ),
    }
}

fn source(clock: &Clock) -> Option<Finding> {
    let source = clock.source.as_deref()?;
    Some(if SLOW_SOURCES.contains(&source) {
        let what = format!("the kernel takes the time from {source}: each look costs a system call");
        Finding::warn(
            CHECK,
            what,
            "see available_clocksource in /sys/devices/system/clocksource/clocksource0; tsc or kvm-clock are fast",
        )
    } else {
        Finding::ok(CHECK, format!("source {source}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Ok, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;

    const NOW_MS: u64 = EARLIEST_MS + 1_000_000;

    fn of(clock: &Clock, now_ms: u64) -> Vec<Verdict> {
        let findings = judge(clock, now_ms);
        advice_where_needed(&findings);
        verdicts(&findings)
    }

    #[test]
    fn each_fact() {
        let good = Clock { keeper: Some(Keeper::Runs("chronyd".to_owned())), watched_us: 100_000, ..Clock::default() };
        assert_eq!(of(&good, NOW_MS), [Ok, Ok, Ok]);
        assert_eq!(of(&good, 5), [Fail, Ok, Ok]);
        for (ahead_ms, verdict) in [(0, Ok), (AHEAD_MS, Ok), (AHEAD_MS + 1, Warn)] {
            let clock = Clock { newest_record_ms: Some(NOW_MS + ahead_ms), ..good.clone() };
            assert_eq!(of(&clock, NOW_MS), [verdict, Ok, Ok], "{ahead_ms}");
        }
        assert_eq!(of(&Clock { drift_us: DRIFT_US + 1, ..good.clone() }, NOW_MS), [Ok, Warn, Ok]);
        assert_eq!(of(&Clock { keeper: None, ..good.clone() }, NOW_MS), [Ok, Ok, Warn]);
        let sync = Some(Keeper::Synchronised("systemd-timesyncd".to_owned()));
        assert_eq!(of(&Clock { keeper: sync, ..good.clone() }, NOW_MS), [Ok, Ok, Ok]);
        for (source, verdict) in [("tsc", Ok), ("kvm-clock", Ok), ("hpet", Warn), ("acpi_pm", Warn)] {
            let clock = Clock { source: Some(source.to_owned()), ..good.clone() };
            assert_eq!(of(&clock, NOW_MS), [Ok, Ok, Ok, verdict], "{source}");
        }
    }
}

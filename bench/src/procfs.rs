//! CPU time and memory of processes, from `/proc`.
//!
//! CPU time is the scheduler's own nanosecond count of each thread
//! (`schedstat`); the clock ticks of `stat` (10 ms) divide it into user and
//! system, and stand in where there is no `schedstat`.

use crate::stats::to_f64;
use std::collections::HashMap;
use std::fs;
use std::ops::{Add, Sub};

/// CPU time below which its division into user and system is noise.
const USER_SHARE_NS_MIN: u64 = 500_000_000;

/// What processes have used up to now, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// By the scheduler; 0 where it does not say.
    scheduled_ns: u64,
    user_ns: u64,
    system_ns: u64,
}

impl Cpu {
    /// CPU time: the scheduler's count, or the ticks where that misses much
    /// (threads that lived only between two looks).
    pub(crate) fn ns(self) -> u64 {
        let ticks = self.user_ns + self.system_ns;
        let trusted = self.scheduled_ns + self.scheduled_ns / 4 + 100_000_000 >= ticks;
        if self.scheduled_ns > 0 && trusted { self.scheduled_ns } else { ticks }
    }

    /// The share of user time, 0 to 1; none below half a second of CPU, where
    /// ticks of 10 ms say nothing.
    pub(crate) fn user_share(self) -> Option<f64> {
        let ticks = self.user_ns + self.system_ns;
        let share = to_f64(self.user_ns) / to_f64(ticks.max(1));
        (ticks >= USER_SHARE_NS_MIN).then_some(share)
    }
}

impl Add for Cpu {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            scheduled_ns: self.scheduled_ns + other.scheduled_ns,
            user_ns: self.user_ns + other.user_ns,
            system_ns: self.system_ns + other.system_ns,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            scheduled_ns: self.scheduled_ns.saturating_sub(earlier.scheduled_ns),
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }
}

/// Follows some processes. A thread that ends keeps what it was last seen
/// with, so look often enough.
#[derive(Debug)]
pub(crate) struct Meter {
    processes: Vec<Process>,
    tick_ns: u64,
    page_bytes: u64,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    threads: HashMap<u32, u64>,
    last: Cpu,
    alive: bool,
}

impl Meter {
    pub(crate) fn new(pids: &[u32]) -> Self {
        let process = |pid: &u32| Process { pid: *pid, threads: HashMap::new(), last: Cpu::default(), alive: true };
        Self {
            processes: pids.iter().map(process).collect(),
            tick_ns: 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1),
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    /// CPU time of all of them up to now.
    pub(crate) fn cpu(&mut self) -> Cpu {
        let tick_ns = self.tick_ns;
        self.processes.iter_mut().fold(Cpu::default(), |sum, process| sum + process.look(tick_ns))
    }

    /// Resident memory, quickly and roughly (the kernel's own short cut).
    pub(crate) fn rss_bytes(&self) -> u64 {
        let pages = |process: &Process| {
            let statm = fs::read_to_string(format!("/proc/{}/statm", process.pid)).ok()?;
            statm.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        self.processes.iter().filter_map(pages).sum::<u64>() * self.page_bytes
    }

    /// Resident memory, exactly: page by page, which takes the kernel a while.
    pub(crate) fn rss_bytes_exact(&self) -> u64 {
        let exact = |process: &Process| {
            let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).ok()?;
            kib_line(&rollup, "Rss:").map(|kib| kib * 1024)
        };
        let all: Option<Vec<u64>> = self.processes.iter().map(exact).collect();
        all.map_or_else(|| self.rss_bytes(), |each| each.iter().sum())
    }

    /// Processes that have ended since the meter began.
    pub(crate) fn ended(&self) -> Vec<u32> {
        self.processes.iter().filter(|process| !process.alive).map(|process| process.pid).collect()
    }
}

impl Process {
    fn look(&mut self, tick_ns: u64) -> Cpu {
        let path = format!("/proc/{}", self.pid);
        let Some((user, system)) = fs::read_to_string(format!("{path}/stat")).ok().and_then(|stat| ticks(&stat)) else {
            self.alive = false;
            return self.last;
        };
        for entry in fs::read_dir(format!("{path}/task")).into_iter().flatten().flatten() {
            let thread = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let ran = fs::read_to_string(entry.path().join("schedstat")).ok();
            if let (Some(thread), Some(ran_ns)) = (thread, ran.and_then(|line| run_ns(&line))) {
                let known = self.threads.entry(thread).or_default();
                *known = ran_ns.max(*known);
            }
        }
        self.last = Cpu { scheduled_ns: self.threads.values().sum(), user_ns: user * tick_ns, system_ns: system * tick_ns };
        self.last
    }
}

/// Memory of the whole kernel's slabs, sockets among them, in bytes.
pub(crate) fn slab_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    kib_line(&meminfo, "Slab:").map(|kib| kib * 1024)
}

/// User and system ticks of `/proc/PID/stat`; the name in brackets may hold
/// anything, brackets and blanks included.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The first field of `schedstat`: time on a CPU, ns.
fn run_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The number of a line like `Rss:   123 kB`.
fn kib_line(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc() {
        let stat = "42 (a) b (c)) R 1 2 3 0 -1 4194304 99 0 0 0 117 25 0 0 20 0 1 0 83679 3133440";
        assert_eq!(ticks(stat), Some((117, 25)));
        assert_eq!(ticks("42 (cut) R 1 2"), None);
        assert_eq!(ticks(""), None);
        assert_eq!(run_ns("899365506 696345 122\n"), Some(899_365_506));
        assert_eq!(run_ns(""), None);
        assert_eq!(kib_line("a: 1 kB\nRss:      2048 kB\nPss: 3 kB", "Rss:"), Some(2048));
        assert_eq!(kib_line("nothing", "Rss:"), None);
    }

    #[test]
    fn ticks_stand_in_for_a_silent_scheduler() {
        let cpu = |scheduled_ns, user_ns, system_ns| Cpu { scheduled_ns, user_ns, system_ns };
        assert_eq!(cpu(0, 20_000_000, 10_000_000).ns(), 30_000_000);
        assert_eq!(cpu(33_000_000, 20_000_000, 10_000_000).ns(), 33_000_000);
        assert_eq!(cpu(1_000_000_000, 4_000_000_000, 1_000_000_000).ns(), 5_000_000_000);
    }

    #[test]
    fn this_process_is_alive_and_another_is_not() {
        let mut meter = Meter::new(&[std::process::id()]);
        let before = meter.cpu();
        let start = crate::clock::thread_cpu_ns();
        while crate::clock::thread_cpu_ns() < start + 50_000_000 {}
        assert!((meter.cpu() - before).ns() >= 20_000_000);
        assert!(meter.rss_bytes() > 0 && meter.rss_bytes_exact() > 0);
        assert!(meter.ended().is_empty());
        let mut nobody = Meter::new(&[u32::MAX]);
        assert_eq!(nobody.cpu(), Cpu::default());
        assert_eq!(nobody.ended(), [u32::MAX]);
    }
}

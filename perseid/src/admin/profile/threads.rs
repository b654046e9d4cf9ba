//! CPU time by thread, from `/proc/self/task`.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

/// What a thread has used so far, in ticks of the kernel's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    tid: u64,
    name: String,
    user: u64,
    system: u64,
    /// When it started, in ticks since boot: tells two threads with one number apart.
    started: u64,
}

/// What the threads have used over some time. Threads that ended in it are not there.
#[derive(utoipa::ToSchema)]
pub(super) struct Threads {
    /// How long it was looked at, s.
    seconds: f64,
    threads: Vec<Thread>,
}

/// A thread.
#[derive(Debug, PartialEq, utoipa::ToSchema)]
struct Thread {
    tid: u64,
    name: String,
    /// CPU time in the program; the kernel counts in steps of 10 ms on most systems.
    user_ms: u64,
    /// CPU time in the kernel.
    system_ms: u64,
    /// Both, as a share of one core: 1 is a core that is fully used.
    share: f64,
}

/// Reads what every thread of this process has used.
///
/// # Errors
/// `/proc` can't be read. A thread that ends meanwhile is left out.
pub(super) fn read() -> io::Result<Vec<Used>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read(entry?.path().join("stat"));
        threads.extend(stat.ok().and_then(|stat| parse(&String::from_utf8_lossy(&stat))));
    }
    Ok(threads)
}

/// Reads a `stat` file (proc_pid_stat(5)). The name stands in parentheses and may hold any byte, also parentheses.
fn parse(stat: &str) -> Option<Used> {
    let (tid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    // Fields from the third on: utime is the 14th, stime the 15th, starttime the 22nd.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse().ok();
    Some(Used { tid: tid.parse().ok()?, name: name.to_owned(), user: number(14)?, system: number(15)?, started: number(22)? })
}

impl Threads {
    /// What was used between two readings that lie `took` apart; the dearest thread first.
    pub(super) fn between(before: &[Used], after: Vec<Used>, took: Duration, ticks_per_second: u64) -> Self {
        let before: HashMap<(u64, u64), &Used> = before.iter().map(|used| ((used.tid, used.started), used)).collect();
        let ms = |ticks: u64| ticks.saturating_mul(1000) / ticks_per_second.max(1);
        let of = |used: Used| {
            let (user, system) = before.get(&(used.tid, used.started)).map_or((0, 0), |then| (then.user, then.system));
            let (user_ms, system_ms) = (ms(used.user.saturating_sub(user)), ms(used.system.saturating_sub(system)));
            let share = (user_ms + system_ms) as f64 / (took.as_secs_f64() * 1000.0).max(1.0);
            Thread { tid: used.tid, name: used.name, user_ms, system_ms, share: rounded(share) }
        };
        let mut threads: Vec<Thread> = after.into_iter().map(of).collect();
        threads.sort_by_key(|thread| (std::cmp::Reverse(thread.user_ms + thread.system_ms), thread.tid));
        Self { seconds: rounded(took.as_secs_f64()), threads }
    }

    /// The answer.
    pub(super) fn document(&self) -> Value {
        let thread = |thread: &Thread| {
            let Thread { tid, name, user_ms, system_ms, share } = thread;
            json!({ "tid": tid, "name": name, "user_ms": user_ms, "system_ms": system_ms, "share": share })
        };
        json!({ "seconds": self.seconds, "threads": self.threads.iter().map(thread).collect::<Vec<_>>() })
    }
}

/// To three digits after the point.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(tid: u64, name: &str, user: u64, system: u64, started: u64) -> Used {
        Used { tid, name: name.to_owned(), user, system, started }
    }

    #[test]
    fn a_stat_file() {
        let rest = "S 1 2 3 4 -1 4194368 5 6 7 8 900 34 0 0 20 0 9 0 123456 1 2 3";
        for name in ["comet-0", "log-writer", "a b", "a) R (b", "", ")"] {
            assert_eq!(parse(&format!("42 ({name}) {rest}\n")), Some(used(42, name, 900, 34, 123_456)), "{name}");
        }
        for bad in ["", "42", "42 (a)", "42 (a) S", "x (a) S 1", "42 a S 1 2", ") (", " (a) "] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let whole = format!("42 (a) {rest}");
        let cut = whole.find(" 123456").unwrap();
        assert_eq!(parse(&whole[..cut]), None, "no start");
        assert_eq!(parse(&whole.replace(" 900 ", " -900 ")), None, "no number");
    }

    #[test]
    fn what_was_used_between() {
        let before =
            [used(1, "one", 100, 100, 7), used(2, "two", 5, 5, 7), used(3, "ended", 1, 1, 7), used(4, "before", 50, 0, 7)];
        let after = vec![
            used(1, "one", 110, 105, 7),
            used(2, "two", 105, 55, 7),
            used(4, "its number again", 3, 1, 9),
            used(5, "new", 0, 0, 9),
            used(6, "also new", 0, 0, 9),
        ];
        let threads = Threads::between(&before, after, Duration::from_millis(2000), 100);
        let row = |tid, name: &str, user_ms, system_ms, share| Thread { tid, name: name.to_owned(), user_ms, system_ms, share };
        let expected = [
            row(2, "two", 1000, 500, 0.75),
            row(1, "one", 100, 50, 0.075),
            row(4, "its number again", 30, 10, 0.02),
            row(5, "new", 0, 0, 0.0),
            row(6, "also new", 0, 0, 0.0),
        ];
        assert_eq!((threads.seconds, threads.threads.as_slice()), (2.0, &expected[..]));
        let first = json!({ "tid": 2, "name": "two", "user_ms": 1000, "system_ms": 500, "share": 0.75 });
        assert_eq!(threads.document()["threads"][0], first);
        // A clock that went back, no time at all: nothing that is no number.
        let odd = Threads::between(&[used(1, "a", 9, 9, 7)], vec![used(1, "a", 5, 5, 7)], Duration::ZERO, 0);
        assert_eq!(odd.threads, [row(1, "a", 0, 0, 0.0)]);
    }

    #[test]
    fn this_process_has_this_thread() {
        let here = std::thread::Builder::new().name("a-thread".to_owned()).spawn(read).unwrap().join().unwrap().unwrap();
        assert!(here.iter().any(|used| used.name == "a-thread"), "{here:?}");
    }
}

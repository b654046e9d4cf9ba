//! Threads that wait for the disk, so that nobody else has to.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long readers have to finish when the store is closed. One that hangs on its disk is left behind.
const CLOSE: Duration = Duration::from_secs(5);

/// A read that waits. Dropped, it tells whoever asked that nobody answers.
pub(super) type Read = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    reads: VecDeque<Read>,
    running: usize,
    is_closing: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    waiting_max: usize,
}

/// A bounded queue of reads, and the threads that take them in their order.
pub(super) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    fn hold(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut queue = self.hold();
        loop {
            if let Some(read) = queue.reads.pop_front() {
                queue.running += 1;
                drop(queue);
                // It has been reported; the others are read all the same.
                let _ = catch_unwind(AssertUnwindSafe(read));
                queue = self.hold();
                queue.running -= 1;
            } else if queue.is_closing {
                return self.changed.notify_all();
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Readers {
    /// So many threads, at least one; so many reads may wait.
    pub(super) fn start(threads: usize, waiting_max: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new(), waiting_max });
        let mut readers = Self { shared, threads: Vec::new() };
        for number in 0..threads.max(1) {
            let shared = readers.shared.clone();
            let thread = std::thread::Builder::new().name(format!("store-read-{number}"));
            readers.threads.push(thread.spawn(move || shared.run())?);
        }
        Ok(readers)
    }

    /// Has a read done; `false`: too many wait.
    pub(super) fn take(&self, read: Read) -> bool {
        let mut queue = self.shared.hold();
        if queue.is_closing || queue.reads.len() >= self.shared.waiting_max {
            return false;
        }
        queue.reads.push_back(read);
        drop(queue);
        self.shared.changed.notify_one();
        true
    }

    /// Reads that wait or are under way.
    pub(super) fn waiting(&self) -> usize {
        let queue = self.shared.hold();
        queue.reads.len() + queue.running
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let mut queue = self.shared.hold();
        queue.is_closing = true;
        // Told outside the lock: who asked may ask again.
        let dropped = std::mem::take(&mut queue.reads);
        drop(queue);
        drop(dropped);
        self.shared.changed.notify_all();
        let (queue, hang) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.hold(), CLOSE, |queue| queue.running > 0)
            .unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        if !hang.timed_out() {
            // A thread that panicked has said so.
            self.threads.drain(..).for_each(|thread| drop(thread.join()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn reads_are_done_in_order_and_bounded() {
        let readers = Readers::start(1, 2).unwrap();
        let (go, gate) = channel::<()>();
        let (begun, begins) = channel();
        let (done, all) = channel();
        assert!(readers.take(Box::new(move || {
            begun.send(()).unwrap();
            gate.recv().unwrap();
        })));
        begins.recv().unwrap();
        for number in 0..2 {
            let done = done.clone();
            assert!(readers.take(Box::new(move || done.send(number).unwrap())));
        }
        assert!(!readers.take(Box::new(|| {})), "there is no room");
        assert_eq!(readers.waiting(), 3);
        go.send(()).unwrap();
        assert_eq!((all.recv(), all.recv()), (Ok(0), Ok(1)));
    }

    #[test]
    fn closing_drops_what_waits_and_lets_the_rest_finish() {
        let readers = Readers::start(1, 8).unwrap();
        let (go, gate) = channel::<()>();
        let (begun, begins) = channel();
        let (done, all) = channel();
        let last = done.clone();
        assert!(readers.take(Box::new(move || {
            begun.send(()).unwrap();
            gate.recv().unwrap();
            last.send("finished").unwrap();
        })));
        begins.recv().unwrap();
        assert!(readers.take(Box::new(move || done.send("never").unwrap())));
        let shared = readers.shared.clone();
        let closing = std::thread::spawn(move || drop(readers));
        while !shared.hold().is_closing {
            std::thread::yield_now();
        }
        go.send(()).unwrap();
        closing.join().unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), ["finished"]);
    }
}

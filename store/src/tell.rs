//! Giving an answer on where it comes, without a runtime.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Nobody is at it.
const RESTS: u8 = 0;
/// Somebody is at it.
const GOES_ON: u8 = 1;
/// Somebody is at it, and it was woken since he began.
const WOKEN: u8 = 2;

/// Work that goes on on whatever thread wakes it.
struct Task {
    work: Mutex<Option<Work>>,
    state: AtomicU8,
}

/// Begins it here. It must wait for nothing that needs a runtime.
pub(crate) fn run(work: Work) {
    Arc::new(Task { work: Mutex::new(Some(work)), state: AtomicU8::new(GOES_ON) }).go_on();
}

impl Task {
    /// Whoever calls this has made the state `GOES_ON`.
    fn go_on(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        loop {
            self.state.store(GOES_ON, Ordering::SeqCst);
            let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(coming) = work.as_mut() {
                let polled = catch_unwind(AssertUnwindSafe(|| coming.as_mut().poll(&mut Context::from_waker(&waker))));
                // A panic was reported where it happened; the thread that woke it has other things to do.
                if !matches!(polled, Ok(Poll::Pending)) {
                    *work = None;
                }
            }
            drop(work);
            if self.state.compare_exchange(GOES_ON, RESTS, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return;
            }
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let begins = |state| Some(if state == RESTS { GOES_ON } else { WOKEN });
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, begins) == Ok(RESTS) {
            self.go_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Verdict;
    use std::future::{Future, poll_fn};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::task::{Poll, Waker};
    use std::thread;

    /// An answer that comes when the thread that has the other end sends it.
    fn coming(wakes_itself: bool) -> (impl Future<Output = u32>, impl FnOnce(u32)) {
        let slot: Arc<Mutex<(Option<u32>, Option<Waker>)>> = Arc::default();
        let kept = slot.clone();
        let mut wakes_itself = wakes_itself;
        let future = poll_fn(move |context| {
            if std::mem::take(&mut wakes_itself) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut slot = slot.lock().unwrap();
            slot.1 = Some(context.waker().clone());
            slot.0.take().map_or(Poll::Pending, Poll::Ready)
        });
        let give = move |answer| {
            let waker = {
                let mut slot = kept.lock().unwrap();
                slot.0 = Some(answer);
                slot.1.take()
            };
            waker.into_iter().for_each(Waker::wake);
        };
        (future, give)
    }

    #[test]
    fn an_answer_is_given_on_by_the_thread_that_brings_it() {
        for wakes_itself in [false, true] {
            let (future, give) = coming(wakes_itself);
            let (told, answers) = channel();
            Verdict::Later(Box::pin(future)).then(|answer| answer + 1).tell(move |answer| {
                told.send((answer, thread::current().name().map(str::to_owned))).unwrap();
            });
            assert!(answers.try_recv().is_err());
            let bringing = thread::Builder::new().name("brings".to_owned()).spawn(move || give(4)).unwrap();
            bringing.join().unwrap();
            assert_eq!(answers.recv(), Ok((5, Some("brings".to_owned()))));
        }
        let (told, answers) = channel();
        Verdict::Now(7).tell(move |answer| told.send(answer).unwrap());
        assert_eq!(answers.recv(), Ok(7));
    }

    #[test]
    fn a_panic_ends_the_work_and_not_the_thread() {
        let (future, give) = coming(false);
        Verdict::Later(Box::pin(future)).tell(|_| panic!("a test wants it so"));
        give(1);
    }

    /// Wakes while it goes on are not lost, whatever the moment.
    #[test]
    fn no_wake_is_lost() {
        for _ in 0..200 {
            let (one, give_one) = coming(true);
            let (other, give_other) = coming(true);
            let (told, answers) = channel();
            let both = async move { one.await + other.await };
            let threads = [thread::spawn(move || give_one(1)), thread::spawn(move || give_other(2))];
            Verdict::Later(Box::pin(both)).tell(move |answer| told.send(answer).unwrap());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(answers.recv(), Ok(3));
        }
    }
}

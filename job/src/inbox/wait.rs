//! Waits for an answer on a thread that may wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use perseid_store::Verdict;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The answer, however long it takes. A store whose answers need a runtime brings it along.
pub(super) fn wait<T>(verdict: Verdict<T>) -> T {
    match verdict {
        Verdict::Now(answer) => answer,
        Verdict::Later(coming) => wait_for(coming),
    }
}

fn wait_for<T>(mut coming: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match coming.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            // Woken before this: it returns at once.
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pending until another thread wakes it.
    #[test]
    fn an_answer_that_comes_later() {
        let mut polls = 0;
        let coming = std::future::poll_fn(move |context| {
            polls += 1;
            let waker = context.waker().clone();
            if polls < 3 {
                thread::spawn(move || waker.wake());
                return Poll::Pending;
            }
            Poll::Ready(polls)
        });
        assert_eq!(wait(Verdict::Later(Box::pin(coming))), 3);
        assert_eq!(wait(Verdict::Now(7)), 7);
    }
}

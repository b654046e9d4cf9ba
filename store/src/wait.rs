//! [`Verdict::wait`](crate::Verdict::wait): a thread that may wait, waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks this thread until the answer is there.
pub(crate) fn run<T>(mut coming: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
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
    use crate::Verdict;

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
        assert_eq!(Verdict::Later(Box::pin(coming)).wait(), 3);
        assert_eq!(Verdict::Now(7).wait(), 7);
    }
}

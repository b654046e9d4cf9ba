//! An answer that comes later, for any runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    answer: Option<T>,
    waker: Option<Waker>,
    is_lost: bool,
}

struct Shared<T>(Mutex<Slot<T>>);

impl<T> Shared<T> {
    fn hold(&self) -> MutexGuard<'_, Slot<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, change: impl FnOnce(&mut Slot<T>)) {
        let waker = {
            let mut slot = self.hold();
            change(&mut slot);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Whoever has this answers, once; dropped without an answer, it is lost.
pub(super) struct Promise<T>(Arc<Shared<T>>);

/// Whoever has this waits. `None`: nobody will ever answer.
pub(super) struct Later<T>(Arc<Shared<T>>);

/// A promise, and the wait for it.
pub(super) fn promise<T>() -> (Promise<T>, Later<T>) {
    let shared = Arc::new(Shared(Mutex::new(Slot { answer: None, waker: None, is_lost: false })));
    (Promise(shared.clone()), Later(shared))
}

impl<T> Promise<T> {
    pub(super) fn keep(self, answer: T) {
        self.0.wake(|slot| slot.answer = Some(answer));
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.wake(|slot| slot.is_lost = true);
    }
}

impl<T> Future for Later<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.hold();
        if slot.answer.is_some() || slot.is_lost {
            return Poll::Ready(slot.answer.take());
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(later: &mut Later<T>) -> Poll<Option<T>> {
        Pin::new(later).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_promise_is_kept_or_lost() {
        let (kept, mut later) = promise();
        assert!(poll(&mut later).is_pending());
        kept.keep(5);
        assert_eq!(poll(&mut later), Poll::Ready(Some(5)));
        let (lost, mut later) = promise::<u8>();
        drop(lost);
        assert_eq!(poll(&mut later), Poll::Ready(None));
    }
}

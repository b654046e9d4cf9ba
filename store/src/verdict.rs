//! An answer that is there, or one that somebody else has to be asked for first.

use std::future::Future;
use std::pin::Pin;

/// An answer that is there, or one that somebody else has to be asked for first.
pub enum Verdict<T> {
    /// Here it is.
    Now(T),
    /// It comes: whoever asked runs this, on a runtime.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Verdict<T> {
    /// Waits for it.
    pub async fn get(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(coming) => coming.await,
        }
    }

    /// The answer, when it is there.
    pub fn now(self) -> Option<T> {
        match self {
            Self::Now(answer) => Some(answer),
            Self::Later(_) => None,
        }
    }

    /// Waits for it on this thread, however long it takes. A store whose answers need a runtime brings it along.
    pub fn wait(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(coming) => crate::wait::run(coming),
        }
    }

    /// Gives the answer on: now, or on the thread that brings it, which must not be held up. For answers that need no runtime.
    pub fn tell(self, to: impl FnOnce(T) + Send + 'static)
    where
        T: 'static,
    {
        match self {
            Self::Now(answer) => to(answer),
            Self::Later(coming) => crate::tell::run(Box::pin(async move { to(coming.await) })),
        }
    }

    /// The next answer, which may have to be waited for too.
    pub fn and_then<U: Send + 'static>(self, next: impl FnOnce(T) -> Verdict<U> + Send + 'static) -> Verdict<U>
    where
        T: 'static,
    {
        match self {
            Self::Now(answer) => next(answer),
            Self::Later(coming) => Verdict::Later(Box::pin(async move {
                let next = next(coming.await);
                next.get().await
            })),
        }
    }

    /// What becomes of the answer: at once when it is there, else when it comes. Once, or never if nobody waits.
    pub fn then<U>(self, next: impl FnOnce(T) -> U + Send + 'static) -> Verdict<U>
    where
        T: 'static,
    {
        match self {
            Self::Now(answer) => Verdict::Now(next(answer)),
            Self::Later(coming) => Verdict::Later(Box::pin(async move { next(coming.await) })),
        }
    }
}

//! The bytes that all merges together may hold: others queue, one always runs.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shared by all merges of the process.
#[derive(Clone)]
pub struct Budget {
    bytes: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
}

/// What one merge holds; given back when it is dropped, which is when its answer has been sent.
pub struct Lease {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), overdraft: Arc::new(Semaphore::new(1)) }
    }

    pub fn lease(&self) -> Lease {
        Lease { budget: self.clone(), held: None, overdraft: None }
    }
}

impl Lease {
    /// Waits until `bytes` more may be held.
    ///
    /// Merges that each hold a part and wait for the rest would wait for ever, so one of them at a time may
    /// exceed the budget; it runs to its end and lets the next one do so.
    pub async fn grow(&mut self, bytes: usize) {
        if self.overdraft.is_some() {
            return;
        }
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(&self.budget.bytes).try_acquire_many_owned(count) {
            return self.keep(more);
        }
        tokio::select! {
            Ok(more) = Arc::clone(&self.budget.bytes).acquire_many_owned(count) => self.keep(more),
            Ok(turn) = Arc::clone(&self.budget.overdraft).acquire_owned() => self.overdraft = Some(turn),
        }
    }

    fn keep(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_test_free::poll_once;

    /// Polls a future once: whether it is ready says whether a merge has to queue.
    mod tokio_test_free {
        use std::future::Future;
        use std::pin::Pin;
        use std::task::{Context, Waker};

        pub(super) fn poll_once<F: Future>(future: Pin<&mut F>) -> bool {
            future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
        }
    }

    #[tokio::test]
    async fn one_merge_may_exceed_the_budget_and_the_next_waits_for_it() {
        let budget = Budget::new(100);
        let mut first = budget.lease();
        first.grow(80).await;
        first.grow(80).await;
        let mut second = budget.lease();
        second.grow(20).await;
        {
            let mut waiting = Box::pin(second.grow(1));
            assert!(!poll_once(waiting.as_mut()));
            drop(first);
            assert!(poll_once(waiting.as_mut()));
        }
    }

    #[tokio::test]
    async fn all_is_given_back() {
        let budget = Budget::new(100);
        for _ in 0..10 {
            let mut lease = budget.lease();
            lease.grow(60).await;
            lease.grow(40).await;
        }
        assert_eq!(budget.bytes.available_permits(), 100);
    }
}

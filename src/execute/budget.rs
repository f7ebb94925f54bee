//! The bytes that all merges together may hold: others queue, one always runs.

use std::sync::Arc;
use std::time::Duration;

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
    /// It has waited too long once: a part is lost, and what else it could hold is of no use.
    refused: bool,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), overdraft: Arc::new(Semaphore::new(1)) }
    }

    pub fn lease(&self) -> Lease {
        Lease { budget: self.clone(), held: None, overdraft: None, refused: false }
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.bytes.available_permits()
    }
}

impl Lease {
    /// Waits until `bytes` more may be held; false if that takes longer than `patience`, and from then on.
    ///
    /// Merges that each hold a part and wait for the rest would wait for ever, so one of them at a time may
    /// exceed the budget; it runs to its end and lets the next one do so.
    pub async fn grow(&mut self, bytes: usize, patience: Duration) -> bool {
        if self.refused || self.overdraft.is_some() {
            return !self.refused;
        }
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(&self.budget.bytes).try_acquire_many_owned(count) {
            self.keep(more);
            return true;
        }
        let turn = async {
            tokio::select! {
                Ok(more) = Arc::clone(&self.budget.bytes).acquire_many_owned(count) => (Some(more), None),
                Ok(turn) = Arc::clone(&self.budget.overdraft).acquire_owned() => (None, Some(turn)),
            }
        };
        let Ok((more, turn)) = tokio::time::timeout(patience, turn).await else {
            self.refused = true;
            return false;
        };
        self.overdraft = turn;
        if let Some(more) = more {
            self.keep(more);
        }
        true
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

    const LONG: Duration = Duration::from_secs(60);

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
        assert!(first.grow(80, LONG).await);
        assert!(first.grow(80, LONG).await);
        let mut second = budget.lease();
        assert!(second.grow(20, LONG).await);
        {
            let mut waiting = Box::pin(second.grow(1, LONG));
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
            assert!(lease.grow(60, LONG).await);
            assert!(lease.grow(40, LONG).await);
        }
        assert_eq!(budget.free(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_told_so() {
        let budget = Budget::new(100);
        let mut first = budget.lease();
        assert!(first.grow(100, LONG).await);
        let mut second = budget.lease();
        assert!(second.grow(100, LONG).await, "the overdraft");
        assert!(!budget.lease().grow(1, LONG).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_merge_that_was_told_to_wait_no_longer_does_not_wait_again() {
        let budget = Budget::new(100);
        let (mut first, mut second, mut third) = (budget.lease(), budget.lease(), budget.lease());
        assert!(first.grow(100, LONG).await && second.grow(100, LONG).await, "the overdraft");
        assert!(!third.grow(1, LONG).await);
        let began = tokio::time::Instant::now();
        for _ in 0..30 {
            assert!(!third.grow(1, LONG).await);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop((first, second));
        assert!(!third.grow(1, LONG).await, "one part of it is lost: the rest is of no use");
    }
}

//! Blocking work on files: so many jobs at once, each on a thread where it may block.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Fail;
use crate::config::Limits;

/// Runs jobs. Clones share its bound.
#[derive(Clone)]
pub(super) struct Jobs {
    places: Arc<Semaphore>,
    queue: Duration,
}

impl Jobs {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { places: Arc::new(Semaphore::new(limits.file_jobs)), queue: limits.file_queue }
    }

    /// Runs `work` as soon as there is a place. Begun, it runs to its end even if nobody waits for it any more: what
    /// it changes is never half done because a client left.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fail> {
        let place = tokio::time::timeout(self.queue, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| Fail::Busy)?.map_err(|_| Fail::Busy)?;
        let job = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        job.await.map_err(|_| Fail::Died)
    }
}

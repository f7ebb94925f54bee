//! Blocking work on files: so many jobs at once, each on a thread where it may block.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::Fail;
use crate::config::Limits;
use crate::shutdown::Shutdown;

/// Runs jobs. Clones share its bound.
#[derive(Clone)]
pub(super) struct Jobs {
    places: Arc<Semaphore>,
    queue: Duration,
    shutdown: Shutdown,
}

impl Jobs {
    pub(super) fn new(limits: &Limits, shutdown: Shutdown) -> Self {
        Self { places: Arc::new(Semaphore::new(limits.file_jobs)), queue: limits.file_queue, shutdown }
    }

    /// Runs `work` as soon as there is a place. Begun, it runs to its end even if nobody waits for it any more: what
    /// it changes is never half done because a client left, nor, as far as the drain waits, because the process ends.
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
        let (ended, awaited) = oneshot::channel();
        self.shutdown.spawn(async move {
            // Nobody may be there to hear of it any more.
            let _ = ended.send(job.await);
        });
        awaited.await.map_err(|_| Fail::Died)?.map_err(|_| Fail::Died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Ended;

    #[tokio::test]
    async fn the_end_waits_for_a_job_whose_client_left() {
        let shutdown = Shutdown::new();
        let jobs = Jobs::new(&Limits::default(), shutdown.clone());
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let job = jobs.run(move || {
            begun.send(()).expect("somebody waits");
            gone.recv().is_ok()
        });
        tokio::select! {
            _ = job => unreachable!("it may not end yet"),
            begins = begins => begins.expect("it begins"),
        }
        let mut end = Box::pin(shutdown.finish(Duration::from_secs(60)));
        tokio::select! {
            biased;
            ended = &mut end => panic!("{ended:?} beside a job that runs"),
            () = std::future::ready(()) => go.send(()).expect("the job waits"),
        }
        assert_eq!(end.await, Ended::Clean);
    }
}

//! The one tracked spawn: drain, then kill, and say what was killed.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns every task of the process. Clones share it.
#[derive(Clone, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    killed: CancellationToken,
    tasks: TaskTracker,
}

/// How the end went.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every task ended by itself.
    Clean,
    /// This many tasks were cut at the deadline.
    Forced { left: usize },
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends or the shutdown's deadline cuts it. The only spawn of the process.
    #[expect(clippy::disallowed_methods, reason = "this is the one tracked spawn")]
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let killed = self.killed.clone();
        tokio::spawn(self.tasks.track_future(async move {
            tokio::select! {
                () = task => {}
                () = killed.cancelled() => {}
            }
        }));
    }

    /// Runs `task` until it ends or draining starts: for what follows something for ever.
    pub fn until_draining<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let draining = self.draining.clone();
        self.spawn(async move {
            tokio::select! {
                () = task => {}
                () = draining.cancelled() => {}
            }
        });
    }

    /// Starts draining; returns at once.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Ends when draining starts. Every endless loop selects on it.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Drains, waits for all tasks up to `grace`, then kills what is left.
    pub async fn finish(&self, grace: Duration) -> Ended {
        self.drain();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return Ended::Clean;
        }
        let left = self.tasks.len();
        self.killed.cancel();
        self.tasks.wait().await;
        Ended::Forced { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_as_soon_as_the_last_task_does() {
        let shutdown = Shutdown::new();
        let inner = shutdown.clone();
        shutdown.spawn(async move { inner.draining().await });
        assert_eq!(shutdown.finish(Duration::from_secs(60)).await, Ended::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_cut_and_counted() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending());
        assert_eq!(shutdown.finish(Duration::from_secs(8)).await, Ended::Forced { left: 1 });
    }
}

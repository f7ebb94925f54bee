//! A deadline that is started and stopped at every turn and costs no timer operation then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Runs from [`Lapse::start`] to [`Lapse::stop`]; the timer itself is touched only while somebody waits.
pub(super) struct Lapse {
    after: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Lapse {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, since: None, timer: None }
    }

    pub(super) fn after(&self) -> Duration {
        self.after
    }

    /// Starts, unless it runs already.
    pub(super) fn start(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn stop(&mut self) {
        self.since = None;
    }

    /// Ready when it has run out; then it is stopped. Wakes the task when that may be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.since else { return Poll::Pending };
        let deadline = since + self.after;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // A timer left from an earlier start goes off early; it is only then set anew.
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                self.since = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn it_runs_out_only_when_it_was_not_stopped() {
        let began = Instant::now();
        let mut lapse = Lapse::new(Duration::from_secs(10));
        lapse.start();
        let early = tokio::time::timeout(Duration::from_secs(7), poll_fn(|cx| lapse.poll(cx))).await;
        assert!(early.is_err());
        lapse.stop();
        lapse.start();
        lapse.start();
        poll_fn(|cx| lapse.poll(cx)).await;
        assert_eq!(began.elapsed().as_secs(), 17);
        let stopped = tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| lapse.poll(cx))).await;
        assert!(stopped.is_err());
    }
}

//! Waits for a peer as long as it is alive, and no longer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::Executor;
use crate::dial::{self, Patience};
use crate::model::Member;

/// 15 s: how far apart the probes of a peer get that works on a long call and answers each of them.
const RAREST: Duration = Duration::from_secs(15);

/// 2 patient probes in a row, each of several dials: a peer that is silent to all of them is gone, not busy.
const DOUBTS: u32 = 2;

/// Signs of life of one call, written by whoever reads its answer.
#[derive(Default)]
pub struct Pulse {
    beats: AtomicUsize,
    held_up: AtomicUsize,
    /// What ended holds took, in microseconds.
    waited: AtomicU64,
}

impl Pulse {
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for something of our own: that silence is not the peer's.
    pub async fn held_up<F: Future>(&self, wait: F) -> F::Output {
        self.held_up.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let output = wait.await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waited.fetch_add(took, Ordering::Relaxed);
        self.held_up.fetch_sub(1, Ordering::Relaxed);
        self.beat();
        output
    }

    /// Waits for `answer` as long as `after`, and as long again as it was held up. `None`: it is not there by then.
    pub(super) async fn within<T>(&self, after: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        let mut patience = after;
        loop {
            let before = self.waited.load(Ordering::Relaxed);
            match tokio::time::timeout(patience, &mut answer).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.is_held_up() => patience = after,
                Err(_) => match self.waited.load(Ordering::Relaxed) - before {
                    0 => return None,
                    ours => patience = Duration::from_micros(ours),
                },
            }
        }
    }

    fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::Relaxed) > 0
    }

    fn count(&self) -> usize {
        self.beats.load(Ordering::Relaxed)
    }
}

impl Executor {
    /// Runs `call`, which asks `peer`. When it is silent for a moment, the peer is probed on other connections: an
    /// answer buys more time; without one the call ends as [`dial::Fail::Gone`], and discovery is told. That takes one
    /// brief probe, or [`DOUBTS`] patient ones in a row; where it closes its door, it takes as long as a drain may.
    pub(super) async fn attend<T>(
        &self,
        peer: &Member,
        pulse: &Pulse,
        probes: Patience,
        call: impl Future<Output = Result<T, dial::Fail>>,
    ) -> Result<T, dial::Fail> {
        let mut call = std::pin::pin!(call);
        let (mut patience, mut unanswered) = (self.limits.silence, 0);
        let doubts = if probes == Patience::Brief { 1 } else { DOUBTS };
        let mut draining = None;
        loop {
            let before = pulse.count();
            if let Ok(done) = tokio::time::timeout(patience, &mut call).await {
                return done;
            }
            if pulse.count() != before || pulse.is_held_up() {
                patience = self.limits.silence;
                continue;
            }
            let Some(address) = peer.address else { continue };
            tokio::select! {
                biased;
                done = &mut call => return done,
                probed = self.peers.probe(address, Some(&peer.id), probes) => match probed {
                    Ok(_) => {
                        (patience, unanswered, draining) = ((patience * 2).min(RAREST), 0, None);
                    }
                    Err(fail) => {
                        debug!(node = %peer.shown, error = %fail, "a silent peer does not answer a probe either");
                        patience = self.limits.silence;
                        let closed = closes_its_door(&fail);
                        let given_up = if closed {
                            // An agent that stops takes no new connections, and ends what it has begun. Had it died,
                            // the call's own connection would have broken.
                            draining.get_or_insert_with(Instant::now).elapsed() >= self.limits.drain
                        } else {
                            unanswered += 1;
                            unanswered >= doubts
                        };
                        if closed || given_up {
                            self.silent(peer, fail.absence());
                        }
                        if given_up {
                            // Of the call itself the probe says nothing: it may have been carried out.
                            return Err(dial::Fail::Gone { probe: Arc::new(fail) });
                        }
                    }
                }
            }
        }
    }
}

/// Whether somebody is there who closes his door, maybe on a probe that was just coming in.
fn closes_its_door(fail: &dial::Fail) -> bool {
    matches!(fail, dial::Fail::Refused { .. } | dial::Fail::Unlisted { .. } | dial::Fail::Broken { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep_until;

    const SECOND: Duration = Duration::from_secs(1);

    /// Held up by us for so long, then silent by itself for so long.
    async fn answer(pulse: &Pulse, ours: u32, its: u32) {
        pulse.held_up(sleep_until(Instant::now() + SECOND * ours)).await;
        sleep_until(Instant::now() + SECOND * its).await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_in_which_it_was_not_held_up_counts_against_an_answer() {
        // The deadline of 15 s falls behind the hold, into it, or passes without any.
        for (ours, its, comes) in
            [(0, 14, true), (0, 16, false), (10, 14, true), (14, 14, true), (20, 14, true), (200, 14, true)]
        {
            let pulse = Pulse::default();
            let came = pulse.within(SECOND * 15, answer(&pulse, ours, its)).await.is_some();
            assert_eq!(came, comes, "held up for {ours} s, silent for {its} s");
        }
        for ours in [0, 10, 14] {
            let (pulse, began) = (Pulse::default(), Instant::now());
            assert!(pulse.within(SECOND * 15, answer(&pulse, ours, 100)).await.is_none());
            assert_eq!(began.elapsed().as_secs(), 15 + u64::from(ours), "held up for {ours} s");
        }
    }
}

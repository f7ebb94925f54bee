//! Waits for a peer as long as it is alive, and no longer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
}

impl Pulse {
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for something of our own: that silence is not the peer's.
    pub async fn held_up<F: Future>(&self, wait: F) -> F::Output {
        self.held_up.fetch_add(1, Ordering::Relaxed);
        let output = wait.await;
        self.held_up.fetch_sub(1, Ordering::Relaxed);
        self.beat();
        output
    }

    pub(super) fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::Relaxed) > 0
    }

    fn count(&self) -> usize {
        self.beats.load(Ordering::Relaxed)
    }
}

impl Executor {
    /// Runs `call`, which asks `peer`. When it is silent for a moment, the peer is probed on other connections: an
    /// answer buys more time; without one the call ends as [`dial::Fail::Gone`], and discovery is told. That takes one
    /// brief probe, or [`DOUBTS`] patient ones in a row; where they are refused, it takes as long as a drain may.
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
                        let refused = matches!(fail, dial::Fail::Refused { .. });
                        let given_up = if refused {
                            // An agent that stops takes no new connections, and ends what it has begun. Had it died,
                            // the call's own connection would have broken.
                            draining.get_or_insert_with(Instant::now).elapsed() >= self.limits.drain
                        } else {
                            unanswered += 1;
                            unanswered >= doubts
                        };
                        if refused || given_up {
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

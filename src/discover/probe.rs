//! Our own dials: the only thing that says whether an agent answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::{Rounds, Shared};
use crate::dial::{Fail, Patience, Probe};
use crate::membership::{Event, Proof, Target};
use crate::model::{Absence, Hint, NodeId};

/// 250 ms between two dials of an agent that is missing while the cluster is changing: its start is near.
const SOON: Duration = Duration::from_millis(250);

/// 64 results: one a dial in flight, drained at once.
const RESULTS: usize = 64;

struct Prober {
    shared: Arc<Shared>,
    rounds: Arc<Rounds>,
    dials: BTreeMap<SocketAddr, Dial>,
    results: mpsc::Sender<Ended>,
}

/// One address's schedule.
struct Dial {
    target: Target,
    due: Instant,
    in_flight: u32,
    /// Whether the last periodic dial failed and was not told yet: one that broke off is no absence.
    doubted: bool,
    said: Option<String>,
}

struct Ended {
    at: SocketAddr,
    hinted: bool,
    outcome: Result<Probe, Fail>,
}

pub(super) async fn follow(
    shared: Arc<Shared>,
    mut rounds: watch::Receiver<Arc<Rounds>>,
    mut hints: mpsc::Receiver<Hint>,
    nudge: watch::Sender<()>,
) {
    let (results, mut ended) = mpsc::channel(RESULTS);
    let first = Arc::clone(&rounds.borrow());
    let mut prober = Prober { shared, rounds: first, dials: BTreeMap::new(), results };
    loop {
        let next = prober.next_due();
        tokio::select! {
            Ok(()) = rounds.changed() => {
                let now = Arc::clone(&rounds.borrow_and_update());
                prober.follow(now);
            }
            Some(hint) = hints.recv() => prober.hinted(hint, &nudge).await,
            Some(result) = ended.recv() => prober.ended(result).await,
            () = sleep_until(next) => {}
        }
        prober.dial_what_is_due();
    }
}

impl Prober {
    fn next_due(&self) -> Instant {
        let idle = self.dials.values().filter(|d| d.in_flight == 0).map(|d| d.due).min();
        idle.unwrap_or_else(|| Instant::now() + self.shared.config.limits.probe_answering)
    }

    /// New addresses are dialled at once, and those that a request found silent.
    fn follow(&mut self, rounds: Arc<Rounds>) {
        let now = Instant::now();
        self.dials.retain(|at, _| rounds.targets.contains_key(at));
        for (at, target) in &rounds.targets {
            let dial = self.dials.entry(*at).or_insert_with(|| Dial {
                target: target.clone(),
                due: now,
                in_flight: 0,
                doubted: false,
                said: None,
            });
            if dial.target.expect != target.expect {
                dial.due = now;
            }
            dial.target = target.clone();
        }
        self.rounds = rounds;
    }

    async fn hinted(&mut self, hint: Hint, nudge: &watch::Sender<()>) {
        match hint {
            Hint::StaleRole => {
                nudge.send_replace(());
            }
            Hint::Silent(node, absence) => {
                // The request path probed it already: later requests must not wait for our own dial to find the same.
                self.shared.tell(Event::Silent(node.clone(), absence)).await;
                self.dial_node(&node, |_| true);
            }
            Hint::Called(node) => self.dial_node(&node, |target| !target.answering),
        }
    }

    fn dial_node(&mut self, node: &NodeId, wanted: impl Fn(&Target) -> bool) {
        let of_node = |d: &Dial| d.target.node.as_ref() == Some(node) && wanted(&d.target);
        let places: Vec<_> = self.dials.iter().filter(|(_, d)| of_node(d)).map(|(at, _)| *at).collect();
        for at in places {
            self.dial(at, true);
        }
    }

    fn dial_what_is_due(&mut self) {
        let now = Instant::now();
        let due = self.dials.iter().filter(|(_, d)| d.in_flight == 0 && d.due <= now);
        let places: Vec<_> = due.map(|(at, _)| *at).collect();
        for at in places {
            self.dial(at, false);
        }
    }

    fn dial(&mut self, at: SocketAddr, hinted: bool) {
        let Some(dial) = self.dials.get_mut(&at) else { return };
        // Two: the periodic one, and one that a hint asked for beside it.
        if dial.in_flight >= 2 {
            return;
        }
        dial.in_flight += 1;
        let (peers, results) = (self.shared.peers.clone(), self.results.clone());
        let expect = dial.target.expect.clone();
        self.shared.shutdown.until_draining(async move {
            let outcome = peers.probe(at, expect.as_ref(), Patience::Full).await;
            // The loop ends only when draining starts.
            let _ended = results.send(Ended { at, hinted, outcome }).await;
        });
    }

    async fn ended(&mut self, ended: Ended) {
        let limits = &self.shared.config.limits;
        let hurry = self.rounds.hurries();
        let Some(dial) = self.dials.get_mut(&ended.at) else { return };
        dial.in_flight = dial.in_flight.saturating_sub(1);
        let now = Instant::now();
        let missing = if hurry { limits.probe_missing.min(SOON) } else { limits.probe_missing };
        let outcome = match ended.outcome {
            Ok(probe) => {
                (dial.doubted, dial.said, dial.due) = (false, None, now + limits.probe_answering);
                Ok(proof(probe))
            }
            // Says nothing about the peer.
            Err(Fail::NotReady { .. }) => {
                dial.due = now + SOON;
                return;
            }
            Err(fail) if may_be_chance(&fail) && dial.target.answering && !dial.doubted && !ended.hinted => {
                (dial.doubted, dial.due) = (true, now);
                return;
            }
            Err(fail) => {
                (dial.doubted, dial.due) = (false, now + missing);
                dial.log(ended.at, &fail);
                Err(fail.absence())
            }
        };
        self.shared.tell(Event::Dialled { at: ended.at, outcome }).await;
    }
}

impl Dial {
    /// Each reason once, until it changes.
    fn log(&mut self, at: SocketAddr, fail: &Fail) {
        let reason = fail.to_string();
        if self.said.as_ref() == Some(&reason) {
            return;
        }
        if fail.absence() == Absence::Secret {
            warn!(%at, %reason, "peer refused");
        } else if matches!(fail, Fail::Swallowed { .. }) {
            warn!(%at, %reason, "peer connects and does not answer");
        } else {
            debug!(%at, %reason, "peer does not answer");
        }
        self.said = Some(reason);
    }
}

/// A connection that broke off. A refusal is no chance, nor is silence to one dial after the other.
fn may_be_chance(fail: &Fail) -> bool {
    matches!(fail.absence(), Absence::Timeout | Absence::Unreachable)
        && !matches!(fail, Fail::Deaf { .. } | Fail::Swallowed { .. })
}

fn proof(probe: Probe) -> Proof {
    // A label where there is no Swarm to ask; it must fit in a header.
    let host = NodeId::parse(&probe.host).map_or_else(|_| probe.node.as_str().into(), |h| h.as_str().into());
    Proof { node: probe.node, host, agent_version: probe.agent_version.into(), api: probe.api }
}

//! How often the sources are asked: fast while something is changing, then in step with `limits.refresh`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::membership::{Known, Target};
use crate::model::{Cluster, Reach};

/// 250 ms: agents that start together must be whole within 3 s.
const FAST: Duration = Duration::from_millis(250);

/// 10 s of haste while something is amiss: a wrong secret, or a node that stays away, must not cost more for ever.
const HASTE: Duration = Duration::from_secs(10);

/// 1 s more of haste after all is well: changes come in groups.
const AFTERMATH: Duration = Duration::from_secs(1);

/// What the writer tells the loops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rounds {
    pub(super) targets: BTreeMap<SocketAddr, Target>,
    moved: Instant,
    pub(super) hurry_until: Instant,
}

impl Rounds {
    pub(super) fn at_start() -> Self {
        let now = Instant::now();
        Self { targets: BTreeMap::new(), moved: now, hurry_until: now + HASTE }
    }

    pub(super) fn next(&self, known: &Known, moved: bool, now: Instant) -> Self {
        let moved = if moved { now } else { self.moved };
        let haste = if known.is_unsettled(now.into_std()) { HASTE } else { AFTERMATH };
        Self { targets: known.targets(now.into_std()), moved, hurry_until: moved + haste }
    }

    pub(super) fn hurries(&self) -> bool {
        Instant::now() < self.hurry_until
    }
}

/// Whether more changed than the reason why a node is missing.
pub(super) fn has_moved(before: &Cluster, next: &Cluster) -> bool {
    let missing = |reach: Reach| matches!(reach, Reach::Missing(_));
    before.kind != next.kind
        || before.directory != next.directory
        || before.members.len() != next.members.len()
        || next.members.iter().any(|(id, member)| {
            before.members.get(id).is_none_or(|old| {
                old.address != member.address
                    || old.role != member.role
                    || missing(old.reach) != missing(member.reach)
            })
        })
}

/// Each loop's own clock.
#[derive(Clone)]
pub(super) struct Pace {
    rounds: watch::Receiver<Arc<Rounds>>,
    nudged: watch::Receiver<()>,
    refresh: Duration,
}

impl Pace {
    pub(super) fn new(
        rounds: watch::Receiver<Arc<Rounds>>,
        nudged: watch::Receiver<()>,
        refresh: Duration,
    ) -> Self {
        Self { rounds, nudged, refresh }
    }

    pub(super) fn rounds(&self) -> watch::Receiver<Arc<Rounds>> {
        self.rounds.clone()
    }

    /// Ends when it is time to ask again: after a period, or at once when somebody found out that something is stale.
    pub(super) async fn pause(&mut self) {
        let began = Instant::now();
        loop {
            let period =
                if self.rounds.borrow_and_update().hurries() { FAST.min(self.refresh) } else { self.refresh };
            tokio::select! {
                () = sleep_until(began + period) => return,
                Ok(()) = self.nudged.changed() => return,
                Ok(()) = self.rounds.changed() => {}
                // Nobody is left to hurry us.
                else => return,
            }
        }
    }
}

//! What discovery was told becomes the snapshot that requests work on.
//!
//! In: [`Event`]s, each one source's answer. Out: a new [`Cluster`], or nothing when nothing changed. Pure: no I/O,
//! and the time is an argument. [`Membership`] publishes; discovery alone feeds it.

mod event;
mod known;
mod shown;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::model::Cluster;
pub use event::{Event, Node, Own, Proof, Roster, Seat, Standing};
pub use known::{Known, Target};

/// The current snapshot, shared: many read, discovery alone writes.
#[derive(Clone)]
pub struct Membership {
    published: Arc<watch::Sender<Arc<Cluster>>>,
}

impl Membership {
    pub fn new(cluster: Cluster) -> Self {
        Self { published: Arc::new(watch::Sender::new(Arc::new(cluster))) }
    }

    /// The snapshot of this moment. A request takes it once and keeps it to its end.
    pub fn now(&self) -> Arc<Cluster> {
        Arc::clone(&self.published.borrow())
    }

    /// Wakes at every new snapshot.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Cluster>> {
        self.published.subscribe()
    }

    /// Only discovery's one writer calls this.
    pub(crate) fn publish(&self, cluster: Cluster) {
        self.published.send_replace(Arc::new(cluster));
    }
}

/// Takes in one event and gives the snapshot that follows `cluster`. `None`: nothing changed, nobody is woken.
///
/// `known` remembers what a snapshot does not show: what was listed last, and how each dial went.
pub fn apply(cluster: &Cluster, known: &mut Known, event: Event, now: Instant) -> Option<Cluster> {
    known.take_in(event, now);
    let mut next = known.draw(now);
    next.version = cluster.version;
    (next != *cluster).then(|| {
        next.version += 1;
        next
    })
}

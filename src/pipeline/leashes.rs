//! Peers are let in by where Swarm lists them. When that ends, so does what they opened, streams too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::{Cluster, NodeId};

/// A token for each peer that is connected.
#[derive(Default)]
pub struct Leashes(Mutex<HashMap<(NodeId, IpAddr), CancellationToken>>);

impl Leashes {
    /// What ends when this node is no longer to be found at this address.
    pub(super) fn of(&self, node: &NodeId, at: IpAddr) -> CancellationToken {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry((node.clone(), at)).or_default().clone()
    }

    /// Ends all: the node as which this one let them in is another by now.
    pub fn cut_all(&self) {
        self.keep(|_, _| false);
    }

    /// Follows the snapshots for ever.
    pub async fn follow(&self, mut cluster: watch::Receiver<Arc<Cluster>>) {
        while cluster.changed().await.is_ok() {
            let now = Arc::clone(&cluster.borrow_and_update());
            if now.service.is_some() {
                self.keep(|node, at| now.directory.get(&at) == Some(node));
            }
        }
    }

    fn keep(&self, stays: impl Fn(&NodeId, IpAddr) -> bool) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(node, at), leash| {
            let kept = stays(node, *at);
            if !kept {
                leash.cancel();
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_kept_is_cut_and_comes_back_under_another_leash() {
        let (leashes, at) = (Leashes::default(), IpAddr::from([10, 0, 1, 2]));
        let node = |id| NodeId::parse(id).unwrap();
        let (stays, goes) = (leashes.of(&node("a"), at), leashes.of(&node("b"), at));
        leashes.keep(|id, _| *id == node("a"));
        assert!(!stays.is_cancelled());
        assert!(goes.is_cancelled());
        assert!(!leashes.of(&node("b"), at).is_cancelled());
    }
}

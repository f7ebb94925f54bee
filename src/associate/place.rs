//! Where what a cluster decides once is kept, as the snapshot tells: the association, and the registration.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::PeerAddress;
use crate::model::{Cluster, Kind, NodeId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The engine has not said whether it is in a Swarm.
    Unknown,
    /// Configs of the Swarm, cached by this node.
    Swarm(NodeId),
    /// A file of this node.
    File(NodeId),
    /// A file of the first of AGENT_PEERS, which is not us.
    Elsewhere { first: String },
}

/// The part of a snapshot whose change is a reason to look again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    kind: Kind,
    here: NodeId,
    manager: Option<NodeId>,
    own_names: BTreeSet<Arc<str>>,
}

impl Outlook {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let manager = cluster.nearest_manager().map(|manager| manager.id.clone());
        let own_names = cluster.own_names.clone();
        Self { kind: cluster.kind, here: cluster.here.clone(), manager, own_names }
    }
}

impl Place {
    /// `before` stays while the engine is silent, and while DNS is undecided about our own name.
    pub async fn of(cluster: &Cluster, before: &Self, peers: &[PeerAddress], port: u16) -> Self {
        let here = || cluster.here.clone();
        match cluster.kind {
            Kind::Unknown => before.clone(),
            Kind::Swarm => Self::Swarm(here()),
            Kind::Standalone => Self::File(here()),
            Kind::Fixed if *before == Self::File(here()) => before.clone(),
            Kind::Fixed => match peers.first() {
                Some(first) if !is_here(first, cluster, port).await => {
                    Self::Elsewhere { first: first.name() }
                }
                _ => Self::File(here()),
            },
        }
    }

    pub(super) fn is_swarm(&self) -> bool {
        matches!(self, Self::Swarm(_))
    }
}

/// Whether a dial met ourselves there, be it through a port that the engine publishes; or the name is one of our own
/// addresses, which is known sooner.
async fn is_here(peer: &PeerAddress, cluster: &Cluster, port: u16) -> bool {
    if cluster.own_names.contains(&*peer.name()) {
        return true;
    }
    if peer.port != port {
        return false;
    }
    let own = |address: SocketAddr| cluster.own_addresses.contains(&address.ip());
    tokio::net::lookup_host((peer.host.as_str(), peer.port)).await.is_ok_and(|mut found| found.any(own))
}

#[cfg(test)]
mod tests {
    use super::super::tests::stage::cluster;
    use super::*;

    fn node() -> NodeId {
        NodeId::parse("n1").unwrap()
    }

    fn peers(ports: &[u16]) -> Vec<PeerAddress> {
        ports.iter().map(|port| PeerAddress { host: "127.0.0.1".to_owned(), port: *port }).collect()
    }

    async fn place(kind: Kind, before: &Place, peers: &[PeerAddress]) -> Place {
        Place::of(&cluster(kind), before, peers, 9002).await
    }

    #[tokio::test]
    async fn the_engine_decides_between_a_file_and_the_swarm() {
        for (kind, expected) in [
            (Kind::Unknown, Place::Unknown),
            (Kind::Standalone, Place::File(node())),
            (Kind::Swarm, Place::Swarm(node())),
        ] {
            assert_eq!(place(kind, &Place::Unknown, &[]).await, expected, "{kind:?}");
        }
        let known = Place::Swarm(node());
        assert_eq!(place(Kind::Unknown, &known, &[]).await, known);
    }

    #[tokio::test]
    async fn of_static_peers_the_first_one_listed_decides() {
        let first = place(Kind::Fixed, &Place::Unknown, &peers(&[9002, 9003])).await;
        assert_eq!(first, Place::File(node()));
        let second = place(Kind::Fixed, &Place::Unknown, &peers(&[9003, 9002])).await;
        assert_eq!(second, Place::Elsewhere { first: "127.0.0.1:9003".to_owned() });
        // A port of the host that the engine publishes: no address of ours, but a dial came back to us.
        let met = Cluster { own_names: ["127.0.0.1:9003".into()].into(), ..cluster(Kind::Fixed) };
        let published = Place::of(&met, &second, &peers(&[9003, 9002]), 9002).await;
        assert_eq!(published, Place::File(node()));
    }
}

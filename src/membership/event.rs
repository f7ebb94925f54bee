//! What the sources say, each in its own words and already parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::{Absence, ApiRange, Kind, NodeId, Role, Service};

/// One source's answer. A source that failed sends nothing: what it said last stays.
#[derive(Clone, Debug)]
pub enum Event {
    /// The own engine said who we are.
    Own(Own),
    /// The own engine's directory of the service, over all shared overlays. `taken`: what else has an address there.
    Directory { seats: Vec<Seat>, taken: BTreeSet<IpAddr> },
    /// A manager told the node list.
    Roster(Roster),
    /// Where agents may be that Swarm does not name: each name in DNS, or each static peer, with all its addresses.
    /// Names that are not mentioned keep theirs, and an address that answers us stays until it does not.
    Candidates(BTreeMap<Arc<str>, BTreeSet<SocketAddr>>),
    /// A dial of ours ended.
    Dialled { at: SocketAddr, outcome: Result<Proof, Absence> },
    /// A request to this node got no answer, and neither did the probe beside it.
    Silent(NodeId, Absence),
}

/// What the own engine said about us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub kind: Kind,
    pub id: NodeId,
    pub host: Arc<str>,
    /// What the own engine does with a manager's call now, whatever a node list says.
    pub role: Role,
    /// `RemoteManagers` of `/info`: who the managers are, known to a worker too.
    pub managers: BTreeSet<NodeId>,
    pub api: Option<ApiRange>,
    pub service: Option<Service>,
    pub addresses: Vec<IpAddr>,
}

/// Swarm's word that this task, of the own service and on this node, has this address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub at: IpAddr,
    pub node: NodeId,
    pub task: Arc<str>,
}

/// A manager's node list, and the tasks of the own service that Swarm runs.
#[derive(Clone, Debug)]
pub struct Roster {
    pub nodes: Vec<Node>,
    /// `None`: there is no service.
    pub tasks: Option<Vec<Seat>>,
    /// Whether the own engine said it. Only then do the tasks' addresses bind; from another agent they merely
    /// tell which of two tasks is the one that Swarm runs.
    pub own: bool,
}

/// A node as Swarm's node list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    pub host: Arc<str>,
    pub role: Role,
    pub leader: bool,
    pub standing: Standing,
}

/// What Swarm thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    Drained,
    Down,
}

/// What a dial that succeeded proved and learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// From the certificate.
    pub node: NodeId,
    /// The peer's own word: a label where there is no Swarm to ask, otherwise unused.
    pub host: Arc<str>,
    pub agent_version: Arc<str>,
    pub api: Option<ApiRange>,
}

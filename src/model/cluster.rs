//! The snapshot: one immutable value that a whole request works on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::node::{Absence, Member, NodeId};

/// What the own engine is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The own engine has not said yet. Nothing may be claimed, everything else is local.
    Unknown,
    /// No Swarm and no peers: one node, no decoration.
    Standalone,
    /// A Swarm: identities and roles come from it.
    Swarm,
    /// A static list of peers without a Swarm: lists merge, there is no manager.
    Fixed,
}

/// The Swarm service whose task this agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub id: Arc<str>,
    pub name: Arc<str>,
    /// The own task: what a probe of this agent answers, so that two agents of one node can be told apart.
    pub task: Option<Arc<str>>,
}

/// All that this agent knows of the cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Counts publications; only for logs.
    pub version: u64,
    pub kind: Kind,
    pub here: NodeId,
    /// Whether all nodes are known: in a Swarm once its node list was read.
    pub complete: bool,
    /// Every node of Swarm's node list, with or without an agent. `here` is always among them.
    pub members: BTreeMap<NodeId, Arc<Member>>,
    /// The service this agent is a task of. `None`: not a Swarm service, or one whose tasks share no overlay network;
    /// so the cluster secret alone decides.
    pub service: Option<Service>,
    /// Who may be at a peer address: from the engine's directory of the service, on managers also the task list.
    pub directory: BTreeMap<IpAddr, NodeId>,
    /// Own addresses on which the peer listener answers. Empty: there are no peers to be had.
    pub own_addresses: Vec<IpAddr>,
    /// Those of AGENT_PEERS, as `host:port`, at which this agent met itself.
    pub own_names: BTreeSet<Arc<str>>,
}

/// What a target's text matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(Arc<Member>),
    /// More than one node; their `shown (id)` forms, sorted.
    Ambiguous(Vec<String>),
    /// None; the shown names of all nodes, sorted.
    Unknown(Vec<String>),
}

/// What the request path noticed and discovery should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A node that was thought a manager said that it is not.
    StaleRole,
    /// A node gave no answer to a request; probe it now.
    Silent(NodeId, Absence),
    /// A peer authenticated itself to us: dial it back now.
    Called(NodeId),
}

impl Cluster {
    /// The snapshot before anything is known: ourselves alone.
    pub fn alone(kind: Kind, me: Member) -> Self {
        let here = me.id.clone();
        Self {
            version: 0,
            kind,
            here: here.clone(),
            complete: matches!(kind, Kind::Standalone | Kind::Fixed),
            members: BTreeMap::from([(here, Arc::new(me))]),
            service: None,
            directory: BTreeMap::new(),
            own_addresses: Vec::new(),
            own_names: BTreeSet::new(),
        }
    }

    /// Ourselves.
    #[expect(
        clippy::expect_used,
        reason = "every constructor and membership::apply keep `here` among the members"
    )]
    pub fn me(&self) -> &Arc<Member> {
        self.members.get(&self.here).expect("here is a member")
    }

    /// Whether lists are merged and elements carry their node: in a Swarm (of any size) and with static peers.
    pub fn is_clustered(&self) -> bool {
        matches!(self.kind, Kind::Swarm | Kind::Fixed)
    }

    /// The same snapshot with one member changed: what a request learned about it while it ran.
    #[must_use]
    pub fn amended(&self, id: &NodeId, amend: impl FnOnce(&mut Member)) -> Self {
        let mut cluster = self.clone();
        if let Some(member) = cluster.members.get_mut(id) {
            amend(Arc::make_mut(member));
        }
        cluster
    }

    /// The one manager for calls that must all land on the same one, the same for every entry agent: the leader
    /// while its agent is reachable, else the reachable manager with the lowest NodeID.
    pub fn designated_manager(&self) -> Option<&Arc<Member>> {
        let mut reachable = self.members.values().filter(|m| m.is_manager() && m.is_reachable());
        reachable.clone().find(|m| m.leader).or_else(|| reachable.next())
    }

    /// The manager for plain manager routes: ourselves, else the leader, else any.
    pub fn nearest_manager(&self) -> Option<&Arc<Member>> {
        let me = self.me();
        if me.is_manager() { Some(me) } else { self.designated_manager() }
    }

    /// Finds the node that a client named: full id, shown name, host name, unique prefix of the id (4 bytes or
    /// more), in this order, case-sensitively.
    pub fn find(&self, text: &str) -> Lookup {
        let exact = |m: &&Arc<Member>| m.id.as_str() == text || *m.shown == *text;
        if let Some(member) = self.members.values().find(exact) {
            return Lookup::Found(Arc::clone(member));
        }
        let by_host: Vec<_> = self.members.values().filter(|m| *m.host == *text).collect();
        let by_prefix =
            || self.members.values().filter(|m| text.len() >= 4 && m.id.as_str().starts_with(text));
        let hits = if by_host.is_empty() { by_prefix().collect() } else { by_host };
        match hits.as_slice() {
            [one] => Lookup::Found(Arc::clone(one)),
            [] => {
                let mut known: Vec<_> = self.members.values().map(|m| m.shown.to_string()).collect();
                known.sort();
                Lookup::Unknown(known)
            }
            many => {
                let mut candidates: Vec<_> = many.iter().map(|m| format!("{} ({})", m.shown, m.id)).collect();
                candidates.sort();
                Lookup::Ambiguous(candidates)
            }
        }
    }
}

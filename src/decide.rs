//! Where a request goes: one pure function over one table of routes and one snapshot.
//!
//! Facts of the request and the snapshot come in; a plan or a refusal comes out. Nothing is asked, awaited or sent.

pub mod facts;
pub mod gate;
pub mod peek;
pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::facts::{Asked, Facts, Origin, Target};
pub use self::gate::{GateError, gate};
pub use self::table::{
    Access, Browse, Door, Merge, ObjectKind, Own, Pace, ROUTES, Route, Scope, Search, Session, Unnamed,
};
use crate::model::{Absence, Cluster, Dialect, Kind, Lookup, Member, NodeId};

/// What was decided for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub route: &'static Route,
    pub step: Step,
}

/// A node that cannot be asked, and why.
pub type Absent = (Arc<Member>, Absence);

/// Who executes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This agent answers itself.
    Own(Own),
    /// The own engine.
    Local,
    /// That node's agent, and through it its engine. Never ourselves, and reachable as far as is known.
    Forward(Arc<Member>),
    FanOut {
        /// Everyone who can be asked, ourselves included, by NodeID.
        asked: Vec<Arc<Member>>,
        /// Everyone else, to be named in the answer.
        missing: Vec<Absent>,
        /// Whose answer gives what cannot be merged; among `asked`.
        base: Arc<Member>,
        merge: Merge,
    },
    /// Whoever has the object: everyone is asked, and at most one has what is meant.
    Locate {
        /// As of a fan-out.
        asked: Vec<Arc<Member>>,
        missing: Vec<Absent>,
    },
    /// The own engine; where that does not know the network, a manager.
    LocalOr {
        /// Reachable as far as is known.
        manager: Option<Arc<Member>>,
        /// Without one: the managers that cannot be asked.
        missing: Vec<Absent>,
    },
    /// The body has a say: buffer it and decide again.
    Peek,
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refuse {
    #[error("no node is called {text:?}; known nodes: {}", known.join(", "))]
    UnknownTarget { text: String, known: Vec<String> },
    #[error("{text:?} may be one of several nodes; name one of: {}", candidates.join(", "))]
    AmbiguousTarget { text: String, candidates: Vec<String> },
    /// The node is known, its agent cannot be asked.
    #[error("{shown}: its agent cannot be asked now ({})", absence.as_str())]
    TargetMissing { shown: Arc<str>, absence: Absence },
    #[error("no manager of the Swarm can be reached")]
    NoManager,
    #[error("X-Node and X-PortainerAgent-ManagerOperation cannot be combined; send one of them")]
    NodeAndManager,
    #[error("this changes the Swarm membership of one node; name it with X-Node: {}", known.join(", "))]
    NeedsTarget { known: Vec<String> },
    /// One of the agent's own paths; `allow` is the value of an `Allow` header.
    #[error("this method is not served here; use one of: {allow}")]
    MethodNotAllowed { allow: &'static str },
    /// Another agent took us for another node.
    #[error("this is node {here}")]
    Misdirected { here: NodeId },
}

/// Decides where a request goes. Total: every request on every snapshot has an answer.
pub fn decide(facts: &Facts<'_>, cluster: &Cluster) -> Result<Plan, Refuse> {
    match facts.origin {
        Origin::Peer => from_peer(facts, cluster),
        Origin::Public => from_client(facts, cluster),
    }
}

/// What another agent sends is executed here or not at all: that is the proof against loops.
fn from_peer(facts: &Facts<'_>, cluster: &Cluster) -> Result<Plan, Refuse> {
    if facts.target.is_some_and(|target| matches!(target, Target::Node(id) if id != cluster.here.as_str())) {
        return Err(Refuse::Misdirected { here: cluster.here.clone() });
    }
    let probe = &table::PROBE;
    if probe.allows(facts.method) && facts.path.version().is_none() && facts.path.decoded() == probe.pattern {
        return Ok(Plan { route: probe, step: Step::Own(Own::Probe) });
    }
    let route = table::route(facts.method, facts.path);
    if let Scope::There(own) = route.scope
        && route.allows(facts.method)
    {
        return Ok(Plan { route, step: Step::Own(own) });
    }
    Ok(Plan { route: table::engine_route(facts.method, facts.path), step: Step::Local })
}

fn from_client(facts: &Facts<'_>, cluster: &Cluster) -> Result<Plan, Refuse> {
    let route = table::route(facts.method, facts.path);
    // Standing alone there is no one to choose between, and Portainer's headers are about a cluster.
    let remembered = match facts.target {
        Some(Target::Remembered(name)) if cluster.kind != Kind::Standalone => Some(name),
        _ => None,
    };
    let step = match (route.scope, facts.target) {
        (Scope::Own(_) | Scope::There(_), _) if !route.allows(facts.method) => {
            return Err(Refuse::MethodNotAllowed { allow: route.method });
        }
        (Scope::Own(own), _) => Step::Own(own),
        (_, Some(Target::Node(_))) if facts.manager_operation => return Err(Refuse::NodeAndManager),
        (Scope::There(own), target) => {
            let meant = match target {
                Some(Target::Node(name)) => Some(name),
                _ => remembered,
            };
            answered_at(meant, own, cluster)?
        }
        (_, Some(Target::Node(name))) => to_named(name, cluster)?,
        (Scope::Itself(unnamed), _) => to_itself(unnamed, remembered, cluster)?,
        (Scope::Manager, _) => to_manager(Cluster::nearest_manager, cluster)?,
        _ if facts.manager_operation => to_manager(Cluster::designated_manager, cluster)?,
        // A remembered target would make rows vanish from a list.
        (Scope::Cluster(Some(merge)), _) => to_all(merge, facts.dialect, cluster)?,
        (Scope::Local | Scope::Owner(..) | Scope::Cluster(None) | Scope::Any, _) => match remembered {
            Some(name) => to_named(name, cluster)?,
            None if route.peek => by_body(facts.body, cluster)?,
            None => to_owner(route.scope, cluster),
        },
    };
    Ok(Plan { route, step })
}

/// To the node that the client named.
fn to_named(name: &str, cluster: &Cluster) -> Result<Step, Refuse> {
    // A remembered name can be as long as a head; it is shown, not sent back whole.
    let text = || name.chars().take(128).collect();
    match cluster.find(name) {
        Lookup::Found(member) if member.id == cluster.here => Ok(Step::Local),
        Lookup::Found(member) if cluster.is_clustered() => to_other(member),
        // Outside a cluster nobody else is known, whatever the snapshot still holds.
        Lookup::Found(_) => {
            Err(Refuse::UnknownTarget { text: text(), known: vec![cluster.me().shown.to_string()] })
        }
        Lookup::Ambiguous(candidates) => Err(Refuse::AmbiguousTarget { text: text(), candidates }),
        Lookup::Unknown(known) => Err(Refuse::UnknownTarget { text: text(), known }),
    }
}

/// By the agent of the node that was named, or by this one.
fn answered_at(name: Option<&str>, own: Own, cluster: &Cluster) -> Result<Step, Refuse> {
    match name.map_or(Ok(Step::Local), |name| to_named(name, cluster))? {
        Step::Local => Ok(Step::Own(own)),
        elsewhere => Ok(elsewhere),
    }
}

fn to_other(member: Arc<Member>) -> Result<Step, Refuse> {
    match member.absence() {
        Some(absence) => Err(Refuse::TargetMissing { shown: Arc::clone(&member.shown), absence }),
        None => Ok(Step::Forward(member)),
    }
}

/// To the very node whose membership in a Swarm is to change. A manager operation does not choose that node.
fn to_itself(unnamed: Unnamed, named: Option<&str>, cluster: &Cluster) -> Result<Step, Refuse> {
    match (named, unnamed) {
        (Some(name), _) => to_named(name, cluster),
        (None, Unnamed::Refused) if cluster.members.len() > 1 => {
            let mut known: Vec<_> = cluster.members.values().map(|m| m.shown.to_string()).collect();
            known.sort();
            Err(Refuse::NeedsTarget { known })
        }
        (None, _) => Ok(Step::Local),
    }
}

/// To a manager. Where there is no Swarm, the own engine says so in its own words.
fn to_manager(choose: impl Fn(&Cluster) -> Option<&Arc<Member>>, cluster: &Cluster) -> Result<Step, Refuse> {
    if cluster.kind != Kind::Swarm {
        return Ok(Step::Local);
    }
    match choose(cluster) {
        Some(manager) if manager.id == cluster.here => Ok(Step::Local),
        Some(manager) => to_other(Arc::clone(manager)),
        None => Err(Refuse::NoManager),
    }
}

/// To everyone in the cluster, also where the cluster is one node: its elements carry their node all the same.
fn to_all(merge: Merge, dialect: Dialect, cluster: &Cluster) -> Result<Step, Refuse> {
    if !cluster.is_clustered() {
        return Ok(Step::Local);
    }
    // Portainer reads the Swarm's state from one manager's document, and takes a worker's for a lone engine.
    if (merge, dialect) == (Merge::Info, Dialect::Portainer) {
        return to_manager(Cluster::designated_manager, cluster);
    }
    let (asked, missing) = everyone(cluster);
    let manager = match (merge, cluster.kind) {
        (Merge::Info, Kind::Swarm) => cluster.designated_manager(),
        _ => None,
    };
    let base = Arc::clone(manager.unwrap_or_else(|| cluster.me()));
    Ok(Step::FanOut { asked, missing, base, merge })
}

/// Who can be asked, ourselves included, and who cannot.
fn everyone(cluster: &Cluster) -> (Vec<Arc<Member>>, Vec<Absent>) {
    let mut asked = Vec::with_capacity(cluster.members.len());
    let mut missing = Vec::new();
    for member in cluster.members.values() {
        match member.absence() {
            Some(absence) if member.id != cluster.here => missing.push((Arc::clone(member), absence)),
            _ => asked.push(Arc::clone(member)),
        }
    }
    (asked, missing)
}

/// To the node that has the object, where it is looked for; else to the entry node.
fn to_owner(scope: Scope, cluster: &Cluster) -> Step {
    match scope {
        Scope::Owner(_, Search::Everywhere) if cluster.is_clustered() => {
            let (asked, missing) = everyone(cluster);
            Step::Locate { asked, missing }
        }
        Scope::Owner(_, Search::Managers) if cluster.kind == Kind::Swarm && !cluster.me().is_manager() => {
            let manager = cluster.designated_manager().cloned();
            let missing = match manager {
                Some(_) => Vec::new(),
                None => everyone(cluster).1.into_iter().filter(|(member, _)| member.is_manager()).collect(),
            };
            Step::LocalOr { manager, missing }
        }
        _ => Step::Local,
    }
}

/// To where the body says. Only in a Swarm does it matter, and only managers make a Swarm's networks.
fn by_body(body: Option<&[u8]>, cluster: &Cluster) -> Result<Step, Refuse> {
    match body {
        _ if cluster.kind != Kind::Swarm => Ok(Step::Local),
        None => Ok(Step::Peek),
        Some(body) if peek::is_swarm_network(body) => to_manager(Cluster::nearest_manager, cluster),
        Some(_) => Ok(Step::Local),
    }
}

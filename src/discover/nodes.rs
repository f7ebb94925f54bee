//! A manager's word: the node list, and the tasks of the own service. The own engine's where it is a manager and
//! answers, else through the agent of one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::debug;

use super::ask::{self, Unanswered};
use super::{Pace, Shared, directory};
use crate::membership::{Event, Node, Roster, Seat, Standing};
use crate::model::{Cluster, Kind, Member, NodeId, Role};

/// 3 managers are tried in one round: a cluster has 3, 5 or 7, and the next round comes soon.
const MANAGERS_A_ROUND: usize = 3;

pub(super) async fn follow(shared: Arc<Shared>, mut pace: Pace) {
    let mut fruitless = 0;
    loop {
        let cluster = shared.membership.now();
        if cluster.kind == Kind::Swarm {
            match ask_managers(&shared, &cluster, fruitless).await {
                Some(roster) => {
                    fruitless = 0;
                    shared.tell(Event::Roster(roster)).await;
                }
                None => fruitless += 1,
            }
        }
        pace.pause().await;
    }
}

async fn ask_managers(shared: &Shared, cluster: &Cluster, fruitless: usize) -> Option<Roster> {
    for manager in managers(cluster, fruitless) {
        match ask_one(shared, cluster, manager).await {
            Ok(roster) => return Some(roster),
            Err(problem) => debug!(manager = %manager.id, %problem, "no node list"),
        }
    }
    None
}

/// Ourselves first if we are one: what binds must be the own engine's word, and while it has none somebody else must
/// tell who leads now. Then the leader, then the others in turn, since those that were asked before may be the sick ones.
fn managers(cluster: &Cluster, fruitless: usize) -> Vec<&Arc<Member>> {
    let reachable = cluster.members.values().filter(|m| m.is_manager() && m.is_reachable());
    let (mut managers, mut others): (Vec<_>, Vec<_>) = reachable.partition(|m| m.is_here() || m.leader);
    managers.sort_by_key(|m| !m.is_here());
    let turn = fruitless % others.len().max(1);
    others.rotate_left(turn);
    managers.extend(others);
    managers.truncate(MANAGERS_A_ROUND);
    managers
}

async fn ask_one(shared: &Shared, cluster: &Cluster, manager: &Member) -> Result<Roster, Unanswered> {
    let nodes: Vec<ListedNode> = get(shared, manager, "/nodes").await?;
    let tasks = match &cluster.service {
        Some(service) => Some(own_tasks(shared, manager, &service.id).await?),
        None => None,
    };
    let nodes = nodes.iter().filter_map(ListedNode::node).collect();
    Ok(Roster { nodes, tasks, own: manager.is_here() })
}

async fn own_tasks(shared: &Shared, manager: &Member, service: &str) -> Result<Vec<Seat>, Unanswered> {
    let filters = format!(r#"{{"service":["{service}"],"desired-state":["running"]}}"#);
    let path = format!("/tasks?filters={}", utf8_percent_encode(&filters, NON_ALPHANUMERIC));
    let tasks: Vec<ListedTask> = get(shared, manager, &path).await?;
    let overlays = Arc::clone(&shared.overlays.borrow());
    Ok(tasks.iter().flat_map(|t| t.seats(service, &overlays.ids)).collect())
}

async fn get<T: DeserializeOwned>(shared: &Shared, from: &Member, path: &str) -> Result<T, Unanswered> {
    if from.is_here() {
        ask::engine(&shared.engine, path).await
    } else {
        ask::peer(&shared.peers, from, path).await
    }
}

/// An element of `GET /nodes`. Its `Status.Addr` is not read: it is 0.0.0.0 after a leader change.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedNode {
    #[serde(rename = "ID")]
    id: String,
    spec: Spec,
    description: Description,
    status: Status,
    manager_status: Option<ManagerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    role: String,
    #[serde(default)]
    availability: String,
}

#[derive(Deserialize)]
struct Description {
    #[serde(rename = "Hostname", default)]
    hostname: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "State", default)]
    state: String,
}

#[derive(Deserialize)]
struct ManagerStatus {
    #[serde(rename = "Leader", default)]
    leader: bool,
}

impl ListedNode {
    pub(super) fn node(&self) -> Option<Node> {
        let id = NodeId::parse(&self.id).ok()?;
        let named = NodeId::parse(&self.description.hostname).is_ok();
        let host = if named { &self.description.hostname } else { &self.id };
        let standing = match (self.status.state.as_str(), self.spec.availability.as_str()) {
            ("down" | "disconnected", _) => Standing::Down,
            (_, "drain") => Standing::Drained,
            _ => Standing::Active,
        };
        Some(Node {
            id,
            host: host.as_str().into(),
            role: if self.spec.role == "manager" { Role::Manager } else { Role::Worker },
            leader: self.manager_status.as_ref().is_some_and(|m| m.leader),
            standing,
        })
    }
}

/// An element of `GET /tasks`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedTask {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ServiceID")]
    service: String,
    #[serde(rename = "NodeID", default)]
    node: String,
    status: Status,
    networks_attachments: Option<Vec<Attachment>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    network: AttachedNetwork,
    addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct AttachedNetwork {
    #[serde(rename = "ID")]
    id: String,
}

impl ListedTask {
    /// Where it is on the networks that are shared with it. From `starting` on: earlier it has no agent to dial.
    pub(super) fn seats(&self, service: &str, overlays: &BTreeSet<String>) -> Vec<Seat> {
        let runs = matches!(self.status.state.as_str(), "starting" | "running") && self.service == service;
        let Ok(node) = NodeId::parse(&self.node) else { return Vec::new() };
        let attachments = self.networks_attachments.iter().flatten().filter(|_| runs);
        let shared = attachments.filter(|a| overlays.contains(&a.network.id));
        let seat = |at: IpAddr| Seat { at, node: node.clone(), task: self.id.as_str().into() };
        shared
            .flat_map(|a| a.addresses.iter().flatten())
            .filter_map(|a| directory::address(a))
            .map(seat)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Reach;

    #[test]
    fn of_seven_managers_each_is_asked_in_its_turn() {
        let mut cluster = crate::discover::nobody_yet();
        let member = |name: &str| Member {
            id: NodeId::parse(name).unwrap(),
            role: Role::Manager,
            leader: name == "b",
            reach: Reach::Answering,
            ..Member::clone(cluster.me())
        };
        let all: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| Arc::new(member(name))).to_vec();
        cluster.members.extend(all.into_iter().map(|m| (m.id.clone(), m)));
        let asked =
            |fruitless| managers(&cluster, fruitless).iter().map(|m| m.id.to_string()).collect::<Vec<_>>();
        assert_eq!(asked(0), ["b", "a", "c"]);
        assert_eq!(asked(1), ["b", "c", "d"]);
        let in_turn: BTreeSet<_> = (0..5).flat_map(asked).collect();
        assert_eq!(in_turn.len(), 7, "{in_turn:?}");
    }
}

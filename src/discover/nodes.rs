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
    loop {
        let cluster = shared.membership.now();
        if cluster.kind == Kind::Swarm
            && let Some(roster) = ask_managers(&shared, &cluster).await
        {
            shared.tell(Event::Roster(roster)).await;
        }
        pace.pause().await;
    }
}

async fn ask_managers(shared: &Shared, cluster: &Cluster) -> Option<Roster> {
    for manager in managers(cluster) {
        match ask_one(shared, cluster, manager).await {
            Ok(roster) => return Some(roster),
            Err(problem) => debug!(manager = %manager.id, %problem, "no node list"),
        }
    }
    None
}

/// Ourselves first if we are one: what binds must be the own engine's word, and while it has none somebody else must
/// tell who leads now. Then the leader, then the others.
fn managers(cluster: &Cluster) -> Vec<&Arc<Member>> {
    let reachable = cluster.members.values().filter(|m| m.is_manager() && m.is_reachable());
    let mut managers: Vec<_> = reachable.collect();
    managers.sort_by_key(|m| (!m.is_here(), !m.leader));
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

//! Who we are: the own engine says which node it is, and the container that we run in which service's task.

mod container;
mod generated;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::ask::{self, Unanswered};
use super::directory::{Network, Overlays};
use super::{Pace, Shared};
use crate::dial::Engine;
use crate::membership::{Event, Own};
use crate::model::{ApiRange, ApiVersion, Cluster, Kind, NodeId, Role, Service};
pub(super) use container::{Container, container_of};

/// 0.1 to 5 s between two tries of an engine that is not there: at once when it comes back soon, cheap when not.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// 10 s of answers must say that the Swarm is gone before it is believed: what is standalone can be claimed by whoever
/// comes first, and an engine that starts up may not have found its Swarm yet.
const LEAVING: Duration = Duration::from_secs(10);

pub(super) async fn follow(shared: Arc<Shared>, mut pace: Pace) {
    let mut said: Option<String> = None;
    let mut delay = BACK_OFF.0;
    let mut noticed = Noticed::default();
    loop {
        match ask_all(&shared, &mut noticed).await {
            Ok((own, networks)) => {
                if said.take().is_some() {
                    info!("the engine answers");
                }
                delay = BACK_OFF.0;
                publish(&shared, own, networks).await;
                pace.pause().await;
            }
            Err(problem) => {
                let reason = problem.to_string();
                if said.as_ref() != Some(&reason) {
                    warn!(%reason, "the engine does not answer; trying for ever");
                    said = Some(reason);
                }
                sleep_until(Instant::now() + delay).await;
                delay = (delay * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// What takes more than one round to judge, or is told once.
#[derive(Default)]
struct Noticed {
    /// Since when the engine has been saying that it is in no Swarm any more.
    left: Option<Instant>,
    apart: bool,
}

/// `networks`: `None` if they could not be read; then what was listed last stays.
async fn publish(shared: &Shared, own: Own, networks: Option<Vec<Network>>) {
    let service = own.service.as_ref().map(|s| Arc::clone(&s.name));
    shared.tell(Event::Own(own)).await;
    let Some(networks) = networks else { return };
    let ids = networks.iter().map(|n| n.id().to_owned()).collect();
    let overlays = Overlays { ids, subnets: networks.iter().flat_map(Network::subnets).collect() };
    shared.overlays.send_replace(Arc::new(overlays));
    if let Some(service) = service {
        let seats = networks.iter().flat_map(|n| n.seats(&service)).collect();
        let taken = networks.iter().flat_map(|n| n.taken(&service)).collect();
        shared.tell(Event::Directory { seats, taken }).await;
    }
}

async fn ask_all(shared: &Shared, noticed: &mut Noticed) -> Result<(Own, Option<Vec<Network>>), Unanswered> {
    let engine = &shared.engine;
    let (info, version) = tokio::join!(ask::engine(engine, "/info"), ask::engine(engine, "/version"));
    let (info, version): (Info, Version) = (info?, version?);
    let member = info.swarm_id()?;
    if member.is_some() {
        noticed.left = None;
    } else if was_in_swarm(shared) && noticed.left.get_or_insert_with(Instant::now).elapsed() < LEAVING {
        return Err(Unanswered::Undecided { state: info.swarm.state });
    }
    let container = container_at(&shared.engine).await?;
    let service = member.as_ref().and_then(|id| container.as_ref()?.service(id));
    let kind = kind(member.is_some(), !shared.config.cluster.peers.is_empty());
    let networks = match (&container, kind) {
        (Some(container), Kind::Swarm) => networks(shared, container).await,
        _ => Some(Vec::new()),
    };
    let id = match member {
        Some(id) => id,
        None => generated::id(&shared.config.data, &shared.membership.now())
            .await
            .map_err(|source| Unanswered::Nameless { source })?,
    };
    let apart =
        container.as_ref().is_some_and(|c| is_apart(c, networks.as_deref(), &shared.membership.now()));
    let service = service.filter(|service| !apart || stays_listed(shared, service, noticed));
    let addresses = own_addresses(shared, container.as_ref(), networks.as_deref());
    Ok((info.own(kind, id, version.range(), service, addresses), networks))
}

/// Whether Swarm cannot say where the tasks of the service are, since they share no overlay network: on the network of
/// their host, say. What could not be read leaves it as it was.
pub(super) fn is_apart(container: &Container, shared: Option<&[Network]>, before: &Cluster) -> bool {
    match shared {
        Some(shared) => shared.is_empty() && container.networks().next().is_some(),
        None => before.kind == Kind::Swarm && before.service.is_none(),
    }
}

/// Whether agents that are apart count as tasks of their service all the same: without a cluster secret nothing else
/// says who is one of them, and nobody can be dialled. Says so, once.
fn stays_listed(shared: &Shared, service: &Service, noticed: &mut Noticed) -> bool {
    let cluster = &shared.config.cluster;
    // What leads to the tasks on an overlay leads nowhere here.
    let led = cluster.name.as_ref().is_some_and(|name| *name != format!("tasks.{}", service.name));
    let (alone, led) = (cluster.secrets.is_empty(), led || !cluster.peers.is_empty());
    if !std::mem::replace(&mut noticed.apart, true) {
        let service = &service.name;
        if alone || !led {
            warn!(%service, "this service's tasks share no overlay network, so its agents cannot find each other: attach \
                it to one, or set AGENT_CLUSTER_SECRET_FILE and AGENT_PEERS");
        } else {
            warn!(%service, "this service's tasks share no overlay network, so Swarm cannot say where they are: \
                AGENT_PEERS and AGENT_CLUSTER_ADDR say whom to dial, and the cluster secret alone who is an agent");
        }
    }
    alone
}

/// Whether this agent knows, or remembers from an earlier run, that its engine is in a Swarm.
fn was_in_swarm(shared: &Shared) -> bool {
    match shared.membership.now().kind {
        Kind::Swarm => true,
        Kind::Unknown => shared.config.data.join("association-cache.json").exists(),
        Kind::Standalone | Kind::Fixed => false,
    }
}

/// A Swarm says who its nodes are, whatever else is configured; a static list then only says where to dial.
fn kind(in_swarm: bool, has_peers: bool) -> Kind {
    match (in_swarm, has_peers) {
        (true, _) => Kind::Swarm,
        (false, true) => Kind::Fixed,
        (false, false) => Kind::Standalone,
    }
}

/// The container that this process is in, if the own engine runs it. Only its full id counts: a stranger can have
/// the name that our host name is.
async fn container_at(engine: &Engine) -> Result<Option<Container>, Unanswered> {
    let mounts = tokio::fs::read_to_string("/proc/self/mountinfo").await.unwrap_or_default();
    let Some(id) = container_of(&mounts) else { return Ok(None) };
    let path = format!("/containers/{id}/json");
    match ask::engine::<Container>(engine, &path).await {
        Ok(container) if container.is(id) => Ok(Some(container)),
        Ok(_) => Err(Unanswered::Other { path }),
        Err(problem) if problem.is_not_found() => Ok(None),
        Err(problem) => Err(problem),
    }
}

async fn networks(shared: &Shared, container: &Container) -> Option<Vec<Network>> {
    let mut networks = Vec::new();
    for id in container.networks() {
        match ask::engine::<Network>(&shared.engine, &format!("/networks/{id}?verbose=true")).await {
            Ok(network) if network.is_shared() => networks.push(network),
            Ok(_) => {}
            Err(problem) => {
                debug!(network = %id, %problem, "no directory");
                return None;
            }
        }
    }
    Some(networks)
}

fn own_addresses(
    shared: &Shared,
    container: Option<&Container>,
    networks: Option<&[Network]>,
) -> Vec<IpAddr> {
    let Some(networks) = networks else { return shared.membership.now().own_addresses.clone() };
    let on = |network: &Network| container.map(|c| c.addresses_on(network.id())).unwrap_or_default();
    let found: BTreeSet<IpAddr> = networks.iter().flat_map(on).collect();
    let found = if found.is_empty() { shared.locals.borrow().clone() } else { found };
    found.into_iter().collect()
}

/// The Swarm service whose task the container is that this process runs in, as the own engine says.
pub async fn own_service(engine: &Engine) -> Option<Service> {
    let info: Info = ask::engine(engine, "/info").await.ok()?;
    let here = info.swarm_id().ok()??;
    container_at(engine).await.ok()??.service(&here)
}

/// The id that this node was given outside a Swarm, if it has one.
pub fn stored_id(data: &std::path::Path) -> Option<NodeId> {
    generated::kept(data).ok().flatten()
}

/// `GET /info`.
#[derive(Deserialize)]
pub(super) struct Info {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Swarm", default)]
    swarm: Swarm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Swarm {
    #[serde(rename = "NodeID", default)]
    node: String,
    #[serde(rename = "LocalNodeState", default)]
    state: String,
    #[serde(default)]
    control_available: bool,
    remote_managers: Option<Vec<RemoteManager>>,
}

#[derive(Deserialize)]
struct RemoteManager {
    #[serde(rename = "NodeID", default)]
    node: String,
}

impl Info {
    /// The NodeID; `None` outside a Swarm. An engine in between (pending, locked, in error) has not said.
    pub(super) fn swarm_id(&self) -> Result<Option<NodeId>, Unanswered> {
        match (self.swarm.state.as_str(), NodeId::parse(&self.swarm.node)) {
            ("inactive", _) => Ok(None),
            ("active", Ok(id)) => Ok(Some(id)),
            _ => Err(Unanswered::Undecided { state: self.swarm.state.clone() }),
        }
    }

    pub(super) fn own(
        &self,
        kind: Kind,
        id: NodeId,
        api: Option<ApiRange>,
        service: Option<Service>,
        addresses: Vec<IpAddr>,
    ) -> Own {
        let managers = self.swarm.remote_managers.iter().flatten();
        let manages = kind == Kind::Swarm && self.swarm.control_available;
        // A host name that does not fit in a header cannot be a label.
        let host = NodeId::parse(&self.name).map_or_else(|_| id.as_str().into(), |h| h.as_str().into());
        Own {
            kind,
            id,
            host,
            role: if manages { Role::Manager } else { Role::Worker },
            managers: managers.filter_map(|m| NodeId::parse(&m.node).ok()).collect(),
            api,
            service,
            addresses,
        }
    }
}

/// `GET /version`.
#[derive(Deserialize)]
pub(super) struct Version {
    #[serde(rename = "ApiVersion", default)]
    max: String,
    #[serde(rename = "MinAPIVersion", default)]
    min: String,
}

impl Version {
    pub(super) fn range(&self) -> Option<ApiRange> {
        Some(ApiRange { min: ApiVersion::parse(&self.min)?, max: ApiVersion::parse(&self.max)? })
    }
}

//! What DNS says of the agents' name. It only says where to dial, and matters only where Swarm cannot say it: an
//! answer that is wrong, late, empty or missing takes nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Pace, Shared, directory, fixed};
use crate::membership::Event;
use crate::model::{Cluster, Kind};

/// 1 s for each question: Docker's own DNS answers in milliseconds, and asks an upstream that may not exist.
const PATIENCE: Duration = Duration::from_secs(1);

/// 1024 addresses of one name: far more than a Swarm has nodes; rubbish must not fill the memory.
const ADDRESSES: usize = 1024;

/// What is asked, each by a loop of its own: an SRV question can take seconds where nobody answers it.
pub(super) const RECORDS: [RecordType; 3] = [RecordType::A, RecordType::AAAA, RecordType::SRV];

/// Three rounds in which a configured name led to none of our agents, while Swarm listed some: the name is wrong.
const FRUITLESS: u32 = 3;

/// Makes a resolver; a new one for each question, since the system's configuration changes.
pub(super) type Resolve = Arc<dyn Fn() -> Result<TokioResolver, NetError> + Send + Sync>;

pub(super) async fn follow(record: RecordType, shared: Arc<Shared>, mut pace: Pace) {
    let mut fruitless = 0;
    loop {
        let cluster = shared.membership.now();
        if let Some(name) = name(&shared, &cluster) {
            let found = answer(&shared, record, &name).await;
            fruitless = if is_fruitless(&cluster, &name, &found) { fruitless + 1 } else { 0 };
            if fruitless == FRUITLESS && record == RecordType::A {
                warn!(%name, "AGENT_CLUSTER_ADDR leads to no agent of this service; it can be left out");
            }
            if !found.is_empty() {
                tell(record, &shared, &cluster, &name, found).await;
            }
        }
        pace.pause().await;
    }
}

/// Nothing where DNS has nothing, fails or is silent: what it said before stays.
async fn answer(shared: &Shared, record: RecordType, name: &str) -> BTreeSet<SocketAddr> {
    look_up(shared, record, name).await.unwrap_or_else(|problem| {
        debug!(%name, %record, %problem, "DNS failed; what it said before stays");
        BTreeSet::new()
    })
}

/// The agents' name, absolute, so that no search domain answers for it.
fn name(shared: &Shared, cluster: &Cluster) -> Option<String> {
    if cluster.kind != Kind::Swarm {
        return None;
    }
    let derived = cluster.service.as_ref().map(|s| format!("tasks.{}", s.name));
    let name = shared.config.cluster.name.clone().or(derived)?;
    Some(if name.ends_with('.') { name } else { format!("{name}.") })
}

async fn look_up(shared: &Shared, record: RecordType, name: &str) -> Result<BTreeSet<SocketAddr>, NetError> {
    let port = shared.config.listen.peer_port;
    ask(&(shared.resolve)()?, record, name, port).await
}

/// The system's resolver as it is configured now, without a memory: Docker's answers say that they hold for 600 s.
pub(super) fn resolver() -> Result<TokioResolver, NetError> {
    // A host without a server still has its hosts file.
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    (options.cache_size, options.attempts, options.timeout) = (0, 1, PATIENCE / 2);
    // A name is looked for as it is before the search domains are tried: what the hosts file has needs no server.
    options.ndots = 0;
    builder.build()
}

/// All addresses of a name. Two questions, each for itself: who answers only the one is not unheard.
pub(super) async fn addresses(resolver: &TokioResolver, name: &str) -> Vec<IpAddr> {
    let ask = async |record| {
        let answer = question(resolver, name, record).await.inspect_err(|problem| {
            debug!(%name, %record, %problem, "no address");
        });
        answer.map(|answer| ips(&answer)).unwrap_or_default()
    };
    let (v4, v6) = join(ask(RecordType::A), ask(RecordType::AAAA)).await;
    [v4, v6].concat()
}

async fn question(resolver: &TokioResolver, name: &str, record: RecordType) -> Result<Lookup, NetError> {
    timeout(PATIENCE, resolver.lookup(name, record)).await.unwrap_or(Err(NetError::Timeout))
}

fn ips(answer: &Lookup) -> Vec<IpAddr> {
    let ip = |record: &Record| match &record.data {
        RData::A(a) => Some(a.0.into()),
        RData::AAAA(a) => Some(a.0.into()),
        _ => None,
    };
    answer.answers().iter().filter_map(ip).take(ADDRESSES).collect()
}

/// One question, and for SRV the addresses of its targets.
pub(super) async fn ask(
    resolver: &TokioResolver,
    record: RecordType,
    name: &str,
    port: u16,
) -> Result<BTreeSet<SocketAddr>, NetError> {
    if record == RecordType::SRV {
        return services(resolver, name).await;
    }
    let found = ips(&question(resolver, name, record).await?);
    Ok(found
        .into_iter()
        .filter(|ip| directory::is_dialable(*ip))
        .map(|ip| SocketAddr::new(ip, port))
        .collect())
}

async fn services(resolver: &TokioResolver, name: &str) -> Result<BTreeSet<SocketAddr>, NetError> {
    let answer = question(resolver, &format!("_swarmgate-peer._tcp.{name}"), RecordType::SRV).await?;
    let services = answer.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(service) => Some((service.target.to_ascii(), service.port)),
        _ => None,
    });
    // A target that is gone takes nothing from the others.
    let found = services.take(ADDRESSES).map(async |(target, port)| {
        let dialable =
            addresses(resolver, &target).await.into_iter().filter(|ip| directory::is_dialable(*ip));
        dialable.map(|ip| SocketAddr::new(ip, port)).collect::<Vec<_>>()
    });
    Ok(join_all(found).await.into_iter().flatten().take(ADDRESSES).collect())
}

/// Whether a name that is not the service's own leads to none of the agents that Swarm lists.
fn is_fruitless(cluster: &Cluster, name: &str, found: &BTreeSet<SocketAddr>) -> bool {
    let Some(service) = &cluster.service else { return false };
    let unlisted = found.iter().filter(|at| !cluster.directory.contains_key(&at.ip())).count();
    debug!(%name, found = found.len(), unlisted, "what DNS has; Swarm says who is a member");
    let own = format!("tasks.{}.", service.name);
    name != own && unlisted == found.len() && !cluster.directory.is_empty()
}

/// Where Swarm lists the agents nothing else is dialled; elsewhere only what is on a shared network.
async fn tell(
    record: RecordType,
    shared: &Shared,
    cluster: &Cluster,
    name: &str,
    mut found: BTreeSet<SocketAddr>,
) {
    if cluster.service.is_some() {
        return;
    }
    let overlays = Arc::clone(&shared.overlays.borrow());
    found.retain(|at| overlays.allow(at.ip()));
    fixed::note_local(shared, &found).await;
    let label: Arc<str> = format!("{record} {name}").into();
    shared.tell(Event::Candidates(BTreeMap::from([(label, found)]))).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeId, Service};

    #[test]
    fn a_name_of_the_operators_is_fruitless_when_it_leads_to_no_listed_agent() {
        let mut cluster = crate::discover::nobody_yet();
        let listed: IpAddr = "10.0.1.2".parse().unwrap();
        let at = |text: &str| BTreeSet::from([text.parse::<SocketAddr>().unwrap()]);
        assert!(!is_fruitless(&cluster, "tasks.x.", &BTreeSet::new()), "no service has no list");
        cluster.service = Some(Service { id: "id".into(), name: "agent".into(), task: None });
        assert!(!is_fruitless(&cluster, "tasks.x.", &BTreeSet::new()), "Swarm lists nobody yet");
        cluster.directory.insert(listed, NodeId::parse("there").unwrap());
        assert!(is_fruitless(&cluster, "tasks.x.", &BTreeSet::new()));
        assert!(is_fruitless(&cluster, "tasks.x.", &at("10.0.1.9:9002")));
        assert!(!is_fruitless(&cluster, "tasks.x.", &at("10.0.1.2:9002")));
        assert!(!is_fruitless(&cluster, "tasks.agent.", &BTreeSet::new()), "its own name, and DNS fails");
    }
}

//! Registers the agents with a Portainer server: one environment for the whole cluster, created once.
//!
//! In: the server and the token that the operator named, the snapshots, a record that all agents share. Out: an
//! environment in Portainer, and the record of it. It never changes an environment that is not in the record, never
//! sends the token to anybody whose certificate was not verified, and is no part of serving: all of it may fail, for
//! ever, at a bounded pace, and one line in the log says so.

mod judge;
mod ledger;
mod record;
mod server;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::associate::{Place, Swarm, SwarmError, refused};
use crate::config::{Limits, PeerAddress, Registration};
use crate::dial::WebFail;
use crate::identify::Association;
use crate::model::{Cluster, Kind, NodeId, chain};
use crate::shutdown::Shutdown;
use judge::{Circumstances, Next};
use ledger::{Ledger, LedgerFail, Seen};
use record::{Entry, Record, State};
use server::{Change, Environment, Server, ServerFail};

/// 12 characters of a Swarm's ID: enough to tell Swarms apart, few enough to read.
const ID_SHOWN: usize = 12;

/// What a registration is made of.
pub struct Parts {
    pub registration: Registration,
    pub limits: Arc<Limits>,
    /// The data directory.
    pub data: PathBuf,
    /// AGENT_PEERS and the own peer port: without a Swarm the first one listed registers.
    pub peers: Vec<PeerAddress>,
    pub peer_port: u16,
    /// Where clients reach this agent.
    pub port: u16,
    pub swarm: Swarm,
    /// Where who may call is settled by the first who does, that server is to be it; `None` where it is settled.
    pub association: Option<watch::Receiver<Arc<Association>>>,
}

/// Why the cluster is not registered, or not as it should be.
#[derive(Debug, thiserror::Error)]
enum Fail {
    #[error(
        "AGENT_PORTAINER_ADDRESS is missing: without a Swarm nothing says where Portainer reaches this agent"
    )]
    Placeless,
    #[error("ask the engine for its {what}")]
    Engine {
        what: &'static str,
        #[source]
        source: SwarmError,
    },
    #[error("the engine's answer tells no {what}")]
    Unsaid { what: &'static str },
    #[error(transparent)]
    Ledger(#[from] LedgerFail),
    #[error(transparent)]
    Server(#[from] ServerFail),
    #[error(
        "Portainer has an environment {name:?} that these agents did not make, so it is left alone: remove it there, \
         or set AGENT_PORTAINER_NAME, or leave AGENT_PORTAINER_URL out"
    )]
    Taken { name: String },
    #[error("environment {id} is not in Portainer any more; to register anew: {remedy}")]
    Gone { id: u64, remedy: String },
    #[error(
        "environment {id} has another address in Portainer ({url:?}) than it was given, so it is left alone; to \
         register anew: {remedy}"
    )]
    Moved { id: u64, url: String, remedy: String },
}

/// How a look at the registration ended.
enum Looked {
    /// There is nothing to do here for now.
    Settled,
    /// It is not known yet what somebody else will have done.
    Waiting,
    /// Something was done, or somebody else was first: look again soon.
    Again,
}

struct Registrar {
    parts: Parts,
    server: Server,
}

/// Starts registering, and returns at once.
///
/// # Errors
/// Only where the server's authorities are in a file.
pub fn start(parts: Parts, shutdown: &Shutdown) -> Result<(), WebFail> {
    let server = Server::new(&parts.registration, &parts.limits)?;
    shutdown.until_draining(async move { Registrar { parts, server }.follow().await });
    Ok(())
}

/// What is wrong with the files of a registration.
pub fn problem(registration: &Registration, limits: &Limits) -> Option<WebFail> {
    Server::new(registration, limits).err()
}

impl Registrar {
    /// Looks for ever: often after a failure, then more and more seldom.
    async fn follow(self) {
        let limits = Arc::clone(&self.parts.limits);
        let (mut said, mut delay, mut place) = (None, limits.register_again, Place::Unknown);
        self.can_be_claimed().await;
        loop {
            self.can_begin().await;
            let pace = match self.look(&mut place).await {
                Ok(Looked::Settled) => {
                    if said.take().is_some() {
                        info!("what kept the registration with Portainer is over");
                    }
                    delay = limits.register_again;
                    limits.register_look
                }
                Ok(Looked::Waiting) => limits.register_look,
                Ok(Looked::Again) => limits.register_again,
                Err(fail) => {
                    let reason = chain(&fail);
                    if said.as_ref() != Some(&reason) {
                        warn!(%reason, "not registered with Portainer as configured; trying for ever");
                        said = Some(reason);
                    }
                    let pace = delay;
                    delay = (delay * 2).min(limits.register_seldom);
                    pace
                }
            };
            pause(pace).await;
        }
    }

    /// A server that creates an environment signs its first call: it must be known whether that settles who may call.
    async fn can_be_claimed(&self) {
        if let Some(mut association) = self.parts.association.clone() {
            // Nobody publishes any more only when the agent ends.
            let _ = association.wait_for(|known| !matches!(**known, Association::Unknown)).await;
        }
    }

    /// Until the engine has said whether it is in a Swarm, and there is a manager to be asked.
    async fn can_begin(&self) {
        let can = |cluster: &Arc<Cluster>| match cluster.kind {
            Kind::Unknown => false,
            Kind::Swarm => cluster.nearest_manager().is_some(),
            Kind::Standalone | Kind::Fixed => true,
        };
        if self.parts.swarm.cluster.clone().wait_for(can).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Looks at the record once, and does what it calls for.
    async fn look(&self, place: &mut Place) -> Result<Looked, Fail> {
        let cluster = self.parts.swarm.snapshot();
        *place = Place::of(&cluster, place, &self.parts.peers, self.parts.peer_port).await;
        let ledger = match place {
            Place::Unknown => return Ok(Looked::Again),
            Place::Elsewhere { first } => {
                debug!(%first, "the first of AGENT_PEERS registers with Portainer");
                return Ok(Looked::Settled);
            }
            Place::Swarm(_) => Ledger::in_swarm(&self.parts.swarm),
            Place::File(here) => Ledger::in_file(&self.parts.data, here.clone()),
        };
        let wanted = self.wanted(&cluster).await?;
        let seen = ledger.read().await?;
        let limits = &self.parts.limits;
        let record = seen.as_ref().map(|seen| &seen.record);
        let has_left = |node: &NodeId| cluster.complete && !cluster.members.contains_key(node);
        let about = Circumstances {
            here: &cluster.here,
            wanted: &wanted,
            now: unix_seconds(),
            claim: limits.register_claim,
            // It may be at it for as long again after we stopped waiting.
            creation: limits.register_create * 2,
            orphaned: cluster.kind == Kind::Swarm && record.is_some_and(|record| has_left(&record.node)),
        };
        let desk = Desk { server: &self.server, ledger, seen: seen.as_ref(), here: &cluster.here };
        match judge::next(record, &about) {
            Next::Rest => {
                debug!(name = %wanted.name, "the registration with Portainer needs nothing of this agent");
                Ok(Looked::Settled)
            }
            Next::Wait => Ok(Looked::Waiting),
            Next::Find { asked } if desk.adopt(asked).await? => Ok(Looked::Again),
            Next::Find { .. } => Ok(Looked::Waiting),
            Next::Create { asked } => desk.create(asked, &wanted).await,
            Next::Inherit => desk.inherit().await,
            Next::Update { id, known } => desk.update(id, known, &wanted).await,
        }
    }

    /// What Portainer is to show.
    async fn wanted(&self, cluster: &Cluster) -> Result<Entry, Fail> {
        let registration = &self.parts.registration;
        let name = match (&registration.name, cluster.kind) {
            (Some(name), _) => name.clone(),
            (None, Kind::Swarm) => format!("swarmgate-{}", self.swarm_id().await?),
            (None, _) => format!("swarmgate-{}", cluster.me().host),
        };
        let address = match (&registration.address, cluster.kind) {
            (Some(address), _) => address.clone(),
            (None, Kind::Swarm) => {
                PeerAddress { host: self.own_address().await?.to_string(), port: self.parts.port }
            }
            (None, _) => return Err(Fail::Placeless),
        };
        Ok(Entry { portainer: registration.server.clone(), name, url: format!("tcp://{address}") })
    }

    /// The beginning of the Swarm's own ID.
    async fn swarm_id(&self) -> Result<String, Fail> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "ID")]
            id: String,
        }
        let what = "Swarm's ID";
        let swarm = &self.parts.swarm;
        let patience = self.parts.limits.register_ask;
        let asked = swarm.ask(&Method::GET, "/swarm", &Bytes::new(), patience).await;
        let answer: Answer = told(what, asked)?;
        Ok(answer.id.chars().take(ID_SHOWN).collect())
    }

    /// The node's address in the Swarm.
    async fn own_address(&self) -> Result<IpAddr, Fail> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            swarm: Node,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Node {
            node_addr: String,
        }
        let what = "address in the Swarm";
        let asked = self.parts.swarm.ask_here("/info", self.parts.limits.register_ask).await;
        let info: Info = told(what, asked)?;
        info.swarm.node_addr.parse().map_err(|_| Fail::Unsaid { what })
    }
}

/// One look's tools.
struct Desk<'a> {
    server: &'a Server,
    ledger: Ledger<'a>,
    seen: Option<&'a Seen>,
    here: &'a NodeId,
}

impl Desk<'_> {
    /// Creates the environment, unless it is there.
    async fn create(&self, asked: Option<&Entry>, wanted: &Entry) -> Result<Looked, Fail> {
        if let Some(asked) = asked
            && self.adopt(asked).await?
        {
            return Ok(Looked::Again);
        }
        let taken = || Fail::Taken { name: wanted.name.clone() };
        if self.server.find(&wanted.name).await?.is_some() {
            return Err(taken());
        }
        // Only now: whoever claims has reached the server, so that no agent that cannot keeps the others from it.
        let claim = |since| self.record(wanted, State::Claimed { since });
        let Some(claimed) = self.ledger.write(self.seen, claim(unix_seconds())).await? else {
            return Ok(Looked::Again);
        };
        let created = match self.server.create(wanted).await {
            Ok(created) => created,
            Err(fail) => {
                if fail.is_an_answer() {
                    // It may like another agent's address better: let them try.
                    self.ledger.write(Some(&claimed), claim(0)).await?;
                }
                return Err(if fail.is_conflict() { taken() } else { fail.into() });
            }
        };
        let done = self.record(wanted, State::Registered { id: created.id });
        if self.ledger.write(Some(&claimed), done).await?.is_some() {
            tell("registered with Portainer", created.id, wanted);
        }
        Ok(Looked::Again)
    }

    /// Records the environment that was asked for under a claim, if it is there: the answer was lost, or the agent
    /// that was to read it. An environment that only has the name is none of ours.
    async fn adopt(&self, asked: &Entry) -> Result<bool, Fail> {
        let found = self.server.find(&asked.name).await?.filter(|found| found.url == asked.url);
        let (Some(found), Some(seen)) = (found, self.seen) else { return Ok(false) };
        let done = Record { state: State::Registered { id: found.id }, ..seen.record.clone() };
        if self.ledger.write(self.seen, done).await?.is_some() {
            tell("found the environment that was asked for in Portainer", found.id, asked);
        }
        Ok(true)
    }

    async fn inherit(&self) -> Result<Looked, Fail> {
        let Some(seen) = self.seen else { return Ok(Looked::Again) };
        let ours = Record { node: self.here.clone(), ..seen.record.clone() };
        if self.ledger.write(self.seen, ours).await?.is_some() {
            info!(node = %seen.record.node, "the node that registered with Portainer has left; this one follows it");
        }
        Ok(Looked::Again)
    }

    /// Changes the environment, if it is still the one that was registered.
    async fn update(&self, id: u64, known: &Entry, wanted: &Entry) -> Result<Looked, Fail> {
        let remedy = || self.ledger.remedy();
        let now: Environment =
            self.server.get(id).await?.ok_or_else(|| Fail::Gone { id, remedy: remedy() })?;
        // A server that was set up anew counts from one again.
        if now.url != known.url && now.url != wanted.url {
            return Err(Fail::Moved { id, url: now.url, remedy: remedy() });
        }
        if let Some(change) = Change::of(known, &now, wanted) {
            self.server.update(id, &change).await?;
        }
        if self.ledger.write(self.seen, self.record(wanted, State::Registered { id })).await?.is_some() {
            tell("changed the environment in Portainer", id, wanted);
        }
        Ok(Looked::Again)
    }

    fn record(&self, entry: &Entry, state: State) -> Record {
        Record { node: self.here.clone(), entry: entry.clone(), state }
    }
}

fn tell(what: &'static str, id: u64, entry: &Entry) {
    let Entry { portainer, name, url } = entry;
    info!(id, %name, %url, server = %portainer, "{what}");
}

/// What an engine answered, as a value.
fn told<T: DeserializeOwned>(
    what: &'static str,
    asked: Result<(StatusCode, Bytes), SwarmError>,
) -> Result<T, Fail> {
    let failed = |source| Fail::Engine { what, source };
    match asked.map_err(failed)? {
        (StatusCode::OK, body) => serde_json::from_slice(&body).map_err(|_| Fail::Unsaid { what }),
        (status, body) => Err(failed(refused(status, &body))),
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[expect(clippy::disallowed_methods, reason = "neither a server nor another agent announces what it did")]
async fn pause(pace: Duration) {
    tokio::time::sleep(pace).await;
}

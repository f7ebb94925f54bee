//! Opens the peer listener where there are peers to be had, and only on the addresses on which they look for us.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Fatal;
use crate::body::Body;
use crate::client::Client;
use crate::config::Config;
use crate::listen::{self, Admit, Door, Seats};
use crate::model::{Cluster, Hint, Kind, NodeId};
use crate::pipeline::Pipeline;
use crate::shutdown::Shutdown;
use crate::trust::peer::{Authority, PeerTls, peer_tls};

/// An hour: often enough to be seen in any log that somebody reads, rare enough not to fill it.
const REMIND: Duration = Duration::from_secs(3600);

pub(super) struct PeerDoors {
    pub(super) config: Arc<Config>,
    pub(super) cluster: watch::Receiver<Arc<Cluster>>,
    pub(super) client: watch::Sender<Option<Arc<ClientConfig>>>,
    pub(super) record_keys: watch::Sender<Option<Vec<[u8; 32]>>>,
    pub(super) hints: mpsc::Sender<Hint>,
    /// All peers', at whichever of our addresses.
    pub(super) seats: Arc<Seats>,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) shutdown: Shutdown,
}

/// 1 s: an address that Docker has announced may not be on the interface yet.
const RETRY: Duration = Duration::from_secs(1);

/// What the peer identity was made of; another one means another identity.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    here: NodeId,
    secrets: Vec<Vec<u8>>,
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What `listen` is handed: the pipeline, as a function.
pub(super) fn handler(pipeline: Arc<Pipeline>) -> impl Fn(Request<Body>, Arc<Client>) -> Answering + Clone {
    move |request, client| Box::pin(Arc::clone(&pipeline).answer(request, client))
}

/// AGENT_METRICS_ADDR, if it is set.
pub(super) fn figures_listener(config: &Config) -> Result<Option<TcpListener>, Fatal> {
    let Some(at) = config.listen.metrics else { return Ok(None) };
    let bound = listen::bind(Some(at.ip()), at.port()).map_err(|source| Fatal::Figures { at, source })?;
    info!(address = %at, "giving figures to whoever asks");
    Ok(Some(bound))
}

/// Opens it. Where it is comes out.
pub(super) fn give_figures(
    listener: TcpListener,
    pipeline: &Arc<Pipeline>,
    shutdown: &Shutdown,
) -> Option<SocketAddr> {
    let at = listener.local_addr().ok();
    let limits = Arc::clone(&pipeline.executor.limits);
    let answering = figures(Arc::clone(pipeline));
    shutdown.spawn(listen::plain::serve(listener, limits, shutdown.clone(), answering));
    at
}

/// What is to be had without a signature, and nothing else is.
fn figures(pipeline: Arc<Pipeline>) -> impl Fn(Request<Incoming>) -> Answering + Clone {
    move |request| {
        let pipeline = Arc::clone(&pipeline);
        Box::pin(async move {
            if *request.method() != Method::GET || request.uri().path() != "/metrics" {
                let mut nothing = Response::new(Body::Empty);
                *nothing.status_mut() = StatusCode::NOT_FOUND;
                return nothing;
            }
            let cluster = Arc::clone(&pipeline.membership.borrow());
            pipeline.agent.metrics(&cluster).await
        })
    }
}

/// Follows the snapshots: makes the peer identity when there is something to make it of, and opens and closes
/// listeners as our own addresses change.
pub(super) async fn keep_peer_doors(mut doors: PeerDoors) {
    let mut made: Option<Material> = None;
    let mut server: Option<watch::Sender<Arc<ServerConfig>>> = None;
    let mut open: BTreeMap<IpAddr, CancellationToken> = BTreeMap::new();
    // The addresses on which another program has the port, each told of once.
    let mut taken = BTreeSet::new();
    let mut remind_at = Instant::now() + REMIND;
    loop {
        let cluster = Arc::clone(&doors.cluster.borrow_and_update());
        let wanted = material(&doors.config, &cluster);
        if wanted.is_none() && cluster.is_clustered() {
            // Nothing to prove records with, and nobody who could. Of a lone host that is not known: when it joins a
            // Swarm there may be a secret, and what proves that is made only then.
            doors.record_keys.send_if_modified(|keys| keys.is_none() && keys.replace(Vec::new()).is_none());
        }
        if let Some(material) = wanted.filter(|wanted| made.as_ref() != Some(wanted)) {
            made = doors.make(&material, &mut server).await.then_some(material);
        }
        if let Some(server) = &server {
            doors.follow(&cluster, server, &mut open, &mut taken);
        }
        let retry = open.len() < cluster.own_addresses.len();
        let wake = if retry { remind_at.min(Instant::now() + RETRY) } else { remind_at };
        tokio::select! {
            changed = doors.cluster.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(wake) => {}
            () = doors.shutdown.draining() => return,
        }
        if Instant::now() >= remind_at {
            remind_at += REMIND;
            doors.remind(&cluster);
        }
    }
}

/// The cluster secrets; as a Swarm service without one, the service's id.
fn material(config: &Config, cluster: &Cluster) -> Option<Material> {
    if matches!(cluster.kind, Kind::Unknown | Kind::Standalone) {
        return None;
    }
    let given: Vec<_> = config.cluster.secrets.iter().map(|s| s.reveal().as_bytes().to_vec()).collect();
    let service = cluster.service.as_ref().map(|service| service.id.as_bytes().to_vec());
    let secrets = if given.is_empty() { service.into_iter().collect() } else { given };
    (!secrets.is_empty()).then(|| Material { here: cluster.here.clone(), secrets })
}

impl PeerDoors {
    /// Makes the identity and hands it on. False, and logged: it could not be made, and what there was stays.
    async fn make(&self, material: &Material, shown: &mut Option<watch::Sender<Arc<ServerConfig>>>) -> bool {
        let of = material.clone();
        let derived = tokio::task::spawn_blocking(move || {
            let authorities = of.secrets.iter().map(|secret| Authority::derive(secret));
            let authorities = authorities.collect::<Result<Vec<_>, _>>()?;
            let keys: Vec<_> = authorities.iter().map(Authority::record_key).collect();
            peer_tls(&authorities, &of.here).map(|tls| (tls, keys))
        });
        let (PeerTls { server, client }, keys) = match derived.await {
            Ok(Ok(made)) => made,
            Ok(Err(problem)) => {
                error!(error = %problem, "cannot make the peer certificate");
                return false;
            }
            Err(_) => return false,
        };
        self.client.send_replace(Some(client));
        self.record_keys.send_replace(Some(keys));
        match shown {
            Some(shown) => {
                // First what newcomers are shown, so that nobody is let in under the old one after the cut.
                shown.send_replace(server);
                self.pipeline.leashes.cut_all();
            }
            None => {
                self.warn_without_secret();
                *shown = Some(watch::Sender::new(server));
            }
        }
        true
    }

    fn follow(
        &self,
        cluster: &Cluster,
        server: &watch::Sender<Arc<ServerConfig>>,
        open: &mut BTreeMap<IpAddr, CancellationToken>,
        taken: &mut BTreeSet<IpAddr>,
    ) {
        open.retain(|address, closed| {
            let kept = cluster.own_addresses.contains(address);
            if !kept {
                closed.cancel();
            }
            kept
        });
        for address in &cluster.own_addresses {
            if !open.contains_key(address)
                && let Some(closed) = self.open(*address, server, taken)
            {
                open.insert(*address, closed);
            }
        }
    }

    fn open(
        &self,
        address: IpAddr,
        server: &watch::Sender<Arc<ServerConfig>>,
        taken: &mut BTreeSet<IpAddr>,
    ) -> Option<CancellationToken> {
        let port = self.config.listen.peer_port;
        let listener = match listen::bind(Some(address), port) {
            Ok(listener) => listener,
            Err(error) => {
                if error.kind() == ErrorKind::AddrInUse && taken.insert(address) {
                    warn!(%address, port, "another program has the port for peers, so no agent reaches this one: \
                        end it, or set AGENT_PEER_PORT on all agents");
                }
                debug!(%address, port, %error, "cannot listen for peers yet");
                return None;
            }
        };
        taken.remove(&address);
        info!(%address, port, "listening for peers");
        let closed = CancellationToken::new();
        let door = Door {
            listener,
            tls: server.subscribe(),
            admit: Admit::Peers { cluster: self.cluster.clone(), hints: self.hints.clone() },
            limits: Arc::new(self.config.limits.clone()),
            seats: Arc::clone(&self.seats),
            shutdown: self.shutdown.clone(),
        };
        let (serving, until) = (listen::serve(door, handler(Arc::clone(&self.pipeline))), closed.clone());
        self.shutdown.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = until.cancelled() => {}
            }
        });
        Some(closed)
    }

    fn remind(&self, cluster: &Cluster) {
        if material(&self.config, cluster).is_some() {
            self.warn_without_secret();
        }
    }

    fn warn_without_secret(&self) {
        if self.config.cluster.secrets.is_empty() {
            warn!(
                "no AGENT_CLUSTER_SECRET: whoever can read this service's ID and reach its network is root on all \
                 nodes; create the secret as the README says"
            );
        }
    }
}

/// The host name, for the certificate and until the engine has said better.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Host name and addresses of this machine, for the certificate's names.
pub(super) fn own_names() -> Vec<String> {
    let mut names = vec![host_name()];
    if let Ok(interfaces) = if_addrs::get_if_addrs() {
        names.extend(interfaces.iter().filter(|i| !i.is_loopback()).map(|i| i.ip().to_string()));
    }
    names
}

#[cfg(test)]
mod tests;

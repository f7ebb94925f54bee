//! Connections in, requests out: accepts, proves who may connect at all, and speaks HTTP/1.1.
//!
//! It is handed an async function and knows no stage behind it. It must never let a silent, slow or strange client
//! hold a place for longer than [`Limits`] say, nor end a stream that is merely quiet.

mod accept;
mod complaints;
mod http;
mod lapse;
mod peers;
pub mod plain;
mod seats;
mod tls;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ::http::{Request, Response};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::body::Body;
use crate::client::{Client, Side};
use crate::config::{Cidr, Limits};
use crate::model::{Cluster, Hint};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::DoorFigures;
use accept::Accepting;
pub use accept::bind;
use complaints::Complaints;
use peers::Peers;
pub use seats::Seats;
use seats::Taken;
use tls::Unmet;
use wire::Wire;

/// One listener with all that it needs.
pub struct Door {
    pub listener: TcpListener,
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    pub admit: Admit,
    pub limits: Arc<Limits>,
    pub seats: Arc<Seats>,
    pub shutdown: Shutdown,
}

/// Places for clients, and for peers: three quarters and one of all that there may be, so that neither keeps the other
/// out, and that together they never take more descriptors than there are.
pub fn seats(limits: &Limits, public: DoorFigures, peers: DoorFigures) -> [Arc<Seats>; 2] {
    let all = accept::connections(limits.connections);
    let of_peers = (all / 4).max(1);
    let of_clients = all.saturating_sub(of_peers).max(1);
    [Seats::new(limits.strangers, of_clients, public), Seats::new(limits.strangers, of_peers, peers)]
}

/// Who may connect.
pub enum Admit {
    /// Clients, from these ranges; from everywhere if there are none. Who they are is for later stages.
    Public { allow_from: Vec<Cidr> },
    /// Agents: where Swarm lists them, if it does, with a certificate of the cluster that names the listed node.
    Peers { cluster: watch::Receiver<Arc<Cluster>>, hints: mpsc::Sender<Hint> },
}

/// Accepts until draining starts, then returns. Connections finish their request under the shutdown's tracker.
///
/// `handler` is called for each request. Its future is dropped when the client leaves or its credential is revoked.
pub async fn serve<H, F>(door: Door, handler: H)
where
    H: Fn(Request<Body>, Arc<Client>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let Door { listener, tls, admit, limits, seats, shutdown } = door;
    let http = http::builder(&limits);
    let gate = Gate::from(admit);
    let house = Arc::new(House { tls, gate, limits, http, complaints: Complaints::default(), shutdown });
    let mut accepting = Accepting::new(listener);
    loop {
        let (stream, remote) = tokio::select! {
            accepted = accepting.next() => accepted,
            () = house.shutdown.draining() => return,
        };
        if let Some(arrival) = house.admit(stream, remote, &seats) {
            let (resident, handler) = (Arc::clone(&house), handler.clone());
            house.shutdown.spawn(async move { resident.receive(arrival, handler).await });
        }
    }
}

/// A connection that got a seat; nothing was read from it yet.
struct Arrival {
    stream: TcpStream,
    remote: SocketAddr,
    taken: Taken,
}

/// What all connections of one listener share.
struct House {
    tls: watch::Receiver<Arc<ServerConfig>>,
    gate: Gate,
    limits: Arc<Limits>,
    http: hyper::server::conn::http1::Builder,
    complaints: Complaints,
    shutdown: Shutdown,
}

enum Gate {
    Public(Vec<Cidr>),
    Peers(Peers),
}

impl From<Admit> for Gate {
    fn from(admit: Admit) -> Self {
        match admit {
            Admit::Public { allow_from } => Self::Public(allow_from),
            Admit::Peers { cluster, hints } => Self::Peers(Peers { cluster, hints }),
        }
    }
}

impl House {
    /// Decides by addresses alone. Whoever is refused gets no byte.
    fn admit(&self, stream: TcpStream, remote: SocketAddr, seats: &Arc<Seats>) -> Option<Arrival> {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let local = stream.local_addr().ok()?.ip().to_canonical();
        if let Err(reason) = self.gate.admits(local, remote.ip()) {
            self.complain(remote.ip(), reason);
            return None;
        }
        let Some(taken) = seats.take(remote.ip()) else {
            self.complain(remote.ip(), "every place is taken");
            return None;
        };
        if let Err(error) = accept::tune(&stream) {
            debug!(%remote, %error, "socket options");
        }
        Some(Arrival { stream, remote, taken })
    }

    /// One connection, from its first byte to its last.
    async fn receive<H, F>(&self, arrival: Arrival, handler: H)
    where
        H: Fn(Request<Body>, Arc<Client>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let Arrival { stream, remote, taken } = arrival;
        let seat = Arc::clone(taken.seat());
        let met = tokio::select! {
            met = self.meet(stream, remote, taken) => met,
            () = seat.left() => None,
            () = self.shutdown.draining() => None,
        };
        if let Some((wire, client)) = met {
            http::serve(&self.http, wire, &client, handler, &self.limits, &self.shutdown).await;
        }
    }

    /// The handshake, and for a peer what its certificate says.
    async fn meet(&self, stream: TcpStream, remote: SocketAddr, taken: Taken) -> Option<(Wire, Arc<Client>)> {
        let config = Arc::clone(&self.tls.borrow());
        let met = tokio::time::timeout(self.limits.handshake, async {
            tls::meet(stream, config, taken, &self.limits, self.gate.plain()).await
        });
        let wire = match met.await.unwrap_or(Err(Unmet::Silent)) {
            Ok(wire) => wire,
            Err(unmet) => {
                self.unmet(remote, &unmet);
                return None;
            }
        };
        let side = match &self.gate {
            Gate::Public(_) => Side::Public,
            Gate::Peers(peers) => match peers.recognize(wire.certificates(), remote.ip()) {
                Ok(node) => Side::Peer(node),
                Err(reason) => {
                    self.complain(remote.ip(), reason);
                    return None;
                }
            },
        };
        let client = Arc::new(Client::new(remote, side));
        wire.seat().belongs_to(&client);
        Some((wire, client))
    }

    /// On the public port anybody may knock as they like; on the peers' a failed handshake is worth a line.
    fn unmet(&self, remote: SocketAddr, unmet: &Unmet) {
        match &self.gate {
            Gate::Public(_) => debug!(%remote, reason = %unmet, "no handshake"),
            Gate::Peers(_) => self.complain(remote.ip(), &format!("no handshake: {unmet}")),
        }
    }

    fn complain(&self, remote: IpAddr, reason: &str) {
        if let Some(times) = self.complaints.about(remote) {
            let listener = self.gate.name();
            warn!(%remote, reason, times, listener, "connection closed");
        }
    }
}

impl Gate {
    fn admits(&self, local: IpAddr, remote: IpAddr) -> Result<(), &'static str> {
        match self {
            Self::Public(ranges) if ranges.is_empty() => Ok(()),
            Self::Public(ranges) if ranges.iter().any(|range| accept::contains(range, remote)) => Ok(()),
            Self::Public(_) => Err("its address is not in AGENT_ALLOW_FROM"),
            Self::Peers(peers) => peers.expects(local, remote),
        }
    }

    /// Whether somebody who speaks plain HTTP is told so.
    fn plain(&self) -> tls::Plain {
        match self {
            Self::Public(_) => tls::Plain::Told,
            Self::Peers(_) => tls::Plain::Closed,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Public(_) => "public",
            Self::Peers(_) => "peers",
        }
    }
}

#[cfg(test)]
mod tests;

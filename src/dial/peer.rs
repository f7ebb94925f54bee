//! Connections to the agents of other nodes: mutual TLS, kept for plain calls, fresh for streams and probes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Fail;
use super::http::{Dial, Http, Keep};
use super::io::{Dialled, tune};
use super::probe::{Probe, ProbeDocument};
use super::tls;
use crate::body::Body;
use crate::config::Limits;
use crate::model::{Member, NodeId};
use crate::shutdown::Shutdown;
use crate::trust::peer::{any_node, node_of, server_name};

/// All peers. Clones share their connections.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    tls: Tls,
    limits: Arc<Limits>,
    shutdown: Shutdown,
    /// One a node. Who is not asked any more is dropped with the next request to anybody.
    known: Mutex<HashMap<NodeId, Known>>,
    distances: Distances,
}

/// How long a probe waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// A request is held up by it: as long as this peer takes to answer, and some more.
    Brief,
    /// Nothing is: long enough for any link.
    Full,
}

type Tls = watch::Receiver<Option<Arc<ClientConfig>>>;

struct Known {
    address: SocketAddr,
    http: Arc<Http<Peer>>,
    used: Instant,
}

impl Peers {
    /// `tls` holds `None` until this agent knows who it is.
    pub fn new(tls: Tls, limits: Arc<Limits>, shutdown: Shutdown) -> Self {
        let distances = Distances::default();
        Self(Arc::new(Inner { tls, limits, shutdown, known: Mutex::default(), distances }))
    }

    /// Asks a peer over a kept connection. Ends with the answer's head; sets no deadline on it.
    pub async fn request(&self, to: &Member, request: Request<Body>) -> Result<Response<Incoming>, Fail> {
        self.known(to)?.request(request).await
    }

    /// Asks a peer over a connection of its own, on which `hyper::upgrade::on` works.
    pub async fn upgrade(&self, to: &Member, request: Request<Body>) -> Result<Response<Incoming>, Fail> {
        self.known(to)?.fresh(request).await
    }

    /// Asks who is at an address, over fresh connections, so that the answer is about now. `expect`: who it must be.
    pub async fn probe(
        &self,
        at: SocketAddr,
        expect: Option<&NodeId>,
        patience: Patience,
    ) -> Result<Probe, Fail> {
        let http = self.http(at, expect.cloned());
        let (least, most) = (self.0.limits.probe, self.0.limits.probe_patient);
        let after = match patience {
            Patience::Brief => (self.0.distances.of(at) * 2).max(least).min(most),
            Patience::Full => most,
        };
        let connected = AtomicBool::new(false);
        match timeout(after, self.first_answer(&http, &connected)).await {
            Ok(result) => result,
            Err(_) if connected.into_inner() => {
                Err(Fail::Swallowed { at: Arc::clone(http.dial().at()), after })
            }
            Err(_) => Err(Fail::Deaf { at: Arc::clone(http.dial().at()), after }),
        }
    }

    /// The first of several dials that ends, each begun a while after the last: where a packet is lost, TCP waits
    /// for seconds before it sends it again.
    async fn first_answer(&self, http: &Http<Peer>, connected: &AtomicBool) -> Result<Probe, Fail> {
        let mut dials = FuturesUnordered::new();
        loop {
            dials.push(async {
                let began = Instant::now();
                let (answer, exchanged) = probe(http, connected).await?;
                self.0.distances.note(http.dial().address, began.elapsed().min(exchanged * ROUND_TRIPS));
                Ok(answer)
            });
            if let Ok(Some(ended)) = timeout(self.0.limits.probe, dials.next()).await {
                return ended;
            }
        }
    }

    fn known(&self, to: &Member) -> Result<Arc<Http<Peer>>, Fail> {
        let address = to.address.ok_or_else(|| Fail::NoAgent { node: to.id.clone() })?;
        let now = Instant::now();
        let mut known = self.lock();
        // Its connections are closed by then.
        known.retain(|id, it| *id == to.id || now - it.used <= self.0.limits.pool_idle_for);
        let fresh = || Known { address, http: Arc::new(self.http(address, expected(&to.id))), used: now };
        let it = match known.entry(to.id.clone()) {
            Entry::Occupied(it) if it.get().address == address => it.into_mut(),
            Entry::Occupied(mut it) => {
                it.insert(fresh());
                it.into_mut()
            }
            Entry::Vacant(it) => it.insert(fresh()),
        };
        it.used = now;
        Ok(Arc::clone(&it.http))
    }

    fn http(&self, address: SocketAddr, expect: Option<NodeId>) -> Http<Peer> {
        let inner = &self.0;
        let at = match &expect {
            Some(node) => format!("node {node} at {address}"),
            None => format!("the peer at {address}"),
        };
        let keep = Keep { idle: inner.limits.pool_idle, idle_for: inner.limits.pool_idle_for };
        let peer = Peer {
            at: at.into(),
            address,
            expect,
            tls: inner.tls.clone(),
            deadline: inner.limits.connect_peer,
        };
        let host =
            HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("peer"));
        Http::new(peer, host, keep, inner.shutdown.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Known>> {
        // Nothing under the lock leaves the map half changed.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 3 in a probe: the connection's, the handshake's, and the question's.
const ROUND_TRIPS: u32 = 3;

/// How long lately an answer to a probe took, of each peer that gave one.
#[derive(Default)]
struct Distances(Mutex<HashMap<SocketAddr, (Duration, Instant)>>);

impl Distances {
    /// 1 minute: peers that answer are probed every few seconds.
    const KEPT: Duration = Duration::from_secs(60);

    fn of(&self, at: SocketAddr) -> Duration {
        self.lock().get(&at).map(|(took, _)| *took).unwrap_or_default()
    }

    /// A longer time counts at once, a shorter one by and by: links that delay one packet delay others.
    ///
    /// Of a dial that waited for a network that was cut, only what came after the wait counts.
    fn note(&self, at: SocketAddr, took: Duration) {
        let now = Instant::now();
        let mut all = self.lock();
        all.retain(|_, (_, noted)| now - *noted <= Self::KEPT);
        let before = all.get(&at).map(|(took, _)| *took * 7 / 8).unwrap_or_default();
        all.insert(at, (before.max(took), now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, (Duration, Instant)>> {
        // Nothing under the lock leaves the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A static peer is known by `host:port` until its certificate has told who it is.
fn expected(id: &NodeId) -> Option<NodeId> {
    (!id.as_str().contains(':')).then(|| id.clone())
}

/// The answer, and how long it took on the open connection.
async fn probe(http: &Http<Peer>, connected: &AtomicBool) -> Result<(Probe, Duration), Fail> {
    let at = http.dial().at();
    let malformed = |problem| Fail::Malformed { at: Arc::clone(at), problem };
    let connection = http.dial().dial().await?;
    connected.store(true, Ordering::Relaxed);
    let node = connection.node.clone().ok_or_else(|| malformed("its certificate names no node"))?;
    let began = Instant::now();
    let answer = http.exchange(connection, ProbeDocument::question()).await?;
    if answer.status() != StatusCode::OK {
        return Err(malformed("it does not answer as an agent"));
    }
    let answer = ProbeDocument::read(answer.into_body()).await.map_err(malformed)?.proved(node);
    Ok((answer, began.elapsed()))
}

/// One peer's address, and who must be there.
struct Peer {
    at: Arc<str>,
    address: SocketAddr,
    expect: Option<NodeId>,
    tls: Tls,
    deadline: Duration,
}

impl Peer {
    fn shaking(&self, error: io::Error) -> Fail {
        let at = Arc::clone(&self.at);
        match error.kind() {
            _ if tls::is_distrust(&error) => self.distrusted(error),
            // It closes with our first message unread, which is a reset as often as an end.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Fail::Unlisted { at, source: Arc::new(error) }
            }
            _ => Fail::Unreachable { at, source: Arc::new(error) },
        }
    }
}

impl Dial for Peer {
    fn at(&self) -> &Arc<str> {
        &self.at
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    async fn connect(&self) -> Result<Dialled, Fail> {
        let config = self.tls.borrow().clone().ok_or_else(|| Fail::NotReady { at: Arc::clone(&self.at) })?;
        let name = self.expect.as_ref().map_or_else(|| Ok(any_node()), server_name);
        let name = name.map_err(|e| self.distrusted(io::Error::other(e)))?;
        let stream = TcpStream::connect(self.address).await.map_err(|e| Fail::connecting(&self.at, e))?;
        tune(&stream).map_err(|e| Fail::connecting(&self.at, e))?;
        let stream = tls::handshake(config, name, stream).await.map_err(|e| self.shaking(e))?;
        let node = node_of(stream.get_ref().1.peer_certificates().unwrap_or_default());
        if self.expect.is_some() && node != self.expect {
            return Err(self.distrusted(io::Error::other("its certificate names another node")));
        }
        Ok(Dialled::new(stream, node))
    }

    fn distrusted(&self, source: io::Error) -> Fail {
        Fail::Secret { at: Arc::clone(&self.at), source: Arc::new(source) }
    }
}

//! N agents in one process in front of N scripted engines, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use swarmgate::app::{self, Agent};
use swarmgate::cli::Args;
use swarmgate::config::Config;
use swarmgate::identify::Association;
use swarmgate::model::{Cluster as Snapshot, Kind, Member, NodeId, Reach};
use swarmgate::shutdown::{Ended, Shutdown};
use tempfile::TempDir;
use tokio::sync::watch;

use super::client::{Client, reply, whole};
use super::engine::swarm::Swarm;
use super::engine::{Engine, Script};
use super::relay::Relay;
use super::sign::Signer;
use super::soon;

/// What Portainer's server and the agents share in tests.
pub(crate) const SECRET: &str = "what the server signs in tests";
/// What the agents prove to each other.
pub(crate) const CLUSTER_SECRET: &str = "what the agents of a test prove to each other";

/// What a test changes in the configuration of the node at this place.
type Change = Box<dyn Fn(usize, &mut Config)>;

/// How a cluster is set up.
pub(crate) struct Setup {
    scripts: Vec<Script>,
    swarm: Option<Arc<Swarm>>,
    peers: bool,
    /// How long a byte takes between two agents, where it goes through relays.
    relays: Option<Duration>,
    /// `None`: the first key that calls is associated.
    secret: Option<&'static str>,
    change: Change,
}

impl Setup {
    /// Engines outside a Swarm, their agents joined by AGENT_PEERS.
    pub(crate) fn fixed(hosts: &[&str]) -> Self {
        Self {
            scripts: hosts.iter().map(|host| Script::new(host)).collect(),
            swarm: None,
            peers: true,
            relays: None,
            secret: Some(SECRET),
            change: Box::new(|_, _| {}),
        }
    }

    /// Engines of one Swarm, the first ones managers, the very first leads. AGENT_PEERS only says where to dial.
    pub(crate) fn swarm(hosts: &[&str], managers: usize) -> Self {
        let swarm = Swarm::new(hosts, managers);
        let mut setup = Self::fixed(hosts);
        for script in &mut setup.scripts {
            script.swarm = Some(Arc::clone(&swarm));
        }
        Self { swarm: Some(swarm), ..setup }
    }

    /// One engine, no Swarm, no peers.
    pub(crate) fn alone(host: &str) -> Self {
        Self { peers: false, ..Self::fixed(&[host]) }
    }

    /// Without AGENT_SECRET.
    pub(crate) fn associating(self) -> Self {
        Self { secret: None, ..self }
    }

    /// Peers dial each other through relays that can be made to hang.
    pub(crate) fn relayed(self) -> Self {
        self.far_apart(Duration::ZERO)
    }

    /// The same, and each byte takes so long.
    pub(crate) fn far_apart(self, delay: Duration) -> Self {
        Self { relays: Some(delay), ..self }
    }

    pub(crate) fn script(mut self, at: usize, change: impl FnOnce(&mut Script)) -> Self {
        change(&mut self.scripts[at]);
        self
    }

    /// Changes each node's configuration, limits included.
    pub(crate) fn config(self, change: impl Fn(usize, &mut Config) + 'static) -> Self {
        Self { change: Box::new(change), ..self }
    }

    /// Starts everything and waits until every agent knows all the others.
    pub(crate) async fn start(self) -> Cluster {
        let cluster = self.start_only().await;
        cluster.is_whole().await;
        cluster
    }

    /// Starts everything and waits for nothing.
    pub(crate) async fn start_only(self) -> Cluster {
        let ports: Vec<_> = self.scripts.iter().map(|_| (free_port(), free_port())).collect();
        let dialled = |(own, relay): &(u16, u16)| if self.relays.is_some() { *relay } else { *own };
        let peers: Vec<_> = ports.iter().map(|ports| format!("127.0.0.1:{}", dialled(ports))).collect();
        let signer = Signer::new(self.secret);
        let mut nodes = Vec::new();
        for (at, script) in self.scripts.iter().enumerate() {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("docker.sock");
            let mut flags = vec![
                ("--host", "127.0.0.1".to_owned()),
                ("--port", "0".to_owned()),
                ("--peer-port", ports[at].0.to_string()),
                ("--data", directory.path().join("data").display().to_string()),
                ("--docker-host", format!("unix://{}", socket.display())),
            ];
            flags.extend(self.secret.map(|secret| ("--secret", secret.to_owned())));
            if self.peers {
                flags.push(("--cluster-secret", CLUSTER_SECRET.to_owned()));
                flags.push(("--peers", peers.join(",")));
            }
            let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
            let mut config = Config::from_args(&Args::from_flags(flags).unwrap()).unwrap();
            // Whole soon.
            (config.limits.refresh, config.limits.probe_missing) =
                (Duration::from_millis(100), Duration::from_millis(50));
            // A busy machine is no dead peer; tests of dead ones set their own.
            let busy = Duration::from_secs(30);
            (config.limits.probe, config.limits.probe_patient, config.limits.connect_peer) =
                (busy, busy, busy);
            (config.limits.connect_engine, config.limits.list) = (busy, busy);
            (self.change)(at, &mut config);
            let relay = match self.relays {
                Some(delay) => Some(Relay::start(loopback(ports[at].1), loopback(ports[at].0), delay).await),
                None => None,
            };
            let engine = Some(Engine::start_at(&socket, script.clone()));
            let running = Some(Running::start(&config).await);
            let script = script.clone();
            nodes.push(Node {
                script,
                engine,
                relay,
                running,
                config,
                socket,
                signer: signer.clone(),
                _directory: directory,
            });
        }
        Cluster { nodes, signer, swarm: self.swarm }
    }
}

/// Running agents and their engines. Dropped, all are gone.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    /// The one key that calls.
    pub(crate) signer: Signer,
    swarm: Option<Arc<Swarm>>,
}

impl Cluster {
    pub(crate) fn swarm(&self) -> &Swarm {
        self.swarm.as_deref().expect("a Swarm")
    }

    /// A signing client of the agent at this place in the list.
    pub(crate) fn client(&self, at: usize) -> Client {
        self.nodes[at].client()
    }

    pub(crate) fn engine(&self, at: usize) -> &Engine {
        self.nodes[at].engine()
    }

    /// Waits until every running agent can ask all nodes and knows their roles.
    pub(crate) async fn is_whole(&self) {
        let count = self.nodes.len();
        for node in self.nodes.iter().filter(|node| node.running.is_some()) {
            let knows_leader = |c: &Snapshot| self.swarm.is_none() || c.members.values().any(|m| m.leader);
            let whole = |c: &Snapshot| {
                c.kind != Kind::Unknown
                    && c.members.len() == count
                    && c.members
                        .values()
                        .all(|m| m.is_reachable() && m.reach != Reach::Untried && m.api.is_some())
                    && knows_leader(c)
            };
            node.snapshot("all nodes answer", whole).await;
            if node.config.portainer.secret.is_none() {
                let mut association = node.running().agent.association.clone();
                let known = association.wait_for(|known| !matches!(**known, Association::Unknown));
                soon("the association is known", known).await.unwrap();
            }
        }
    }

    /// Waits until this count has stopped: it stays the same while twenty other requests take the same way, through
    /// the first agent to that node. What it is then comes out.
    pub(crate) async fn stands_still(&self, host: &str, count: &AtomicUsize) -> usize {
        let mut connection = self.client(0).connect().await;
        loop {
            let before = count.load(Ordering::Relaxed);
            for _ in 0..20 {
                let ping = async {
                    let pong = connection.send("GET", "/_ping", &[("X-Node", host)], whole("")).await;
                    reply(pong.unwrap()).await.status
                };
                assert_eq!(soon("a pong", ping).await, 200, "{host}");
            }
            if count.load(Ordering::Relaxed) == before {
                return before;
            }
        }
    }

    /// Forgets what the engines were asked so far.
    pub(crate) fn forget(&self) {
        for node in &self.nodes {
            node.engine().forget();
        }
    }

    /// Host names of the nodes whose engines saw this path, given without its version.
    pub(crate) fn asked(&self, path: &str) -> Vec<&str> {
        let saw = |node: &&Node| node.engine().seen().iter().any(|seen| seen.path() == path);
        self.nodes.iter().filter(saw).map(|node| node.script.host.as_str()).collect()
    }
}

/// One node: its engine and its agent.
pub(crate) struct Node {
    pub(crate) script: Script,
    pub(crate) engine: Option<Engine>,
    pub(crate) relay: Option<Relay>,
    pub(crate) config: Config,
    pub(crate) socket: PathBuf,
    running: Option<Running>,
    signer: Signer,
    _directory: TempDir,
}

struct Running {
    agent: Agent,
    shutdown: Shutdown,
}

impl Running {
    async fn start(config: &Config) -> Self {
        let shutdown = Shutdown::new();
        let agent = app::start(config.clone(), &shutdown).await.unwrap();
        Self { agent, shutdown }
    }
}

impl Node {
    pub(crate) fn client(&self) -> Client {
        Client { at: self.running().agent.public, signer: Some(self.signer.clone()) }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("an engine")
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.running().shutdown
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a running agent")
    }

    /// Where it gives figures in plain HTTP.
    pub(crate) fn figures(&self) -> Option<SocketAddr> {
        self.running().agent.figures
    }

    /// The NodeID, as the agent knows it.
    pub(crate) fn id(&self) -> NodeId {
        self.running().agent.cluster.borrow().here.clone()
    }

    /// What the agent knows of who may call.
    pub(crate) fn association(&self) -> watch::Receiver<Arc<Association>> {
        self.running().agent.association.clone()
    }

    /// Waits for a snapshot of this agent.
    pub(crate) async fn snapshot(&self, what: &str, is_it: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut cluster = self.running().agent.cluster.clone();
        let seen = soon(&format!("{}: {what}", self.script.host), cluster.wait_for(|c| is_it(c))).await;
        Arc::clone(&seen.unwrap())
    }

    /// Waits until this agent thinks so of the node with this host name.
    pub(crate) async fn thinks(&self, of: &str, what: &str, is_it: impl Fn(&Member) -> bool) {
        let named = |c: &Snapshot| c.members.values().any(|m| *m.shown == *of && is_it(m));
        self.snapshot(&format!("{of} {what}"), named).await;
    }

    /// Ends the agent with all its connections, as a kill does.
    pub(crate) async fn kill(&mut self) {
        let running = self.running.take().expect("a running agent");
        running.shutdown.finish(Duration::ZERO).await;
    }

    pub(crate) async fn start(&mut self) {
        self.running = Some(Running::start(&self.config).await);
    }

    /// Ends the agent as a signal does.
    pub(crate) async fn finish(&mut self, grace: Duration) -> Ended {
        let running = self.running.as_ref().expect("a running agent");
        running.shutdown.finish(grace).await
    }

    pub(crate) async fn stop_engine(&mut self) {
        self.engine.take().expect("an engine").stop().await;
    }

    pub(crate) fn start_engine(&mut self) {
        self.engine = Some(Engine::start_at(&self.socket, self.script.clone()));
    }

    /// Where its agent listens for peers.
    pub(crate) fn peer_at(&self) -> SocketAddr {
        loopback(self.config.listen.peer_port)
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port that nobody has, below those that the kernel gives to outgoing connections: it stays free.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at different places.
    let base = 11_000 + (std::process::id() % 64) as u16 * 300;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(loopback(port)).is_ok() {
            return port;
        }
    }
}

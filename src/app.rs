//! The composition root: builds all, binds, runs, drains. Decides nothing.

pub mod association;
mod doors;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use http::HeaderValue;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::agent_api::AgentApi;
use crate::agent_api::browse::Browse;
use crate::agent_api::figures::Figures;
use crate::agent_api::host::Host;
use crate::associate::{self, Associations, RecordKey, Swarm, judge::Start};
use crate::config::{self, Config};
use crate::data_dir::{self, Lock};
use crate::dial::{Engine, Peers, WebFail};
use crate::discover::{self, Discovery};
use crate::execute::{Budget, Executor};
use crate::identify::{Association, Rules};
use crate::listen::{self, Admit, Door, Seats};
use crate::membership::Membership;
use crate::model::{Cluster, chain};
use crate::pipeline::{Failures, Leashes, Pipeline};
use crate::register;
use crate::shutdown::{Ended, Shutdown};
use crate::telemetry;
use crate::telemetry::metrics::Listener;
use crate::trust::{TrustError, public::PublicIdentity};
use crate::watchdog::{self, Patience};

/// 64 hints: one look at the cluster serves them all; more than that means that discovery is busy looking already.
const HINTS: usize = 64;

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("listen on port {port}; is another agent running, or is AGENT_HOST not an address of this host?")]
    Bind { port: u16, source: std::io::Error },
    #[error("listen on {at} for figures; is AGENT_METRICS_ADDR taken, or not an address of this host?")]
    Figures { at: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Config(#[from] config::Problem),
    #[error("AGENT_PORTAINER_CA")]
    Registration(#[from] WebFail),
    #[error("hook signals")]
    Signals(#[source] std::io::Error),
    #[error("start the watchdog")]
    Watchdog(#[source] std::io::Error),
}

/// A running agent.
pub struct Agent {
    /// Where the public listener is bound.
    pub public: SocketAddr,
    /// Where figures are given in plain HTTP.
    pub figures: Option<SocketAddr>,
    /// The snapshots, for who wants to wait for one.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// What the association's store says, for the same.
    pub association: watch::Receiver<Arc<Association>>,
    _data: Lock,
}

/// Runs the agent until a signal ends it. The process's exit code comes out.
pub fn run(config: Config) -> ExitCode {
    telemetry::start(&config.log);
    let problems = problems(&config);
    for problem in &problems {
        error!("{problem}");
    }
    if !problems.is_empty() {
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            error!(error = %source, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(until_a_signal(config));
    // Threads that wait for a name server or a disk must not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            error!("{}", chain(&fatal));
            ExitCode::FAILURE
        }
    }
}

async fn until_a_signal(config: Config) -> Result<(), Fatal> {
    // Hooked before the first socket is bound: whoever can reach us can already stop us cleanly.
    let mut signals = Signals::hook().map_err(Fatal::Signals)?;
    let (shutdown, grace) = (Shutdown::new(), config.limits.drain);
    watchdog::start(Patience::default(), watchdog::end_process, &shutdown).map_err(Fatal::Watchdog)?;
    let agent = start(config, &shutdown).await?;
    // Not inside the macro: what a log line holds is not evaluated where the level leaves the line out.
    let signal = signals.next().await;
    info!(signal, "draining");
    tokio::select! {
        ended = shutdown.finish(grace) => match ended {
            Ended::Clean => info!("stopped"),
            Ended::Forced { left } => warn!(left, "stopped; what was still running was cut"),
        },
        _ = signals.next() => warn!("a second signal: stopping at once"),
    }
    drop(agent);
    Ok(())
}

/// What can be found wrong with the files that a configuration names, without running: all of it.
pub fn problems(config: &Config) -> Vec<String> {
    let engine = Engine::new(&config.engine, &config.limits, Shutdown::new()).err().map(|p| chain(&p));
    let pair = PublicIdentity::problem(&config.tls).map(|problem| chain(&problem));
    let registration = config.registration.as_ref().and_then(|r| register::problem(r, &config.limits));
    let registration = registration.map(|problem| chain(&Fatal::Registration(problem)));
    engine.into_iter().chain(pair).chain(registration).collect()
}

/// Builds and starts everything; returns once the public listener is bound. `shutdown` ends it.
///
/// # Errors
/// [`Fatal`] for what an operator has to mend. An engine that is not there is none of it.
pub async fn start(config: Config, shutdown: &Shutdown) -> Result<Agent, Fatal> {
    say_what_is_odd(&config);
    let config = Arc::new(config);
    let limits = Arc::new(config.limits.clone());
    let data = locked(&config)?;
    let engine = Engine::new(&config.engine, &limits, shutdown.clone())?;
    let identity = PublicIdentity::load_or_make(&config.data, &config.tls, &doors::own_names())?;
    let (listener, public) = bound(&config)?;
    let plain = doors::figures_listener(&config)?;

    let membership = Membership::new(discover::nobody_yet());
    let cluster = membership.subscribe();
    let (hints, hints_heard) = mpsc::channel(HINTS);
    let (peer_client, peer_client_seen) = watch::channel(None);
    let (record_keys, record_keys_seen) = watch::channel(None);
    let peers = Peers::new(peer_client_seen, Arc::clone(&limits), shutdown.clone());
    let swarm = Swarm { engine: engine.clone(), peers: peers.clone(), cluster: cluster.clone() };
    let associations = associations(&config, swarm.clone(), record_keys_seen);
    associations.start(shutdown);
    register(&config, public.port(), swarm, &associations, shutdown)?;
    let association = associations.subscribe();
    let executor = Executor {
        engine: engine.clone(),
        peers: peers.clone(),
        budget: Budget::new(limits.merge_bytes),
        limits: Arc::clone(&limits),
        hints: hints.clone(),
        metrics: Arc::default(),
        shutdown: shutdown.clone(),
    };
    let figures = Figures::new(Arc::clone(&executor.metrics), identity.until());
    let pipeline = pipeline(&config, cluster.clone(), associations, executor, figures);
    let (leashed, snapshots) = (Arc::clone(&pipeline), cluster.clone());
    shutdown.until_draining(async move { leashed.leashes.follow(snapshots).await });
    let tls = identity.watch();
    shutdown.spawn(identity.keep(config.limits.certificate_look, shutdown.clone()));
    discover::start(Discovery {
        config: Arc::clone(&config),
        engine,
        peers,
        membership,
        hints: hints_heard,
        shutdown: shutdown.clone(),
    });
    let [for_clients, for_peers] = seats(&pipeline);
    shutdown.spawn(doors::keep_peer_doors(doors::PeerDoors {
        config: Arc::clone(&config),
        cluster: cluster.clone(),
        client: peer_client,
        record_keys,
        hints,
        seats: for_peers,
        pipeline: Arc::clone(&pipeline),
        shutdown: shutdown.clone(),
    }));
    let plain = plain.and_then(|listener| doors::give_figures(listener, &pipeline, shutdown));
    serve_clients(listener, tls, for_clients, &config, pipeline, shutdown);
    info!(address = %public, version = env!("CARGO_PKG_VERSION"), "serving");
    Ok(Agent { public, figures: plain, cluster, association, _data: data })
}

/// The places of clients and of peers.
fn seats(pipeline: &Pipeline) -> [Arc<Seats>; 2] {
    let metrics = &pipeline.executor.metrics;
    listen::seats(&pipeline.executor.limits, metrics.door(Listener::Public), metrics.door(Listener::Peers))
}

fn serve_clients(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    seats: Arc<Seats>,
    config: &Config,
    pipeline: Arc<Pipeline>,
    shutdown: &Shutdown,
) {
    let admit = Admit::Public { allow_from: config.listen.allow_from.clone() };
    let limits = Arc::clone(&pipeline.executor.limits);
    let door = Door { listener, tls, admit, limits, seats, shutdown: shutdown.clone() };
    shutdown.spawn(listen::serve(door, doors::handler(pipeline)));
}

fn locked(config: &Config) -> Result<Lock, Fatal> {
    let data = data_dir::lock(&config.data)?;
    if let Lock::Without(warning) = &data {
        warn!("{warning}");
    }
    Ok(data)
}

fn bound(config: &Config) -> Result<(TcpListener, SocketAddr), Fatal> {
    let port = config.listen.port;
    let listener = listen::bind(config.listen.host, port).map_err(|source| Fatal::Bind { port, source })?;
    let public = listener.local_addr().map_err(|source| Fatal::Bind { port, source })?;
    Ok((listener, public))
}

fn associations(
    config: &Config,
    swarm: Swarm,
    record_keys: watch::Receiver<Option<Vec<RecordKey>>>,
) -> Associations {
    Associations::new(associate::Parts {
        start: Start::of(&config.portainer),
        data: config.data.clone(),
        peers: config.cluster.peers.clone(),
        peer_port: config.listen.peer_port,
        swarm,
        record_keys,
    })
}

/// Lets the agents register themselves, if they are to.
fn register(
    config: &Config,
    port: u16,
    swarm: Swarm,
    associations: &Associations,
    shutdown: &Shutdown,
) -> Result<(), Fatal> {
    let Some(registration) = &config.registration else { return Ok(()) };
    let is_protected = associate::Mode::of(&config.portainer).is_protected();
    let parts = register::Parts {
        registration: registration.clone(),
        limits: Arc::new(config.limits.clone()),
        data: config.data.clone(),
        peers: config.cluster.peers.clone(),
        peer_port: config.listen.peer_port,
        port,
        swarm,
        association: (!is_protected).then(|| associations.subscribe()),
    };
    Ok(register::start(parts, shutdown)?)
}

fn pipeline(
    config: &Arc<Config>,
    membership: watch::Receiver<Arc<Cluster>>,
    associations: Associations,
    executor: Executor,
    figures: Figures,
) -> Arc<Pipeline> {
    let browse = Browse::new(config, executor.engine.clone(), executor.shutdown.clone());
    let announced = HeaderValue::from_str(&config.portainer.agent_version);
    let agent = AgentApi {
        config: Arc::clone(config),
        browse,
        host: Host::new(&config.host_root),
        figures,
        engine: executor.engine.clone(),
        shutdown: executor.shutdown.clone(),
    };
    Arc::new(Pipeline {
        membership,
        rules: Rules::of(&config.portainer),
        associations,
        failures: Failures::new(&executor.limits),
        executor,
        agent,
        leashes: Leashes::default(),
        agent_version: announced.unwrap_or(HeaderValue::from_static("2.23.0")),
    })
}

fn say_what_is_odd(config: &Config) {
    for warning in &config.warnings {
        warn!("{warning}");
    }
}

/// What ends the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn hook() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use http::{Request, StatusCode, header};
    use http_body_util::BodyExt;

    use super::*;
    use crate::body::Body;
    use crate::cli::Args;
    use crate::client::{Client, Side};
    use crate::model::{Kind, NodeId, Service};

    /// What an agent answers with, in front of no engine.
    pub(super) fn lone(data: &std::path::Path, cluster: &watch::Receiver<Arc<Cluster>>) -> Arc<Pipeline> {
        let flags = ["--data".to_owned(), data.display().to_string()];
        let config = Arc::new(Config::from_args(&Args::from_flags(flags).unwrap()).unwrap());
        let (shutdown, limits) = (Shutdown::new(), Arc::new(config.limits.clone()));
        let engine = Engine::new(&config.engine, &limits, shutdown.clone()).unwrap();
        let (hints, _) = mpsc::channel(1);
        let peers = Peers::new(watch::channel(None).1, Arc::clone(&limits), shutdown.clone());
        let swarm = Swarm { engine: engine.clone(), peers: peers.clone(), cluster: cluster.clone() };
        let associations = associations(&config, swarm, watch::channel(None).1);
        let (budget, metrics) = (Budget::new(limits.merge_bytes), Arc::default());
        let executor = Executor { engine, peers, budget, limits, hints, metrics, shutdown };
        let until = watch::channel(time::OffsetDateTime::UNIX_EPOCH).1;
        let figures = Figures::new(Arc::clone(&executor.metrics), until);
        pipeline(&config, cluster.clone(), associations, executor, figures)
    }

    #[tokio::test]
    async fn a_peer_that_swarm_no_longer_lists_at_its_address_is_refused_and_its_connection_ends() {
        let (data, listed) = (tempfile::tempdir().unwrap(), IpAddr::from([10, 0, 1, 4]));
        let mut cluster = Cluster { kind: Kind::Swarm, ..discover::nobody_yet() };
        cluster.service = Some(Service { id: "s".into(), name: "agent".into(), task: None });
        cluster.directory = BTreeMap::from([(listed, NodeId::parse("a").unwrap())]);
        let (snapshots, membership) = watch::channel(Arc::new(cluster.clone()));
        let pipeline = lone(data.path(), &membership);
        let ask = async |node: &str, at: IpAddr| {
            let request = Request::builder().uri("/_swarmgate/probe").header("Host", "peer");
            let client = Client::new((at, 1).into(), Side::Peer(NodeId::parse(node).unwrap()));
            let answer =
                Arc::clone(&pipeline).answer(request.body(Body::Empty).unwrap(), Arc::new(client)).await;
            let ends = answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
            let status = answer.status();
            (status, ends, answer.into_body().collect().await.unwrap().to_bytes())
        };
        let refused = &b"{\"message\":\"this node is not listed at this address\"}\n"[..];
        let mapped = IpAddr::from("::ffff:10.0.1.4".parse::<std::net::Ipv6Addr>().unwrap());
        for at in [listed, mapped] {
            assert_eq!(ask("a", at).await.0, StatusCode::OK, "{at}");
            assert_eq!(ask("b", at).await, (StatusCode::FORBIDDEN, true, refused.into()), "{at}");
        }
        assert_eq!(ask("a", [10, 0, 1, 5].into()).await.0, StatusCode::FORBIDDEN);
        // A connection outlives its node's place.
        snapshots.send_replace(Arc::new(Cluster { directory: BTreeMap::new(), ..cluster.clone() }));
        assert_eq!(ask("a", listed).await.0, StatusCode::FORBIDDEN);
        let figures = pipeline.agent.metrics(&cluster).await.into_body().collect().await.unwrap().to_bytes();
        let count = r#"swarmgate_authentication_failures_total{reason="delisted"} 4"#;
        assert!(String::from_utf8_lossy(&figures).contains(count));
        // Where Swarm has no say, the certificate was enough.
        snapshots.send_replace(Arc::new(Cluster { service: None, ..cluster }));
        assert_eq!(ask("b", [10, 0, 1, 5].into()).await.0, StatusCode::OK);
    }
}

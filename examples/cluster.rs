//! Three agents in front of three scripted engines, on loopback, without Docker: `cargo run --release --example cluster`.
//!
//! The engines say that they are one Swarm: two managers and a worker. What is printed can be pasted into another
//! terminal. Ctrl-C ends it all, and nothing stays behind.
#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

#[path = "../tests/it/support/engine.rs"]
mod engine;
mod signing;

use std::error::Error;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use engine::swarm::Swarm;
use engine::{Engine, Script, samples};
use swarmgate::app::{self, Agent, Fatal};
use swarmgate::cli::Args;
use swarmgate::config::Config;
use swarmgate::model::{Cluster, Reach};
use swarmgate::shutdown::Shutdown;
use swarmgate::telemetry;
use tokio::signal::unix::{SignalKind, signal};

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];
const MANAGERS: usize = 2;

/// 20 s: three agents find each other in less than one.
const PATIENCE: Duration = Duration::from_secs(20);

/// 2 s for streams that are open at the end; nobody waits for them here.
const GRACE: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("cluster: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    // Hooked first, so that the directory is removed whenever the end comes.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let shutdown = Shutdown::new();
    let directory = tempfile::Builder::new().prefix("swarmgate-cluster-").tempdir()?;
    let lived = tokio::select! {
        lived = live(directory.path(), &shutdown) => lived,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    shutdown.finish(GRACE).await;
    directory.close()?;
    lived
}

/// Starts it all, says how to try it, and serves until it is dropped.
async fn live(directory: &Path, shutdown: &Shutdown) -> Result<()> {
    let mut scripted = signal(SignalKind::user_defined1())?;
    let swarm = Swarm::new(&HOSTS, MANAGERS);
    let script = |host: &str| Script { swarm: Some(Arc::clone(&swarm)), records: false, ..Script::new(host) };
    let mut engines = Vec::new();
    for host in HOSTS {
        fs::create_dir(directory.join(host))?;
        engines.push(Some(Engine::start_at(&socket(directory, host), script(host))));
    }
    let secret = random()?;
    let agents = agents(directory, &secret, shutdown).await?;
    write_clients(directory, &secret)?;
    println!("{}", instructions(directory, &agents));

    let mut clock = tokio::time::interval(Duration::from_secs(1));
    for second in 1_u64.. {
        tokio::select! {
            _ = clock.tick() => {
                engines.iter().flatten().for_each(|e| e.log(&format!("{}: {second}\n", e.script().host)));
            }
            _ = scripted.recv() => {
                let last = engines.pop().flatten();
                let next = match last {
                    Some(engine) => {
                        engine.stop().await;
                        println!("The engine of node3 has stopped.");
                        None
                    }
                    None => {
                        println!("The engine of node3 is back.");
                        Some(Engine::start_at(&socket(directory, HOSTS[2]), script(HOSTS[2])))
                    }
                };
                engines.push(next);
            }
        }
    }
    Ok(())
}

fn socket(directory: &Path, host: &str) -> std::path::PathBuf {
    directory.join(host).join("docker.sock")
}

/// One agent for each host; returns once each of them sees all.
async fn agents(directory: &Path, secret: &str, shutdown: &Shutdown) -> Result<Vec<Agent>> {
    let (public, peer) = ([9001, 9002, 9003], free_ports()?);
    let cluster_secret = random()?;
    let mut agents = Vec::new();
    for (at, host) in HOSTS.iter().enumerate() {
        let peers: Vec<_> = peer.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let data = directory.join(host).join("data");
        fs::create_dir(&data)?;
        let flags = [
            ("--host", "127.0.0.1".to_owned()),
            ("--port", public[at].to_string()),
            ("--peer-port", peer[at].to_string()),
            ("--peers", peers.join(",")),
            ("--secret", secret.to_owned()),
            ("--cluster-secret", cluster_secret.clone()),
            ("--data", data.display().to_string()),
            ("--docker-host", format!("unix://{}", socket(directory, host).display())),
            ("--log-level", "WARN".to_owned()),
        ];
        let args = Args::from_flags(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]))?;
        let config = Config::from_args(&args).map_err(|problems| format!("{problems:?}"))?;
        telemetry::start(&config.log);
        agents.push(start(config, shutdown).await?);
    }
    for agent in &mut agents {
        let all_answer = tokio::time::timeout(PATIENCE, agent.cluster.wait_for(|c| is_whole(c)));
        all_answer.await.map_err(|_| format!("the agents do not find each other within {PATIENCE:?}"))??;
    }
    Ok(agents)
}

fn is_whole(cluster: &Cluster) -> bool {
    let answers = |reach: Reach| matches!(reach, Reach::Here | Reach::Answering);
    cluster.members.len() == HOSTS.len() && cluster.members.values().all(|member| answers(member.reach))
}

/// On the port that it is to have, or on any where somebody has that one.
async fn start(config: Config, shutdown: &Shutdown) -> Result<Agent> {
    let mut elsewhere = config.clone();
    elsewhere.listen.port = 0;
    match app::start(config, shutdown).await {
        Err(Fatal::Bind { .. }) => Ok(app::start(elsewhere, shutdown).await?),
        started => Ok(started?),
    }
}

/// A port for each agent's peers that nobody has.
fn free_ports() -> std::io::Result<Vec<u16>> {
    // All are held until each is known, so that none is given twice.
    let bound = HOSTS.map(|_| TcpListener::bind(("127.0.0.1", 0)));
    bound.into_iter().map(|listener| Ok(listener?.local_addr()?.port())).collect()
}

fn random() -> Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// What lets curl and the docker CLI in: the two headers of a Portainer server, for `docker` on node3 also its name,
/// and the authorities by which the agents' certificates are verified.
fn write_clients(directory: &Path, secret: &str) -> Result<()> {
    let key = signing::key_in(&directory.join("portainer.pem"))?;
    let (public, signature) = (signing::public_key(&key)?, signing::signature(&key, secret)?);
    let headers = [(signing::PUBLIC_KEY, public.as_str()), (signing::SIGNATURE, signature.as_str())];
    let curl = headers.iter().map(|(name, value)| format!("header = \"{name}: {value}\"\n"));
    let mut authorities = String::new();
    for host in HOSTS {
        authorities += &fs::read_to_string(directory.join(host).join("data/tls/ca.pem"))?;
    }
    let trusted = directory.join("docker/ca.pem");
    let curl = format!("silent\ncacert = \"{}\"\n{}", trusted.display(), curl.collect::<String>());
    write_private(&directory.join("curl"), &curl)?;
    for (folder, target) in [("docker", None), ("docker-node3", Some(("X-Node", "node3")))] {
        let headers: serde_json::Map<_, _> =
            headers.iter().copied().chain(target).map(|(n, v)| (n.to_owned(), v.into())).collect();
        let folder = directory.join(folder);
        fs::create_dir(&folder)?;
        fs::write(folder.join("ca.pem"), &authorities)?;
        let config = serde_json::json!({ "HttpHeaders": headers });
        write_private(&folder.join("config.json"), &format!("{config:#}\n"))?;
    }
    Ok(())
}

/// A signature is a bearer credential.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    fs::write(file, text)?;
    fs::set_permissions(file, Permissions::from_mode(0o600))
}

fn instructions(directory: &Path, agents: &[Agent]) -> String {
    let [first, second, third] = [0, 1, 2].map(|at: usize| agents[at].public);
    let at = directory.display();
    let curl = format!("curl -K {at}/curl");
    let docker =
        |folder: &str, agent| format!("DOCKER_CONFIG={at}/{folder} docker -H tcp://{agent} --tlsverify");
    let (entry, worker, named) =
        (docker("docker", first), docker("docker", third), docker("docker-node3", second));
    let node1 = samples::node_id(HOSTS[0]);
    let container = samples::name(&node1, 0);
    format!(
        "Three agents, each in front of an engine of one Swarm (the engines are scripted, there are no containers):

  https://{first}  node1, manager
  https://{second}  node2, manager
  https://{third}  node3, worker

Any agent lists what runs on all nodes, and says on which:

  {curl} https://{third}/containers/json | grep -o '\"NodeName\":\"[^\"]*\"' | sort | uniq -c
  {entry} ps

A worker answers what only a manager knows:

  {worker} node ls

A request that names a node goes there:

  {curl} -i -H 'X-Node: node3' https://{first}/_ping
  {named} ps

Streams (the shell gives back what you type, Ctrl-P Ctrl-Q leaves it; the log gets a line a second, Ctrl-C leaves it):

  {entry} exec -it {container} sh
  {entry} logs -f {container}

Whoever has no signature stays outside:

  curl -sS --cacert {at}/docker/ca.pem https://{first}/containers/json

The engine of node3 stops, and with the same command again it comes back; lists say who is missing:

  kill -USR1 {pid}
  {curl} -o {at}/list -D - https://{first}/containers/json

Ctrl-C here ends it all and removes {at}.",
        pid = std::process::id(),
    )
}

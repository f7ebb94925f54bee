//! All processes but the load's own: the entry agent, which is the real program, and the rest of the cluster.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use swarmgate::app::{self, Agent};
use swarmgate::cli::Args;
use swarmgate::config::Config;
use swarmgate::shutdown::Shutdown;

use super::Result;
use super::engine::answers::{JSON, Rule, json, respond};
use super::engine::swarm::Swarm;
use super::engine::{Engine, Script, samples};
use super::files;
use super::load::Place;

const CLUSTER_SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Linux tells every process that a second has 100 ticks, whatever the kernel's own clock does.
const TICKS: f64 = 100.0;

pub(crate) const SECRET: &str = "what the server of this bench signs";

/// What every process is told.
pub(crate) struct Layout {
    pub(crate) directory: PathBuf,
    /// One for each node; the entry agent's is the first.
    pub(crate) peer_ports: Vec<u16>,
    /// The entry agent's, for clients.
    public_port: u16,
}

impl Layout {
    pub(crate) fn new(directory: &Path, nodes: usize) -> Result<Self> {
        let mut peer_ports = free_ports(nodes + 1)?;
        let public_port = peer_ports.pop().unwrap_or_default();
        Ok(Self { directory: directory.to_owned(), peer_ports, public_port })
    }

    pub(crate) fn socket(&self, node: usize) -> PathBuf {
        self.directory.join(format!("{node}.sock"))
    }

    /// The entry agent knows all others; they know it alone, since a hundred agents that probe each other are more
    /// load than what is measured.
    fn flags(&self, node: usize, port: u16, data: &Path) -> Vec<String> {
        let others = if node == 0 { &self.peer_ports[1..] } else { &self.peer_ports[..1] };
        let peers: Vec<_> = others.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let socket = format!("unix://{}", self.socket(node).display());
        [
            ("--host", "127.0.0.1"),
            ("--port", &port.to_string()),
            ("--peer-port", &self.peer_ports[node].to_string()),
            ("--peers", &peers.join(",")),
            ("--secret", SECRET),
            ("--cluster-secret", CLUSTER_SECRET),
            ("--data", &data.display().to_string()),
            ("--docker-host", &socket),
            ("--log-level", "ERROR"),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect()
    }
}

/// From below the range from which the kernel gives ports to outgoing connections: those would take some of a hundred
/// ports before an agent binds its own. Held until all are known, so that none is given twice.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000)?;
    let bound = (first..32_768).chain(20_000..first).map(|port| TcpListener::bind(("127.0.0.1", port)));
    let bound: Vec<_> = bound.flatten().take(count).collect();
    if bound.len() < count {
        return Err("there are not enough free ports".into());
    }
    Ok(bound.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<std::io::Result<_>>()?)
}

/// The agent under test, in a process of its own.
pub(crate) struct Entry {
    process: Child,
    data: tempfile::TempDir,
    port: u16,
    pub(crate) started: Instant,
}

impl Entry {
    pub(crate) fn start(program: &Path, layout: &Layout) -> Result<Self> {
        let data = tempfile::tempdir_in(&layout.directory)?;
        let port = layout.public_port;
        let started = Instant::now();
        let process = Command::new(program)
            .args(layout.flags(0, port, data.path()))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { process, data, port, started })
    }

    /// Once it has made its certificates.
    pub(crate) fn place(&self) -> Result<Place> {
        let mut roots = RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(self.data.path().join("tls/ca.pem"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Place::Agent(self.port, Arc::new(config)))
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<std::result::Result<u64, _>>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
    }

    /// `VmRSS` or `VmHWM`, in MB.
    pub(crate) fn memory(&self, what: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with(what)).ok_or("no such line")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("no value")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The helper process: every engine, and every agent but the entry's. It ends with its standard input.
pub(crate) struct Rest {
    process: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Rest {
    pub(crate) fn start(layout: &Layout) -> Result<Self> {
        let ports: Vec<_> = layout.peer_ports.iter().map(u16::to_string).collect();
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--rest")
            .arg(&layout.directory)
            .arg(ports.join(","))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take();
        let replies = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut rest = Self { process, orders, replies };
        rest.wait()?;
        Ok(rest)
    }

    /// How many containers each node has from now on.
    pub(crate) fn set_containers(&mut self, count: usize) -> Result<()> {
        let orders = self.orders.as_mut().ok_or("no input")?;
        writeln!(orders, "{count}")?;
        orders.flush()?;
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        if line.trim() == "ready" { Ok(()) } else { Err("the rest of the cluster did not start".into()) }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.orders = None;
        drop(self.process.wait());
    }
}

/// What the helper process does.
pub(crate) fn be_the_rest(directory: &str, ports: &str) -> Result<()> {
    let peer_ports = ports.split(',').map(str::parse).collect::<std::result::Result<Vec<u16>, _>>()?;
    let layout = Layout { directory: directory.into(), peer_ports, public_port: 0 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shutdown = Shutdown::new();
    let (engines, _agents) = runtime.block_on(start_all(&layout, &shutdown))?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let count: usize = line?.parse()?;
        for engine in &engines {
            let list = Bytes::from(samples::containers(&engine.script().node, count));
            engine.on("/containers/json", Rule::from(move |_| std::future::ready(json(200, list.clone()))));
        }
        println!("ready");
    }
    runtime.block_on(shutdown.finish(Duration::from_millis(100)));
    Ok(())
}

async fn start_all(layout: &Layout, shutdown: &Shutdown) -> Result<(Vec<Engine>, Vec<Agent>)> {
    let hosts: Vec<_> = (0..layout.peer_ports.len()).map(|node| format!("node{node:03}")).collect();
    let names: Vec<_> = hosts.iter().map(String::as_str).collect();
    let swarm = Swarm::new(&names, 3);
    let (mut engines, mut agents) = (Vec::new(), Vec::new());
    for (node, host) in names.iter().enumerate() {
        let script = Script { swarm: Some(Arc::clone(&swarm)), records: false, ..Script::new(host) };
        let engine = Engine::start_at(&layout.socket(node), script);
        let volume = serde_json::json!({ "Name": "bench", "Driver": "local", "Mountpoint": files::volume(&layout.directory) });
        engine.on("/volumes/bench", respond(200, JSON, volume.to_string()));
        engines.push(engine);
        if node == 0 {
            continue;
        }
        let data = layout.directory.join(format!("{node}.data"));
        fs::create_dir(&data)?;
        let args = Args::from_flags(layout.flags(node, 0, &data))?;
        let config = Config::from_args(&args).map_err(|problems| format!("{problems:?}"))?;
        agents.push(app::start(config, shutdown).await?);
    }
    Ok((engines, agents))
}

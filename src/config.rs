//! The configuration in its final types.
//!
//! [`Config::from_args`] reads what the operator wrote, and the files that it names, and finds every problem at once.

mod build;
pub mod limits;
pub mod parse;
pub mod render;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Args;
use crate::model::{Fingerprint, Secret};
pub use limits::Limits;

/// All that the operator decided, checked as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: Listen,
    pub tls: Tls,
    pub engine: Engine,
    pub portainer: Portainer,
    /// AGENT_PORTAINER_URL and what goes with it. `None`: the agents do not register themselves.
    pub registration: Option<Registration>,
    pub cluster: ClusterSettings,
    /// DATA_PATH: certificates, the cached association.
    pub data: PathBuf,
    pub log: Log,
    /// Where the host's file system is mounted. No option: Portainer's pages know it as /host.
    pub host_root: PathBuf,
    pub browse: Browse,
    pub hub: Hub,
    pub limits: Limits,
    /// Variables of Portainer's agent that were set and mean nothing here; one of the warnings names them.
    pub ignored: Vec<String>,
    /// What is allowed but should be known, one line each; to be logged at the start.
    pub warnings: Vec<String>,
}

impl Config {
    /// Checks all that was written, and the fields against each other.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Problem>> {
        build::build(args)
    }
}

/// Why the agent cannot run as it was told to. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct Problem {
    /// The variable that has to change, such as `AGENT_PORT`.
    pub option: String,
    pub reason: String,
}

impl Problem {
    pub fn new(option: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { option: option.into(), reason: reason.into() }
    }
}

#[derive(Clone, Debug)]
pub struct Listen {
    /// AGENT_HOST. `None`: every address, IPv6 and IPv4.
    pub host: Option<IpAddr>,
    /// AGENT_PORT, 9001.
    pub port: u16,
    /// AGENT_PEER_PORT, 9002.
    pub peer_port: u16,
    /// AGENT_ALLOW_FROM. Empty: everybody may connect.
    pub allow_from: Vec<Cidr>,
    /// AGENT_METRICS_ADDR: where figures are given to whoever asks. `None`: nowhere.
    pub metrics: Option<SocketAddr>,
}

/// An address range such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub base: IpAddr,
    pub bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

#[derive(Clone, Debug)]
pub struct Tls {
    /// AGENT_TLS_CERT and AGENT_TLS_KEY: the operator's own pair. `None`: we make one.
    pub own: Option<(PathBuf, PathBuf)>,
    /// AGENT_TLS_SANS: more names and addresses for the certificate that we make.
    pub sans: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Engine {
    pub at: EngineAt,
    /// DOCKER_TLS_VERIFY with DOCKER_CERT_PATH: a folder with ca.pem, cert.pem and key.pem.
    pub tls: Option<PathBuf>,
}

/// DOCKER_HOST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAt {
    Unix(PathBuf),
    /// `host` is a name or an address; IPv6 without brackets.
    Tcp {
        host: String,
        port: u16,
    },
    Npipe(String),
}

#[derive(Clone, Debug)]
pub struct Portainer {
    /// AGENT_SECRET: what the server signs instead of `Portainer-App`.
    pub secret: Option<Secret>,
    /// AGENT_PORTAINER_KEYS: the only keys that count. Empty: none pinned.
    pub pins: Vec<Fingerprint>,
    /// AGENT_SECRET_TIMEOUT: how long an agent that nobody claimed stays claimable.
    pub window: Duration,
    /// What the header `Portainer-Agent` says.
    pub agent_version: String,
}

/// The Portainer server where the agents register themselves, and as what.
#[derive(Clone, Debug)]
pub struct Registration {
    /// AGENT_PORTAINER_URL: `https://host[:port][/path]`, without a slash at its end.
    pub server: String,
    /// AGENT_PORTAINER_TOKEN_FILE: fit for a header.
    pub token: Secret,
    /// AGENT_PORTAINER_CA or AGENT_PORTAINER_FINGERPRINT.
    pub trust: Trust,
    /// AGENT_PORTAINER_NAME.
    pub name: Option<String>,
    /// AGENT_PORTAINER_ADDRESS.
    pub address: Option<PeerAddress>,
}

/// Whom an HTTPS client of ours believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The authorities that browsers know; they are compiled in.
    Public,
    /// The authorities in this PEM file, and no others.
    File(PathBuf),
    /// Whoever shows the certificate with this SHA-256, whatever else it says.
    Pinned(Fingerprint),
    /// Plain HTTP, where nobody proves anything. For tests on loopback: no option leads here.
    Plain,
}

/// Docker Hub, whose limits a Portainer server asks for. No option: tests put their own in its place.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Who gives tokens: scheme and authority.
    pub auth: String,
    pub registry: String,
    pub trust: Trust,
}

#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// AGENT_CLUSTER_SECRET(_FILE): the first is shown, all are trusted.
    pub secrets: Vec<Secret>,
    /// AGENT_CLUSTER_ADDR: the DNS name of all agents. `None`: `tasks.<service>` of the own container's labels.
    pub name: Option<String>,
    /// AGENT_PEERS: static peers. Never without a secret.
    pub peers: Vec<PeerAddress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl PeerAddress {
    /// `host:port`; what membership calls that peer until it has shown who it is.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What may be done with files.
#[derive(Clone, Debug)]
pub struct Browse {
    /// CAP_HOST_MANAGEMENT: the host's own files too, where they are mounted.
    pub host: bool,
    /// AGENT_UPLOAD_LIMIT: the largest file, in bytes.
    pub upload_limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogMode {
    Pretty,
    NoColor,
    Json,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub level: tracing::Level,
    pub mode: LogMode,
}

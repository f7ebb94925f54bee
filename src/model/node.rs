//! A node of the cluster and its agent, as one snapshot knows them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// What identifies a node: its Swarm NodeID; without a Swarm a generated id, or a static peer's `host:port`.
///
/// Never a host name: those repeat.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Accepts 1 to 128 bytes of `[A-Za-z0-9_.:\[\]-]`, so that it is safe in a header, a DNS name and a log line.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let fits = (1..=128).contains(&text.len());
        let safe = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:[]-".contains(&b));
        if fits && safe { Ok(Self(text.into())) } else { Err("not a node id") }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The node's role in the Swarm, as a manager reports it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Manager,
    Worker,
}

impl Role {
    /// Swarm's own spelling, as in `GET /nodes` and in Portainer's `/agents`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
        }
    }
}

/// A Docker API version such as `1.41`. Ordered by number, so that 1.9 comes before 1.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

impl ApiVersion {
    /// Reads `<digits>.<digits>`, the form of Docker's `Api-Version` header.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse().ok())?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The API versions that an engine accepts: `MinAPIVersion` and `ApiVersion` of its `GET /version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    pub min: ApiVersion,
    pub max: ApiVersion,
}

impl ApiRange {
    /// The version in the range that is nearest to `wanted`.
    pub fn clamp(self, wanted: ApiVersion) -> ApiVersion {
        wanted.max(self.min).min(self.max)
    }
}

/// Why a node cannot be asked. The words are those of `X-Node-Errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Absence {
    /// It gave no answer in time.
    Timeout,
    /// Its agent's port refused the connection.
    Refused,
    /// No route, or silent to probes.
    Unreachable,
    /// The handshake failed: it has another cluster secret, or is not who Swarm says it is.
    Secret,
    /// Swarm knows the node, but no agent runs on it.
    NoAgent,
    /// Swarm has drained the node, so no agent runs there.
    Drained,
    /// Swarm calls the node down.
    Down,
}

impl Absence {
    pub const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Refused,
        Self::Unreachable,
        Self::Secret,
        Self::NoAgent,
        Self::Drained,
        Self::Down,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Secret => "secret",
            Self::NoAgent => "no-agent",
            Self::Drained => "drained",
            Self::Down => "down",
        }
    }
}

/// Whether the node's agent can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This agent itself.
    Here,
    /// Known by address, not dialled yet: asked like one that answers.
    Untried,
    /// Our last dial succeeded.
    Answering,
    /// Not asked until a probe succeeds; named in every merged answer.
    Missing(Absence),
}

/// A node and its agent as the snapshot knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    /// The host name: a label for people, may repeat.
    pub host: Arc<str>,
    /// The host name, or `<host>.<first 6 of the id>` where another node has the same.
    pub shown: Arc<str>,
    pub role: Role,
    /// Whether it leads the managers.
    pub leader: bool,
    /// Where its agent listens for peers. `None` for ourselves and for nodes without an agent.
    pub address: Option<SocketAddr>,
    pub reach: Reach,
    /// Its engine's API range, once a probe has told.
    pub api: Option<ApiRange>,
    /// Its agent's version, once a probe has told.
    pub agent_version: Option<Arc<str>>,
}

impl Member {
    pub fn is_here(&self) -> bool {
        self.reach == Reach::Here
    }

    pub fn is_manager(&self) -> bool {
        self.role == Role::Manager
    }

    /// Whether a request may be sent to it now.
    pub fn is_reachable(&self) -> bool {
        self.absence().is_none()
    }

    /// Why no request may be sent to it now.
    pub fn absence(&self) -> Option<Absence> {
        match self.reach {
            Reach::Missing(absence) => Some(absence),
            Reach::Here | Reach::Untried | Reach::Answering => None,
        }
    }
}

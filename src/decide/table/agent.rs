//! The agent's own paths, in each literal form they have. A Docker version may lead them all.

use super::{Access, Browse, Door, Own, Pace, Route, Scope, Session};

/// The agent's own paths; they come before the engine's. One row has all methods of a path.
pub const AGENT: &[Route] = &[
    own("GET, HEAD", "/ping", Access::Open, Own::Ping),
    own("GET, HEAD", "/v2/ping", Access::Open, Own::Ping),
    own("GET, POST", "/key", Access::Read, Own::Key),
    own("GET", "/agents", Access::Read, Own::Agents),
    own("GET", "/v1/agents", Access::Read, Own::Agents),
    own("GET", "/v2/agents", Access::Read, Own::Agents),
    there("GET", "/browse/ls", Access::Sensitive, Own::Browse(Browse::List)),
    lasting("GET", "/browse/get", Access::Sensitive, Own::Browse(Browse::Get)),
    there("DELETE", "/browse/delete", Access::Write, Own::Browse(Browse::Delete)),
    there("PUT", "/browse/rename", Access::Write, Own::Browse(Browse::Rename)),
    lasting("POST", "/browse/put", Access::Write, Own::Browse(Browse::Put)),
    there("GET", "/v2/browse/ls", Access::Sensitive, Own::Browse(Browse::List)),
    lasting("GET", "/v2/browse/get", Access::Sensitive, Own::Browse(Browse::Get)),
    there("DELETE", "/v2/browse/delete", Access::Write, Own::Browse(Browse::Delete)),
    there("PUT", "/v2/browse/rename", Access::Write, Own::Browse(Browse::Rename)),
    lasting("POST", "/v2/browse/put", Access::Write, Own::Browse(Browse::Put)),
    there("GET", "/v1/browse/{volume}/ls", Access::Sensitive, Own::Browse(Browse::List)),
    lasting("GET", "/v1/browse/{volume}/get", Access::Sensitive, Own::Browse(Browse::Get)),
    there("DELETE", "/v1/browse/{volume}/delete", Access::Write, Own::Browse(Browse::Delete)),
    there("PUT", "/v1/browse/{volume}/rename", Access::Write, Own::Browse(Browse::Rename)),
    lasting("POST", "/v1/browse/{volume}/put", Access::Write, Own::Browse(Browse::Put)),
    console("/websocket/exec", Session::Exec),
    console("/v1/websocket/exec", Session::Exec),
    console("/v2/websocket/exec", Session::Exec),
    console("/websocket/attach", Session::Attach),
    console("/v1/websocket/attach", Session::Attach),
    console("/v2/websocket/attach", Session::Attach),
    there("GET", "/host/info", Access::Read, Own::HostInfo),
    there("GET", "/v1/host/info", Access::Read, Own::HostInfo),
    there("GET", "/v2/host/info", Access::Read, Own::HostInfo),
    there("GET", "/metrics", Access::Read, Own::Metrics),
    own("POST", "/v2/dockerhub", Access::Read, Own::DockerHub),
    own("", "/kubernetes/{path}", Access::Read, Own::Kubernetes),
    own("", "/v2/kubernetes/stack", Access::Read, Own::Kubernetes),
    own("", "/websocket/pod", Access::Read, Own::Kubernetes),
];

/// On the peer listener alone; elsewhere the path is one like any other.
pub const PROBE: Route = own("GET", "/_swarmgate/probe", Access::Read, Own::Probe);

/// Answered by the entry agent.
const fn own(method: &'static str, pattern: &'static str, access: Access, own: Own) -> Route {
    row(method, pattern, access, Scope::Own(own))
}

/// Answered by the agent of the node that is meant.
const fn there(method: &'static str, pattern: &'static str, access: Access, own: Own) -> Route {
    row(method, pattern, access, Scope::There(own))
}

/// The same; sizes have no bound.
const fn lasting(method: &'static str, pattern: &'static str, access: Access, own: Own) -> Route {
    Route { pace: Pace::Long, ..there(method, pattern, access, own) }
}

const fn row(method: &'static str, pattern: &'static str, access: Access, scope: Scope) -> Route {
    Route { method, pattern, access, scope, pace: Pace::Plain, door: Door::None, peek: false }
}

const fn console(pattern: &'static str, session: Session) -> Route {
    Route { door: Door::WebSocket, ..lasting("GET", pattern, Access::Write, Own::Console(session)) }
}

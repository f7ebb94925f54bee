//! The agent's own paths, in each literal form they have. A Docker version may lead them all.

use super::{Access, Door, Own, Pace, Route, Scope, Session};

/// The agent's own paths; they come before the engine's. One row has all methods of a path.
pub const AGENT: &[Route] = &[
    own("GET, HEAD", "/ping", Access::Open, Own::Ping),
    own("GET, HEAD", "/v2/ping", Access::Open, Own::Ping),
    own("GET, POST", "/key", Access::Read, Own::Key),
    own("GET", "/agents", Access::Read, Own::Agents),
    own("GET", "/v1/agents", Access::Read, Own::Agents),
    own("GET", "/v2/agents", Access::Read, Own::Agents),
    console("/websocket/exec", Session::Exec),
    console("/v1/websocket/exec", Session::Exec),
    console("/v2/websocket/exec", Session::Exec),
    console("/websocket/attach", Session::Attach),
    console("/v1/websocket/attach", Session::Attach),
    console("/v2/websocket/attach", Session::Attach),
    own("", "/kubernetes/{path}", Access::Read, Own::Kubernetes),
    own("", "/v2/kubernetes/stack", Access::Read, Own::Kubernetes),
    own("", "/websocket/pod", Access::Read, Own::Kubernetes),
];

/// On the peer listener alone; elsewhere the path is one like any other.
pub const PROBE: Route = own("GET", "/_swarmgate/probe", Access::Read, Own::Probe);

const fn own(method: &'static str, pattern: &'static str, access: Access, own: Own) -> Route {
    let scope = Scope::Own(own);
    Route { method, pattern, access, scope, pace: Pace::Plain, door: Door::None, peek: false }
}

const fn console(pattern: &'static str, session: Session) -> Route {
    Route {
        method: "GET",
        pattern,
        access: Access::Write,
        scope: Scope::There(Own::Console(session)),
        pace: Pace::Long,
        door: Door::WebSocket,
        peek: false,
    }
}

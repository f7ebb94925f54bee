//! The table of routes: who may call each, where it goes, and how it flows. In one row, so that they cannot be said
//! apart.
//!
//! [`ROUTES`] is the Engine API; [`AGENT`] are this agent's own paths, which come first. A path in neither is the
//! business of the engine, so that its own 404 comes back in its own shape.

mod agent;
mod engine;

use http::Method;

pub use self::agent::{AGENT, PROBE};
pub use self::engine::ROUTES;
use crate::model::api_path::ApiPath;

/// One kind of request.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// In capitals. For the agent's own paths all methods they have, in the form of an `Allow` header.
    pub method: &'static str,
    /// Literal segments and `{parameters}`.
    pub pattern: &'static str,
    pub access: Access,
    pub scope: Scope,
    pub pace: Pace,
    pub door: Door,
    /// Whether the body has a say in where the request goes.
    pub peek: bool,
}

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone may ask.
    Open,
    Read,
    /// A read that may show secrets or what is inside containers.
    Sensitive,
    Write,
}

/// Which node a route wants when the client names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This agent answers itself.
    Own(Own),
    /// The agent of the node that is meant answers itself.
    There(Own),
    /// The node it is sent to.
    Local,
    /// Acts on that very node's membership in a Swarm: never sent to a manager by accident.
    Itself(Unnamed),
    /// The node that has the object, as far as it is looked for.
    Owner(ObjectKind, Search),
    Manager,
    /// All nodes. Where the answers are not merged yet: the entry node.
    Cluster(Option<Merge>),
    /// No node in particular.
    Any,
}

/// What this agent answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Ping,
    Key,
    Agents,
    /// Files of volumes and of the host.
    Browse(Browse),
    /// The browser's terminal.
    Console(Session),
    /// Disks and PCI devices of the host.
    HostInfo,
    /// What Docker Hub lets a Portainer server's registry account pull.
    DockerHub,
    /// The figures of an agent and its host.
    Metrics,
    /// Portainer's paths for an orchestrator that is not here.
    Kubernetes,
    /// Only on the peer listener: what another agent must know of this one.
    Probe,
}

/// What is done with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browse {
    List,
    Get,
    Delete,
    Rename,
    Put,
}

/// What a console is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// An exec instance, which it starts.
    Exec,
    /// A container's first process.
    Attach,
}

/// What is done when a route of [`Scope::Itself`] comes without a named node, and there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// The entry node is meant.
    Entry,
    /// Too dangerous to guess.
    Refused,
}

/// What an owner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Container,
    Exec,
    Image,
    Volume,
    Network,
    Plugin,
}

/// Where an object is looked for when the client names no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Not yet: the entry node is meant.
    Nowhere,
    /// On all nodes.
    Everywhere,
    /// On the entry node, then on a manager: of the Swarm's networks a worker's engine knows only those it uses.
    Managers,
}

/// How the answers of several nodes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    Containers,
    Images,
    Volumes,
    Networks,
    Info,
}

/// How a request's bytes may flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Progress is expected.
    Plain,
    /// Minutes or hours of silence are normal, and sizes have no bound: no progress limit, no total.
    Long,
}

/// Which door to a raw stream a route has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    None,
    Tcp,
    H2c,
    WebSocket,
}

impl Door {
    /// Whether this `Upgrade` value opens it. Elsewhere the header is stripped: an engine that answered 200 would
    /// otherwise go on to read a pipelined request that nobody has looked at.
    pub fn accepts(self, upgrade: &str) -> bool {
        let protocol = match self {
            Self::None => return false,
            Self::Tcp => "tcp",
            Self::H2c => "h2c",
            Self::WebSocket => "websocket",
        };
        upgrade.trim().eq_ignore_ascii_case(protocol)
    }
}

/// What no row names: full access is needed, nothing is known of how it flows, the engine answers.
pub const UNKNOWN: Route = Route {
    method: "",
    pattern: "",
    access: Access::Write,
    scope: Scope::Any,
    pace: Pace::Long,
    door: Door::None,
    peek: false,
};

/// Finds the row of a request. An own path of the agent is found whatever the method: see [`Route::allows`].
pub fn route(method: &Method, path: &ApiPath) -> &'static Route {
    let asked = path.decoded();
    let initial = asked.as_bytes().get(1);
    let own = AGENT.iter().find(|route| {
        // As below: most requests are none of these.
        route.pattern.as_bytes().get(1) == initial && fits(route.pattern, asked)
    });
    own.unwrap_or_else(|| engine_route(method, path))
}

/// Finds the row of a request that only the engine may answer.
pub fn engine_route(method: &Method, path: &ApiPath) -> &'static Route {
    // The one list that engines also serve with a slash behind it.
    let spelled = path.decoded();
    let spelled = if spelled == "/networks/" { "/networks" } else { spelled };
    // `POST /v1.2.3/x` would otherwise be a gRPC call, for the dot in it.
    if path.is_versioned_oddly() {
        return &UNKNOWN;
    }
    let initial = spelled.as_bytes().get(1);
    let found = ROUTES.iter().find(|route| {
        // Most rows differ in their first letter already, which spares reading their patterns.
        let first = route.pattern.as_bytes().get(1);
        (first == initial || first == Some(&b'{'))
            && route.method == method.as_str()
            && fits(route.pattern, spelled)
    });
    found.unwrap_or(&UNKNOWN)
}

impl Route {
    /// What a path names in the place of this row's first parameter; the whole path where it has none.
    pub fn named<'p>(&self, path: &'p ApiPath) -> &'p str {
        let decoded = path.decoded();
        let (head, rest) = self.pattern.split_once('{').unwrap_or_default();
        let tail = rest.split_once('}').map(|(_, tail)| tail).unwrap_or_default();
        decoded.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)).unwrap_or(decoded)
    }

    /// Whether the row serves the method. Only the agent's own rows can say no.
    pub fn allows(&self, method: &Method) -> bool {
        self.method.is_empty() || self.method.split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Whether a path has a pattern's form.
///
/// An engine's names are greedy: they may contain slashes, and the end of the path says what is asked of them. Names
/// under [`has_plain_names`] are one segment, and so is what a second parameter names.
fn fits(pattern: &str, path: &str) -> bool {
    let Some((head, parameters)) = pattern.split_once('{') else { return pattern == path };
    let (Some(rest), Some((label, tail))) = (path.strip_prefix(head), parameters.split_once('}')) else {
        return false;
    };
    let name = match tail.split_once('{') {
        None => rest.strip_suffix(tail),
        Some((between, _)) => rest
            .rsplit_once(between)
            .filter(|(_, last)| !last.is_empty() && !last.contains('/'))
            .map(|(name, _)| name),
    };
    name.is_some_and(|name| {
        // The profiler's index is its empty path. A gRPC service is known by the dot in its name.
        (!name.is_empty() || label == "path")
            && (name.contains('.') || !label.contains('.'))
            && (!name.contains('/') || !(label.contains('.') || has_plain_names(head)))
    })
}

/// Swarm's objects are named by one segment, and so are volumes in the agent's own paths.
fn has_plain_names(head: &str) -> bool {
    matches!(head, "/services/" | "/nodes/" | "/tasks/" | "/secrets/" | "/configs/" | "/v1/browse/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(method: &str, path: &str) -> &'static str {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        route(&method, &ApiPath::parse(path).expect("a path")).pattern
    }

    fn check(rows: &[(&str, &str, &str)]) {
        for (method, path, expected) in rows {
            assert_eq!(pattern(method, path), *expected, "{method} {path}");
        }
    }

    #[test]
    fn an_engines_names_are_greedy() {
        let rows = [
            ("GET", "/containers/json", "/containers/json"),
            ("GET", "/v1.41/containers/json", "/containers/json"),
            ("GET", "/containers/json/", ""),
            ("GET", "/containers/json/json", "/containers/{id}/json"),
            ("GET", "/containers/node2/web/json", "/containers/{id}/json"),
            ("GET", "/containers/web/attach/ws", "/containers/{id}/attach/ws"),
            ("POST", "/containers/web/attach", "/containers/{id}/attach"),
            ("HEAD", "/containers/web/archive", "/containers/{id}/archive"),
            ("HEAD", "/containers/json", ""),
            ("POST", "/containers/json", ""),
            ("POST", "/containers/create", "/containers/create"),
            ("POST", "/containers/create/start", "/containers/{id}/start"),
            ("GET", "/containers/web", ""),
            ("DELETE", "/containers/web", "/containers/{id}"),
            ("DELETE", "/containers/node2/web", "/containers/{id}"),
            ("DELETE", "/containers/web/checkpoints/c1", "/containers/{id}/checkpoints/{checkpoint}"),
            ("DELETE", "/containers/web/checkpoints", "/containers/{id}"),
            ("GET", "/images/json/json", "/images/{name}/json"),
            ("GET", "/images/reg:5000/a/b/v1.2/json", "/images/{name}/json"),
            ("GET", "/images/a%2Fb/json", "/images/{name}/json"),
            ("GET", "/images/get", "/images/get"),
            ("GET", "/images/get/get", "/images/{name}/get"),
            ("POST", "/images/a/b/push", "/images/{name}/push"),
            ("DELETE", "/images/prune", "/images/{name}"),
            ("GET", "/volumes/create", "/volumes/{name}"),
            ("GET", "/networks", "/networks"),
            ("GET", "/networks/", "/networks"),
            ("GET", "/v1.41/networks/", "/networks"),
            ("GET", "/volumes/", ""),
            ("GET", "/networks/a/b", "/networks/{id}"),
            ("POST", "/networks/n/connect", "/networks/{id}/connect"),
        ];
        check(&rows);
    }

    #[test]
    fn the_rest_is_matched_by_whole_segments() {
        let rows = [
            ("GET", "/services/a", "/services/{id}"),
            ("GET", "/services/a/b", ""),
            ("GET", "/services/a/logs", "/services/{id}/logs"),
            ("POST", "/services/create", "/services/create"),
            ("GET", "/debug/pprof/", "/debug/pprof/{path}"),
            ("GET", "/debug/pprof/a/b", "/debug/pprof/{path}"),
            ("GET", "/distribution/a/b:c/json", "/distribution/{name}/json"),
            ("POST", "/moby.buildkit.v1.Control/Solve", "/{grpc.Service}/{Method}"),
            ("POST", "/moby/Solve", ""),
            ("POST", "/a.b/c/d", ""),
            ("POST", "/v1.2.3/x", ""),
            ("POST", "/grpc", "/grpc"),
            ("GET", "/v1.2.3/containers/json", ""),
            ("GET", "/v1.41", ""),
            ("GET", "/v1.41/", ""),
            ("GET", "/", ""),
            ("GET", "/Containers/json", ""),
            ("get", "/containers/json", ""),
            ("OPTIONS", "/a/b", "/{any}"),
            ("GET", "/_ping", "/_ping"),
            ("GET", "/ping", "/ping"),
            ("PATCH", "/v2/ping", "/v2/ping"),
            ("GET", "/v1.41/ping", "/ping"),
            ("GET", "/v1.41/v2/ping", "/v2/ping"),
            ("GET", "/v1/ping", ""),
            ("GET", "/pingx", ""),
            ("GET", "/ping/", ""),
            ("GET", "/Ping", ""),
            ("POST", "/key", "/key"),
            ("GET", "/v2/key", ""),
            ("GET", "/agents", "/agents"),
            ("GET", "/agentsfoo", ""),
            ("GET", "/v1.41/v2/agents", "/v2/agents"),
            ("GET", "/browse/ls", "/browse/ls"),
            ("PATCH", "/v1.41/v2/browse/put", "/v2/browse/put"),
            ("GET", "/v1/browse/ls", ""),
            ("GET", "/v1/browse/vol/ls", "/v1/browse/{volume}/ls"),
            ("GET", "/v1.41/v1/browse/ls/ls", "/v1/browse/{volume}/ls"),
            ("GET", "/v1/browse/a/b/ls", ""),
            ("GET", "/v1/browse/a%2Fb/ls", ""),
            ("GET", "/browse/vol/ls", ""),
            ("GET", "/v2/browse/vol/ls", ""),
            ("GET", "/browse/lsx", ""),
            ("GET", "/browse", ""),
            ("GET", "/websocket/exec", "/websocket/exec"),
            ("POST", "/v1.41/v2/websocket/attach", "/v2/websocket/attach"),
            ("GET", "/v1/websocket/exec/", ""),
            ("GET", "/websocket/execs", ""),
            ("GET", "/host/info", "/host/info"),
            ("POST", "/v1.41/v1/host/info", "/v1/host/info"),
            ("GET", "/host/info/", ""),
            ("GET", "/hostile", ""),
            ("GET", "/v1.41/v2/dockerhub", "/v2/dockerhub"),
            ("POST", "/dockerhub", ""),
            ("POST", "/v1/dockerhub", ""),
            ("POST", "/kubernetes/api/v1", "/kubernetes/{path}"),
            ("GET", "/_swarmgate/probe", ""),
        ];
        check(&rows);
    }

    #[test]
    fn literal_rows_win_over_parameters() {
        for row in ROUTES.iter().filter(|row| !row.pattern.contains('{')) {
            assert_eq!(pattern(row.method, row.pattern), row.pattern);
        }
    }

    #[test]
    fn every_row_can_be_reached() {
        for row in ROUTES {
            let path = row.pattern.replace("{grpc.Service}", "a.b").replace(['{', '}'], "");
            assert_eq!(pattern(row.method, &path), row.pattern, "{path}");
        }
    }

    #[test]
    fn a_door_opens_to_its_own_protocol_only() {
        for (door, opens) in [(Door::Tcp, "TCP"), (Door::H2c, "h2c"), (Door::WebSocket, "WebSocket")] {
            let accepted: Vec<_> =
                ["TCP", "h2c", "WebSocket", "", "tcp, h2c"].into_iter().filter(|u| door.accepts(u)).collect();
            assert_eq!(accepted, [opens], "{door:?}");
        }
        assert!(!Door::None.accepts("tcp") && !Door::None.accepts(""));
    }

    #[test]
    fn a_row_knows_what_a_path_names() {
        let rows = [
            ("/containers/web/json", "web"),
            ("/v1.41/containers/json/json", "json"),
            ("/containers/a%2Fb/json", "a/b"),
            ("/networks/n", "n"),
            ("/info", "/info"),
        ];
        for (path, named) in rows {
            let path = ApiPath::parse(path).expect("a path");
            assert_eq!(route(&Method::GET, &path).named(&path), named);
        }
    }

    #[test]
    fn only_ping_is_open() {
        let open: Vec<_> = ROUTES.iter().chain(AGENT).filter(|r| r.access == Access::Open).collect();
        assert!(open.iter().all(|r| r.scope == Scope::Own(Own::Ping)), "{open:?}");
        assert_eq!(UNKNOWN.access, Access::Write);
    }
}

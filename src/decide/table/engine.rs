//! Every route of the Engine API, in the order of matching: a route stands before those whose greedy names would
//! swallow it.

use super::Access::{Read, Sensitive, Write};
use super::Scope::{Any, Cluster, Itself, Local, Manager};
use super::{Access, Door, Merge, ObjectKind, Pace, Route, Scope, Search, Unnamed};

const CONTAINER: Scope = Scope::Owner(ObjectKind::Container, Search::Nowhere);
const EXEC: Scope = Scope::Owner(ObjectKind::Exec, Search::Nowhere);
const IMAGE: Scope = Scope::Owner(ObjectKind::Image, Search::Nowhere);
const VOLUME: Scope = Scope::Owner(ObjectKind::Volume, Search::Nowhere);
const NETWORK: Scope = Scope::Owner(ObjectKind::Network, Search::Nowhere);
const PLUGIN: Scope = Scope::Owner(ObjectKind::Plugin, Search::Nowhere);

/// The Engine API.
pub const ROUTES: &[Route] = &[
    row("GET", "/_ping", Read, Local),
    row("HEAD", "/_ping", Read, Local),
    row("GET", "/version", Read, Local),
    row("GET", "/info", Read, Cluster(Some(Merge::Info))),
    row("GET", "/events", Sensitive, Cluster(None)).long(),
    row("GET", "/system/df", Read, Cluster(None)).long(),
    row("POST", "/auth", Sensitive, Any),
    row("POST", "/commit", Write, CONTAINER).long(),
    row("GET", "/distribution/{name}/json", Read, Any),
    row("POST", "/session", Write, Local).long().opens(Door::H2c),
    row("POST", "/grpc", Write, Local).long().opens(Door::H2c),
    row("POST", "/{grpc.Service}/{Method}", Write, Local).long(),
    row("GET", "/debug/vars", Sensitive, Local),
    row("GET", "/debug/pprof/{path}", Sensitive, Local).long(),
    row("OPTIONS", "/{any}", Read, Any),
    row("GET", "/containers/json", Read, Cluster(Some(Merge::Containers))),
    row("POST", "/containers/create", Write, Local),
    row("GET", "/containers/{id}/json", Sensitive, CONTAINER).sought(Search::Everywhere),
    row("GET", "/containers/{id}/top", Sensitive, CONTAINER),
    row("GET", "/containers/{id}/logs", Sensitive, CONTAINER).long(),
    row("GET", "/containers/{id}/changes", Read, CONTAINER),
    row("GET", "/containers/{id}/export", Sensitive, CONTAINER).long(),
    row("GET", "/containers/{id}/stats", Read, CONTAINER).long(),
    row("POST", "/containers/{id}/resize", Write, CONTAINER),
    row("POST", "/containers/{id}/start", Write, CONTAINER),
    row("POST", "/containers/{id}/stop", Write, CONTAINER).long(),
    row("POST", "/containers/{id}/restart", Write, CONTAINER).long(),
    row("POST", "/containers/{id}/kill", Write, CONTAINER),
    row("POST", "/containers/{id}/update", Write, CONTAINER),
    row("POST", "/containers/{id}/rename", Write, CONTAINER),
    row("POST", "/containers/{id}/pause", Write, CONTAINER),
    row("POST", "/containers/{id}/unpause", Write, CONTAINER),
    row("POST", "/containers/{id}/attach", Write, CONTAINER).long().opens(Door::Tcp),
    row("GET", "/containers/{id}/attach/ws", Write, CONTAINER).long().opens(Door::WebSocket),
    row("POST", "/containers/{id}/wait", Read, CONTAINER).long(),
    row("DELETE", "/containers/{id}/checkpoints/{checkpoint}", Write, CONTAINER),
    row("DELETE", "/containers/{id}", Write, CONTAINER),
    row("HEAD", "/containers/{id}/archive", Read, CONTAINER),
    row("GET", "/containers/{id}/archive", Sensitive, CONTAINER).long(),
    row("PUT", "/containers/{id}/archive", Write, CONTAINER).long(),
    row("POST", "/containers/prune", Write, Cluster(None)).long(),
    row("POST", "/containers/{id}/exec", Write, CONTAINER),
    row("GET", "/containers/{id}/checkpoints", Read, CONTAINER),
    row("POST", "/containers/{id}/checkpoints", Write, CONTAINER),
    row("POST", "/exec/{id}/start", Write, EXEC).long().opens(Door::Tcp),
    row("POST", "/exec/{id}/resize", Write, EXEC),
    row("GET", "/exec/{id}/json", Sensitive, EXEC),
    row("GET", "/images/json", Read, Cluster(Some(Merge::Images))),
    row("POST", "/build", Write, Local).long(),
    row("POST", "/build/prune", Write, Cluster(None)).long(),
    row("POST", "/build/cancel", Write, Cluster(None)),
    row("POST", "/images/create", Write, Local).long(),
    row("GET", "/images/search", Read, Any),
    row("POST", "/images/prune", Write, Cluster(None)).long(),
    row("GET", "/images/get", Sensitive, IMAGE).long(),
    row("POST", "/images/load", Write, Local).long(),
    row("GET", "/images/{name}/get", Sensitive, IMAGE).long(),
    row("GET", "/images/{name}/json", Read, IMAGE),
    row("GET", "/images/{name}/history", Read, IMAGE),
    row("GET", "/images/{name}/attestations", Read, IMAGE),
    row("POST", "/images/{name}/push", Write, IMAGE).long(),
    row("POST", "/images/{name}/tag", Write, IMAGE),
    row("DELETE", "/images/{name}", Write, IMAGE),
    row("GET", "/volumes", Read, Cluster(Some(Merge::Volumes))),
    row("POST", "/volumes/create", Write, Local),
    row("GET", "/volumes/{name}", Read, VOLUME),
    row("PUT", "/volumes/{name}", Write, Manager),
    row("DELETE", "/volumes/{name}", Write, VOLUME),
    row("POST", "/volumes/prune", Write, Cluster(None)).long(),
    row("GET", "/networks", Read, Cluster(Some(Merge::Networks))),
    row("GET", "/networks/{id}", Read, NETWORK).sought(Search::Managers),
    row("DELETE", "/networks/{id}", Write, NETWORK).sought(Search::Managers),
    row("POST", "/networks/create", Write, Local).peeks(),
    row("POST", "/networks/{id}/connect", Write, CONTAINER),
    row("POST", "/networks/{id}/disconnect", Write, CONTAINER),
    row("POST", "/networks/prune", Write, Cluster(None)).long(),
    row("GET", "/plugins", Read, Cluster(None)),
    row("GET", "/plugins/privileges", Read, Any),
    row("POST", "/plugins/pull", Write, Local).long(),
    row("GET", "/plugins/{name}/json", Read, PLUGIN),
    row("DELETE", "/plugins/{name}", Write, PLUGIN),
    row("POST", "/plugins/{name}/enable", Write, PLUGIN),
    row("POST", "/plugins/{name}/disable", Write, PLUGIN),
    row("POST", "/plugins/{name}/upgrade", Write, PLUGIN).long(),
    row("POST", "/plugins/create", Write, Local).long(),
    row("POST", "/plugins/{name}/push", Write, PLUGIN).long(),
    row("POST", "/plugins/{name}/set", Write, PLUGIN),
    row("GET", "/swarm", Sensitive, Manager),
    row("POST", "/swarm/init", Write, Itself(Unnamed::Entry)),
    row("POST", "/swarm/join", Write, Itself(Unnamed::Refused)),
    row("POST", "/swarm/leave", Write, Itself(Unnamed::Refused)),
    row("POST", "/swarm/update", Write, Manager),
    row("GET", "/swarm/unlockkey", Sensitive, Manager),
    row("POST", "/swarm/unlock", Write, Itself(Unnamed::Entry)),
    row("GET", "/nodes", Read, Manager),
    row("GET", "/nodes/{id}", Read, Manager),
    row("DELETE", "/nodes/{id}", Write, Manager),
    row("POST", "/nodes/{id}/update", Write, Manager),
    row("GET", "/services", Sensitive, Manager),
    row("POST", "/services/create", Write, Manager),
    row("GET", "/services/{id}", Sensitive, Manager),
    row("DELETE", "/services/{id}", Write, Manager),
    row("POST", "/services/{id}/update", Write, Manager),
    row("GET", "/services/{id}/logs", Sensitive, Manager).long(),
    row("GET", "/tasks", Sensitive, Manager),
    row("GET", "/tasks/{id}", Sensitive, Manager),
    row("GET", "/tasks/{id}/logs", Sensitive, Manager).long(),
    row("GET", "/secrets", Read, Manager),
    row("POST", "/secrets/create", Write, Manager),
    row("GET", "/secrets/{id}", Read, Manager),
    row("DELETE", "/secrets/{id}", Write, Manager),
    row("POST", "/secrets/{id}/update", Write, Manager),
    row("GET", "/configs", Sensitive, Manager),
    row("POST", "/configs/create", Write, Manager),
    row("GET", "/configs/{id}", Sensitive, Manager),
    row("DELETE", "/configs/{id}", Write, Manager),
    row("POST", "/configs/{id}/update", Write, Manager),
];

const fn row(method: &'static str, pattern: &'static str, access: Access, scope: Scope) -> Route {
    Route { method, pattern, access, scope, pace: Pace::Plain, door: Door::None, peek: false }
}

impl Route {
    const fn long(mut self) -> Self {
        self.pace = Pace::Long;
        self
    }

    const fn opens(mut self, door: Door) -> Self {
        self.door = door;
        self
    }

    /// Where its object is looked for; only of rows whose object has an owner.
    const fn sought(mut self, search: Search) -> Self {
        if let Scope::Owner(kind, _) = self.scope {
            self.scope = Scope::Owner(kind, search);
        }
        self
    }

    const fn peeks(mut self) -> Self {
        self.peek = true;
        self
    }
}

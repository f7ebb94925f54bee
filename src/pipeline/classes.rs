//! What a request counts as in the figures.

use http::Method;

use crate::client::{Client, Side};
use crate::decide::table::{self, Access, Door, Pace, Route, Scope, UNKNOWN, route};
use crate::decide::{Origin, Own};
use crate::identify::Denied;
use crate::model::api_path::ApiPath;
use crate::telemetry::metrics::{Class, Denial, Listener};

pub(super) fn listener(client: &Client) -> Listener {
    match client.side {
        Side::Public => Listener::Public,
        Side::Peer(_) => Listener::Peers,
    }
}

/// The row that a request is known by before it was decided.
pub(super) fn row(method: &Method, path: &ApiPath, origin: Origin) -> &'static Route {
    let probe = &table::PROBE;
    if origin == Origin::Peer && path.decoded() == probe.pattern { probe } else { route(method, path) }
}

pub(super) fn of(route: &Route) -> Class {
    match (route.scope, route.door) {
        _ if *route == UNKNOWN => Class::Other,
        (_, Door::Tcp | Door::H2c | Door::WebSocket) => Class::Stream,
        (Scope::Own(Own::Ping), _) => Class::Ping,
        _ if route.pattern == "/_ping" => Class::Ping,
        _ if route.pace == Pace::Long => Class::Long,
        (Scope::Own(_) | Scope::There(_), _) => Class::Agent,
        (Scope::Cluster(Some(_)), _) => Class::List,
        _ if route.access == Access::Write => Class::Write,
        _ => Class::Read,
    }
}

pub(super) fn denial(denied: &Denied) -> Denial {
    match denied {
        Denied::Missing => Denial::Missing,
        Denied::Invalid => Denial::Invalid,
        Denied::Other(_) => Denial::OtherKey,
        Denied::Closed => Denial::Closed,
        Denied::NotYet => Denial::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_request_has_its_class() {
        let rows = [
            ("GET", "/ping", Class::Ping),
            ("POST", "/v1.41/v2/ping", Class::Ping),
            ("HEAD", "/_ping", Class::Ping),
            ("GET", "/v1.41/containers/json", Class::List),
            ("GET", "/info", Class::List),
            ("POST", "/containers/json", Class::Other),
            ("GET", "/containers/x/json", Class::Read),
            ("GET", "/services", Class::Read),
            ("POST", "/containers/create", Class::Write),
            ("DELETE", "/volumes/x", Class::Write),
            ("GET", "/events", Class::Long),
            ("GET", "/containers/x/logs", Class::Long),
            ("POST", "/images/create", Class::Long),
            ("POST", "/containers/x/attach", Class::Stream),
            ("POST", "/exec/x/start", Class::Stream),
            ("GET", "/containers/x/attach/ws", Class::Stream),
            ("GET", "/v2/websocket/exec", Class::Stream),
            ("POST", "/session", Class::Stream),
            ("GET", "/agents", Class::Agent),
            ("GET", "/v2/host/info", Class::Agent),
            ("GET", "/metrics", Class::Agent),
            ("GET", "/browse/ls", Class::Agent),
            ("POST", "/v2/browse/put", Class::Long),
            ("GET", "/nope", Class::Other),
            ("GET", "/_swarmgate/probe", Class::Other),
        ];
        for (method, path, expected) in rows {
            let (method, path) =
                (Method::from_bytes(method.as_bytes()).unwrap(), ApiPath::parse(path).unwrap());
            assert_eq!(of(row(&method, &path, Origin::Public)), expected, "{method} {}", path.decoded());
        }
        let probe = ApiPath::parse("/_swarmgate/probe").unwrap();
        assert_eq!(of(row(&Method::GET, &probe, Origin::Peer)), Class::Agent);
    }
}

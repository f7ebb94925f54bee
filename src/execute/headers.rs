//! The only place that says which headers stop at the entry agent, which go on, and which come back.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::model::{Caller, NodeId};

/// On a request to a peer: the node that is meant. The peer refuses with 421 when that is somebody else.
const MEANT: HeaderName = HeaderName::from_static("x-node");
/// On a request to a peer: who asked the entry agent. Believed on the peer listener only; for the log.
pub const CALLER: HeaderName = HeaderName::from_static("x-swarmgate-caller");
/// On an answer of a peer: the answer is the agent's own failure, not its engine's word.
pub const FAILURE: HeaderName = HeaderName::from_static("x-swarmgate-failure");
/// Its value where the engine has certainly seen nothing of the request; `engine` otherwise.
pub const UNASKED: &str = "unasked";
/// On an answer: the version under which the engine was really asked.
pub const API_VERSION: HeaderName = HeaderName::from_static("x-node-api-version");

/// Meant for one hop only (RFC 9110, 7.6.1). `Expect` is among them because we answer it ourselves.
const ONE_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// The client's credentials and browser trappings: a Portainer server passes on what its browser sent. `X-API-Key` is
/// its own access token, `Private-Token` a GitLab registry's.
const STOPS_HERE: [&str; 8] = [
    "authorization",
    "cookie",
    "x-api-key",
    "private-token",
    "x-csrf-token",
    "referer",
    "origin",
    "forwarded",
];
const STOPS_HERE_BY_PREFIX: [&str; 6] =
    ["x-portaineragent-", "x-node", "sec-fetch-", "sec-ch-", "x-forwarded-", "x-swarmgate-"];

fn stops_here(name: &str) -> bool {
    ONE_HOP.contains(&name)
        || STOPS_HERE.contains(&name)
        || STOPS_HERE_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix))
}

/// What an engine gets to see of a request. `upgrade` is the token that the route allowed.
///
/// `Host` is left to the dialler, so that no client's authority reaches an engine.
pub fn for_engine(received: &HeaderMap, upgrade: Option<&HeaderValue>) -> HeaderMap {
    let mut sent = HeaderMap::with_capacity(received.len());
    for (name, value) in received {
        if name != header::HOST && !stops_here(name.as_str()) {
            sent.append(name, value.clone());
        }
    }
    if let Some(token) = upgrade {
        sent.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        sent.insert(header::UPGRADE, token.clone());
    }
    sent
}

/// What a peer gets to see: as an engine, and who is meant and who asked.
pub fn for_peer(
    received: &HeaderMap,
    upgrade: Option<&HeaderValue>,
    meant: &NodeId,
    caller: &Caller,
) -> HeaderMap {
    let mut sent = for_engine(received, upgrade);
    if let Ok(id) = HeaderValue::from_str(meant.as_str()) {
        sent.insert(MEANT, id);
    }
    let caller = match caller {
        Caller::Portainer(key) => format!("portainer {}", key.short()),
        Caller::Peer(node) => format!("peer {node}"),
        Caller::Anyone => "anyone".to_owned(),
    };
    if let Ok(text) = HeaderValue::from_str(&caller) {
        sent.insert(CALLER, text);
    }
    sent
}

/// Removes from an answer what was meant for one hop, and what only agents may say.
///
/// `Connection` and `Upgrade` stay on a 101: they are its whole content.
pub fn clean_answer(headers: &mut HeaderMap, status: http::StatusCode) {
    let upgrade = headers.remove(header::UPGRADE);
    for name in ONE_HOP {
        headers.remove(name);
    }
    for name in ["x-node", "x-node-answered", "x-node-errors", "x-node-ambiguous"] {
        headers.remove(name);
    }
    headers.remove(FAILURE);
    for name in ["portainer-agent", "portainer-agent-api-version", "portainer-agent-platform"] {
        headers.remove(name);
    }
    if status == http::StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade.unwrap_or(HeaderValue::from_static("tcp")));
    }
}

/// Ends a connection whose client wanted a stream and got an answer: what it already sent of the stream must not be
/// read as its next request.
pub fn close_unless_upgraded<B>(answer: &mut http::Response<B>) {
    if answer.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What a merged answer keeps of the base node's head.
pub fn of_merged(base: &HeaderMap) -> HeaderMap {
    const KEPT: [&str; 4] = ["api-version", "docker-experimental", "ostype", "server"];
    let mut kept = HeaderMap::with_capacity(8);
    for name in KEPT {
        if let Some(value) = base.get(name) {
            kept.insert(HeaderName::from_static(name), value.clone());
        }
    }
    kept.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn credentials_and_browser_headers_stop_here() {
        let received = headers(&[
            ("authorization", "Bearer x"),
            ("cookie", "portainer_api_key=x"),
            ("x-api-key", "ptr_x"),
            ("private-token", "glpat-x"),
            ("x-csrf-token", "t"),
            ("referer", "https://p/"),
            ("origin", "https://p"),
            ("sec-fetch-mode", "cors"),
            ("sec-ch-ua", "x"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-portaineragent-signature", "s"),
            ("x-portaineragent-sa-token", ""),
            ("x-node", "n1"),
            ("x-node-strict", "1"),
            ("x-swarmgate-caller", "portainer"),
            ("host", "evil"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
        ]);
        assert_eq!(for_engine(&received, None).len(), 0, "{:?}", for_engine(&received, None));
    }

    #[test]
    fn registry_credentials_and_docker_headers_go_on_repeated_values_too() {
        let mut received = headers(&[
            ("x-registry-auth", "a"),
            ("x-registry-config", "b"),
            ("user-agent", "Docker-Client/28.2"),
            ("content-type", "application/x-tar"),
            ("content-length", "0"),
            ("x-docker-expose-session-uuid", "u"),
            ("sec-websocket-key", "k"),
        ]);
        let repeated = HeaderName::from_static("x-docker-expose-session-grpc-method");
        received.append(repeated.clone(), HeaderValue::from_static("/a"));
        received.append(repeated.clone(), HeaderValue::from_static("/b"));
        let sent = for_engine(&received, None);
        assert_eq!(sent.len(), 9);
        assert_eq!(sent.get_all(repeated).iter().count(), 2);
    }

    #[test]
    fn an_upgrade_is_sent_only_when_the_route_allowed_it() {
        let received = headers(&[("connection", "Upgrade"), ("upgrade", "tcp")]);
        assert!(for_engine(&received, None).is_empty());
        let sent = for_engine(&received, received.get("upgrade"));
        assert_eq!(sent["upgrade"], "tcp");
        assert_eq!(sent["connection"], "Upgrade");
    }

    #[test]
    fn a_peer_cannot_speak_for_a_node_or_for_us() {
        let mut answer = headers(&[
            ("x-node", "somebody"),
            ("portainer-agent", "9"),
            ("x-swarmgate-failure", "engine"),
            ("api-version", "1.41"),
        ]);
        clean_answer(&mut answer, http::StatusCode::OK);
        assert_eq!(answer.len(), 1);
    }
}

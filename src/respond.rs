//! An outcome in, HTTP out. The only place that knows status codes and the texts that clients read.

mod failure;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::body::Body;
use crate::decide::Origin;
use crate::execute::{Answer, Tally, headers};
use crate::model::Cluster;
pub use failure::Failure;

/// Who executed the request; on a merge the entry node.
pub const NODE: HeaderName = HeaderName::from_static("x-node");
/// On merged answers: how many nodes of how many.
pub const ANSWERED: HeaderName = HeaderName::from_static("x-node-answered");
/// On merged answers: `name=reason;…` of every node that is missing from it.
pub const ERRORS: HeaderName = HeaderName::from_static("x-node-errors");

/// Where one of several nodes may be meant: `name;name`.
pub const AMBIGUOUS: HeaderName = HeaderName::from_static("x-node-ambiguous");

/// The headers by which a Portainer server knows an agent; it wants them on every answer, refusals included.
const AGENT: HeaderName = HeaderName::from_static("portainer-agent");
const AGENT_API: HeaderName = HeaderName::from_static("portainer-agent-api-version");
const AGENT_PLATFORM: HeaderName = HeaderName::from_static("portainer-agent-platform");

/// Turns what came of a request into its response.
pub fn respond(
    outcome: Result<Answer, Failure>,
    cluster: &Cluster,
    origin: Origin,
    agent_version: &HeaderValue,
) -> Response<Body> {
    let mut response = match outcome {
        Ok(answer) => answered(answer),
        Err(failure) => {
            let mut response = failed(&failure);
            set(&mut response, NODE, &cluster.me().shown);
            if origin == Origin::Peer {
                let kind = if failure.left_engine_unasked() { headers::UNASKED } else { "engine" };
                response.headers_mut().insert(headers::FAILURE, HeaderValue::from_static(kind));
            }
            response
        }
    };
    if origin == Origin::Public {
        let head = response.headers_mut();
        head.insert(AGENT, agent_version.clone());
        head.insert(AGENT_API, HeaderValue::from_static("2"));
        head.insert(AGENT_PLATFORM, HeaderValue::from_static("1"));
    }
    response
}

fn answered(answer: Answer) -> Response<Body> {
    let mut response = answer.response;
    set(&mut response, NODE, &answer.by.shown);
    if let Some(tally) = &answer.tally {
        tell(&mut response, tally);
    }
    response
}

fn failed(failure: &Failure) -> Response<Body> {
    let (status, message) = failure.told();
    let mut response = of_json(status, &document(&message, failure));
    if let Some(tally) = failure.tally() {
        tell(&mut response, tally);
    }
    if !failure.candidates().is_empty() {
        let nodes: Vec<_> = failure.candidates().iter().map(|candidate| &*candidate.node).collect();
        set(&mut response, AMBIGUOUS, &nodes.join(";"));
    }
    if let Some(allow) = failure.allow() {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 6455, 4.2.2, and RFC 9110, 15.5.22: what would do.
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if failure.ends_connection() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn tell(response: &mut Response<Body>, tally: &Tally) {
    set(response, ANSWERED, &format!("{}/{}", tally.answered, tally.of));
    if !tally.missing.is_empty() {
        let named: Vec<_> = tally.missing.iter().map(|(name, reason)| format!("{name}={reason}")).collect();
        set(response, ERRORS, &named.join(";"));
    }
}

/// Docker's error shape, and what else there is to say.
fn document(message: &str, failure: &Failure) -> Value {
    let mut document = json!({ "message": message });
    if let Some(details) = failure.details() {
        document["details"] = details.into();
    }
    if !failure.candidates().is_empty() {
        let each = failure.candidates().iter();
        let each = each.map(|c| json!({ "node": c.node, "nodeId": c.node_id.as_str(), "id": c.id }));
        document["candidates"] = each.collect();
    }
    document
}

/// The content type is exact, without a charset: Docker's client compares it as a whole.
fn of_json(status: StatusCode, document: &Value) -> Response<Body> {
    let mut text = document.to_string();
    text.push('\n');
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, text: &str) {
    // Host names come from Swarm; what would not fit a header is shown as escapes.
    let safe = || text.escape_default().to_string();
    if let Ok(value) = HeaderValue::from_str(text).or_else(|_| HeaderValue::from_str(&safe())) {
        response.headers_mut().insert(name, value);
    }
}

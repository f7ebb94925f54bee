//! The browser's terminal: a websocket on one side, an exec or an attach of the own engine on the other.
//!
//! The engine is asked before the websocket is accepted, so that what it refuses is an answer with a status, which a
//! closed websocket could not tell. This agent ends the websocket only for its own engine; that of another node is
//! ended there, and is opaque bytes on the way.

mod bridge;
mod handshake;
mod text;
mod watched;

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tracing::debug;

use self::bridge::{End, bridge};
use self::handshake::Handshake;
use self::text::Output;
use super::AgentApi;
use crate::body::Body;
use crate::decide::Session;
use crate::dial;
use crate::execute::{Asked, headers};
use crate::model::Cluster;

/// What newer engines call output that is framed. Older ones frame it too and say nothing.
const FRAMED: &str = "application/vnd.docker.multiplexed-stream";

/// 1 s for an engine to answer a ping after its stream has ended; one that was killed refuses at once.
const ALIVE: Duration = Duration::from_secs(1);

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum Fail {
    #[error("the query parameter 'id' must be the hexadecimal id of the exec instance or container")]
    Id,
    #[error("a websocket handshake is expected here: Upgrade: websocket with a Sec-WebSocket-Key")]
    NoHandshake,
    #[error("only version 13 of websockets is spoken here")]
    Version,
    #[error("{node}: engine unavailable")]
    Engine { node: String, source: dial::Fail },
    #[error("{node}: its engine gave no answer within {} s", after.as_secs())]
    Silent { node: String, after: Duration },
    /// Neither a stream nor an error.
    #[error("{node}: its engine answered {status} instead of a stream")]
    NoStream { node: String, status: StatusCode },
}

/// What the engine made of it.
enum Started {
    Stream { answer: Response<Incoming>, output: Output },
    Refused(Response<Incoming>),
}

/// Answers with the `101` of a websocket, or with what the engine said instead.
///
/// # Errors
/// [`Fail`]; the client has had nothing then, and the engine holds nothing.
pub(super) async fn open(
    api: &AgentApi,
    session: Session,
    mut asked: Asked,
    cluster: &Cluster,
) -> Result<Response<Body>, Fail> {
    let id = handshake::id(&asked.query).ok_or(Fail::Id)?;
    let Handshake { accept, upgrade } = Handshake::read(&mut asked)?;
    let node = || cluster.me().shown.to_string();
    let after = api.config.limits.plain_get;
    // Whoever opened the console sits before it: what comes later than this is not waited for any more.
    let started = tokio::time::timeout(after, start(api, session, &id)).await;
    let started = started.map_err(|_| Fail::Silent { node: node(), after })?;
    let (mut answer, output) = match started.map_err(|source| Fail::Engine { node: node(), source })? {
        Started::Stream { answer, output } => (answer, output),
        Started::Refused(answer) if answer.status().as_u16() < 400 => {
            return Err(Fail::NoStream { node: node(), status: answer.status() });
        }
        Started::Refused(answer) => return Ok(refused(answer)),
    };
    let engine = hyper::upgrade::on(&mut answer);
    let (client, limits, shutdown) = (asked.client, api.config.limits.clone(), api.shutdown.clone());
    let open = api.figures.stream();
    let asked_again = api.engine.clone();
    api.shutdown.spawn(async move {
        let _open = open;
        // The client's side is ready once the 101 has been written; both fail when their connection ends first.
        let (Ok(near), Ok(far)) = tokio::join!(upgrade, engine) else { return };
        let cut = async {
            tokio::select! {
                () = client.revoked() => End::Revoked,
                () = shutdown.draining() => End::Draining,
            }
        };
        let alive = async {
            let ping = asked_again.request(request(Method::HEAD, "/_ping"));
            matches!(tokio::time::timeout(ALIVE, ping).await, Ok(Ok(_)))
        };
        let end = bridge(TokioIo::new(near), TokioIo::new(far), output, cut, alive, &limits).await;
        debug!(client = %client.remote, ?end, "console ended");
    });
    Ok(switching(accept))
}

async fn start(api: &AgentApi, session: Session, id: &str) -> Result<Started, dial::Fail> {
    let (path, body, framed) = match session {
        Session::Exec => {
            // With a terminal there is nothing to frame: it has one output.
            (format!("/exec/{id}/start"), Bytes::from_static(br#"{"Tty":true,"Detach":false}"#), false)
        }
        Session::Attach => {
            let inspected =
                api.engine.request(request(Method::GET, &format!("/containers/{id}/json"))).await?;
            if inspected.status() != StatusCode::OK {
                return Ok(Started::Refused(inspected));
            }
            let path = format!("/containers/{id}/attach?stdin=1&stdout=1&stderr=1&stream=1");
            (path, Bytes::new(), !has_terminal(inspected, api.config.limits.peek_bytes).await)
        }
    };
    let mut asked = request(Method::POST, &path);
    let head = asked.headers_mut();
    head.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    head.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    if !body.is_empty() {
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    *asked.body_mut() = Body::from(body);
    let answer = api.engine.upgrade(asked).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Started::Refused(answer));
    }
    let said = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == FRAMED);
    let output = if framed || said { Output::framed() } else { Output::plain() };
    Ok(Started::Stream { answer, output })
}

fn request(method: Method, path_and_query: &str) -> Request<Body> {
    let mut request = Request::new(Body::Empty);
    *request.method_mut() = method;
    // An id is hexadecimal digits; nothing in it can spoil a path.
    *request.uri_mut() = path_and_query.parse().unwrap_or_default();
    request
}

/// Whether a container's output comes from a terminal. What cannot be read counts as one: framing shows itself.
async fn has_terminal(inspected: Response<Incoming>, limit: usize) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inspected {
        config: Config,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        tty: bool,
    }
    let Ok(body) = Limited::new(inspected.into_body(), limit).collect().await else { return true };
    serde_json::from_slice::<Inspected>(&body.to_bytes()).map_or(true, |inspected| inspected.config.tty)
}

/// The engine's own words. What the client may have sent as stream already is no request.
fn refused(answer: Response<Incoming>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    headers::clean_answer(&mut head.headers, head.status);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Response::from_parts(head, Body::Incoming(body))
}

fn switching(accept: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let head = response.headers_mut();
    head.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    head.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    head.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

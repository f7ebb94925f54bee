//! Hands an engine's or a peer's answer back: as a body, or as a stream once both sides stopped speaking HTTP.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::paced::Paced;
use super::{Asked, Executor, Fail, headers};
use crate::body::Body;
use crate::decide::{Pace, Route};
use crate::stream;

/// 5 s: after the engine's end the client gets what is buffered and this long to close; it has no more to say.
const LINGER: Duration = Duration::from_secs(5);

/// Cleans the head and passes the body on chunk by chunk. A 101 becomes a tunnel.
pub(super) fn relay(
    executor: &Executor,
    mut answer: Response<Incoming>,
    asked: &mut Asked,
    route: &Route,
    upgrading: bool,
    node: &str,
) -> Result<Response<Body>, Fail> {
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if !upgrading {
            return Err(Fail::Unasked { node: node.to_owned() });
        }
        tunnel(executor, hyper::upgrade::on(&mut answer), asked);
        let (mut head, _) = answer.into_parts();
        headers::clean_answer(&mut head.headers, status);
        return Ok(Response::from_parts(head, Body::Empty));
    }
    let (mut head, body) = answer.into_parts();
    headers::clean_answer(&mut head.headers, status);
    if upgrading {
        // What the client already sent as stream must not be read as its next request.
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let body = match route.pace {
        Pace::Plain => Body::boxed(Paced::new(body, executor.limits.body_read)),
        Pace::Long => Body::Incoming(body),
    };
    Ok(Response::from_parts(head, body))
}

fn tunnel(executor: &Executor, far: hyper::upgrade::OnUpgrade, asked: &mut Asked) {
    let Some(near) = asked.upgrade.take() else { return };
    let (client, metrics) = (Arc::clone(&asked.client), Arc::clone(&executor.metrics));
    executor.shutdown.spawn(async move {
        // `near` is ready once the 101 has been written; both fail when their connection ends first.
        let (Ok(near), Ok(far)) = tokio::join!(near, far) else { return };
        let _open = metrics.stream();
        tokio::select! {
            totals = stream::tunnel(TokioIo::new(near), TokioIo::new(far), LINGER) => {
                debug!(client = %client.remote, up = totals.up, down = totals.down, "stream ended");
            }
            () = client.revoked() => debug!(client = %client.remote, "stream cut: its credential was revoked"),
        }
    });
}

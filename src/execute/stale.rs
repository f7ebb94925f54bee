//! Notices that a node which was asked as a manager is none any more.

use bytes::BytesMut;
use http::{Response, StatusCode};
use http_body_util::BodyExt;

use super::Fail;
use crate::body::Body;
use crate::decide::{Route, Scope};

/// 16 KiB: an engine's refusal is one sentence.
const SENTENCE: usize = 16 << 10;
/// The engine's words, the same from 1.24 on.
const WORDS: &[u8] = b"not a swarm manager";

/// Passes an answer on, unless it is an engine's 503 that says it is no manager. A node that the client named is not
/// replaced by another: its words are the answer.
pub(super) async fn check(
    route: &Route,
    named: bool,
    response: Response<Body>,
    node: &str,
) -> Result<Response<Body>, Fail> {
    let role = !named && matches!(route.scope, Scope::Manager);
    if !role || response.status() != StatusCode::SERVICE_UNAVAILABLE {
        return Ok(response);
    }
    let (head, mut body) = response.into_parts();
    let mut said = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            said.extend_from_slice(data);
        }
        if said.len() > SENTENCE {
            break;
        }
    }
    if memchr::memmem::find(&said, WORDS).is_some() {
        return Err(Fail::StaleRole { node: node.to_owned() });
    }
    Ok(Response::from_parts(head, Body::from(said.freeze())))
}

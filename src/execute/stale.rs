//! Notices that a node which was asked as a manager is none any more.

use std::time::Duration;

use bytes::BytesMut;
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;

use super::{Answer, Fail};
use crate::body::Body;
use crate::decide::{Route, Scope};

/// 16 KiB: an engine's refusal is one sentence.
const SENTENCE: usize = 16 << 10;
/// 5 s: a sentence that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The engine's words with a 503, the same from 1.24 on.
const WORDS: &[u8] = b"not a swarm manager";
/// With a 403, where an overlay is to be made.
const NETWORK_WORDS: &[u8] = b"multi-host network from a worker node";

/// Whether an engine's refusal says that it is no manager.
pub(super) fn says_so(refusal: &[u8]) -> bool {
    memchr::memmem::find(refusal, WORDS).is_some()
}

/// Passes an answer on, unless it is an engine's refusal that says it is no manager.
pub(super) async fn check(route: &Route, answer: Answer) -> Result<Answer, Fail> {
    let words = match answer.response.status() {
        StatusCode::SERVICE_UNAVAILABLE if route.peek || matches!(route.scope, Scope::Manager) => WORDS,
        StatusCode::FORBIDDEN if route.peek => NETWORK_WORDS,
        _ => return Ok(answer),
    };
    let Answer { response, by, tally } = answer;
    let (mut head, mut body) = response.into_parts();
    let mut said = BytesMut::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref() {
                said.extend_from_slice(data);
            }
            if said.len() > SENTENCE {
                break;
            }
        }
    };
    // What has come by then is judged and passed on.
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    head.headers.remove(header::CONTENT_LENGTH);
    let is_none = memchr::memmem::find(&said, words).is_some();
    let node = by.shown.to_string();
    let answer = Answer { response: Response::from_parts(head, Body::from(said.freeze())), by, tally };
    if is_none { Err(Fail::StaleRole { node, answer: Box::new(answer) }) } else { Ok(answer) }
}

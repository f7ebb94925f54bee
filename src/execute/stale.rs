//! Notices that a node which was asked as a manager is none any more.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;

use super::{Answer, Fail};
use crate::body::{Body, BoxError};
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
    let (head, body) = response.into_parts();
    let read = Beginning::read(body).await;
    let is_none = memchr::memmem::find(&read.said, words).is_some();
    let node = by.shown.to_string();
    let answer = Answer { response: Response::from_parts(head, read.into_body()), by, tally };
    if is_none { Err(Fail::StaleRole { node, answer: Box::new(answer) }) } else { Ok(answer) }
}

/// A body of which the beginning was read. As a body it is whole again, and ends as it would have ended.
struct Beginning {
    said: Bytes,
    rest: Rest,
}

enum Rest {
    Nothing,
    Unread(Body),
    Broken(Option<BoxError>),
}

impl Beginning {
    /// What comes in time, up to a sentence.
    async fn read(mut body: Body) -> Self {
        let mut said = BytesMut::new();
        let reading = async {
            while said.len() <= SENTENCE {
                match body.frame().await {
                    Some(Ok(frame)) => said.extend_from_slice(&frame.into_data().unwrap_or_default()),
                    Some(Err(error)) => return Some(Rest::Broken(Some(error))),
                    None => return Some(Rest::Nothing),
                }
            }
            None
        };
        let ended = tokio::time::timeout(PATIENCE, reading).await.ok().flatten();
        Self { said: said.freeze(), rest: ended.unwrap_or(Rest::Unread(body)) }
    }

    fn into_body(self) -> Body {
        if matches!(self.rest, Rest::Nothing) { Body::from(self.said) } else { Body::boxed(self) }
    }
}

impl http_body::Body for Beginning {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.said.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.said)))));
        }
        match &mut self.rest {
            Rest::Nothing => Poll::Ready(None),
            Rest::Unread(body) => Pin::new(body).poll_frame(cx),
            Rest::Broken(error) => Poll::Ready(error.take().map(Err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;

    #[tokio::test(start_paused = true)]
    async fn what_was_read_of_a_slow_body_and_the_rest_of_it_are_the_whole() {
        let slow = stream::unfold(0, async |at| {
            tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(3)).await;
            let frame = Ok::<_, BoxError>(Frame::data(Bytes::from(at.to_string())));
            (at < 6).then_some((frame, at + 1))
        });
        let read = Beginning::read(Body::boxed(StreamBody::new(slow))).await;
        assert_eq!(read.said, "0", "it is not waited for");
        assert_eq!(read.into_body().collect().await.unwrap().to_bytes(), "012345");
    }
}

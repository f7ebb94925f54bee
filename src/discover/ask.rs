//! One question to an engine's API, bounded in time and size, and its answer as a value.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::body::{Body, BoxError};
use crate::dial::{Engine, Fail, Peers};
use crate::model::Member;

/// 5 s: an engine that starts or is busy takes a second or two; a frozen one must be noticed.
const PATIENCE: Duration = Duration::from_secs(5);

/// 16 MiB: the node list of a thousand nodes is a quarter of it.
const ANSWER_BYTES: usize = 16 << 20;

/// Why there is no answer to work with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error(transparent)]
    Fail(#[from] Fail),
    #[error("GET {path}: no answer within {PATIENCE:?}")]
    Silent { path: String },
    #[error("GET {path}: {status}: {message}")]
    Refused { path: String, status: StatusCode, message: String },
    #[error("GET {path}: the answer broke off or is too large")]
    Unreadable {
        path: String,
        #[source]
        source: BoxError,
    },
    #[error("GET {path}: the answer makes no sense: {source}")]
    Malformed {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the engine's Swarm state is {state:?}; waiting for active or inactive")]
    Undecided { state: String },
    #[error("GET {path}: answered with another container")]
    Other { path: String },
    #[error("this node's id cannot be read from the data directory: {source}")]
    Nameless {
        #[source]
        source: std::io::Error,
    },
}

impl Unanswered {
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// Asks the own engine.
pub(super) async fn engine<T: DeserializeOwned>(engine: &Engine, path: &str) -> Result<T, Unanswered> {
    in_time(path, async { read(path, engine.request(get(path)).await?).await }).await
}

/// Asks another agent's engine.
pub(super) async fn peer<T: DeserializeOwned>(
    peers: &Peers,
    to: &Member,
    path: &str,
) -> Result<T, Unanswered> {
    in_time(path, async { read(path, peers.request(to, get(path)).await?).await }).await
}

async fn in_time<T>(
    path: &str,
    answer: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(Unanswered::Silent { path: path.to_owned() }))
}

fn get(path: &str) -> Request<Body> {
    let mut request = Request::new(Body::Empty);
    // Every path here is a constant with hex ids or percent-encoded text in it; `/` would be refused as malformed.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

async fn read<T: DeserializeOwned>(path: &str, response: Response<Incoming>) -> Result<T, Unanswered> {
    let (head, body) = response.into_parts();
    let unreadable = |source| Unanswered::Unreadable { path: path.to_owned(), source };
    let bytes = Limited::new(body, ANSWER_BYTES).collect().await.map_err(unreadable)?.to_bytes();
    if head.status != StatusCode::OK {
        let message = serde_json::from_slice::<Message>(&bytes).map(|m| m.message).unwrap_or_default();
        return Err(Unanswered::Refused { path: path.to_owned(), status: head.status, message });
    }
    serde_json::from_slice(&bytes).map_err(|source| Unanswered::Malformed { path: path.to_owned(), source })
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

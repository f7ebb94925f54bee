//! What the agent answers itself.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::Pipeline;
use crate::body::Body;
use crate::decide::Own;
use crate::dial::ProbeDocument;
use crate::execute::Answer;
use crate::model::Cluster;
use crate::respond;

impl Pipeline {
    pub(super) fn own(&self, own: Own, cluster: &Arc<Cluster>) -> Answer {
        let response = match own {
            Own::Ping => empty(StatusCode::NO_CONTENT),
            // Edge agents hand out a key here; this one has none to give.
            Own::Key => respond::json(StatusCode::SERVICE_UNAVAILABLE, "this agent has no Edge key"),
            Own::Probe => probe(cluster),
        };
        Answer { response, by: Arc::clone(cluster.me()), tally: None }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn probe(cluster: &Cluster) -> Response<Body> {
    let text = serde_json::to_vec(&ProbeDocument::of(cluster)).unwrap_or_default();
    let mut response = Response::new(Body::from(Bytes::from(text)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
